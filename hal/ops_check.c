/* hy_op_check and hy_op_infer: the shape strings of op.def are unified over the operands, then the
 * rules that letters cannot say are applied. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "hal/ops.h"

/* The letters bound so far. Index: the letter itself; 'T' of one op is the same extent everywhere.
 */
typedef struct shape_env {
    const hy_op *op;
    const hy_op_info *info;
    uint32_t extent[128];  /* 0: not bound yet */
    uint8_t counter[128];  /* of the letter, where it leads */
    bool leads[128];       /* counter[] is set */
    const char *from[128]; /* operand that bound the letter first */
    bool lead_bound;       /* "*": any leading dims */
    uint32_t lead_rank, lead[HY_MAX_RANK];
    uint8_t lead_counter;
    const char *lead_from;
} shape_env;

/* One part of a shape string: "T" in "T,K". */
static uint32_t shape_parts(const char *shape) {
    return ((uint32_t)strlen(shape) + 1) / 2;
}
static char shape_part(const char *shape, uint32_t i) {
    return shape[2 * i];
}

static shape_env env_of(const hy_op *op) {
    shape_env env;
    memset(&env, 0, sizeof env);
    env.op = op;
    env.info = hy_op_get((hy_op_kind)op->kind);
    return env;
}

/* ---- dtypes ---- */

static bool is_float(hy_dtype dtype) {
    return dtype == HY_DTYPE_F32 || dtype == HY_DTYPE_F16 || dtype == HY_DTYPE_BF16;
}

/* Whether one name of a dtype list ("f", "w", "q8_0"), of `length` bytes, admits `dtype`. */
static bool name_admits(const char *name, size_t length, hy_dtype dtype) {
    if (length == 1 && name[0] == 'f') return is_float(dtype);
    if (length == 1 && name[0] == 'w')
        return dtype > HY_DTYPE_NONE && dtype < HY_DTYPE_COUNT && dtype != HY_DTYPE_I32 &&
               dtype != HY_DTYPE_A8;
    const char *text = hy_dtype_get(dtype)->name;
    return strlen(text) == length && memcmp(text, name, length) == 0;
}

static bool dtype_allowed(const char *list, hy_dtype dtype) {
    if (dtype <= HY_DTYPE_NONE || dtype >= HY_DTYPE_COUNT) return false;
    for (;;) {
        size_t length = strcspn(list, "|");
        if (name_admits(list, length, dtype)) return true;
        if (list[length] == 0) return false;
        list += length + 1;
    }
}

/* ---- one operand on its own ---- */

static uint32_t rank_of_shape(const char *shape, bool *any) {
    *any = shape[0] == '*' || shape[0] == '?';
    return shape_parts(shape);
}

static hy_status check_rank(const shape_env *env, uint32_t i) {
    const hy_tensor *t = &env->op->operand[i];
    const hy_operand_info *o = &env->info->operand[i];
    bool any;
    uint32_t rank = rank_of_shape(o->shape, &any);
    if (t->rank < 1 || t->rank > HY_MAX_RANK)
        return hy_fail(HY_E_ARGUMENT, "%s: %s has rank %u, not 1..%d", env->info->name, o->name,
                       t->rank, HY_MAX_RANK);
    if (!any && t->rank != rank)
        return hy_fail(HY_E_ARGUMENT, "%s: %s has rank %u but is [%s]", env->info->name, o->name,
                       t->rank, o->shape);
    for (uint32_t d = 0; d < t->rank; d++) {
        if (t->dim[d] == 0 || t->dim[d] > INT32_MAX)
            return hy_fail(HY_E_ARGUMENT, "%s: %s dim %u is %u, not 1..2147483647", env->info->name,
                           o->name, d, t->dim[d]);
    }
    for (uint32_t d = t->rank; d < HY_MAX_RANK; d++) {
        if (t->dim[d] != 1 || t->stride[d] != 0)
            return hy_fail(HY_E_ARGUMENT, "%s: %s dim %u is past the rank %u and not padded by 1",
                           env->info->name, o->name, d, t->rank);
    }
    return HY_OK;
}

/* Rows must not overlap; the source of a copy may be any view. */
static hy_status check_strides(const shape_env *env, uint32_t i) {
    const hy_tensor *t = &env->op->operand[i];
    const hy_operand_info *o = &env->info->operand[i];
    const hy_dtype_info *dtype = hy_dtype_get(t->dtype);
    const bool free_order = env->op->kind == HY_OP_COPY && i == HY_COPY_x;
    uint64_t span = 1, step; /* elements from the first to past the last, of the dims inside d */
    for (uint32_t d = t->rank; d-- > 0;) {
        const bool inner = d + 1 == t->rank;
        if (inner && t->stride[d] != 1)
            return hy_fail(HY_E_ARGUMENT, "%s: %s has innermost stride %llu, not 1",
                           env->info->name, o->name, (unsigned long long)t->stride[d]);
        if (!inner && !free_order && t->dim[d] > 1 && t->stride[d] < span)
            return hy_fail(HY_E_ARGUMENT, "%s: %s stride %llu of dim %u is less than %llu",
                           env->info->name, o->name, (unsigned long long)t->stride[d], d,
                           (unsigned long long)span);
        if (hy_mul_overflow(t->dim[d] - 1, t->stride[d], &step) ||
            hy_add_overflow(span, step, &span) || span > (UINT64_C(1) << 56))
            return hy_fail(HY_E_ARGUMENT, "%s: %s spans more than 2^56 elements", env->info->name,
                           o->name);
    }
    if (t->dim[t->rank - 1] % dtype->block)
        return hy_fail(HY_E_ARGUMENT, "%s: %s of %s has rows of %u, not a multiple of %u",
                       env->info->name, o->name, dtype->name, t->dim[t->rank - 1], dtype->block);
    if (dtype->quantized && !hy_tensor_dense(t))
        return hy_fail(HY_E_ARGUMENT, "%s: %s of %s is not dense", env->info->name, o->name,
                       dtype->name);
    return HY_OK;
}

static hy_status check_operand(const shape_env *env, uint32_t i) {
    const hy_tensor *t = &env->op->operand[i];
    const hy_operand_info *o = &env->info->operand[i];
    if (t->dtype == HY_DTYPE_NONE) {
        if (o->role & HY_ROLE_OPT) return HY_OK;
        return hy_fail(HY_E_ARGUMENT, "%s: %s is missing", env->info->name, o->name);
    }
    if (!dtype_allowed(o->dtypes, (hy_dtype)t->dtype))
        return hy_fail(HY_E_ARGUMENT, "%s: %s is %s, not %s", env->info->name, o->name,
                       t->dtype < HY_DTYPE_COUNT ? hy_dtype_get((hy_dtype)t->dtype)->name
                                                 : "of an unknown type",
                       o->dtypes);
    HY_TRY(check_rank(env, i));
    HY_TRY(check_strides(env, i));
    if (t->reserved != 0)
        return hy_fail(HY_E_ARGUMENT, "%s: %s has a reserved field set", env->info->name, o->name);
    if (t->counter >= HY_COUNTER_COUNT)
        return hy_fail(HY_E_ARGUMENT, "%s: %s has counter %u of %d", env->info->name, o->name,
                       t->counter, HY_COUNTER_COUNT);
    if (t->constant > 1 || (t->constant && !(o->role & (HY_ROLE_IN | HY_ROLE_WEIGHT))))
        return hy_fail(HY_E_ARGUMENT, "%s: %s cannot be constant", env->info->name, o->name);
    if (t->constant && !hy_tensor_dense(t))
        return hy_fail(HY_E_ARGUMENT, "%s: %s is constant and not dense", env->info->name, o->name);
    if (t->constant && t->counter)
        return hy_fail(HY_E_ARGUMENT, "%s: %s is constant and has a counter", env->info->name,
                       o->name);
    return HY_OK;
}

/* ---- unification ---- */

/* Letters whose extent may be known only at run time. */
static bool is_dynamic(char part) {
    return part == 'T' || part == 'S' || part == 'R';
}

static hy_status bind(shape_env *env, char part, uint32_t extent, const char *from) {
    const unsigned letter = (unsigned char)part & 127u;
    if (part >= '0' && part <= '9') {
        if (extent == (uint32_t)(part - '0')) return HY_OK;
        return hy_fail(HY_E_ARGUMENT, "%s: %s has %u where %c is needed", env->info->name, from,
                       extent, part);
    }
    if (env->extent[letter] == 0) {
        env->extent[letter] = extent;
        env->from[letter] = from;
    } else if (env->extent[letter] != extent) {
        return hy_fail(HY_E_ARGUMENT, "%s: %c is %u in %s but %u in %s", env->info->name, part,
                       env->extent[letter], env->from[letter], extent, from);
    }
    return HY_OK;
}

static hy_status bind_counter(shape_env *env, char part, uint8_t counter, const char *from) {
    const unsigned letter = (unsigned char)part & 127u;
    if (!is_dynamic(part)) {
        if (counter == HY_COUNTER_NONE) return HY_OK;
        return hy_fail(HY_E_ARGUMENT, "%s: %s has counter %u but %c is not dynamic",
                       env->info->name, from, counter, part);
    }
    if (!env->leads[letter]) {
        env->leads[letter] = true;
        env->counter[letter] = counter;
    } else if (env->counter[letter] != counter) {
        return hy_fail(HY_E_ARGUMENT, "%s: counter of %c is %u in %s but %u in %s", env->info->name,
                       part, env->counter[letter], env->from[letter], counter, from);
    }
    return HY_OK;
}

/* "*,D" and "?,D": the leading dims agree everywhere; "?" may instead be one row. */
static hy_status unify_lead(shape_env *env, const hy_tensor *t, const hy_operand_info *o) {
    const uint32_t lead = t->rank - 1u;
    HY_TRY(bind(env, shape_part(o->shape, 1), t->dim[lead], o->name));
    if (lead == 0 && t->counter != HY_COUNTER_NONE)
        return hy_fail(HY_E_ARGUMENT, "%s: %s has a counter on its only dim", env->info->name,
                       o->name);
    if (o->shape[0] == '?' && lead == 0) return HY_OK;
    if (!env->lead_bound) {
        env->lead_bound = true;
        env->lead_rank = lead;
        memcpy(env->lead, t->dim, sizeof env->lead);
        env->lead_counter = t->counter;
        env->lead_from = o->name;
        return HY_OK;
    }
    if (env->lead_rank != lead)
        return hy_fail(HY_E_ARGUMENT, "%s: %s has rank %u but %s has rank %u", env->info->name,
                       o->name, t->rank, env->lead_from, env->lead_rank + 1);
    for (uint32_t d = 0; d < lead; d++) {
        if (env->lead[d] != t->dim[d])
            return hy_fail(HY_E_ARGUMENT, "%s: dim %u is %u in %s but %u in %s", env->info->name, d,
                           env->lead[d], env->lead_from, t->dim[d], o->name);
    }
    if (env->lead_counter != t->counter)
        return hy_fail(HY_E_ARGUMENT, "%s: counter of dim 0 is %u in %s but %u in %s",
                       env->info->name, env->lead_counter, env->lead_from, t->counter, o->name);
    return HY_OK;
}

static hy_status unify(shape_env *env, uint32_t i) {
    const hy_tensor *t = &env->op->operand[i];
    const hy_operand_info *o = &env->info->operand[i];
    if (t->dtype == HY_DTYPE_NONE) return HY_OK;
    bool any;
    rank_of_shape(o->shape, &any);
    if (any) return unify_lead(env, t, o);
    for (uint32_t d = 0; d < t->rank; d++)
        HY_TRY(bind(env, shape_part(o->shape, d), t->dim[d], o->name));
    return bind_counter(env, shape_part(o->shape, 0), t->counter, o->name);
}

/* All operands that `outputs` selects; STATE counts as an input. */
static hy_status unify_all(shape_env *env, bool outputs) {
    for (uint32_t i = 0; i < env->info->operands; i++) {
        if (outputs == ((env->info->operand[i].role & HY_ROLE_OUT) != 0)) HY_TRY(unify(env, i));
    }
    return HY_OK;
}

/* ---- rules beyond letters ---- */

#define PRESENT(op, i) ((op)->operand[i].dtype != HY_DTYPE_NONE)

/* What one attribute name admits, in every op alike. */
static hy_status check_attr(const shape_env *env, uint32_t i) {
    static const struct {
        const char *name;
        int32_t low, high;
    } ranges[] = {{"act", 0, HY_ACT_COUNT - 1},
                  {"style", 0, 1},
                  {"gate", 0, 2},
                  {"glu", 0, 1},
                  {"causal", 0, 1},
                  {"window", 0, INT32_MAX},
                  {"k", 1, INT32_MAX},
                  {"normalize", 0, 2}};
    const hy_attr_info *attr = &env->info->attr[i];
    int32_t value;
    float real;
    memcpy(&value, &env->op->word[i], sizeof value);
    memcpy(&real, &env->op->word[i], sizeof real);
    if (attr->is_float) {
        const bool signed_ok = strcmp(attr->name, "softcap") != 0 && strcmp(attr->name, "eps") != 0;
        if (isfinite(real) && (signed_ok || real >= 0)) return HY_OK;
        return hy_fail(HY_E_ARGUMENT, "%s: %s is %g, %s", env->info->name, attr->name, (double)real,
                       signed_ok ? "not finite" : "not a finite number >= 0");
    }
    for (size_t r = 0; r < HY_COUNT_OF(ranges); r++) {
        if (strcmp(ranges[r].name, attr->name) != 0) continue;
        if (value >= ranges[r].low && value <= ranges[r].high) return HY_OK;
        return hy_fail(HY_E_ARGUMENT, "%s: %s is %d, not %d..%d", env->info->name, attr->name,
                       value, ranges[r].low, ranges[r].high);
    }
    return HY_OK;
}

static hy_status rule_matmul(shape_env *env, int32_t glu) {
    const uint32_t n = env->extent['N'];
    if (glu && n % 2)
        return hy_fail(HY_E_ARGUMENT, "%s: N is %u, which glu cannot halve", env->info->name, n);
    return bind(env, 'M', glu ? n / 2 : n, glu ? "N / 2" : "N");
}

static hy_status rule_grouped(shape_env *env) {
    const uint32_t q = env->extent['Q'], p = env->extent['P'];
    if (q != 1 && q != p)
        return hy_fail(HY_E_ARGUMENT, "%s: Q is %u, neither 1 nor P = %u", env->info->name, q, p);
    return rule_matmul(env, env->op->grouped_matmul.glu);
}

static hy_status rule_rotation(const shape_env *env) {
    const uint32_t g = env->extent['G'], d = env->extent['D'];
    if (g % 2 == 0 && g <= d) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "%s: G is %u, not an even number up to D = %u", env->info->name,
                   g, d);
}

static hy_status rule_kv_write(const shape_env *env) {
    const hy_op *op = env->op;
    const bool q = PRESENT(op, HY_KV_WRITE_q);
    if (q != PRESENT(op, HY_KV_WRITE_q_out))
        return hy_fail(HY_E_ARGUMENT, "kv_write: q and q_out go together, only %s is present",
                       q ? "q" : "q_out");
    if (!q && PRESENT(op, HY_KV_WRITE_q_norm))
        return hy_fail(HY_E_ARGUMENT, "kv_write: q_norm without q");
    return PRESENT(op, HY_KV_WRITE_table) ? rule_rotation(env) : HY_OK;
}

static hy_status rule_attention(const shape_env *env) {
    const uint32_t a = env->extent['A'], h = env->extent['H'];
    if (a % h == 0) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "attention: A is %u, not a multiple of H = %u", a, h);
}

static hy_status rule_topk(shape_env *env, int32_t k, char from) {
    const uint32_t n = env->extent[(unsigned char)from];
    if ((uint32_t)k > n)
        return hy_fail(HY_E_ARGUMENT, "%s: k is %d of only %c = %u", env->info->name, k, from, n);
    return bind(env, 'P', (uint32_t)k, "k");
}

/* Needs the inputs' letters; binds those of the outputs that follow. */
static hy_status rules(shape_env *env) {
    const hy_op *op = env->op;
    switch ((hy_op_kind)op->kind) {
    case HY_OP_MATMUL:
        return rule_matmul(env, op->matmul.glu);
    case HY_OP_GROUPED_MATMUL:
        return rule_grouped(env);
    case HY_OP_ROPE_TABLE:
        return bind(env, 'G', 2 * env->extent['F'], "2 F");
    case HY_OP_ROPE:
        return rule_rotation(env);
    case HY_OP_KV_WRITE:
        return rule_kv_write(env);
    case HY_OP_ATTENTION:
        return rule_attention(env);
    case HY_OP_TOPK_ROUTE:
        return rule_topk(env, op->topk_route.k, 'E');
    case HY_OP_TOPK:
        return rule_topk(env, op->topk.k, 'V');
    case HY_OP_COPY:
        if (PRESENT(op, HY_COPY_out) &&
            op->operand[HY_COPY_x].dtype != op->operand[HY_COPY_out].dtype)
            return hy_fail(HY_E_ARGUMENT, "copy: x is %s but out is %s",
                           hy_dtype_get((hy_dtype)op->operand[HY_COPY_x].dtype)->name,
                           hy_dtype_get((hy_dtype)op->operand[HY_COPY_out].dtype)->name);
        return HY_OK;
    default:
        return HY_OK;
    }
}

/* ---- the two entry points ---- */

static hy_status check_attrs(const shape_env *env) {
    for (uint32_t i = 0; i < env->info->attrs; i++)
        HY_TRY(check_attr(env, i));
    for (uint32_t i = env->info->attrs; i < HY_COUNT_OF(env->op->word); i++) {
        if (env->op->word[i] != 0)
            return hy_fail(HY_E_ARGUMENT, "%s: word %u is set but the op has %u attributes",
                           env->info->name, i, env->info->attrs);
    }
    return HY_OK;
}

static hy_status check_kind(const hy_op *op) {
    if (op->kind < HY_OP_KIND_COUNT) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "op kind %u of %d", op->kind, HY_OP_KIND_COUNT);
}

hy_status hy_op_check(const hy_op *op) {
    HY_TRY(check_kind(op));
    shape_env env = env_of(op);
    HY_TRY(check_attrs(&env));
    for (uint32_t i = 0; i < env.info->operands; i++)
        HY_TRY(check_operand(&env, i));
    for (uint32_t i = env.info->operands; i < HY_MAX_OPERANDS; i++) {
        if (op->operand[i].dtype != HY_DTYPE_NONE)
            return hy_fail(HY_E_ARGUMENT, "%s: operand %u is set but the op has %u", env.info->name,
                           i, env.info->operands);
    }
    HY_TRY(unify_all(&env, false));
    HY_TRY(rules(&env));
    return unify_all(&env, true);
}

/* The dtype of an output that the caller left open. */
static hy_dtype default_dtype(const hy_op *op, const hy_operand_info *o) {
    if (op->kind == HY_OP_COPY) return (hy_dtype)op->operand[HY_COPY_x].dtype;
    if (dtype_allowed(o->dtypes, HY_DTYPE_F32)) return HY_DTYPE_F32;
    return hy_dtype_by_name(o->dtypes); /* the only one: i32, a8 */
}

static hy_status infer_output(const shape_env *env, uint32_t i, hy_tensor *out) {
    const hy_operand_info *o = &env->info->operand[i];
    const hy_dtype dtype = out->dtype ? (hy_dtype)out->dtype : default_dtype(env->op, o);
    uint32_t dim[HY_MAX_RANK] = {1, 1, 1, 1}, rank = 0;
    hy_counter counter = HY_COUNTER_NONE;
    uint32_t first = 0;
    if (o->shape[0] == '*') {
        if (!env->lead_bound)
            return hy_fail(HY_E_ARGUMENT, "%s: no input gives the shape of %s", env->info->name,
                           o->name);
        for (; rank < env->lead_rank; rank++)
            dim[rank] = env->lead[rank];
        counter = (hy_counter)env->lead_counter;
        first = 1;
    } else {
        counter = (hy_counter)env->counter[(unsigned char)o->shape[0] & 127u];
    }
    for (uint32_t p = first; p < shape_parts(o->shape); p++) {
        const char letter = shape_part(o->shape, p);
        dim[rank] = env->extent[(unsigned char)letter & 127u];
        if (dim[rank++] == 0)
            return hy_fail(HY_E_ARGUMENT, "%s: no input gives %c of %s", env->info->name, letter,
                           o->name);
    }
    *out = hy_tensor_of(dtype, rank, dim, counter);
    return HY_OK;
}

hy_status hy_op_infer(hy_op *op) {
    HY_TRY(check_kind(op));
    shape_env env = env_of(op);
    HY_TRY(check_attrs(&env));
    for (uint32_t i = 0; i < env.info->operands; i++) {
        if (!(env.info->operand[i].role & HY_ROLE_OUT)) HY_TRY(check_operand(&env, i));
    }
    HY_TRY(unify_all(&env, false));
    HY_TRY(rules(&env));
    for (uint32_t i = 0; i < env.info->operands; i++) {
        const uint32_t role = env.info->operand[i].role;
        hy_tensor *t = &op->operand[i];
        if (!(role & HY_ROLE_OUT)) continue;
        if ((role & HY_ROLE_OPT) && t->dtype == HY_DTYPE_NONE) continue; /* absent stays absent */
        HY_TRY(infer_output(&env, i, t));
    }
    return HY_OK;
}
