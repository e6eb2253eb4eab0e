/* hal/host.h: parts for backends whose memory is the host's and whose submissions are done when submit
 * returns: buffers, a timeline, and packing that keeps the file's layout. The functions with a backend's
 * signatures go straight into its table. Thread-safety: as in hal/hal.h. */
#ifndef HY_HAL_HOST_H
#define HY_HAL_HOST_H

#include "hal/hal.h"

/* Anonymous memory that costs nothing until it is touched. `visible`: hy_buffer.host is set for the device
 * heap too (it always is for HY_HEAP_HOST). HY_E_MEMORY. */
HY_NODISCARD hy_status hy_host_buffer_new(hy_device *device, bool visible, hy_heap heap,
                                          uint64_t size, hy_buffer **out);
/* As in hy_backend; the memory stays the caller's. */
hy_status hy_host_buffer_import(hy_device *device, void *host, uint64_t size, hy_buffer **out);
void hy_host_buffer_free(hy_buffer *buffer);
hy_status hy_host_write(hy_buffer *buffer, uint64_t offset, const void *src, uint64_t size);
hy_status hy_host_read(hy_buffer *buffer, uint64_t offset, void *dst, uint64_t size);
/* Address of a view of such a buffer, whether visible or not; NULL for an absent one. */
void *hy_host_address(hy_view view);

/* Fills kernel->constant with layout 0, the file's own, for every constant operand of `op`. */
void hy_host_constants(const hy_op *op, hy_kernel *kernel);
/* As in hy_backend, for layout 0: rows are copied as they are. */
hy_status hy_host_pack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                       uint32_t operand, uint64_t row, uint64_t rows, const void *src, hy_view dst);
hy_status hy_host_unpack(hy_device *device, const hy_op *op, const hy_kernel *kernel,
                         uint32_t operand, hy_view src, void *dst);

/* Bits of kernel->in_place: those operands of `mask` that have the dtype, extents and strides of the first
 * output that is present ("output 0"). */
uint32_t hy_host_in_place(const hy_op *op, uint32_t mask);

/* As in hy_backend. */
hy_status hy_host_timeline_new(hy_device *device, hy_timeline **out);
void hy_host_timeline_free(hy_timeline *timeline);
hy_status hy_host_timeline_value(hy_timeline *timeline, uint64_t *value);
hy_status hy_host_timeline_wait(hy_timeline *timeline, uint64_t value, uint64_t timeout_us);
/* What submit does at its end: sets the value and wakes all that wait. */
void hy_host_timeline_set(hy_timeline *timeline, uint64_t value);

#endif
