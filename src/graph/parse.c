/* Reads the text form; the grammar is in docs/ir.md. Every statement goes through the building calls, so
 * that text cannot make what a builder could not; a last verify checks the order of states. */
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/graph/edit.h"

typedef struct parser {
    const char *text, *end, *at;
    hy_graph *graph;
    hy_status status; /* first failure; then nothing more is read */
    hy_arena scratch; /* words of one statement */
} parser;

/* ---- failing ------------------------------------------------------------------------------------ */

static bool bad(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool bad(parser *p, const char *format, ...) {
    unsigned line = 1, column = 1;
    char what[256];
    va_list args;
    if (p->status != HY_OK) return false;
    for (const char *c = p->text; c < p->at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    p->status = hy_fail(HY_E_FORMAT, "line %u column %u: %s", line, column, what);
    return false;
}

static bool no_memory(parser *p) {
    if (p->status == HY_OK) p->status = hy_fail(HY_E_MEMORY, "out of memory for graph text");
    return false;
}

/* What a building call left. */
static bool built(parser *p) {
    if (p->graph->status == HY_OK) return true;
    if (p->graph->status == HY_E_MEMORY) return no_memory(p);
    return bad(p, "%s", p->graph->error);
}

/* ---- words -------------------------------------------------------------------------------------- */

static void skip(parser *p) {
    for (; p->at < p->end; p->at++) {
        if (*p->at == '#')
            while (p->at + 1 < p->end && p->at[1] != '\n')
                p->at++;
        else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\n' && *p->at != '\r')
            return;
    }
}

static bool peek(parser *p, char c) {
    skip(p);
    return p->status == HY_OK && p->at < p->end && *p->at == c;
}

static bool accept(parser *p, char c) {
    if (!peek(p, c)) return false;
    p->at++;
    return true;
}

static bool expect(parser *p, char c) {
    return accept(p, c) || bad(p, "expected '%c'", c);
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* A copy of [from, p->at). */
static const char *taken(parser *p, const char *from) {
    const char *copy = hy_arena_text(&p->scratch, from, (size_t)(p->at - from));
    if (!copy) no_memory(p);
    return copy;
}

/* Letters, digits and _; NULL after a failure. */
static const char *word(parser *p, const char *what) {
    skip(p);
    const char *from = p->at;
    while (p->status == HY_OK && p->at < p->end && is_word(*p->at))
        p->at++;
    if (p->at == from) {
        bad(p, "expected %s", what);
        return NULL;
    }
    return taken(p, from);
}

static bool accept_word(parser *p, const char *wanted) {
    size_t length = strlen(wanted);
    skip(p);
    if (p->status != HY_OK || (size_t)(p->end - p->at) < length) return false;
    if (memcmp(p->at, wanted, length)) return false;
    if (p->at + length < p->end && is_word(p->at[length])) return false;
    p->at += length;
    return true;
}

static bool expect_word(parser *p, const char *wanted) {
    return accept_word(p, wanted) || bad(p, "expected %s", wanted);
}

/* A decimal number up to `limit`. */
static bool number(parser *p, uint64_t limit, uint64_t *out) {
    uint64_t value = 0;
    skip(p);
    if (p->status != HY_OK || p->at >= p->end || !isdigit((unsigned char)*p->at))
        return bad(p, "expected a number");
    for (; p->at < p->end && isdigit((unsigned char)*p->at); p->at++) {
        value = value * 10 + (uint64_t)(*p->at - '0');
        if (value > limit) return bad(p, "number above %llu", (unsigned long long)limit);
    }
    *out = value;
    return true;
}

static bool number32(parser *p, uint32_t *out) {
    uint64_t value;
    if (!number(p, UINT32_MAX, &value)) return false;
    *out = (uint32_t)value;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 0x and 1 to 8 digits. */
static bool hex_word(parser *p, uint32_t *out) {
    uint32_t value = 0, digits = 0;
    skip(p);
    if (p->status != HY_OK || p->end - p->at < 3 || p->at[0] != '0' || p->at[1] != 'x')
        return bad(p, "expected a word such as 0x3f800000");
    for (p->at += 2; p->at < p->end && hex_digit(*p->at) >= 0; p->at++, digits++)
        value = value << 4 | (uint32_t)hex_digit(*p->at);
    if (!digits || digits > 8) return bad(p, "a word has 1 to 8 hex digits");
    *out = value;
    return true;
}

/* "..." with \" \\ \xNN; no byte 0. NULL after a failure. */
static const char *string(parser *p) {
    size_t n = 0;
    if (!expect(p, '"')) return NULL;
    const char *close = p->at;
    while (close < p->end && *close != '"' && *close != '\n')
        close += *close == '\\' && close + 1 < p->end ? 2 : 1;
    char *out = hy_arena_alloc(&p->scratch, (size_t)(close - p->at) + 1, 1);
    if (!out) {
        no_memory(p);
        return NULL;
    }
    while (p->at < p->end && *p->at != '"' && *p->at != '\n') {
        int c = (unsigned char)*p->at++;
        if (c == '\\' && p->at < p->end) {
            c = (unsigned char)*p->at++;
            if (c == 'x' && p->end - p->at >= 2 && hex_digit(p->at[0]) >= 0 &&
                hex_digit(p->at[1]) >= 0) {
                c = hex_digit(p->at[0]) * 16 + hex_digit(p->at[1]);
                p->at += 2;
            } else if (c != '"' && c != '\\') {
                c = 0;
            }
        }
        if (!c) {
            bad(p, "bad escape or byte 0 in a string");
            return NULL;
        }
        out[n++] = (char)c;
    }
    return expect(p, '"') ? out : NULL;
}

/* ---- values ------------------------------------------------------------------------------------- */

/* %name, without the %. */
static const char *value_name(parser *p) {
    if (!expect(p, '%')) return NULL;
    const char *from = p->at;
    while (p->at < p->end) {
        char one[2] = {*p->at, 0};
        if (!hy_graph_name_valid(one)) break;
        p->at++;
    }
    if (p->at == from) {
        bad(p, "expected a name after %%");
        return NULL;
    }
    return taken(p, from);
}

/* A value that exists. */
static uint32_t value_ref(parser *p) {
    const char *name = value_name(p);
    if (!name) return HY_NO_ID;
    uint32_t id = hy_graph_find(p->graph, name);
    if (id == HY_NO_ID) bad(p, "%%%.80s is not defined above", name);
    return id;
}

static bool dims(parser *p, uint32_t *rank, hy_dim dim[HY_MAX_RANK]) {
    static const char symbols[] = "TSRPL";
    *rank = 0;
    if (!expect(p, '[')) return false;
    do {
        if (*rank == HY_MAX_RANK) return bad(p, "more than %d dims", HY_MAX_RANK);
        hy_dim *d = &dim[(*rank)++];
        skip(p);
        *d = HY_DIM(1);
        bool digits = p->at < p->end && isdigit((unsigned char)*p->at);
        if (digits && !number32(p, &d->factor)) return false;
        const char *symbol = p->at < p->end && *p->at ? strchr(symbols, *p->at) : NULL;
        if (!symbol && !digits) return bad(p, "expected an extent");
        if (symbol) {
            d->symbol = (uint8_t)(HY_SYMBOL_T + (symbol - symbols));
            p->at++;
        }
    } while (accept(p, ','));
    return expect(p, ']');
}

typedef struct type {
    hy_dtype dtype;
    uint32_t rank;
    hy_dim dim[HY_MAX_RANK];
    uint32_t plain[HY_MAX_RANK]; /* factors */
    bool symbolic;
} type;

static bool type_of(parser *p, type *out) {
    memset(out, 0, sizeof *out);
    const char *name = word(p, "a dtype");
    if (!name) return false;
    out->dtype = hy_dtype_by_name(name);
    if (out->dtype == HY_DTYPE_NONE) return bad(p, "unknown dtype %.40s", name);
    if (!dims(p, &out->rank, out->dim)) return false;
    for (uint32_t i = 0; i < out->rank; i++) {
        out->plain[i] = out->dim[i].factor;
        out->symbolic |= out->dim[i].symbol != HY_SYMBOL_NONE;
    }
    return true;
}

static bool type_matches(parser *p, uint32_t id, const type *wanted) {
    const hy_value *value = &p->graph->value[id];
    bool same = value->dtype == wanted->dtype && value->rank == wanted->rank;
    for (uint32_t i = 0; same && i < wanted->rank; i++)
        same = hy_dim_equal(value->dim[i], wanted->dim[i]);
    return same || bad(p, "type of %%%.80s is not what its operands give", value->name);
}

static bool statement_weight(parser *p, const char *name) {
    hy_weight_part *part = NULL;
    size_t parts = 0, room = 0;
    uint32_t axis = 0;
    type t;
    if (!type_of(p, &t)) return false;
    if (t.symbolic) return bad(p, "a weight has plain extents");
    if (accept_word(p, "axis") && (!expect(p, '=') || !number32(p, &axis))) return false;
    while (peek(p, '"')) {
        if (hy_grow(&part, parts, &room, sizeof *part) != HY_OK) {
            no_memory(p);
            break;
        }
        part[parts].rows = t.plain[0];
        part[parts].name = string(p);
        if (!part[parts].name) break;
        parts++;
        if (accept(p, ':') && !number32(p, &part[parts - 1].rows)) break;
    }
    if (p->status == HY_OK && (!parts || axis > 1)) bad(p, "a weight has parts on axis 0 or 1");
    if (p->status == HY_OK && parts == 1 && part[0].rows != t.plain[0])
        bad(p, "the only part has %u rows", part[0].rows);
    if (p->status == HY_OK)
        hy_graph_weight_named(p->graph, name, t.dtype, t.rank, t.plain, (uint8_t)axis,
                              (uint32_t)parts, part);
    free(part);
    return built(p);
}

static bool statement_literal(parser *p, const char *name) {
    type t;
    if (!type_of(p, &t)) return false;
    if (t.symbolic) return bad(p, "a literal has plain extents");
    if (hy_dims_check(t.dtype, t.rank, t.dim) != HY_OK) return bad(p, "%.200s", hy_error_text());
    uint32_t bytes = hy_dtype_get(t.dtype)->bytes;
    if (hy_dtype_get(t.dtype)->quantized) return bad(p, "a literal of a block format");
    uint64_t count = 1;
    for (uint32_t i = 0; i < t.rank; i++)
        count *= t.plain[i];
    if (count > (uint64_t)(p->end - p->at)) return bad(p, "fewer words than the extents ask for");
    char *data = hy_arena_alloc(&p->scratch, count, bytes);
    if (!data) return no_memory(p);
    if (!expect(p, '{')) return false;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value;
        if (!hex_word(p, &value)) return false;
        if (bytes == 2 && value > UINT16_MAX) return bad(p, "word above 0xffff");
        uint16_t half = (uint16_t)value;
        memcpy(data + i * bytes, bytes == 2 ? (void *)&half : (void *)&value, bytes);
    }
    if (!expect(p, '}')) return false;
    if (hy_graph_find(p->graph, name) != HY_NO_ID)
        return bad(p, "two values have the name %%%.80s", name);
    hy_graph_literal(p->graph, name, t.dtype, t.rank, t.plain, data);
    return built(p);
}

static bool statement_window(parser *p, const char *name) {
    hy_window window = {0};
    uint64_t stride[HY_MAX_RANK];
    uint32_t strides = 0, base;
    type t;
    if ((base = value_ref(p)) == HY_NO_ID || !expect_word(p, "offset") || !expect(p, '='))
        return false;
    if (!number(p, HY_GRAPH_MAX_ELEMENTS, &window.offset) || !expect_word(p, "stride"))
        return false;
    if (!expect(p, '=') || !expect(p, '[')) return false;
    do {
        if (strides == HY_MAX_RANK) return bad(p, "more than %d strides", HY_MAX_RANK);
        if (!number(p, HY_GRAPH_MAX_ELEMENTS, &stride[strides++])) return false;
    } while (accept(p, ','));
    if (!expect(p, ']') || !expect(p, ':') || !type_of(p, &t)) return false;
    if (strides != t.rank) return bad(p, "%u strides for %u dims", strides, t.rank);
    if (p->graph->value[base].base != HY_NO_ID) return bad(p, "a window of a window");
    if (hy_dims_check(t.dtype, t.rank, t.dim) != HY_OK) return bad(p, "%.200s", hy_error_text());
    window.rank = t.rank;
    memcpy(window.dim, t.dim, sizeof window.dim);
    memcpy(window.stride, stride, sizeof stride);
    hy_value proto = hy_value_of(HY_VALUE_NODE, t.dtype, t.rank, t.dim);
    hy_value_set_window(&proto, base, &window);
    proto.name = name;
    hy_graph_value_add(p->graph, &proto, true);
    return built(p);
}

/* ---- nodes -------------------------------------------------------------------------------------- */

/* Where the layer and device marks of a node go. */
static bool marks(parser *p, uint32_t nodes_before) {
    while (accept(p, '@')) {
        uint32_t value;
        bool layer = p->at < p->end && *p->at == 'L', device = p->at < p->end && *p->at == 'D';
        if (!layer && !device) return bad(p, "expected @L or @D");
        p->at++;
        if (!number32(p, &value)) return false;
        if (value > (layer ? HY_NO_ID - 1 : UINT8_MAX)) return bad(p, "mark out of range");
        for (size_t i = nodes_before; i < p->graph->nodes; i++) {
            if (layer)
                p->graph->node[i].layer = value;
            else
                p->graph->node[i].device = (uint8_t)value;
        }
    }
    return p->status == HY_OK;
}

static bool statement_reshape(parser *p, const char *name) {
    uint32_t x, before = (uint32_t)p->graph->nodes;
    type t;
    if ((x = value_ref(p)) == HY_NO_ID || !expect(p, ':') || !type_of(p, &t)) return false;
    uint32_t id = hy_graph_reshape_named(p->graph, name, x, t.rank, t.dim);
    return built(p) && type_matches(p, id, &t) && marks(p, before);
}

static bool statement_slice(parser *p, const char *name) {
    uint32_t x, axis, begin, before = (uint32_t)p->graph->nodes;
    type t;
    if ((x = value_ref(p)) == HY_NO_ID || !expect_word(p, "axis") || !expect(p, '=')) return false;
    if (!number32(p, &axis) || !expect_word(p, "begin") || !expect(p, '=')) return false;
    if (!number32(p, &begin) || !expect(p, ':') || !type_of(p, &t)) return false;
    if (axis >= t.rank) return bad(p, "axis %u of %u", axis, t.rank);
    uint32_t id = hy_graph_slice_named(p->graph, name, x, axis, begin, t.plain[axis]);
    return built(p) && type_matches(p, id, &t) && marks(p, before);
}

/* Bits of a decimal number or of 0x... */
static bool float_word(parser *p, uint32_t *out) {
    char text[64];
    size_t n = 0;
    skip(p);
    if (p->end - p->at > 2 && p->at[0] == '0' && p->at[1] == 'x') return hex_word(p, out);
    while (p->at < p->end && n < sizeof text - 1 && strchr("0123456789+-.e", *p->at) && *p->at)
        text[n++] = *p->at++;
    text[n] = 0;
    char *point = strchr(text, '.'), *end;
    if (point) *point = *localeconv()->decimal_point;
    float value = strtof(text, &end);
    if (!n || *end) return bad(p, "expected a number, not \"%s\"", text);
    memcpy(out, &value, sizeof value);
    return true;
}

static bool attr_value(parser *p, hy_op_kind kind, uint32_t attr, uint32_t *out) {
    int32_t value;
    uint32_t magnitude;
    if (hy_op_get(kind)->attr[attr].is_float) return float_word(p, out);
    skip(p);
    bool minus = accept(p, '-');
    if (minus || (p->at < p->end && isdigit((unsigned char)*p->at))) {
        if (!number32(p, &magnitude)) return false;
        if (magnitude > INT32_MAX) return bad(p, "number above %d", INT32_MAX);
        value = minus ? -(int32_t)magnitude : (int32_t)magnitude;
    } else {
        const char *name = word(p, "a value");
        if (!name) return false;
        if (!hy_attr_value_by_name(kind, attr, name, &value))
            return bad(p, "%s is no %s", name, hy_op_get(kind)->attr[attr].name);
    }
    memcpy(out, &value, sizeof value);
    return true;
}

static bool attrs(parser *p, hy_node_desc *desc) {
    const hy_op_info *info = hy_op_get(desc->kind);
    if (!accept(p, '{')) return true;
    while (!peek(p, '}')) {
        uint32_t i = 0;
        const char *name = word(p, "an attribute");
        if (!name) return false;
        while (i < info->attrs && strcmp(info->attr[i].name, name))
            i++;
        if (i == info->attrs) return bad(p, "%s has no attribute %.40s", info->name, name);
        if (!expect(p, '=') || !attr_value(p, desc->kind, i, &desc->word[i])) return false;
    }
    return expect(p, '}');
}

static uint32_t operand_by_name(const hy_op_info *info, const char *name) {
    uint32_t i = 0;
    while (i < info->operands && strcmp(info->operand[i].name, name))
        i++;
    return i;
}

static bool inputs(parser *p, hy_node_desc *desc) {
    const hy_op_info *info = hy_op_get(desc->kind);
    while (!peek(p, '{') && !peek(p, ':')) {
        const char *name = word(p, "an operand");
        if (!name || !expect(p, '=')) return false;
        uint32_t i = operand_by_name(info, name);
        if (i == info->operands || (info->operand[i].role & HY_ROLE_OUT))
            return bad(p, "%s has no input %.40s", info->name, name);
        if (desc->operand[i] != HY_NO_ID) return bad(p, "%s is given twice", name);
        if ((desc->operand[i] = value_ref(p)) == HY_NO_ID) return false;
    }
    return p->status == HY_OK;
}

/* What the text says about the results, in operand order. */
typedef struct results {
    uint32_t count, operand[HY_MAX_OPERANDS], state[HY_MAX_OPERANDS];
    type type[HY_MAX_OPERANDS];
} results;

static bool is_required_result(uint32_t role) {
    return (role & HY_ROLE_STATE) || ((role & HY_ROLE_OUT) && !(role & HY_ROLE_OPT));
}

/* The operand that a result type belongs to: the next one that every such node has, or the optional one
 * that is named. */
static bool result_operand(parser *p, const hy_op_info *info, uint32_t *at, uint32_t *operand) {
    const char *from = p->at;
    const char *name = word(p, "a type");
    if (!name) return false;
    if (accept(p, '=')) {
        *operand = operand_by_name(info, name);
        if (*operand == info->operands || *operand < *at ||
            !(info->operand[*operand].role & HY_ROLE_OUT) ||
            !(info->operand[*operand].role & HY_ROLE_OPT))
            return bad(p, "%s has no optional result %.40s here", info->name, name);
    } else {
        p->at = from;
        *operand = *at;
        while (*operand < info->operands && !is_required_result(info->operand[*operand].role))
            ++*operand;
        if (*operand == info->operands) return bad(p, "%s has fewer results", info->name);
    }
    *at = *operand + 1;
    return true;
}

static bool result_types(parser *p, const hy_op_info *info, results *out) {
    uint32_t at = 0;
    out->count = 0;
    if (!expect(p, ':')) return false;
    do {
        uint32_t i = out->count, operand;
        if (!result_operand(p, info, &at, &operand)) return false;
        out->operand[i] = operand;
        out->state[i] = HY_NO_ID;
        if (info->operand[operand].role & HY_ROLE_STATE) {
            if (!expect_word(p, "state") || (out->state[i] = value_ref(p)) == HY_NO_ID)
                return false;
        } else if (!type_of(p, &out->type[i])) {
            return false;
        }
        out->count++;
    } while (accept(p, ','));
    for (; at < info->operands; at++)
        if (is_required_result(info->operand[at].role))
            return bad(p, "type of result %s is missing", info->operand[at].name);
    return true;
}

static bool check_results(parser *p, uint32_t node, const results *r) {
    for (uint32_t i = 0; i < r->count; i++) {
        uint32_t id = hy_graph_result(p->graph, node, r->operand[i]);
        if (r->state[i] != HY_NO_ID && p->graph->value[id].state != r->state[i])
            return bad(p, "%%%.80s is no version of that state", p->graph->value[id].name);
        if (r->state[i] == HY_NO_ID && !type_matches(p, id, &r->type[i])) return false;
    }
    return true;
}

static bool statement_node(parser *p, const char *kind, uint32_t names, const char *const *name) {
    const char *by_operand[HY_MAX_OPERANDS] = {0};
    results r;
    hy_node_desc desc = hy_node_desc_of(hy_op_by_name(kind));
    uint32_t before = (uint32_t)p->graph->nodes;
    if (desc.kind == HY_OP_KIND_COUNT) return bad(p, "unknown op %.40s", kind);
    const hy_op_info *info = hy_op_get(desc.kind);
    if (!inputs(p, &desc) || !attrs(p, &desc) || !result_types(p, info, &r)) return false;
    if (r.count != names) return bad(p, "%u names for %u results", names, r.count);
    for (uint32_t i = 0; i < names; i++) {
        by_operand[r.operand[i]] = name[i];
        if (r.state[i] == HY_NO_ID) desc.out_dtype[r.operand[i]] = (uint8_t)r.type[i].dtype;
        if (hy_graph_find(p->graph, name[i]) != HY_NO_ID)
            return bad(p, "two values have the name %%%.80s", name[i]);
    }
    uint32_t node = hy_graph_add_named(p->graph, &desc, by_operand);
    return built(p) && check_results(p, node, &r) && marks(p, before);
}

/* ---- statements --------------------------------------------------------------------------------- */

static bool statement_leaf(parser *p, const char *kind, const char *name) {
    type t;
    if (!type_of(p, &t)) return false;
    if (!strcmp(kind, "input"))
        hy_graph_input(p->graph, name, t.dtype, t.rank, t.dim);
    else
        hy_graph_state(p->graph, name, t.dtype, t.rank, t.dim);
    return built(p);
}

static bool statement_define(parser *p) {
    const char *name[HY_MAX_OPERANDS];
    uint32_t names = 0;
    while (peek(p, '%')) {
        if (names == HY_MAX_OPERANDS) return bad(p, "too many results");
        if (!(name[names++] = value_name(p))) return false;
    }
    if (!names) return bad(p, "expected %%name, output or }");
    if (!expect(p, '=')) return false;
    const char *kind = word(p, "an op");
    if (!kind) return false;
    static const struct {
        const char *kind;
        bool (*read)(parser *, const char *);
    } single[] = {{"weight", statement_weight},
                  {"literal", statement_literal},
                  {"window", statement_window},
                  {"reshape", statement_reshape},
                  {"slice", statement_slice}};
    bool leaf = !strcmp(kind, "input") || !strcmp(kind, "state");
    for (size_t i = 0; i < HY_COUNT_OF(single); i++)
        if (!strcmp(kind, single[i].kind))
            return names == 1 ? single[i].read(p, name[0]) : bad(p, "%s has one result", kind);
    if (leaf)
        return names == 1 ? statement_leaf(p, kind, name[0]) : bad(p, "one name for %s", kind);
    return statement_node(p, kind, names, name);
}

static bool statement(parser *p) {
    hy_arena_free(&p->scratch);
    if (!accept_word(p, "output")) return statement_define(p);
    const char *name = string(p);
    if (!name) return false;
    uint32_t id = value_ref(p);
    if (id == HY_NO_ID) return false;
    hy_graph_output_add(p->graph, name, id);
    return built(p);
}

static void graph_text(parser *p) {
    const char *name;
    if (!expect_word(p, "graph") || !(name = string(p))) return;
    p->status = hy_graph_new(name, &p->graph);
    if (p->status != HY_OK || !expect(p, '{')) return;
    while (p->status == HY_OK && !accept(p, '}'))
        if (!statement(p)) return;
    skip(p);
    if (p->at < p->end) bad(p, "text after the graph");
}

hy_status hy_graph_parse(const char *text, size_t length, hy_graph **out) {
    parser p = {text, text + length, text, NULL, HY_OK, {0}};
    graph_text(&p);
    if (p.status == HY_OK) p.status = hy_graph_verify(p.graph);
    hy_arena_free(&p.scratch);
    if (p.status != HY_OK) {
        hy_graph_free(p.graph);
        return p.status;
    }
    *out = p.graph;
    return HY_OK;
}
