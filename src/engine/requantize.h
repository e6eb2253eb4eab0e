/* src/engine/requantize.h: the quantizer of src/format without its header, whose parameter struct has the
 * name of the public one. */
#ifndef HY_ENGINE_REQUANTIZE_H
#define HY_ENGINE_REQUANTIZE_H

#include <stdint.h>

#include "base/status.h"

/* As hy_quantize of halyard.h. */
HY_NODISCARD hy_status hy_requantize(const char *input, const char *output, const char *type,
                                     uint32_t threads,
                                     int (*progress)(void *user, uint64_t done, uint64_t total),
                                     void *user);

#endif
