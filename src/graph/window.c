/* Dims and windows: reshape and slice as arithmetic on strides. */
#include <string.h>

#include "base/num.h"
#include "src/graph/edit.h"

/* ---- dims ---- */

uint32_t hy_dim_at(hy_dim dim, const hy_bounds *bounds) {
    uint64_t extent = (uint64_t)dim.factor * bounds->of[dim.symbol];
    return dim.symbol == HY_SYMBOL_NONE ? dim.factor : (uint32_t)HY_MIN(extent, UINT32_MAX);
}

bool hy_dim_equal(hy_dim a, hy_dim b) {
    return a.factor == b.factor && a.symbol == b.symbol;
}

bool hy_dims_equal(const hy_value *a, const hy_value *b) {
    if (a->rank != b->rank) return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (!hy_dim_equal(a->dim[i], b->dim[i])) return false;
    return true;
}

uint64_t hy_value_elements(const hy_value *value, uint32_t from) {
    uint64_t elements = 1;
    for (uint32_t i = from; i < value->rank; i++)
        elements *= value->dim[i].factor;
    return elements;
}

bool hy_value_bytes(const hy_value *value, const hy_bounds *bounds, uint64_t *out) {
    const hy_dtype_info *info = hy_dtype_get((hy_dtype)value->dtype);
    uint64_t bytes = info->bytes;
    for (uint32_t i = 0; i < value->rank; i++) {
        uint64_t extent = hy_dim_at(value->dim[i], bounds);
        if (i + 1u == value->rank) extent = hy_div_up(extent, info->block);
        if (hy_mul_overflow(bytes, extent, &bytes)) return true;
    }
    *out = bytes;
    return bytes > (uint64_t)1 << 62;
}

hy_status hy_dims_check(hy_dtype dtype, uint32_t rank, const hy_dim *dim) {
    uint64_t product = 1;
    if (dtype <= HY_DTYPE_NONE || dtype >= HY_DTYPE_COUNT)
        return hy_fail(HY_E_ARGUMENT, "unknown dtype %d", (int)dtype);
    if (rank < 1 || rank > HY_MAX_RANK)
        return hy_fail(HY_E_ARGUMENT, "rank %u is not 1..%d", rank, HY_MAX_RANK);
    for (uint32_t i = 0; i < rank; i++) {
        if (dim[i].symbol >= HY_SYMBOL_COUNT)
            return hy_fail(HY_E_ARGUMENT, "dim %u has unknown symbol %u", i, dim[i].symbol);
        bool dynamic = dim[i].symbol >= HY_SYMBOL_T && dim[i].symbol <= HY_SYMBOL_R;
        if (dynamic && (i != 0 || dim[i].factor != 1))
            return hy_fail(HY_E_ARGUMENT, "dim %u: T, S and R stand alone and outermost", i);
        if (dim[i].factor < 1 || dim[i].factor > INT32_MAX)
            return hy_fail(HY_E_ARGUMENT, "dim %u has extent %u, not 1..2147483647", i,
                           dim[i].factor);
        if (hy_mul_overflow(product, dim[i].factor, &product) || product > HY_GRAPH_MAX_ELEMENTS)
            return hy_fail(HY_E_ARGUMENT, "more than 2^40 elements");
    }
    const hy_dtype_info *info = hy_dtype_get(dtype);
    hy_dim inner = dim[rank - 1];
    if (info->block > 1 && (inner.symbol != HY_SYMBOL_NONE || inner.factor % info->block))
        return hy_fail(HY_E_ARGUMENT, "innermost extent %u is no multiple of %u, the block of %s",
                       inner.factor, info->block, info->name);
    return HY_OK;
}

/* ---- rules of reshape and slice ---- */

static hy_status viewable(const hy_value *x, const char *what) {
    if (x->kind == HY_VALUE_STATE || x->state != HY_NO_ID)
        return hy_fail(HY_E_UNSUPPORTED, "%s of state %%%s", what, x->name);
    for (uint32_t i = 1; i < x->rank; i++)
        if (x->dim[i].symbol != HY_SYMBOL_NONE)
            return hy_fail(HY_E_UNSUPPORTED, "%s of %%%s, whose dim %u is a symbol", what, x->name,
                           i);
    return HY_OK;
}

hy_status hy_reshape_check(const hy_value *x, uint32_t rank, const hy_dim *dim) {
    uint64_t elements = 1;
    HY_TRY(viewable(x, "reshape"));
    if (x->kind == HY_VALUE_WEIGHT && (x->parts > 1 || hy_dtype_get((hy_dtype)x->dtype)->quantized))
        return hy_fail(HY_E_UNSUPPORTED, "reshape of weight %%%s, which has parts or blocks",
                       x->name);
    HY_TRY(hy_dims_check((hy_dtype)x->dtype, rank, dim));
    if ((x->dim[0].symbol || dim[0].symbol) && !hy_dim_equal(x->dim[0], dim[0]))
        return hy_fail(HY_E_ARGUMENT, "reshape of %%%s changes its symbolic outermost dim",
                       x->name);
    for (uint32_t i = 0; i < rank; i++) {
        if (i && dim[i].symbol)
            return hy_fail(HY_E_ARGUMENT, "reshape of %%%s makes dim %u a symbol", x->name, i);
        elements *= dim[i].factor;
    }
    if (elements != hy_value_elements(x, 0))
        return hy_fail(HY_E_ARGUMENT, "reshape of %%%s from %llu to %llu elements", x->name,
                       (unsigned long long)hy_value_elements(x, 0), (unsigned long long)elements);
    return HY_OK;
}

hy_status hy_slice_check(const hy_value *x, uint32_t axis, uint32_t begin, uint32_t extent) {
    HY_TRY(viewable(x, "slice"));
    if (x->kind == HY_VALUE_WEIGHT)
        return hy_fail(HY_E_UNSUPPORTED, "slice of weight %%%s; take fewer parts", x->name);
    if (axis >= x->rank)
        return hy_fail(HY_E_ARGUMENT, "slice of %%%s on axis %u of %u", x->name, axis, x->rank);
    if (x->dim[axis].symbol)
        return hy_fail(HY_E_ARGUMENT, "slice of %%%s on a symbolic axis", x->name);
    if (!extent || begin > x->dim[axis].factor || extent > x->dim[axis].factor - begin)
        return hy_fail(HY_E_ARGUMENT, "slice [%u, %u + %u) of %%%s, which has %u", begin, begin,
                       extent, x->name, x->dim[axis].factor);
    uint32_t block = hy_dtype_get((hy_dtype)x->dtype)->block;
    if (axis + 1u == x->rank && (begin % block || extent % block))
        return hy_fail(HY_E_ARGUMENT, "slice [%u, %u + %u) of %%%s cuts blocks of %u", begin, begin,
                       extent, x->name, block);
    return HY_OK;
}

/* ---- windows ---- */

/* Extents of 1 get the stride of a dense dim, so that equal windows have equal numbers. */
static void normalize(hy_window *window) {
    for (uint32_t i = window->rank; i-- > 0;) {
        bool inner = i + 1 == window->rank;
        if (window->dim[i].symbol || window->dim[i].factor != 1) continue;
        window->stride[i] = inner ? 1 : window->stride[i + 1] * window->dim[i + 1].factor;
    }
}

hy_window hy_window_of(const hy_value *value) {
    hy_window window = {.rank = value->rank, .offset = value->offset};
    uint64_t stride = 1;
    for (uint32_t i = value->rank; i-- > 0;) {
        window.dim[i] = value->dim[i];
        window.stride[i] = hy_value_is_window(value) ? value->stride[i] : stride;
        stride *= value->dim[i].factor;
    }
    return window;
}

void hy_value_set_window(hy_value *value, uint32_t base, const hy_window *window) {
    value->node = HY_NO_ID;
    value->base = base;
    value->offset = window->offset;
    value->rank = (uint8_t)window->rank;
    for (uint32_t i = 0; i < HY_MAX_RANK; i++) {
        value->dim[i] = i < window->rank ? window->dim[i] : HY_DIM(0);
        value->stride[i] = i < window->rank ? window->stride[i] : 0;
    }
}

bool hy_window_equal(const hy_window *a, const hy_window *b) {
    if (a->rank != b->rank || a->offset != b->offset) return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (!hy_dim_equal(a->dim[i], b->dim[i]) || a->stride[i] != b->stride[i]) return false;
    return true;
}

void hy_window_slice(hy_window *window, uint32_t axis, uint32_t begin, uint32_t extent) {
    window->offset += begin * window->stride[axis];
    window->dim[axis].factor = extent;
    normalize(window);
}

/* Splits the run in[*i, ...), which covers out[*j, ...) in equally many elements, and moves both past
 * it. False when the run is not contiguous. */
static bool reshape_run(const hy_window *in, uint32_t *i, hy_window *out, uint32_t *j) {
    uint64_t a = in->dim[*i].factor, b = out->dim[*j].factor;
    uint32_t i1 = *i, j1 = *j;
    while (a != b) {
        if (a < b) {
            if (++i1 >= in->rank) return false;
            a *= in->dim[i1].factor;
        } else {
            if (++j1 >= out->rank) return false;
            b *= out->dim[j1].factor;
        }
    }
    for (uint32_t k = *i; k < i1; k++)
        if (in->stride[k] != in->stride[k + 1] * in->dim[k + 1].factor) return false;
    uint64_t stride = in->stride[i1];
    for (uint32_t k = j1 + 1; k-- > *j;) {
        out->stride[k] = stride;
        stride *= out->dim[k].factor;
    }
    *i = i1 + 1;
    *j = j1 + 1;
    return true;
}

/* Without plain dims of extent 1. */
static hy_window squeezed(const hy_window *window) {
    hy_window out = {.offset = window->offset};
    for (uint32_t i = 0; i < window->rank; i++) {
        if (!window->dim[i].symbol && window->dim[i].factor == 1) continue;
        out.dim[out.rank] = window->dim[i];
        out.stride[out.rank++] = window->stride[i];
    }
    return out;
}

bool hy_window_reshape(const hy_window *from, uint32_t rank, const hy_dim *dim, hy_window *out) {
    hy_window in = squeezed(from), to = {.rank = rank, .offset = from->offset};
    uint32_t i = 0, j = 0;
    for (uint32_t k = 0; k < rank; k++)
        to.dim[k] = dim[k];
    if (dim[0].symbol) to.stride[j++] = in.stride[i++];
    while (j < rank) {
        if (dim[j].factor == 1)
            j++;
        else if (i >= in.rank || !reshape_run(&in, &i, &to, &j))
            return false;
    }
    normalize(&to);
    if (to.stride[rank - 1] != 1) return false;
    *out = to;
    return true;
}

/* Joins neighbours that lie densely in each other; a symbolic dim stays alone. */
static hy_window joined(const hy_window *window) {
    hy_window in = squeezed(window), out = {.offset = window->offset};
    for (uint32_t i = 0; i < in.rank; i++) {
        hy_dim *last = out.rank ? &out.dim[out.rank - 1] : NULL;
        if (last && !last->symbol && out.stride[out.rank - 1] == in.stride[i] * in.dim[i].factor) {
            last->factor *= in.dim[i].factor;
            out.stride[out.rank - 1] = in.stride[i];
            continue;
        }
        out.dim[out.rank] = in.dim[i];
        out.stride[out.rank++] = in.stride[i];
    }
    return out;
}

bool hy_window_compose(const hy_window *inner, const hy_window *outer, hy_window *out) {
    hy_window o = joined(outer), result = *inner;
    uint64_t dense[HY_MAX_RANK], past[HY_MAX_RANK] = {0}, step = 1, rest = inner->offset;
    for (uint32_t k = o.rank; k-- > 0;) {
        dense[k] = step;
        step *= o.dim[k].factor;
    }
    result.offset = o.offset;
    for (uint32_t k = 0; k < o.rank; k++) { /* the offset, digit by digit */
        past[k] = rest / dense[k];
        rest %= dense[k];
        result.offset += past[k] * o.stride[k];
    }
    for (uint32_t i = 0; i < inner->rank; i++) {
        uint32_t k = 0;
        if (!inner->dim[i].symbol && inner->dim[i].factor == 1) continue;
        while (k < o.rank && dense[k] > inner->stride[i])
            k++;
        if (k == o.rank || inner->stride[i] % dense[k]) return false;
        uint64_t steps = inner->stride[i] / dense[k];
        if (inner->dim[i].symbol && (k != 0 || !o.dim[k].symbol || steps != 1)) return false;
        if (!inner->dim[i].symbol) past[k] += (inner->dim[i].factor - 1) * steps;
        result.stride[i] = steps * o.stride[k];
    }
    for (uint32_t k = 0; k < o.rank; k++)
        if (past[k] >= o.dim[k].factor) return false; /* of a symbolic dim: row 0 only */
    normalize(&result);
    if (rest || result.stride[result.rank - 1] != 1) return false;
    *out = result;
    return true;
}
