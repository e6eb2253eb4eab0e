/* src/graph/edit.h: what the printer, the parser and the compiler's passes need besides building and
 * reading: values made by hand, windows, and the description of a node that is not in the graph yet. */
#ifndef HY_GRAPH_EDIT_H
#define HY_GRAPH_EDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "src/graph/graph.h"

/* Largest product of a value's factors; keeps every size within 64 bits. */
#define HY_GRAPH_MAX_ELEMENTS ((uint64_t)1 << 40)

/* Letters, digits and _ . ' / + - ; at least one of them. */
bool hy_graph_name_valid(const char *name);
/* Id of the value of that name, or HY_NO_ID. */
uint32_t hy_graph_find(const hy_graph *graph, const char *name);
/* Records the first failure of a building call (printf-style text); returns HY_NO_ID. */
uint32_t hy_graph_fail(hy_graph *graph, hy_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends a value. proto->name: text to copy, or NULL for a made-up one. `exact` refuses a name that is
 * taken; otherwise a suffix makes it unique. parts and data are taken over as they are. */
uint32_t hy_graph_value_add(hy_graph *graph, const hy_value *proto, bool exact);
/* A value with nothing set but the kind and absent ids. */
hy_value hy_value_of(hy_value_kind kind, hy_dtype dtype, uint32_t rank, const hy_dim *dim);
/* Appends an empty node (operands absent) of the present layer. */
uint32_t hy_graph_node_new(hy_graph *graph, uint32_t kind);

/* Operand roles by node kind, RESHAPE and SLICE included: both have x (0, IN) and out (1, OUT). */
uint32_t hy_node_operands(uint32_t kind);
uint32_t hy_node_role(uint32_t kind, uint32_t operand);
const char *hy_node_kind_name(uint32_t kind);

/* Rules on rank and extents that hold for every value; HY_E_ARGUMENT. */
HY_NODISCARD hy_status hy_dims_check(hy_dtype dtype, uint32_t rank, const hy_dim *dim);
/* Rules of reshape and slice on their operand; *out gets the extents of a slice. */
HY_NODISCARD hy_status hy_reshape_check(const hy_value *x, uint32_t rank, const hy_dim *dim);
HY_NODISCARD hy_status hy_slice_check(const hy_value *x, uint32_t axis, uint32_t begin,
                                      uint32_t extent);

/* The number behind a dim; saturates at UINT32_MAX. */
uint32_t hy_dim_at(hy_dim dim, const hy_bounds *bounds);
bool hy_dim_equal(hy_dim a, hy_dim b);
bool hy_dims_equal(const hy_value *a, const hy_value *b);
/* Product of the factors of dims [from, rank). */
uint64_t hy_value_elements(const hy_value *value, uint32_t from);
/* Bytes of a value's own dense storage at bounds; true on overflow of 62 bits. */
bool hy_value_bytes(const hy_value *value, const hy_bounds *bounds, uint64_t *out);

/* The HAL description of a node that need not be in the graph. */
void hy_node_op(const hy_graph *graph, const hy_node *node, const hy_bounds *bounds, hy_op *out);
/* Two assignments of the symbols that tell every symbol from every other and from numbers. */
extern const hy_bounds hy_probe_bounds[2];
/* Types of the outputs of `node`, whose inputs are set, by inference at the probe bounds: fills
 * type[operand] (kind NODE, or nothing set where absent). dtype[] as in hy_node_desc. */
HY_NODISCARD hy_status hy_graph_infer(const hy_graph *graph, const hy_node *node,
                                      const uint8_t *dtype, hy_value type[HY_MAX_OPERANDS]);
/* As hy_graph_add, with names for results: name[operand], NULL for a made-up one. */
uint32_t hy_graph_add_named(hy_graph *graph, const hy_node_desc *desc, const char *const *name);
/* As hy_graph_reshape and hy_graph_slice, with a name. */
uint32_t hy_graph_reshape_named(hy_graph *graph, const char *name, uint32_t value, uint32_t rank,
                                const hy_dim *dim);
uint32_t hy_graph_slice_named(hy_graph *graph, const char *name, uint32_t value, uint32_t axis,
                              uint32_t begin, uint32_t extent);
/* As hy_graph_weight, with a name. */
uint32_t hy_graph_weight_named(hy_graph *graph, const char *name, hy_dtype dtype, uint32_t rank,
                               const uint32_t *dim, uint8_t axis, uint32_t parts,
                               const hy_weight_part *part);

/* ---- windows ---- */

/* Elements of a strided thing: extents by dim, strides and offset in elements of its root. */
typedef struct hy_window {
    uint32_t rank;
    hy_dim dim[HY_MAX_RANK];
    uint64_t stride[HY_MAX_RANK];
    uint64_t offset;
} hy_window;

/* The value that has the storage: its base, or itself. */
uint32_t hy_graph_root(const hy_graph *graph, uint32_t value);
bool hy_value_is_window(const hy_value *value);
/* A value as a window of its root; the inner dims must be plain numbers. */
hy_window hy_window_of(const hy_value *value);
/* The same elements under other extents; false when that needs a copy. */
bool hy_window_reshape(const hy_window *from, uint32_t rank, const hy_dim *dim, hy_window *out);
void hy_window_slice(hy_window *window, uint32_t axis, uint32_t begin, uint32_t extent);
/* `inner` is a window of a dense value of `outer`'s extents; the same seen from outer's root. False when
 * an inner step would cross rows of outer. */
bool hy_window_compose(const hy_window *inner, const hy_window *outer, hy_window *out);
/* Makes `value` (a NODE value without a producer) that window of root `base`; the whole of a dense base
 * is a window, too. */
void hy_value_set_window(hy_value *value, uint32_t base, const hy_window *window);
/* Equal numbers in rank, extents, strides and offset. */
bool hy_window_equal(const hy_window *a, const hy_window *b);

#endif
