/* backends/gpu/gpu.h: what CUDA, HIP and Vulkan share.
 *
 * A GPU backend is a driver plus a table of variants. From an op to work on the device:
 *
 *   variant   a row of the backend's table: a name, the entry of each phase (a SPIR-V module, a CUDA symbol),
 *             tile numbers, and the family that knows what to do with them;
 *   family    functions over op and tile numbers, the same for all vendors: which ops, what cost, how much
 *             workspace, which layout of constants, and for each phase the grid and the extra arguments;
 *   launch    entry + argument block (shaders/args.h) + grid: all that a driver needs to know.
 *
 * candidates, pack, unpack, cmd_op, cmd_copy, cmd_barrier and cmd_seal of hy_backend are written once here; a
 * driver brings the rest of hy_backend (open, buffers, submit, timelines) and the four functions of
 * gpu_driver. A list is kept as plain commands until it is sealed; then the driver records it whole, which
 * is one pass over a command buffer or one capture of a graph.
 *
 * Phases of an op run in order. Ops of one wave run together: phase 0 of all of them, a barrier, phase 1 of
 * all of them, and so on, so that phases cost few barriers. Thread-safety: as in hal/hal.h. */
#ifndef HY_GPU_GPU_H
#define HY_GPU_GPU_H

#include "hal/hal.h"

typedef struct hy_arg_tensor hy_arg_tensor;
typedef struct hy_args hy_args;
#include "shaders/args.h"

enum {
    GPU_PHASES = 4,
    GPU_CONSTANTS = HY_ARG_CONSTANTS,
    GPU_STAGE = 8 << 20, /* bytes that gpu_driver.stage gives at most */
    GPU_GRID = 65535     /* workgroups in y and z that every device takes; x: gpu_limits.max_grid */
};

/* What a variant may need of a device. */
typedef enum gpu_feature {
    GPU_DOT8 = 1,    /* four products of int8 and their sum in one instruction */
    GPU_COOPMAT = 2, /* matrix tiles f16 x f16 -> f32 of the shape in gpu_limits */
    GPU_TILES = 4,   /* matrix tiles of shaders/simt: int8 and f16 */
    GPU_BLAS = 8,    /* the vendor's BLAS is there */
} gpu_feature;

typedef struct gpu_limits {
    uint32_t features;     /* gpu_feature bits */
    uint32_t max_grid;     /* workgroups in x */
    uint32_t max_threads;  /* per workgroup, >= 128 */
    uint32_t shared_bytes; /* per workgroup, >= 16 KiB */
    uint32_t subgroup;     /* threads of a matrix tile; for nothing else */
    uint32_t
        coopmat[3]; /* M, N, K of the matrix tile: of the shapes offered the one with most work */
    float bytes_per_us, ops_per_us, launch_us; /* rough, for costs only */
} gpu_limits;

typedef struct gpu_driver gpu_driver;
typedef struct gpu_variant gpu_variant;

/* What peak.c learns of a device from pass to pass; zero at first. */
enum { GPU_PEAK_KERNELS = 7 };
typedef struct gpu_peaks {
    uint64_t work[GPU_PEAK_KERNELS]; /* as hy_peak_pass keeps it */
    uint32_t fastest[HY_PEAKS];      /* of the kernels for a kind: its number + 1 */
} gpu_peaks;

/* First member of a driver's device struct. */
typedef struct gpu_device {
    hy_device base;
    const gpu_driver *driver;
    const gpu_variant *variants; /* ends with name NULL */
    gpu_limits limits;
    gpu_peaks peaks;
} gpu_device;

/* First member of a driver's buffer struct. A buffer larger than one allocation may be consists of equal
 * segments; no view crosses one (hy_device_info.segment). */
typedef struct gpu_buffer {
    hy_buffer base;
    uint64_t segment;        /* bytes of every segment but the last; UINT64_MAX: one segment */
    const uint64_t *address; /* of each segment, on the device */
} gpu_buffer;

/* Device address of a view's first byte. */
static inline uint64_t gpu_address(hy_view view) {
    const gpu_buffer *buffer = (const gpu_buffer *)view.buffer;
    return buffer->address[view.offset / buffer->segment] + view.offset % buffer->segment;
}

/* One kernel at one shape. */
typedef struct gpu_launch {
    const char *entry; /* static lifetime */
    uint32_t threads;  /* per workgroup, in x; Vulkan: specialization constant 0 */
    /* Besides the threads. Vulkan: specialization constants 1, 2, ...; else args.constant. */
    uint32_t constant[GPU_CONSTANTS];
    uint32_t
        shared; /* bytes of memory of a workgroup besides what the kernel declares; CUDA, HIP */
    uint32_t grid[3]; /* workgroups; grid[0] 0: there is nothing to do in this phase */
    hy_args args;
} gpu_launch;

/* What a command of a list does. */
typedef enum gpu_command_kind { GPU_LAUNCH, GPU_COPY, GPU_BARRIER } gpu_command_kind;

/* One command of a list. */
typedef struct gpu_command {
    uint32_t kind;    /* gpu_command_kind */
    uint32_t phase;   /* LAUNCH: sorts a wave */
    uint64_t kernel;  /* LAUNCH: the driver's handle */
    uint32_t args;    /* LAUNCH: number of its argument block */
    uint32_t threads; /* LAUNCH */
    uint32_t shared;  /* LAUNCH */
    uint32_t grid[3]; /* LAUNCH */
    hy_view dst, src; /* COPY: of equal size */
} gpu_command;

/* First member of a driver's list struct. */
typedef struct gpu_cmd {
    hy_cmd base;
    hy_view counters;
    gpu_command *command; /* [commands]; whole and in order once sealed */
    size_t commands, command_room;
    size_t wave;   /* first command of the present wave */
    hy_args *args; /* [arg_count] */
    size_t arg_count, arg_room;
    hy_buffer *arg_buffer; /* on the device, [arg_count], from sealing on; args_by_value: NULL */
    bool sealed;
} gpu_cmd;

/* What a driver adds to hy_backend. Errors: HY_E_MEMORY, HY_E_DEVICE. */
struct gpu_driver {
    /* The kernel of a launch by entry, threads and constants; made on first use, kept as long as the device. */
    hy_status (*kernel)(gpu_device *device, const gpu_launch *launch, uint64_t *out);
    /* Records cmd->command for replay; argument block i is at gpu_args_address(cmd, i). Called once. */
    hy_status (*record)(gpu_cmd *cmd);
    /* `bytes` <= GPU_STAGE of memory that the host may write now and a launch of run() may read; waits until
     * earlier users are done with it. Valid until the next stage(). */
    hy_status (*stage)(gpu_device *device, uint64_t bytes, void **host, uint64_t *address);
    /* Starts one launch now: after everything submitted before, before everything submitted later. Need not
     * wait for it; read() and submit() see its writes. */
    hy_status (*run)(gpu_device *device, const gpu_launch *launch);
    bool args_by_value; /* argument blocks stay on the host: gpu_cmd.args */
};

/* ---- families ------------------------------------------------------------------------------------ */

typedef struct gpu_family {
    /* Beyond op and features; NULL: always. What is accepted must record. */
    bool (*accepts)(const gpu_device *device, const gpu_variant *variant, const hy_op *op);
    /* Microseconds; NULL: bytes of the op over the device's bandwidth, and one launch. */
    float (*cost)(const gpu_device *device, const gpu_variant *variant, const hy_op *op);
    uint64_t (*workspace)(const gpu_device *device, const gpu_variant *variant, const hy_op *op);
    /* Fills in grid, threads, constants, args.extra (and changes args.operand where the phase reads from the
     * workspace). The launch comes with entry and with args from op and views. */
    void (*plan)(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                 uint32_t phase, gpu_launch *out);
    uint32_t packed; /* bit i: operand i must be constant, and is wanted in P16 (layout.h) */
} gpu_family;

/* One row of a backend's table. */
struct gpu_variant {
    const char *name; /* "vulkan.matmul.q4_0.gemv" */
    hy_op_kind kind;
    const gpu_family *family;
    const char *entry[GPU_PHASES]; /* NULL past the last phase */
    uint32_t tile[4];              /* the family's numbers */
    hy_dtype dtype;                /* the family's: of the weights, of the cache; NONE: any */
    uint32_t flags;                /* hy_kernel_flags */
    uint32_t rounded;              /* hy_kernel.rounded */
    uint32_t in_place;             /* operands that output 0 may overwrite, where they are alike */
    uint32_t order;                /* hy_kernel.order */
    uint32_t needs;                /* gpu_feature bits */
    float accuracy;                /* hy_kernel.accuracy */
};

/* Families, by file. tile[] of each is said there. */
extern const gpu_family gpu_family_gemv, gpu_family_float_rows, gpu_family_embed; /* gemv.c */
extern const gpu_family gpu_family_gemm, gpu_family_coopmat;                      /* gemm.c */
extern const gpu_family gpu_family_grouped_gemv, gpu_family_grouped_gemm;         /* grouped.c */
extern const gpu_family gpu_family_route;                                         /* grouped.c */
extern const gpu_family gpu_family_attention_rows, gpu_family_attention_split;    /* attention.c */
extern const gpu_family gpu_family_kv_write, gpu_family_rope;                     /* rope.c */
extern const gpu_family gpu_family_rope_table;                                    /* rope.c */
extern const gpu_family gpu_family_rows;     /* rows.c: one workgroup for each row */
extern const gpu_family gpu_family_elements; /* rows.c: one thread for each few elements */

/* ---- for families -------------------------------------------------------------------------------- */

/* Rows of operand `operand` (all dims but the innermost) at upper bounds. */
uint64_t gpu_rows(const hy_op *op, uint32_t operand);
/* Bytes over bandwidth, operations over rate, whichever is longer, and the launches. */
float gpu_time(const gpu_device *device, double bytes, double ops, uint32_t launches);
/* A grid of `groups` workgroups in x, continued in y where x does not suffice; kernels take their number
 * from hy_group() and leave if it is past what they need. */
void gpu_grid(const gpu_device *device, uint64_t groups, gpu_launch *out);
/* Bytes of activations [rows, K] as a8, aligned to HY_VIEW_ALIGN. */
uint64_t gpu_a8_bytes(uint64_t rows, uint64_t k);
/* Phase 0 of products that round: x (operand 0, [..., K]) -> a8 rows, dense, at the workspace's begin; no
 * launch when x is a8. `entry` is quantize_rows. */
void gpu_plan_quantize(const gpu_device *device, const hy_op *op, gpu_launch *out);
/* Later phases of such: operand 0 becomes those a8 rows. */
void gpu_use_quantized(const hy_op *op, gpu_launch *out);

/* Pairs (token, slot) of a grouped_matmul in order by expert, cut into tiles of `columns`; what grouped_sort
 * leaves in the workspace: 16 bytes, 16 for each tile, 4 for each pair. grouped.c. */
typedef struct gpu_sorted {
    uint64_t offset; /* in the workspace, behind a8 rows of x if they are made there */
    uint32_t columns;
    uint64_t tiles; /* at most; those of the pairs without an expert are like another expert's */
    uint64_t end;   /* of the workspace */
} gpu_sorted;
/* False: grouped_sort cannot do so many. */
bool gpu_sort_pairs(const gpu_device *device, const gpu_variant *variant, const hy_op *op,
                    uint32_t columns, gpu_sorted *out);
/* args.extra of grouped_sort and of the products after it; with `sort` the rest of grouped_sort's launch. */
void gpu_plan_sorted(const gpu_device *device, const hy_op *op, const gpu_sorted *sorted, bool sort,
                     gpu_launch *out);
/* Bytes of a grouped_matmul that reads `experts` experts' weights once. */
double gpu_grouped_bytes(const hy_op *op, double experts);

/* ---- for drivers --------------------------------------------------------------------------------- */

/* As in hy_backend. */
hy_status gpu_candidates(hy_device *device, const hy_op *op, hy_kernel *out, uint32_t *count);
hy_status gpu_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                   uint64_t row, uint64_t rows, const void *src, hy_view dst);
hy_status gpu_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                     hy_view src, void *dst);
hy_status gpu_cmd_op(hy_cmd *cmd, const hy_op *op, const hy_kernel *kernel, const hy_view *views,
                     hy_view workspace);
hy_status gpu_cmd_copy(hy_cmd *cmd, hy_view dst, hy_view src);
hy_status gpu_cmd_barrier(hy_cmd *cmd);
hy_status gpu_cmd_seal(hy_cmd *cmd);
/* peak.c. Kernels "peak.write", ...: entries of the driver's, as the features say. */
hy_status gpu_measure_peak(hy_device *device, hy_peak kind, hy_view memory, double *rate);
/* What a driver's cmd_new does first and cmd_free last. */
void gpu_cmd_init(gpu_cmd *cmd, hy_device *device, hy_view counters);
void gpu_cmd_clear(gpu_cmd *cmd);
/* Device address of argument block i of a list that is being sealed. */
uint64_t gpu_args_address(const gpu_cmd *cmd, uint32_t i);

#endif
