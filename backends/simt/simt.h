/* backends/simt/simt.h: the driver of CUDA and HIP, written once over a table of the vendor's functions.
 *
 *   device.c    open and close, results, what every file needs
 *   memory.c    buffers, staging, write and read
 *   kernel.c    modules and functions by entry
 *   cmd.c       lists: captured into a graph, or launched one by one
 *   tried.c     on which cards kernels have run
 *   blas.c      the vendor's BLAS
 *   timeline.c  submissions and their events, waiting, device loss
 *   tile.c, attention.c, ...   families that only SIMT has (families.h)
 *   rows_*.h    the table of variants
 *
 * A vendor (backends/cuda, backends/hip) brings simt_api, images of kernels, and probes of its devices. There is
 * one stream: what is launched or copied on it runs in order, so that a barrier is nothing.
 *
 * Thread-safety: as in hal/hal.h; what waiting threads touch (submissions, loss) is atomic. */
#ifndef HY_SIMT_SIMT_H
#define HY_SIMT_SIMT_H

#include <stdatomic.h>

#include "backends/gpu/gpu.h"

/* ---- the vendor ---------------------------------------------------------------------------------- */

/* Codes that mean the same in CUDA and in HIP. */
enum { SIMT_OK = 0, SIMT_OUT_OF_MEMORY = 2, SIMT_NOT_READY = 600 };

/* The vendor's functions, named neutrally; each returns a code. Handles are pointers. */
typedef struct simt_api {
    const char *(*error_name)(int code); /* static lifetime; never NULL */
    int (*bind)(int ordinal,
                void *context); /* this thread's calls are for that device from now on */
    int (*context_new)(int ordinal, void **out);
    int (*context_free)(int ordinal);
    int (*memory_info)(size_t *free_bytes, size_t *total);
    int (*memory_new)(void **out, size_t bytes);
    int (*memory_free)(void *memory);
    int (*pinned_new)(void **out,
                      size_t bytes); /* host memory that kernels reach at the same address */
    int (*pinned_free)(void *memory);
    int (*copy)(void *to, const void *from, size_t bytes, void *stream);
    int (*stream_new)(void **out);
    int (*stream_free)(void *stream);
    int (*stream_wait)(void *stream);
    int (*capture_begin)(void *stream); /* NULL: the driver has no graphs */
    int (*capture_end)(void *stream, void **graph);
    int (*graph_free)(void *graph);
    int (*program_new)(void **out, void *graph);
    int (*program_free)(void *program);
    int (*program_launch)(void *program, void *stream);
    int (*event_new)(void **out);
    int (*event_free)(void *event);
    int (*event_record)(void *event, void *stream);
    int (*event_query)(void *event);
    int (*module_new)(void **out, const void *image);
    int (*module_free)(void *module);
    int (*function)(void **out, void *module, const char *name);
    int (*function_shared)(void *function, uint32_t bytes); /* dynamic shared memory it may have */
    int (*launch)(void *function, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z,
                  uint32_t block_x, uint32_t block_y, uint32_t block_z, uint32_t shared_bytes,
                  void *stream, void **params, void **extra);
} simt_api;

/* Compiled kernels of one unit (shaders/simt/units.txt) for one target; made by the build. */
typedef struct simt_image {
    const char *unit, *arch; /* "q4_0", "gfx942"; one arch "" for images that hold several */
    const void *bytes;
    size_t size;
} simt_image;

/* What the vendor's BLAS is called, and its numbers. */
typedef struct simt_blas_facts {
    const char *const *libraries; /* file names, best first; ends with NULL */
    const char *variable;         /* environment variable: another file */
    const char *prefix;           /* of its functions: "cublasLt" */
    int compute_f32;              /* sums in float32 */
    int turn_a, turned;           /* attribute of a product: A is turned over; and its value */
} simt_blas_facts;

typedef struct simt_vendor {
    const hy_backend *backend;
    const gpu_variant *variants;
    const simt_api *api;
    const simt_image *images; /* [*image_count] */
    const size_t *image_count;
    const char *folder_name; /* environment variable: a folder of other images */
    const simt_blas_facts *blas;
    const char *suffix; /* of the files there: "<unit>.fatbin", or "any" for all units */
} simt_vendor;

/* What one device is and can do, found out without opening it. */
typedef struct simt_probe {
    hy_device_info info; /* .unusable: .detail says why */
    gpu_limits limits;
    int ordinal; /* the vendor's number */
} simt_probe;

/* ---- device -------------------------------------------------------------------------------------- */

enum {
    SIMT_EVENTS = 64,            /* submissions that may be under way together */
    SIMT_PLAIN_SHARED = 48 << 10 /* bytes of dynamic shared memory that need no asking for */
};

typedef struct simt_staging simt_staging; /* memory.c */
typedef struct simt_kernels simt_kernels; /* kernel.c */
typedef struct simt_blas simt_blas;       /* blas.c */

typedef struct simt_device {
    gpu_device gpu; /* .base.backend, .driver, .variants, .limits */
    const simt_vendor *vendor;
    const simt_api *api;
    hy_device_info info;
    int ordinal;
    void *context, *stream;
    bool graphs;
    simt_staging *staging;
    simt_kernels *kernels;
    simt_blas *blas; /* NULL: not asked for, or not there */
    /* timeline.c: submissions are numbered from 1 */
    void *event[SIMT_EVENTS];    /* of submission n at n % SIMT_EVENTS */
    _Atomic uint64_t submitted;  /* the latest one */
    _Atomic uint64_t done;       /* all up to it have ended */
    _Atomic uint64_t stirred_us; /* when `done` last grew or work was added */
    uint64_t patience_us;        /* without progress for so long the device is lost; 0: never */
    _Atomic bool lost;           /* sticky */
} simt_device;

/* device.c */
/* Opens what was probed. */
HY_NODISCARD hy_status simt_open(const simt_vendor *vendor, const simt_probe *probe,
                                 const hy_device_params *params, hy_device **out);
void simt_close(hy_device *device);
void simt_info(hy_device *device, hy_device_info *out);
/* info->bus from what the vendor's library says, in the system's form. */
void simt_set_bus(hy_device_info *info, const char *said);
/* OK -> HY_OK; out of memory -> HY_E_MEMORY; else HY_E_DEVICE, and what a kernel did wrong loses the device. `what`
 * is the call. */
HY_NODISCARD hy_status simt_check(simt_device *device, int code, const char *what);
/* HY_E_DEVICE once the device is lost; else its calls may be made on this thread. */
HY_NODISCARD hy_status simt_enter(simt_device *device);

/* memory.c: as in hy_backend and gpu_driver. */
hy_status simt_staging_open(simt_device *device);
void simt_staging_close(simt_device *device);
hy_status simt_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out);
hy_status simt_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out);
void simt_buffer_free(hy_buffer *buffer);
hy_status simt_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size);
hy_status simt_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size);
hy_status simt_stage(gpu_device *device, uint64_t bytes, void **host, uint64_t *address);
hy_status simt_run(gpu_device *device, const gpu_launch *launch);

/* kernel.c: as in gpu_driver; the handle is the vendor's function. */
hy_status simt_kernels_open(simt_device *device);
void simt_kernels_close(simt_device *device);
hy_status simt_kernel(gpu_device *device, const gpu_launch *launch, uint64_t *out);
/* The first image for one of the vendor's targets, "" being any; or the named folder's; NULL: there is none. */
const simt_image *simt_any_image(const simt_vendor *vendor, const char *arch);
/* The folder that the vendor's variable names; NULL. */
const char *simt_folder(const simt_vendor *vendor);

/* tried.c: whether the kernels have run on such a card: a few words for hy_device_info.detail. */
const char *simt_tried(const simt_probe *probe);

/* blas.c: not to find one is no error. */
void simt_blas_open(simt_device *device);
void simt_blas_close(simt_device *device);
/* Puts the product of entry "blas" on the stream. */
hy_status simt_blas_launch(simt_device *device, const hy_args *args);
/* What simt_kernel gives as that entry's handle: no function's address. */
enum { SIMT_BLAS = 1 };

/* cmd.c: as in hy_backend and gpu_driver. */
hy_status simt_cmd_new(hy_device *device, hy_view counters, hy_cmd **out);
void simt_cmd_free(hy_cmd *cmd);
hy_status simt_record(gpu_cmd *cmd);
hy_status simt_submit(hy_device *device, hy_cmd *cmd, hy_timeline *timeline, uint64_t value);
/* Puts a launch on the stream. */
hy_status simt_launch(simt_device *device, uint64_t function, const uint32_t grid[3],
                      uint32_t threads, uint32_t shared_bytes, const hy_args *args);

/* timeline.c: as in hy_backend. */
hy_status simt_events_open(simt_device *device);
void simt_events_close(simt_device *device);
hy_status simt_timeline_new(hy_device *device, hy_timeline **out);
void simt_timeline_free(hy_timeline *timeline);
hy_status simt_timeline_value(hy_timeline *timeline, uint64_t *value);
hy_status simt_timeline_wait(hy_timeline *timeline, uint64_t value, uint64_t timeout_us);
/* Makes what was put on the stream a submission; its number. Waits when too many are under way. */
hy_status simt_submitted(simt_device *device, uint64_t *number);
/* `value` is reached with submission `number`. */
void simt_timeline_set(hy_timeline *timeline, uint64_t number, uint64_t value);
/* Waits until submission `number` is done. simt_quiesce: before something is freed; returns on loss too. */
hy_status simt_settle(simt_device *device, uint64_t number);
void simt_quiesce(simt_device *device, uint64_t number);

/* Everything of hy_backend but the name, devices and open. */
#define SIMT_BACKEND                                                                               \
    .close = simt_close, .info = simt_info, .buffer_new = simt_buffer_new,                         \
    .buffer_import = simt_buffer_import, .buffer_free = simt_buffer_free, .write = simt_write,     \
    .read = simt_read, .candidates = gpu_candidates, .pack = gpu_pack, .unpack = gpu_unpack,       \
    .cmd_new = simt_cmd_new, .cmd_free = simt_cmd_free, .cmd_op = gpu_cmd_op,                      \
    .cmd_copy = gpu_cmd_copy, .cmd_barrier = gpu_cmd_barrier, .cmd_seal = gpu_cmd_seal,            \
    .submit = simt_submit, .timeline_new = simt_timeline_new, .timeline_free = simt_timeline_free, \
    .timeline_value = simt_timeline_value, .timeline_wait = simt_timeline_wait,                    \
    .peak = gpu_measure_peak

#endif
