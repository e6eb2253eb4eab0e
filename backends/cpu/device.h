/* backends/cpu/device.h: what the files of the device itself share (device.c, buffer.c, table.c, cmd.c,
 * isa.c, peak.c). Kernels need only cpu.h. */
#ifndef HY_CPU_DEVICE_H
#define HY_CPU_DEVICE_H

#include "backends/cpu/cpu.h"

/* ---- isa.c ---- */

/* The cpu_isa bits that params->isa admits ("generic", "avx2", ... by machine; NULL: all).
 * HY_E_ARGUMENT, with the list of names. */
HY_NODISCARD hy_status cpu_isa_mask(const char *name, uint32_t *out);
/* "avx512-vnni" for the highest of `isa`. */
const char *cpu_isa_arch(uint32_t isa);

/* ---- buffer.c ---- */

/* As in hal.h. */
hy_status cpu_buffer_new(hy_device *device, hy_heap heap, uint64_t size, hy_buffer **out);
/* As in hal.h. */
hy_status cpu_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out);
/* As in hal.h. */
void cpu_buffer_free(hy_buffer *buffer);
/* As in hal.h. */
hy_status cpu_buffer_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size);
/* As in hal.h. */
hy_status cpu_buffer_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size);

/* ---- table.c ---- */

/* As in hal.h. */
hy_status cpu_candidates(hy_device *device, const hy_op *op, hy_kernel *out, uint32_t *count);
/* As in hal.h. */
hy_status cpu_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                   uint64_t row, uint64_t rows, const void *src, hy_view dst);
/* As in hal.h. */
hy_status cpu_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel, uint32_t operand,
                     hy_view src, void *dst);

/* ---- stream.c ---- */

/* As in hal.h. */
hy_status cpu_pack_from(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                        uint32_t operand, const hy_row_source *source, hy_view dst);

/* ---- cmd.c ---- */

/* As in hal.h. */
hy_status cpu_cmd_new(hy_device *device, hy_view counters, hy_cmd **out);
/* As in hal.h. */
void cpu_cmd_free(hy_cmd *cmd);
/* As in hal.h. */
hy_status cpu_cmd_op(hy_cmd *cmd, const hy_op *op, const hy_kernel *kernel, const hy_view *views,
                     hy_view workspace);
/* As in hal.h. */
hy_status cpu_cmd_copy(hy_cmd *cmd, hy_view dst, hy_view src);
/* As in hal.h. */
hy_status cpu_cmd_barrier(hy_cmd *cmd);
/* As in hal.h. */
hy_status cpu_cmd_seal(hy_cmd *cmd);
/* As in hal.h. Work on a CPU is done when this returns. */
hy_status cpu_submit(hy_device *device, hy_cmd *cmd, hy_timeline *timeline, uint64_t value);

/* ---- peak.c ---- */

/* As in hal.h. */
hy_status cpu_measure_peak(hy_device *device, hy_peak kind, hy_view memory, double *rate);

enum { CPU_HUGE_PAGE = 2 << 20 }; /* bytes; from here on buffers ask for huge pages */

#endif
