/* The tables of op.def, names, tensors and the printer. Rules on one op are in ops_check.c. */
#include "hal/ops.h"

#include <string.h>

#include "base/num.h"

/* ---- tables from op.def ---- */

enum {
    ROLE_IN = HY_ROLE_IN,
    ROLE_WEIGHT = HY_ROLE_WEIGHT,
    ROLE_OUT = HY_ROLE_OUT,
    ROLE_STATE = HY_ROLE_STATE,
    ROLE_IN_OPT = HY_ROLE_IN | HY_ROLE_OPT,
    ROLE_WEIGHT_OPT = HY_ROLE_WEIGHT | HY_ROLE_OPT,
    ROLE_OUT_OPT = HY_ROLE_OUT | HY_ROLE_OPT
};

#define HY_OP(NAME, name) static const hy_operand_info operands_##name[] = {
#define HY_OPERAND(NAME, operand, ROLE, dtypes, shape) {#operand, ROLE_##ROLE, dtypes, shape},
#define HY_OP_END(NAME, name)                                                                      \
    }                                                                                              \
    ;
#include "hal/op.def"

/* Ended by an empty row, since some ops have no attribute. */
#define HY_OP(NAME, name) static const hy_attr_info attrs_##name[] = {
#define HY_ATTR_I32(NAME, attr) {#attr, false},
#define HY_ATTR_F32(NAME, attr) {#attr, true},
#define HY_OP_END(NAME, name)                                                                      \
    { NULL, false }                                                                                \
    }                                                                                              \
    ;
#include "hal/op.def"

static const hy_op_info infos[HY_OP_KIND_COUNT] = {
#define HY_OP(NAME, name)                                                                          \
    [HY_OP_##NAME] = {#name, HY_COUNT_OF(operands_##name), HY_COUNT_OF(attrs_##name) - 1,          \
                      operands_##name, attrs_##name},
#include "hal/op.def"
};

#define HY_OP(NAME, name)                                                                          \
    _Static_assert(HY_COUNT_OF(operands_##name) <= HY_MAX_OPERANDS, #name);                        \
    _Static_assert(sizeof(hy_##name##_attr) <= sizeof(((hy_op *)0)->word), #name);
#include "hal/op.def"
_Static_assert(sizeof(hy_tensor) == 56 && sizeof(hy_op) == 40 + 56 * HY_MAX_OPERANDS, "no padding");

const hy_op_info *hy_op_get(hy_op_kind kind) {
    return &infos[kind];
}

hy_op_kind hy_op_by_name(const char *name) {
    for (unsigned i = 0; i < HY_OP_KIND_COUNT; i++) {
        if (strcmp(infos[i].name, name) == 0) return (hy_op_kind)i;
    }
    return HY_OP_KIND_COUNT;
}

/* ---- enumerated attributes ---- */

/* An attribute of one of these names means the same in every op. */
static const struct enumeration {
    const char *attr;
    uint32_t count;
    const char *value[HY_ACT_COUNT];
} enumerations[] = {
    {"act",
     HY_ACT_COUNT,
     {"none", "silu", "gelu_tanh", "gelu_erf", "relu", "relu2", "tanh", "sigmoid"}},
    {"style", 2, {"pairs", "halves"}},
    {"gate", 3, {"softmax", "sigmoid", "none"}},
};

static const struct enumeration *find_enumeration(hy_op_kind kind, uint32_t attr) {
    if ((unsigned)kind >= HY_OP_KIND_COUNT || attr >= infos[kind].attrs) return NULL;
    for (size_t i = 0; i < HY_COUNT_OF(enumerations); i++) {
        if (strcmp(enumerations[i].attr, infos[kind].attr[attr].name) == 0) return &enumerations[i];
    }
    return NULL;
}

const char *hy_attr_value_name(hy_op_kind kind, uint32_t attr, int32_t value) {
    const struct enumeration *e = find_enumeration(kind, attr);
    return e && value >= 0 && (uint32_t)value < e->count ? e->value[value] : NULL;
}

bool hy_attr_value_by_name(hy_op_kind kind, uint32_t attr, const char *name, int32_t *out) {
    const struct enumeration *e = find_enumeration(kind, attr);
    for (uint32_t i = 0; e && i < e->count; i++) {
        if (strcmp(e->value[i], name) == 0) {
            *out = (int32_t)i;
            return true;
        }
    }
    return false;
}

/* ---- tensors ---- */

hy_tensor hy_tensor_of(hy_dtype dtype, uint32_t rank, const uint32_t *dim, hy_counter counter) {
    hy_tensor tensor;
    memset(&tensor, 0, sizeof tensor);
    tensor.dtype = (uint8_t)dtype;
    tensor.rank = (uint8_t)rank;
    tensor.counter = (uint8_t)counter;
    uint64_t stride = 1;
    for (uint32_t i = HY_MAX_RANK; i-- > 0;) {
        tensor.dim[i] = i < rank ? dim[i] : 1;
        if (i >= rank) continue;
        tensor.stride[i] = stride;
        stride *= dim[i];
    }
    return tensor;
}

uint64_t hy_tensor_bytes(const hy_tensor *tensor) {
    const hy_dtype_info *info = hy_dtype_get(tensor->dtype);
    uint64_t last = 0; /* index of the last element */
    if (tensor->dtype == HY_DTYPE_NONE) return 0;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (tensor->dim[i] == 0) return 0;
        last += (tensor->dim[i] - 1) * tensor->stride[i];
    }
    return hy_dtype_row_bytes(info, last + 1);
}

uint64_t hy_tensor_rows(const hy_tensor *tensor) {
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < tensor->rank; i++)
        rows *= tensor->dim[i];
    return rows;
}

bool hy_tensor_dense(const hy_tensor *tensor) {
    uint64_t stride = 1;
    for (uint32_t i = tensor->rank; i-- > 0;) {
        if (tensor->dim[i] != 1 && tensor->stride[i] != stride) return false;
        stride *= tensor->dim[i];
    }
    return true;
}

/* ---- printing ---- */

static void print_tensor(const hy_tensor *tensor, hy_text *out) {
    static const char *const counter[] = {"", "T", "S", "R"};
    hy_text_add(out, "%s[", hy_dtype_get(tensor->dtype)->name);
    if (tensor->counter < HY_COUNT_OF(counter))
        hy_text_add(out, "%s", counter[tensor->counter]);
    else
        hy_text_add(out, "c%u:", tensor->counter);
    for (uint32_t i = 0; i < tensor->rank && i < HY_MAX_RANK; i++)
        hy_text_add(out, "%s%u", i ? "," : "", tensor->dim[i]);
    if (tensor->rank <= HY_MAX_RANK && !hy_tensor_dense(tensor)) {
        for (uint32_t i = 0; i + 1 < tensor->rank; i++)
            hy_text_add(out, "%s%llu", i ? "," : ";stride=", (unsigned long long)tensor->stride[i]);
    }
    hy_text_add(out, "]");
}

void hy_op_print(const hy_op *op, hy_text *out) {
    if (op->kind >= HY_OP_KIND_COUNT) {
        hy_text_add(out, "op %u", op->kind);
        return;
    }
    const hy_op_info *info = &infos[op->kind];
    hy_text_add(out, "%s", info->name);
    for (uint32_t i = 0; i < info->operands; i++) {
        if (op->operand[i].dtype == HY_DTYPE_NONE) continue;
        hy_text_add(out, " %s=", info->operand[i].name);
        print_tensor(&op->operand[i], out);
    }
    for (uint32_t i = 0; i < info->attrs; i++) {
        if (op->word[i] == 0) continue;
        int32_t value;
        float real;
        memcpy(&value, &op->word[i], sizeof value);
        memcpy(&real, &op->word[i], sizeof real);
        const char *name = hy_attr_value_name((hy_op_kind)op->kind, i, value);
        if (name)
            hy_text_add(out, " %s=%s", info->attr[i].name, name);
        else if (info->attr[i].is_float)
            hy_text_add(out, " %s=%.9g", info->attr[i].name, (double)real);
        else
            hy_text_add(out, " %s=%d", info->attr[i].name, value);
    }
}
