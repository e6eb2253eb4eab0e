/* tools/inspect.c: `halyard inspect`: what is in a model file, and what becomes of it. Looks inside. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "src/engine/engine.h"
#include "tools/cli.h"

typedef struct inspect {
    cli_engine e;
    const char *pass;
    uint32_t bucket;
    bool tensors, graph, dot, plan, json;
} inspect;

/* ---- metadata ---- */

/* A value of the file as JSON; arrays by type and count, strings as they are where they are UTF-8. */
static json_t *value_json(const hy_gguf *gguf, const hy_gguf_value *v) {
    char key[256];
    hy_span text;
    float number;
    uint32_t integer;
    int64_t wide;
    bool flag;
    snprintf(key, sizeof key, "%.*s", (int)HY_MIN(v->key.length, sizeof key - 1), v->key.data);
    switch (v->type) {
    case HY_GGUF_ARRAY:
        return json_pack("{s:s, s:I}", "array", hy_gguf_value_type_name(v->element_type), "count",
                         (json_int_t)v->count);
    case HY_GGUF_STRING:
        if (hy_gguf_string(gguf, key, &text) != HY_OK) return NULL;
        return json_stringn(text.data ? text.data : "", text.length);
    case HY_GGUF_BOOL:
        return hy_gguf_bool(gguf, key, false, &flag) == HY_OK ? json_boolean(flag) : NULL;
    case HY_GGUF_F32:
    case HY_GGUF_F64:
        return hy_gguf_f32(gguf, key, 0, &number) == HY_OK ? json_real((double)number) : NULL;
    case HY_GGUF_U64:
    case HY_GGUF_I64: /* as JSON has it: signed 64 bits, no digit lost below 2^63 */
        memcpy(&wide, v->data, sizeof wide);
        return json_integer((json_int_t)wide);
    default:
        if (hy_gguf_u32(gguf, key, 0, &integer) == HY_OK) return json_integer(integer);
        return hy_gguf_f32(gguf, key, 0, &number) == HY_OK ? json_real((double)number) : NULL;
    }
}

static json_t *metadata_json(const hy_gguf *gguf) {
    json_t *o = json_object();
    for (size_t i = 0; i < hy_gguf_value_count(gguf); i++) {
        const hy_gguf_value *v = hy_gguf_value_at(gguf, i);
        char key[256];
        snprintf(key, sizeof key, "%.*s", (int)HY_MIN(v->key.length, sizeof key - 1), v->key.data);
        json_t *value = value_json(gguf, v);
        json_object_set_new(o, key, value ? value : json_null());
    }
    return o;
}

static json_t *tensors_json(const hy_gguf *gguf) {
    json_t *list = json_array();
    for (size_t i = 0; i < hy_gguf_tensor_count(gguf); i++) {
        const hy_gguf_tensor *t = hy_gguf_tensor_at(gguf, i);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t->rank; d++) {
            json_array_append_new(shape, json_integer((json_int_t)t->dim[d]));
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "type",
                                              hy_gguf_tensor_type_name(t->gguf_type), "shape",
                                              shape, "bytes", (json_int_t)t->size));
    }
    return list;
}

static void print_metadata(const hy_gguf *gguf) {
    json_t *o = metadata_json(gguf);
    const char *key;
    json_t *value;
    json_object_foreach(o, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
        printf("%-48s %.200s%s\n", key, text ? text : "?",
               text && strlen(text) > 200 ? " ..." : "");
        free(text);
    }
    json_decref(o);
}

static void print_tensors(const hy_gguf *gguf) {
    for (size_t i = 0; i < hy_gguf_tensor_count(gguf); i++) {
        const hy_gguf_tensor *t = hy_gguf_tensor_at(gguf, i);
        printf("%-40s %-8s [", t->name, hy_gguf_tensor_type_name(t->gguf_type));
        for (uint32_t d = 0; d < t->rank; d++)
            printf("%s%" PRIu64, d ? "," : "", t->dim[d]);
        printf("] %" PRIu64 " bytes\n", t->size);
    }
}

/* ---- graph and plan ---- */

static json_t *plan_json(const hy_setup *setup) {
    static const char *const arena[HY_ARENA_COUNT] = {"weights", "state", "activations", "step"};
    json_t *devices = json_array(), *steps = json_array();
    const hy_program *p = setup->program;
    for (uint32_t d = 0; d < setup->devices; d++) {
        json_t *o = json_pack("{s:s}", "id", setup->id[d]);
        for (int a = 0; a < HY_ARENA_COUNT; a++) {
            json_object_set_new(o, arena[a], json_integer((json_int_t)p->arena_bytes[d][a]));
        }
        json_array_append_new(devices, o);
    }
    const hy_program_bucket *b = &p->bucket[p->buckets - 1];
    for (uint32_t i = 0; i < b->steps; i++) {
        const hy_program_step *s = &b->step[i];
        json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:s}", "op",
                                               hy_op_get((hy_op_kind)s->op.kind)->name, "kernel",
                                               s->transfer ? "transfer" : s->kernel.name, "wave",
                                               (int)s->wave, "device", setup->id[s->device]));
    }
    return json_pack("{s:o, s:o, s:i, s:f}", "devices", devices, "steps", steps, "buckets",
                     (int)p->buckets, "compile_ms", (double)p->compile_ns * 1e-6);
}

static int print_text(hy_text *text) {
    bool failed = text->failed;
    if (text->data) fwrite(text->data, 1, text->length, stdout);
    hy_text_free(text);
    return failed ? cli_fail("inspect", 1, "out of memory for the text") : 0;
}

static int print_program(inspect *v) {
    hy_setup setup;
    hy_engine_params params;
    if (!cli_engine_params("inspect", &v->e, &params)) return 2;
    hy_pass pass = v->pass && *v->pass ? hy_pass_by_name(v->pass) : HY_PASS_NONE;
    if (pass == HY_PASS_COUNT) {
        hy_text names = {0};
        for (int i = 0; i < HY_PASS_COUNT; i++)
            hy_text_add(&names, " %s", hy_pass_name((hy_pass)i));
        int code = cli_fail("inspect", 2, "--graph: no pass '%s'; passes:%s", v->pass, names.data);
        hy_text_free(&names);
        return code;
    }
    if (hy_setup_make(v->e.model, &params, &setup) != HY_OK) return cli_status("inspect");
    hy_text text = {0};
    int code = 0;
    if (v->plan && v->json) {
        json_t *o = plan_json(&setup);
        json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(o);
    } else if (v->plan) {
        uint32_t last = setup.program->buckets - 1;
        hy_program_print(setup.program, v->bucket < last ? v->bucket : last, &text);
    } else if (hy_setup_print(v->e.model, &setup, pass, v->dot, &text) != HY_OK) {
        code = cli_status("inspect");
    }
    if (!code) code = print_text(&text);
    hy_setup_free(&setup);
    return code;
}

/* ---- the command ---- */

static int print_file(const inspect *v) {
    hy_gguf *gguf;
    if (hy_gguf_open(v->e.model_path, &gguf) != HY_OK) return cli_status("inspect");
    if (v->json) {
        json_t *o =
            json_pack("{s:i, s:I, s:o}", "version", (int)hy_gguf_version(gguf), "bytes",
                      (json_int_t)hy_gguf_file_bytes(gguf), "metadata", metadata_json(gguf));
        if (v->tensors) json_object_set_new(o, "tensors", tensors_json(gguf));
        json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(o);
    } else {
        printf("GGUF v%u, %" PRIu64 " bytes, %zu values, %zu tensors\n\n", hy_gguf_version(gguf),
               hy_gguf_file_bytes(gguf), hy_gguf_value_count(gguf), hy_gguf_tensor_count(gguf));
        print_metadata(gguf);
        if (v->tensors) putchar('\n');
        if (v->tensors) print_tensors(gguf);
    }
    hy_gguf_close(gguf);
    return 0;
}

/* --graph alone is a flag, --graph=PASS names a pass: the table of options has one kind per name. */
static void split_graph_flag(int argc, char **argv, inspect *v) {
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--graph=", 8) != 0) continue;
        v->pass = argv[i] + 8;
        argv[i][7] = 0;
    }
}

static int inspect_main(int argc, char **argv) {
    inspect v = {.bucket = UINT32_MAX};
    const char *path = NULL;
    size_t count;
    const cli_option options[] = {
        {"--tensors", CLI_FLAG, &v.tensors, NULL, "list the tensors"},
        {"--graph", CLI_FLAG, &v.graph, NULL,
         "the graph as built; --graph=PASS: after none, canonicalize, place, fuse, select, bucket, "
         "schedule, "
         "plan_memory, emit"},
        {"--dot", CLI_FLAG, &v.dot, NULL,
         "the graph for Graphviz (--graph=fuse --dot: as it runs)"},
        {"--plan", CLI_FLAG, &v.plan, NULL, "kernels, waves, offsets, bytes per arena"},
        {"--bucket", CLI_U32, &v.bucket, "N", "which bucket of the plan (default: the largest)"},
        {"--json", CLI_FLAG, &v.json, NULL, "JSON (metadata, --tensors, --plan)"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    split_graph_flag(argc, argv, &v);
    int code =
        cli_parse(argc, argv, "inspect FILE [--tensors] [--graph[=PASS]] [--dot] [--plan] [--json]",
                  options, cli_engine_options(&v.e), &path, 1, &count);
    if (code >= 0) return code;
    if (count == 1) v.e.model_path = path;
    if (!v.e.model_path) return cli_fail("inspect", 2, "no model: give FILE");
    if (v.graph || v.dot || v.plan) {
        code = cli_engine_open("inspect", &v.e, false);
        if (!code) code = print_program(&v);
    } else {
        code = print_file(&v);
    }
    int flushed = cli_flush("inspect");
    return cli_engine_close("inspect", &v.e, code ? code : flushed);
}

const cli_command cli_inspect = {"inspect", "what is in a model file, its graph and its plan",
                                 inspect_main};
