/* tests/conform/onnx_case.c: files, attributes and tensors of ONNX node cases. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "tests/conform/onnx.h"

enum { MAX_BYTES = 1 << 28 };

/* ---- the file ---- */

static hy_status metadata(const onnx_case *c, const char *key, json_type type, json_t **out) {
    const char *text = hy_safetensors_metadata(c->file, key);
    if (!text) return hy_fail(HY_E_FORMAT, "no __metadata__ entry '%s'", key);
    json_error_t error;
    *out = json_loads(text, 0, &error);
    if (!*out) return hy_fail(HY_E_FORMAT, "__metadata__ '%s' is not JSON: %s", key, error.text);
    if (json_typeof(*out) != type)
        return hy_fail(HY_E_FORMAT, "__metadata__ '%s' is not %s", key,
                       type == JSON_OBJECT ? "an object" : "a list");
    return HY_OK;
}

hy_status onnx_open(onnx_case *c, const char *path) {
    HY_TRY(hy_safetensors_open(path, &c->file));
    c->op = hy_safetensors_metadata(c->file, "op");
    if (!c->op) return hy_fail(HY_E_FORMAT, "no __metadata__ entry 'op'");
    HY_TRY(metadata(c, "attrs", JSON_OBJECT, &c->attrs));
    HY_TRY(metadata(c, "inputs", JSON_ARRAY, &c->inputs));
    return metadata(c, "outputs", JSON_ARRAY, &c->outputs);
}

void onnx_close(onnx_case *c) {
    json_decref(c->attrs);
    json_decref(c->inputs);
    json_decref(c->outputs);
    hy_safetensors_close(c->file);
    hy_arena_free(&c->arena);
}

/* ---- tensors ---- */

static hy_dtype dtype_of(const char *name) {
    static const struct {
        const char *name;
        hy_dtype dtype;
    } rows[] = {{"F32", HY_DTYPE_F32},
                {"F16", HY_DTYPE_F16},
                {"BF16", HY_DTYPE_BF16},
                {"I32", HY_DTYPE_I32}};
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) return rows[i].dtype;
    }
    return HY_DTYPE_NONE;
}

static hy_status value_at(onnx_case *c, const json_t *names, size_t i, const char *prefix,
                          onnx_value *out) {
    memset(out, 0, sizeof *out);
    if (i >= json_array_size(names)) return HY_OK;
    const char *name = json_string_value(json_array_get(names, i));
    if (!name) return hy_fail(HY_E_FORMAT, "name %zu of the %ss is not a string", i, prefix);
    if (!name[0]) return HY_OK;
    char full[256];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    const hy_safetensor *t = hy_safetensors_find(c->file, full);
    if (!t) return hy_fail(HY_E_FORMAT, "no tensor '%s'", full);
    out->present = true;
    out->t = *t;
    out->dtype = dtype_of(t->dtype);
    for (uint32_t d = 0; d < t->rank; d++) {
        if (t->dim[d] > MAX_BYTES)
            return hy_fail(HY_E_LIMIT, "'%s' dim %u is %llu", full, d,
                           (unsigned long long)t->dim[d]);
    }
    uint8_t *copy;
    HY_TRY(onnx_alloc(c, t->elements, t->element_bytes, &copy));
    memcpy(copy, t->data, t->size);
    out->t.data = copy;
    return HY_OK;
}

hy_status onnx_input(onnx_case *c, size_t i, onnx_value *out) {
    return value_at(c, c->inputs, i, "input", out);
}

hy_status onnx_output(onnx_case *c, size_t i, onnx_value *out) {
    return value_at(c, c->outputs, i, "output", out);
}

hy_status onnx_require(const onnx_value *v, const char *what) {
    return v->present ? HY_OK : hy_fail(HY_E_FORMAT, "%s is absent", what);
}

/* What ONNX calls a safetensors dtype; packed and rarer types are stored as raw U8. */
static const char *onnx_dtype_name(const char *dtype) {
    static const char *const rows[][2] = {
        {"F64", "DOUBLE"},
        {"F8_E4M3", "FLOAT8E4M3FN"},
        {"F8_E5M2", "FLOAT8E5M2"},
        {"U8", "UINT8"},
        {"I8", "INT8"},
        {"U16", "UINT16"},
        {"I16", "INT16"},
        {"U32", "UINT32"},
        {"I32", "INT32"},
        {"U64", "UINT64"},
        {"I64", "INT64"},
        {"BOOL", "BOOL"},
        {"F32", "FLOAT"},
        {"F16", "FLOAT16"},
        {"BF16", "BFLOAT16"},
        {"C64", "COMPLEX64"},
    };
    for (size_t i = 0; i < HY_COUNT_OF(rows); i++) {
        if (strcmp(rows[i][0], dtype) == 0) return rows[i][1];
    }
    return dtype;
}

hy_status onnx_require_float(const onnx_value *v) {
    if (v->dtype == HY_DTYPE_F32 || v->dtype == HY_DTYPE_F16 || v->dtype == HY_DTYPE_BF16)
        return HY_OK;
    return hy_fail(HY_E_UNSUPPORTED, "dtype %s of '%s' is not %s", onnx_dtype_name(v->t.dtype),
                   v->t.name, v->dtype ? "a float type" : "in the dtype table");
}

/* ---- attributes ---- */

double onnx_number(const onnx_case *c, const char *name, double fallback) {
    const json_t *value = json_object_get(c->attrs, name);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

const char *onnx_text(const onnx_case *c, const char *name, const char *fallback) {
    const char *value = json_string_value(json_object_get(c->attrs, name));
    return value ? value : fallback;
}

hy_status onnx_axis(const onnx_case *c, uint32_t rank, int fallback, uint32_t *out) {
    const double axis = onnx_number(c, "axis", fallback);
    if (!(axis >= -(double)rank && axis < rank))
        return hy_fail(HY_E_FORMAT, "axis %g of a tensor of rank %u", axis, rank);
    *out = (uint32_t)(axis < 0 ? axis + rank : axis);
    return HY_OK;
}

/* ---- memory and conversion ---- */

hy_status onnx_alloc(onnx_case *c, uint64_t count, uint64_t size, void *out) {
    uint64_t bytes;
    if (hy_mul_overflow(count, size, &bytes) || bytes > MAX_BYTES)
        return hy_fail(HY_E_LIMIT, "%llu elements of %llu bytes are more than a case may take",
                       (unsigned long long)count, (unsigned long long)size);
    void *memory = hy_arena_alloc(&c->arena, (size_t)count, (size_t)size);
    if (!memory) return hy_fail(HY_E_MEMORY, "no memory for %llu bytes", (unsigned long long)bytes);
    memcpy(out, &memory, sizeof memory);
    return HY_OK;
}

hy_status onnx_f64(onnx_case *c, const onnx_value *v, double **out) {
    HY_TRY(onnx_alloc(c, v->t.elements, sizeof **out, out));
    return hy_safetensor_to_f64(&v->t, *out);
}

hy_status onnx_f32(onnx_case *c, const onnx_value *v, float **out) {
    double *wide;
    HY_TRY(onnx_f64(c, v, &wide));
    HY_TRY(onnx_alloc(c, v->t.elements, sizeof **out, out));
    for (uint64_t i = 0; i < v->t.elements; i++)
        (*out)[i] = (float)wide[i];
    return HY_OK;
}

hy_status onnx_i32(onnx_case *c, const onnx_value *v, int32_t **out) {
    double *wide;
    HY_TRY(onnx_f64(c, v, &wide));
    HY_TRY(onnx_alloc(c, v->t.elements, sizeof **out, out));
    for (uint64_t i = 0; i < v->t.elements; i++) {
        if (!(fabs(wide[i]) < 0x1p31) || wide[i] != floor(wide[i]))
            return hy_fail(HY_E_FORMAT, "'%s' has %g where an int32 is needed", v->t.name, wide[i]);
        (*out)[i] = (int32_t)wide[i];
    }
    return HY_OK;
}

/* ---- axes ---- */

uint64_t onnx_extent(const onnx_value *v, uint32_t begin, uint32_t end) {
    uint64_t product = 1;
    for (uint32_t d = begin; d < end; d++)
        product *= v->t.dim[d];
    return product;
}

/* out[i0, i1, ...] = v[sum of i_d * step[d]], steps in elements. */
static hy_status gather(onnx_case *c, const onnx_value *v, uint32_t rank, const uint64_t *dim,
                        const uint64_t *step, onnx_value *out) {
    onnx_value result = *v;
    const uint64_t size = v->t.element_bytes;
    uint8_t *data;
    result.t.rank = rank;
    result.t.elements = 1;
    for (uint32_t d = 0; d < HY_SAFETENSORS_MAX_RANK; d++) {
        result.t.dim[d] = d < rank ? dim[d] : 1;
        if (hy_mul_overflow(result.t.elements, result.t.dim[d], &result.t.elements))
            return hy_fail(HY_E_LIMIT, "'%s' broadcasts to more than 2^64 elements", v->t.name);
    }
    HY_TRY(onnx_alloc(c, result.t.elements, size, &data));
    for (uint64_t i = 0; i < result.t.elements; i++) {
        uint64_t at = 0, rest = i;
        for (uint32_t d = rank; d-- > 0;) {
            at += rest % dim[d] * step[d];
            rest /= dim[d];
        }
        memcpy(data + i * size, v->t.data + at * size, size);
    }
    result.t.data = data;
    result.t.size = result.t.elements * size;
    *out = result;
    return HY_OK;
}

hy_status onnx_permute(onnx_case *c, const onnx_value *v, const uint32_t *order, onnx_value *out) {
    uint64_t dim[HY_SAFETENSORS_MAX_RANK], step[HY_SAFETENSORS_MAX_RANK];
    for (uint32_t d = 0; d < v->t.rank; d++) {
        dim[d] = v->t.dim[order[d]];
        step[d] = onnx_extent(v, order[d] + 1, v->t.rank);
    }
    return gather(c, v, v->t.rank, dim, step, out);
}

hy_status onnx_axis_last(onnx_case *c, const onnx_value *v, uint32_t axis, onnx_value *out) {
    uint32_t order[HY_SAFETENSORS_MAX_RANK], n = 0;
    for (uint32_t d = 0; d < v->t.rank; d++) {
        if (d != axis) order[n++] = d;
    }
    order[n] = axis;
    return onnx_permute(c, v, order, out);
}

hy_status onnx_broadcast(onnx_case *c, const onnx_value *v, uint32_t rank, const uint64_t *dim,
                         onnx_value *out) {
    uint64_t step[HY_SAFETENSORS_MAX_RANK] = {0};
    if (v->t.rank > rank)
        return hy_fail(HY_E_FORMAT, "'%s' of rank %u does not broadcast to rank %u", v->t.name,
                       v->t.rank, rank);
    const uint32_t missing = rank - v->t.rank;
    for (uint32_t d = 0; d < v->t.rank; d++) {
        const uint64_t have = v->t.dim[d], need = dim[d + missing];
        if (have != need && have != 1)
            return hy_fail(HY_E_FORMAT, "'%s' dim %u of %llu does not broadcast to %llu", v->t.name,
                           d, (unsigned long long)have, (unsigned long long)need);
        step[d + missing] = have == 1 ? 0 : onnx_extent(v, d + 1, v->t.rank);
    }
    return gather(c, v, rank, dim, step, out);
}
