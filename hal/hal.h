/* hal/hal.h: the contract between the compiler and engine above and the backends below.
 *
 * Fused ops are recorded into command lists. The backend never sees the graph; the caller never sees a
 * vendor's API. Four rules make it fast and simple:
 *   1. Nothing moves. Buffers are allocated once, lists hold final addresses, nothing is patched.
 *   2. What changes lives in memory: the step block begins with counters, operands say which counter
 *      bounds them, and a sealed list is replayed with new counts any number of times.
 *   3. The caller owns order: ops between two barriers are independent and may run in any order or at
 *      once; a barrier makes everything before it visible to everything after it.
 *   4. What candidates() promised, recording must do. A kernel that needs the host says so by lacking
 *      HY_KERNEL_REPLAYABLE.
 *
 * | object   | CUDA / HIP     | Vulkan             | CPU             |
 * | device   | context        | VkDevice           | thread pool     |
 * | buffer   | cuMemAlloc     | VkBuffer + address | mmap            |
 * | kernel   | function       | pipeline           | function        |
 * | cmd      | captured graph | command buffer     | array of calls  |
 * | timeline | events         | timeline semaphore | mutex + condvar |
 *
 * Thread-safety: a device may be used from one thread at a time, but for hy_timeline_wait and
 * hy_timeline_value, which any thread may call. Different devices are independent. */
#ifndef HY_HAL_HAL_H
#define HY_HAL_HAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "hal/ops.h"

typedef struct hy_backend hy_backend;
typedef struct hy_device hy_device;
typedef struct hy_buffer hy_buffer;
typedef struct hy_cmd hy_cmd;
typedef struct hy_timeline hy_timeline;

/* What one device is. Strings are copied. */
typedef struct hy_device_info {
    char name[128];        /* "AMD EPYC 9354" */
    char arch[64];         /* "avx512-vnni", "sm_90", "gfx942" */
    char detail[256];      /* driver, features used and missing; one line */
    char bus[16];          /* of PCI, as the system writes it: "0000:65:00.0"; "": none, not told */
    uint64_t memory_total; /* bytes */
    uint64_t memory_free;  /* bytes; for the CPU what can be used without swapping */
    uint32_t units;        /* cores, SMs, CUs */
    bool host_memory;      /* buffers are ordinary host memory: hy_buffer.host is never NULL */
    bool software;         /* emulates hardware: never a default choice for speed */
    bool unusable;    /* open() fails for the reason in `detail`; listed so that people see why */
    uint64_t segment; /* no view of a device-heap buffer may cross a multiple of so many bytes; 0:
                              buffers are in one piece */
} hy_device_info;

/* Choices at opening; all zero is the default. */
typedef struct hy_device_params {
    uint32_t threads; /* cpu: workers, 0 = one per physical core */
    const char *cpus; /* cpu: pin workers to these, "0xff" or "0-3,8"; NULL = no pinning */
    const char *isa;  /* cpu: highest ISA to use ("generic", "avx2", "dotprod", ...); NULL = all */
    bool no_graphs;   /* cuda, hip: launch one by one instead of replaying a graph */
    bool libraries;   /* cuda, hip: look for the vendor's BLAS too, which takes its time */
} hy_device_params;

/* The rows of a constant in the file's layout, for whoever wants to fetch them himself. */
typedef struct hy_row_source hy_row_source;
struct hy_row_source {
    /* Rows [row, row + rows) -> buffer. Called from several threads at once. */
    hy_status (*read)(const hy_row_source *source, uint64_t row, uint64_t rows, void *buffer);
    const void *context;
    uint64_t rows, row_bytes;
};

/* First member of every backend's device struct. */
struct hy_device {
    const hy_backend *backend;
};

typedef enum hy_heap {
    HY_HEAP_DEVICE = 0, /* fast for kernels */
    HY_HEAP_HOST = 1    /* the host writes or reads it every step (pinned); hy_buffer.host is set */
} hy_heap;

/* First member of every backend's buffer struct. Base aligned to HY_VIEW_ALIGN. */
struct hy_buffer {
    hy_device *device;
    uint64_t size; /* bytes */
    void *host;    /* address for the host, or NULL */
};

/* A range of a buffer, by value. buffer NULL: an absent optional operand. */
typedef struct hy_view {
    hy_buffer *buffer;
    uint64_t offset, size; /* bytes */
} hy_view;

typedef enum hy_kernel_flags {
    HY_KERNEL_REPLAYABLE = 1,    /* a sealed list may be submitted again with other counters */
    HY_KERNEL_DETERMINISTIC = 2, /* same inputs, same bits */
    HY_KERNEL_INVARIANT = 4, /* a row's bits do not depend on the other rows or on upper bounds */
    HY_KERNEL_ROUNDS = 8     /* rounds activations (to int8, f16 or bf16) inside */
} hy_kernel_flags;

/* How a kernel wants one constant operand. */
typedef struct hy_constant_layout {
    uint32_t
        layout; /* private number; 0 = the file's own layout; equal numbers and bytes = shareable */
    uint32_t
        rows; /* pack() takes multiples of this many rows (but for the tail); 0 = not constant */
    uint64_t bytes; /* packed size */
} hy_constant_layout;

/* One way to do one op at one shape. Plain data. */
typedef struct hy_kernel {
    const char *name; /* "cpu.matmul.q4_0.avx512": stable, static lifetime */
    uint32_t flags;   /* hy_kernel_flags */
    uint32_t
        in_place;   /* bit i: output 0 (the first OUT operand that is present) may be the same view
                         * as operand i, whose dtype, extents and strides are then equal */
    uint32_t order; /* kernels of a device with one nonzero order give one row the same bits, so
                           invariant plans may mix them between buckets; 0: only equal names are equal */
    float accuracy; /* C of the error bound, docs/numerics.md */
    float cost;     /* estimated microseconds at upper bounds, for choosing only */
    /* HY_KERNEL_ROUNDS: the hy_dtype that activations are rounded to; 0 means A8. F16: rows of x are scaled
     * by a power of two first; BF16: as they are. Weights are rounded to the same (docs/numerics.md). */
    uint32_t rounded;
    uint64_t workspace; /* bytes, aligned to HY_VIEW_ALIGN; contents need not survive between ops */
    hy_constant_layout constant[HY_MAX_OPERANDS];
    uint64_t impl; /* private to the backend */
} hy_kernel;

#define HY_MAX_CANDIDATES 16

/* Adds to a list of at most HY_MAX_CANDIDATES, cheapest first and behind equals; the dearest drops out. */
static inline void hy_candidate_add(hy_kernel *list, uint32_t *count, const hy_kernel *kernel) {
    uint32_t place = *count;
    while (place && list[place - 1].cost > kernel->cost)
        place--;
    if (place >= HY_MAX_CANDIDATES) return;
    if (*count < HY_MAX_CANDIDATES) ++*count;
    for (uint32_t i = *count - 1; i > place; i--)
        list[i] = list[i - 1];
    list[place] = *kernel;
}

/* A limit of a device, measured by hy_backend.peak. */
typedef enum hy_peak {
    HY_PEAK_WRITE, /* bytes/s of memory, each byte written once */
    HY_PEAK_READ,  /* bytes/s of memory, each byte read once */
    HY_PEAK_F32,   /* operations/s, a product and its sum being two: of float32 */
    HY_PEAK_F16,   /* of f16, summed in float32 */
    HY_PEAK_BF16,  /* of bf16, summed in float32 */
    HY_PEAK_INT8,  /* of int8, summed in int32 */
    HY_PEAKS
} hy_peak;

enum { HY_PEAK_LEAST = 1 << 20 }; /* bytes of memory that hy_backend.peak wants at least */

/* The functions of a backend. Preconditions that hal/validate.c checks need no second check below it.
 * Unless said otherwise every function returns HY_E_MEMORY or HY_E_DEVICE besides the errors named. */
struct hy_backend {
    const char *name; /* "cpu" */

    /* Writes at most `capacity` device descriptions and the number of devices. HY_E_UNAVAILABLE with the
     * reason (what was looked for) when the backend cannot run here; not an error of the program. */
    hy_status (*devices)(hy_device_info *infos, uint32_t capacity, uint32_t *count);
    hy_status (*open)(uint32_t index, const hy_device_params *params, hy_device **out);
    void (*close)(hy_device *device);
    void (*info)(hy_device *device, hy_device_info *out);

    /* Contents undefined. Freed before the device is closed. */
    hy_status (*buffer_new)(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out);
    /* Uses host memory in place (read-only mappings too); it must outlive the buffer.
     * HY_E_UNSUPPORTED when the device cannot. */
    hy_status (*buffer_import)(hy_device *device, void *host, uint64_t size, hy_buffer **out);
    void (*buffer_free)(hy_buffer *buffer);
    /* Synchronous copies, ordered after every submission that was waited for. */
    hy_status (*write)(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size);
    hy_status (*read)(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size);

    /* Every kernel that can do this op, best first (by cost); *count may be 0, at most
     * HY_MAX_CANDIDATES. `op` passed hy_op_check. No second test of support exists. */
    hy_status (*candidates)(hy_device *device, const hy_op *op, hy_kernel *out, uint32_t *count);

    /* src: rows [row, row + rows) of constant operand `operand` (all dims but the innermost flattened) in
     * the file's layout -> their place in dst, the view of the whole packed constant (constant.bytes).
     * Chunks may come in any order; row and rows are multiples of constant.rows except for the tail. */
    hy_status (*pack)(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                      uint64_t row, uint64_t rows, const void *src, hy_view dst);
    /* NULL, or another way to pack a whole constant: the backend's threads read what they pack. op and
     * kernel NULL: the file's bytes as they are. An error of `source` is returned. */
    hy_status (*pack_from)(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                           uint32_t operand, const hy_row_source *source, hy_view dst);
    /* The inverse for the whole operand: dst gets the file's bytes exactly. */
    hy_status (*unpack)(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                        uint32_t operand, hy_view src, void *dst);

    /* counters: HY_COUNTER_COUNT uint32 that every op of the list reads when it runs. */
    hy_status (*cmd_new)(hy_device *device, hy_view counters, hy_cmd **out);
    void (*cmd_free)(hy_cmd *cmd);
    /* views[i] belongs to op->operand[i]; `op` and `kernel` are copied. A packed constant's view is its
     * packed bytes. workspace.size >= kernel->workspace. */
    hy_status (*cmd_op)(hy_cmd *cmd, const hy_op *op, const hy_kernel *kernel, const hy_view *views,
                        hy_view workspace);
    /* src and dst of equal size; either may be host heap. */
    hy_status (*cmd_copy)(hy_cmd *cmd, hy_view dst, hy_view src);
    hy_status (*cmd_barrier)(hy_cmd *cmd);
    hy_status (*cmd_seal)(hy_cmd *cmd);

    /* Runs a sealed list after all earlier submissions; `timeline` reaches `value` (larger than any
     * before) when it is done. Allocates nothing on the host. */
    hy_status (*submit)(hy_device *device, hy_cmd *cmd, hy_timeline *timeline, uint64_t value);
    hy_status (*timeline_new)(hy_device *device, hy_timeline **out); /* starts at 0 */
    void (*timeline_free)(hy_timeline *timeline);
    /* HY_E_DEVICE once the device failed, and from then on. */
    hy_status (*timeline_value)(hy_timeline *timeline, uint64_t *value);
    /* timeout_us UINT64_MAX waits for ever; HY_E_TIMEOUT. */
    hy_status (*timeline_wait)(hy_timeline *timeline, uint64_t value, uint64_t timeout_us);

    /* Optional, only in ref: the op in float64 from the views' contents. want, mag: double, dense, at
     * upper bounds, for output `operand`; mag is the sum of |terms| of each element's last reduction.
     * Elements past a counter are left alone. */
    hy_status (*oracle)(hy_device *device, const hy_op *op, const hy_view *views, hy_view counters,
                        uint32_t operand, double *want, double *mag);

    /* Optional, NULL in ref and null: one pass over what limits a device, 10 to 30 ms long, so that passes can
     * alternate with what is measured: on a machine shared with others a rate of a second ago says little. (The
     * first of a kind learns how much work that is and takes some times as long; so do all where going through
     * `memory` once takes more.) The fastest instructions that the backend has for `kind` count, matrix units
     * included; *rate 0: it has none. Earlier submissions end first.
     *
     * `memory` is scratch in the device heap, at a multiple of HY_VIEW_ALIGN, of HY_PEAK_LEAST bytes or more, within
     * one segment; for WRITE and READ to be rates of memory it must exceed every cache. The first pass over it is
     * one of WRITE: it touches memory where it will be read (NUMA), and leaves what READ looks for. HY_E_STATE when
     * READ finds something else. */
    hy_status (*peak)(hy_device *device, hy_peak kind, hy_view memory, double *rate);
};

/* First member of every backend's cmd and timeline structs. */
struct hy_cmd {
    hy_device *device;
};
struct hy_timeline {
    hy_device *device;
};

/* Calls through the table, so that callers read hy_cmd_op(cmd, ...) instead of cmd->device->backend->... */
#define HY_FN(object) ((object)->device->backend)
static inline void hy_device_close(hy_device *device) {
    if (device) device->backend->close(device);
}
static inline void hy_buffer_free(hy_buffer *buffer) {
    if (buffer) HY_FN(buffer)->buffer_free(buffer);
}
static inline void hy_cmd_free(hy_cmd *cmd) {
    if (cmd) HY_FN(cmd)->cmd_free(cmd);
}
static inline void hy_timeline_free(hy_timeline *timeline) {
    if (timeline) HY_FN(timeline)->timeline_free(timeline);
}

/* Whole buffer as a view. */
static inline hy_view hy_view_of(hy_buffer *buffer) {
    hy_view view = {buffer, 0, buffer ? buffer->size : 0};
    return view;
}
/* Host address of a view; NULL when the buffer has none. */
static inline void *hy_view_host(hy_view view) {
    return view.buffer && view.buffer->host ? (char *)view.buffer->host + view.offset : NULL;
}

/* ---- wrappers ---- */

/* A device around `inner` (which it owns from now on) that checks every argument and state: hy_op_check,
 * operand views inside their buffers and large enough, alignment, overlap, workspace, kernel among the
 * candidates, ops of one wave that touch the same bytes (a missing barrier), sealing, replay of
 * non-replayable kernels, values that do not grow, objects of other devices, leaks at close. A breach is
 * HY_E_INTERNAL with one line that names it. */
HY_NODISCARD hy_status hy_validate_open(hy_device *inner, hy_device **out);

/* A device around `inner` that measures every op on its own (each op its own submission: slower). */
HY_NODISCARD hy_status hy_trace_open(hy_device *inner, hy_device **out);
/* Chrome trace JSON of everything since the last call, one event per op with kernel, shapes, bytes and
 * FLOPs. `device` comes from hy_trace_open. */
HY_NODISCARD hy_status hy_trace_write(hy_device *device, const char *path);
/* Visits the totals per kernel name: calls, nanoseconds, bytes, flops; most time first. */
typedef void (*hy_trace_visit)(void *user, const char *kernel, uint64_t calls, uint64_t ns,
                               uint64_t bytes, double flops);
HY_NODISCARD hy_status hy_trace_totals(hy_device *device, hy_trace_visit visit, void *user);

#endif
