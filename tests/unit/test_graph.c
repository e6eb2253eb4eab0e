/* The IR: building, shapes with symbols, windows, text, and every rule of the verifier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/graph/edit.h"

static char *printed(const hy_graph *graph) {
    hy_text text = {0};
    hy_graph_print(graph, &text);
    assert_false(text.failed);
    return text.data;
}

static hy_graph *parsed(const char *text) {
    hy_graph *graph = NULL;
    if (hy_graph_parse(text, strlen(text), &graph) != HY_OK) fail_msg("%s", hy_error_text());
    return graph;
}

/* Everything the text form has, in the order in which it prints. */
static const char everything[] =
    "graph \"a \\\"b\\\" \\\\ \\xc3\" {\n"
    "  %tokens = input i32 [T]\n"
    "  %pos = input i32 [T]\n"
    "  %slot = input i32 [T]\n"
    "  %table = input i32 [S,L]\n"
    "  %row = input i32 [T]\n"
    "  %len = input i32 [S]\n"
    "  %rows = input i32 [R]\n"
    "  %k.0 = state f16 [P,2,64,32]\n"
    "  %v.0 = state q8_0 [2P,2,64,32]\n"
    "  %v.1 = state q8_0 [P,2,64,32]\n"
    "  %emb = weight q4_0 [100,64] \"token_embd.weight\"\n"
    "  %x = embed ids=%tokens table=%emb {scale=8.00000095} : f32 [T,64]\n"
    "  %freq = literal f32 [16,2] { 0x3f800000 0x0 0x3dcccccd 0x31a00000 0x0 0x0 0x0 0x0 0x0 0x0 "
    "0x0 "
    "0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x80000000 0x1 }\n"
    "  %rt = rope_table pos=%pos freq=%freq : f32 [T,32]\n"
    "  %norm = weight f32 [64] \"blk.0.attn_norm.weight\"\n"
    "  %s %n = rms_norm x=%x weight=%norm {eps=9.99999975e-06} : sum=f32 [T,64], f16 [T,64] @L0\n"
    "  %wqkv = weight q8_0 [192,64] axis=0 \"q\":64 \"k\":64 \"v\":64\n"
    "  %qkv = matmul x=%n w=%wqkv : f32 [T,192] @L0 @D1\n"
    "  %k = slice %qkv axis=1 begin=64 : f32 [T,64] @L0\n"
    "  %kh = reshape %k : f32 [T,2,32] @L0\n"
    "  %qh = window %qkv offset=0 stride=[192,32,1] : f32 [T,2,32]\n"
    "  %k.0' %v.1' %q2 = kv_write k=%kh v=%kh slot=%slot q=%qh table=%rt k_cache=%k.0 v_cache=%v.1 "
    "{style=halves} : state %k.0, state %v.1, q_out=f32 [T,2,32] @L0\n"
    "  %o = attention q=%q2 k_cache=%k.0' v_cache=%v.1' table=%table row=%row pos=%pos len=%len "
    "{scale=-0 window=7 causal=1} : f32 [T,2,32] @L0\n"
    "  output \"o\" %o\n"
    "  output \"s\\x0a\" %s\n"
    "  %half = literal bf16 [2] { 0x3f80 0xff00 }\n"
    "  output \"half\" %half\n"
    "}\n";

static void test_text_round_trip(void **state) {
    hy_graph *graph = parsed(everything);
    char *text = printed(graph);
    assert_string_equal(text, everything);
    hy_graph *copy;
    assert_int_equal(hy_graph_copy(graph, &copy), HY_OK);
    hy_graph_free(graph);
    char *again = printed(copy);
    assert_string_equal(again, everything);
    assert_int_equal(hy_graph_verify(copy), HY_OK);
    hy_text dot = {0};
    hy_graph_dot(copy, &dot);
    assert_non_null(strstr(dot.data, "kv_write"));
    hy_text_free(&dot);
    free(text);
    free(again);
    hy_graph_free(copy);
}

static void test_build_and_shapes(void **state) {
    hy_graph *g;
    assert_int_equal(hy_graph_new("built", &g), HY_OK);
    uint32_t ids = hy_graph_input(g, "tokens", HY_DTYPE_I32, 1, (hy_dim[]){HY_DIM_T});
    hy_weight_part part = {"token embd", 100};
    uint32_t emb = hy_graph_weight(g, HY_DTYPE_F16, 2, (uint32_t[]){100, 64}, 0, 1, &part);
    assert_string_equal(g->value[emb].name, "token_embd");
    assert_string_equal(g->value[emb].part[0].name, "token embd");
    g->layer = 3;
    hy_node_desc desc = hy_node_desc_of(HY_OP_EMBED);
    desc.operand[HY_EMBED_ids] = ids;
    desc.operand[HY_EMBED_table] = emb;
    uint32_t x = hy_graph_result(g, hy_graph_add(g, &desc), HY_EMBED_out);
    assert_int_equal(hy_graph_status(g), HY_OK);
    assert_int_equal(g->value[x].dtype, HY_DTYPE_F32);
    assert_int_equal(g->value[x].dim[0].symbol, HY_SYMBOL_T);
    assert_int_equal(g->value[x].dim[1].factor, 64);
    assert_int_equal(g->node[0].layer, 3);
    uint32_t h = hy_graph_reshape(g, x, 3, (hy_dim[]){HY_DIM_T, HY_DIM(4), HY_DIM(16)});
    uint32_t s = hy_graph_slice(g, h, 1, 1, 2);
    hy_graph_output_add(g, "s", s);
    assert_int_equal(hy_graph_verify(g), HY_OK);
    hy_tensor tensor;
    hy_graph_tensor(g, s, &(hy_bounds){{1, 9, 3, 2, 5, 5}}, &tensor);
    assert_int_equal(tensor.dim[0], 9);
    assert_int_equal(tensor.dim[1], 2);
    assert_int_equal(tensor.counter, HY_COUNTER_T);
    /* the first failure stays, later calls do nothing */
    assert_int_equal(hy_graph_slice(g, h, 0, 0, 1), HY_NO_ID);
    assert_int_equal(hy_graph_input(g, "pos", HY_DTYPE_I32, 1, (hy_dim[]){HY_DIM_T}), HY_NO_ID);
    assert_int_equal(hy_graph_status(g), HY_E_ARGUMENT);
    assert_non_null(strstr(hy_error_text(), "symbolic axis"));
    hy_graph_free(g);
}

/* Numbers of a window; stride of rank 4 at most. */
static hy_window window(uint32_t rank, const uint32_t *dim, const uint64_t *stride,
                        uint64_t offset) {
    hy_window w = {.rank = rank, .offset = offset};
    for (uint32_t i = 0; i < rank; i++) {
        w.dim[i] = HY_DIM(dim[i]);
        w.stride[i] = stride[i];
    }
    return w;
}

static void test_windows(void **state) {
    hy_window out;
    /* columns 16..31 of [6,64], as [2,3,4,4] */
    hy_window w = window(2, (uint32_t[]){6, 16}, (uint64_t[]){64, 1}, 16);
    hy_dim dim[] = {HY_DIM(2), HY_DIM(3), HY_DIM(4), HY_DIM(4)};
    assert_true(hy_window_reshape(&w, 4, dim, &out));
    assert_int_equal(out.stride[0], 192);
    assert_int_equal(out.stride[1], 64);
    assert_int_equal(out.stride[2], 4);
    assert_int_equal(out.offset, 16);
    /* rows cannot join when columns are missing */
    assert_false(hy_window_reshape(&w, 1, (hy_dim[]){HY_DIM(96)}, &out));
    /* one column as a rank-1 value has no innermost stride of 1 */
    hy_window column = window(2, (uint32_t[]){6, 1}, (uint64_t[]){64, 1}, 5);
    assert_false(hy_window_reshape(&column, 1, (hy_dim[]){HY_DIM(6)}, &out));
    /* compose: heads 1..2 of 4 of a value that is columns 32..63 of [T,96] */
    hy_window outer = window(2, (uint32_t[]){1, 32}, (uint64_t[]){96, 1}, 32);
    outer.dim[0] = HY_DIM_T;
    hy_window inner = window(3, (uint32_t[]){1, 2, 8}, (uint64_t[]){32, 8, 1}, 8);
    inner.dim[0] = HY_DIM_T;
    assert_true(hy_window_compose(&inner, &outer, &out));
    assert_int_equal(out.offset, 40);
    assert_int_equal(out.stride[0], 96);
    assert_int_equal(out.stride[1], 8);
    /* a step across rows of outer is no stride of the root */
    hy_window flat = window(1, (uint32_t[]){64}, (uint64_t[]){1}, 0);
    hy_window rows = window(2, (uint32_t[]){2, 32}, (uint64_t[]){96, 1}, 0);
    assert_false(hy_window_compose(&flat, &rows, &out));
}

/* Each row: text that must be refused, and what the error says. */
static const struct {
    const char *text, *says;
} refused[] = {
    {"graph", "line 1 column 6: expected '\"'"},
    {"graph \"g\" {", "expected %name"},
    {"graph \"g\" { } x", "text after the graph"},
    {"graph \"g\" { %a = input i32 [T] %a = input i32 [T] }", "two values have the name %a"},
    {"graph \"g\" { %a = input i33 [T] }", "unknown dtype i33"},
    {"graph \"g\" { %a = input i32 [4,T] }", "stand alone and outermost"},
    {"graph \"g\" { %a = input i32 [2T] }", "stand alone and outermost"},
    {"graph \"g\" { %a = input i32 [0] }", "has extent 0"},
    {"graph \"g\" { %a = input i32 [1,1,1,1,1] }", "more than 4 dims"},
    {"graph \"g\" { %a = input f32 [2000000000,2000000000] }", "more than 2^40"},
    {"graph \"g\" { %a = input f32 [4294967296] }", "number above 4294967295"},
    {"graph \"g\" { %w = weight q4_0 [4,33] \"w\" }", "no multiple of 32"},
    {"graph \"g\" { %w = weight f32 [4,32] axis=0 \"w\":1 \"v\":2 }", "parts have 3 rows"},
    {"graph \"g\" { %w = weight i32 [4,32] \"w\" }", "cannot be i32"},
    {"graph \"g\" { %l = literal f32 [2] { 0x1 } }", "expected a word"},
    {"graph \"g\" { %l = literal f16 [1] { 0x10000 } }", "word above 0xffff"},
    {"graph \"g\" { %x = bogus a=%b : f32 [T,4] }", "unknown op bogus"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%b : f32 [T,4] }", "%b is not defined above"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%a : f32 [T,5] }", "type of %x is not"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%a {act=3x} : f32 [T,4] }", "no attribute x"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%a {act=silly} : f32 [T,4] }",
     "silly is no act"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%a {scale=.} : f32 [T,4] }",
     "expected a number"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%a x=%a : f32 [T,4] }", "x is given twice"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary : f32 [T,4] }", "x is not a value"},
    {"graph \"g\" { %a = input f32 [T,4] %b = input f32 [T,5] %x = add a=%a b=%b : f32 [T,4] }",
     "D is 4 in a but 5 in b"},
    {"graph \"g\" { %a = input f32 [T,4] %x %y = unary x=%a : f32 [T,4] }", "2 names for 1 result"},
    {"graph \"g\" { %a = input f32 [T,4] %x = unary x=%a : f32 [T,4] @X1 }", "expected @L or @D"},
    {"graph \"g\" { %a = input f32 [T,8] %x = reshape %a : f32 [T,2,5] }", "8 to 10 elements"},
    {"graph \"g\" { %a = input f32 [T,8] %x = slice %a axis=1 begin=5 : f32 [T,4] }",
     "slice [5, 5 + 4)"},
    {"graph \"g\" { %a = input f32 [T,8] %x = slice %a axis=0 begin=0 : f32 [1,8] }",
     "symbolic axis"},
    {"graph \"g\" { %a = input f32 [T,8] %x = window %a offset=5 stride=[8,1] : f32 [T,4] }",
     "not inside base %a"},
    {"graph \"g\" { %a = input f32 [T,8] %x = window %a offset=0 stride=[9,1] : f32 [T,4] }",
     "rows differ"},
    {"graph \"g\" { %a = input f32 [T,8] %x = window %a offset=0 stride=[8,1] : f16 [T,4] }",
     "dtype differs"},
    {"graph \"g\" { %a = input f32 [T,8] %x = window %a offset=0 stride=[8,1] : f32 [T,4]\n"
     "%y = window %x offset=0 stride=[8,1] : f32 [T,4] }",
     "line 2"},
    {"graph \"g\" { %k = state f32 [P,1,64,8] %x = reshape %k : f32 [P,64,8] }",
     "reshape of state"},
    {"graph \"g\" { %a = input f32 [T,4] output \"x\" %a output \"x\" %a }", "two outputs"},
    {"graph \"g\" { %k = input f32 [T,1,8] %s = input i32 [T] %c = input f32 [P,1,64,8]\n"
     "%d = state f32 [P,1,64,8]\n"
     "%x %y = kv_write k=%k v=%k slot=%s k_cache=%c v_cache=%d : state %c, state %d }",
     "which is no state"},
    {"graph \"g\" { %k = input f32 [T,1,8] %s = input i32 [T] %c = state f32 [P,1,64,8]\n"
     "%x %y = kv_write k=%k v=%k slot=%s k_cache=%c v_cache=%c : state %c, state %c }",
     "overwritten by node 0 already"},
    {"graph \"g\" { %k = input f32 [T,1,8] %s = input i32 [T] %c = state f32 [P,1,64,8]\n"
     "%d = state f32 [P,1,64,8]\n"
     "%x %y = kv_write k=%k v=%k slot=%s k_cache=%c v_cache=%d : state %c, state %d\n"
     "%z %u = kv_write k=%k v=%k slot=%s k_cache=%x v_cache=%d : state %c, state %d }",
     "reads state version %d, which node 0 has overwritten"},
    {"graph \"g\\q\" { }", "bad escape"},
};

static void test_bad_text(void **state) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        hy_graph *graph = NULL;
        hy_status status = hy_graph_parse(refused[i].text, strlen(refused[i].text), &graph);
        if (status != HY_E_FORMAT || !strstr(hy_error_text(), refused[i].says))
            fail_msg("%s\n  gave status %d: %s\n  wanted: %s", refused[i].text, status,
                     hy_error_text(), refused[i].says);
        assert_null(graph);
    }
    for (size_t n = 0; n < sizeof everything - 2; n++) { /* every prefix is refused, none crashes */
        hy_graph *graph = NULL;
        assert_int_equal(hy_graph_parse(everything, n, &graph), HY_E_FORMAT);
    }
}

/* Breaks one thing of a sound graph and expects the verifier's words. */
typedef void (*breaker)(hy_graph *graph);

static uint32_t id_of(const hy_graph *g, const char *name) {
    uint32_t id = hy_graph_find(g, name);
    assert_int_not_equal(id, HY_NO_ID);
    return id;
}
static hy_node *maker(hy_graph *g, const char *name) {
    return &g->node[g->value[id_of(g, name)].node];
}

static void break_operand(hy_graph *g) {
    maker(g, "x")->operand[HY_EMBED_ids] = 9999;
}
static void break_missing(hy_graph *g) {
    maker(g, "x")->operand[HY_EMBED_ids] = HY_NO_ID;
}
static void break_past(hy_graph *g) {
    maker(g, "x")->operand[9] = 0;
}
static void break_order(hy_graph *g) {
    maker(g, "n")->operand[HY_RMS_NORM_x] = id_of(g, "qkv");
}
static void break_dead(hy_graph *g) {
    maker(g, "qkv")->dead = true;
}
static void break_shape(hy_graph *g) {
    g->value[id_of(g, "rt")].dim[1] = HY_DIM(30);
}
static void break_counter(hy_graph *g) {
    g->value[id_of(g, "slot")].dim[0] = HY_DIM_S;
}
static void break_producer(hy_graph *g) {
    g->value[id_of(g, "n")].output = HY_RMS_NORM_sum;
}
static void break_name(hy_graph *g) {
    g->value[id_of(g, "n")].name = "x";
}
static void break_kind(hy_graph *g) {
    maker(g, "x")->kind = 1000;
}
static void break_attr(hy_graph *g) {
    maker(g, "o")->word[3] = 7;
}
static void break_version(hy_graph *g) {
    maker(g, "o")->operand[HY_ATTENTION_k_cache] = id_of(g, "k.0");
}
static void break_written(hy_graph *g) {
    g->value[id_of(g, "k.0'")].state = id_of(g, "v.1");
}
static void break_parts(hy_graph *g) {
    ((hy_weight_part *)g->value[id_of(g, "wqkv")].part)[1].rows = 1;
}
static void break_window(hy_graph *g) {
    g->value[id_of(g, "qh")].offset = 129;
}
static void break_base(hy_graph *g) {
    g->value[id_of(g, "qh")].base = id_of(g, "wqkv");
}
static void break_reshape(hy_graph *g) {
    g->value[id_of(g, "kh")].dim[2] = HY_DIM(16);
}
static void break_output(hy_graph *g) {
    g->output[0].value = id_of(g, "k.0");
}
static void break_literal(hy_graph *g) {
    g->value[id_of(g, "freq")].data = NULL;
}

static const struct {
    breaker break_it;
    const char *says;
} broken[] = {
    {break_operand, "ids is no value"},
    {break_missing, "ids is missing"},
    {break_past, "operand past its last"},
    {break_order, "reads %qkv before node"},
    {break_dead, "which no node makes"},
    {break_shape, "G is 32"},
    {break_counter, "T is 7 in k but 5 in slot"},
    {break_producer, "is not made by"},
    {break_name, "two values have the name"},
    {break_kind, "unknown kind 1000"},
    {break_attr, "causal is 7"},
    {break_version, "has overwritten"},
    {break_written, "is not the version that k_cache writes"},
    {break_parts, "parts have 129 rows"},
    {break_window, "not inside base"},
    {break_base, "lies in state or constant"},
    {break_reshape, "reshape of %k"},
    {break_output, "which node 6 overwrites"},
    {break_literal, "is empty"},
};

static void test_verifier(void **state) {
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        hy_graph *graph = parsed(everything);
        broken[i].break_it(graph);
        hy_status status = hy_graph_verify(graph);
        if (status != HY_E_FORMAT || !strstr(hy_error_text(), broken[i].says))
            fail_msg("row %zu: status %d: %s\n  wanted: %s", i, status, hy_error_text(),
                     broken[i].says);
        hy_graph_free(graph);
    }
}

/* Numbers of any size print so that they read back to the same bits. */
static void test_exact_floats(void **state) {
    static const uint32_t bits[] = {0x3f800001, 0x00000001, 0x7f7fffff, 0x80000001, 0x3eaaaaab};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        hy_graph *g = parsed("graph \"g\" { %a = input f32 [T,4] %x = unary x=%a : f32 [T,4] }");
        g->node[0].word[1] = bits[i];
        char *text = printed(g);
        hy_graph *again = parsed(text);
        assert_int_equal(again->node[0].word[1], bits[i]);
        free(text);
        hy_graph_free(g);
        hy_graph_free(again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_round_trip), cmocka_unit_test(test_build_and_shapes),
        cmocka_unit_test(test_windows),         cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_verifier),        cmocka_unit_test(test_exact_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
