/* Symbolic shapes by two numeric inferences: hy_op_infer runs at two assignments of the symbols, chosen
 * so that no symbol grows by the ratio of another; an extent that stays is a number, one that grows
 * tells its symbol by its ratio. So the shape rules exist once, in hal/. */
#include <string.h>

#include "src/graph/edit.h"

const hy_bounds hy_probe_bounds[2] = {{{1, 7, 5, 3, 11, 13}}, {{1, 17, 19, 23, 29, 31}}};

/* False when no symbol explains the two extents. */
static bool dim_of(uint32_t a, uint32_t b, hy_dim *out) {
    if (a == b) {
        *out = HY_DIM(a);
        return true;
    }
    for (uint8_t s = HY_SYMBOL_T; s < HY_SYMBOL_COUNT; s++) {
        uint32_t factor = a / hy_probe_bounds[0].of[s];
        if (factor * hy_probe_bounds[0].of[s] == a && factor * hy_probe_bounds[1].of[s] == b) {
            *out = (hy_dim){factor, s};
            return true;
        }
    }
    return false;
}

static hy_status type_of(const hy_op op[2], uint32_t operand, hy_value *out) {
    const hy_tensor *a = &op[0].operand[operand], *b = &op[1].operand[operand];
    hy_dim dim[HY_MAX_RANK] = {{0, 0}};
    for (uint32_t i = 0; i < a->rank; i++)
        if (!dim_of(a->dim[i], b->dim[i], &dim[i]))
            return hy_fail(HY_E_ARGUMENT, "%s: dim %u of %s is %u and %u, no multiple of a symbol",
                           hy_node_kind_name(op[0].kind), i,
                           hy_op_get((hy_op_kind)op[0].kind)->operand[operand].name, a->dim[i],
                           b->dim[i]);
    *out = hy_value_of(HY_VALUE_NODE, (hy_dtype)a->dtype, a->rank, dim);
    return hy_dims_check((hy_dtype)a->dtype, a->rank, dim);
}

hy_status hy_graph_infer(const hy_graph *graph, const hy_node *node, const uint8_t *dtype,
                         hy_value type[HY_MAX_OPERANDS]) {
    hy_op op[2];
    uint32_t operands = hy_node_operands(node->kind);
    for (int k = 0; k < 2; k++) {
        hy_node_op(graph, node, &hy_probe_bounds[k], &op[k]);
        for (uint32_t i = 0; i < operands; i++)
            if (hy_node_role(node->kind, i) & HY_ROLE_OUT) op[k].operand[i].dtype = dtype[i];
        HY_TRY(hy_op_infer(&op[k]));
        HY_TRY(hy_op_check(&op[k]));
    }
    for (uint32_t i = 0; i < operands; i++) {
        memset(&type[i], 0, sizeof type[i]);
        if ((hy_node_role(node->kind, i) & HY_ROLE_OUT) && op[0].operand[i].dtype)
            HY_TRY(type_of(op, i, &type[i]));
    }
    return HY_OK;
}
