/* Batch invariance: logits of ragged batches with random chunking, forks, cuts and prefix hits are those
 * of each sequence alone, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "halyard/halyard.h"
#include "tests/unit/tiny_model.h"

enum { V = 80, FAMILIES = 5, CONTENTS = 20, LONGEST = 180, SHARED = 140 };

static hy_instance *instance;

/* CONTENTS token strings; those of one family begin with the same SHARED tokens. */
typedef struct contents {
    int32_t ids[CONTENTS][LONGEST];
    uint32_t length[CONTENTS];
    float *logits; /* [CONTENTS, LONGEST, V] of each alone */
} contents;

/* One sequence under way. */
typedef struct stream {
    hy_sequence *sequence;
    uint32_t content;
} stream;

typedef struct run {
    const contents *c;
    hy_engine *engine;
    hy_rng rng;
    stream stream[64];
    uint32_t streams, limit; /* alive, at most */
    uint64_t rows, hits, forks, cuts, full, widest;
} run;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

static float *alone_at(const contents *c, uint32_t content, uint32_t position) {
    return c->logits + ((size_t)content * LONGEST + position) * V;
}

static void make_contents(contents *c, hy_rng *rng) {
    for (uint32_t i = 0; i < CONTENTS; i++) {
        c->length[i] = i < 4 ? 1 + i : 60 + hy_rng_below(rng, LONGEST - 60);
        for (uint32_t p = 0; p < LONGEST; p++) {
            c->ids[i][p] = (int32_t)hy_rng_below(rng, V);
            if (i >= FAMILIES && p < SHARED) c->ids[i][p] = c->ids[i % FAMILIES][p];
        }
    }
}

/* Every position of every content, each in an engine of its own kind: chunk 1 for odd ones, whole for even
 * ones, so that the two already have to agree with everything else. */
static void compute_alone(hy_model *model, const hy_engine_params *params, contents *c) {
    hy_engine_params p = *params;
    hy_engine *engine = NULL;
    p.max_sequences = 1;
    p.max_batch = p.max_rows = 192;
    p.no_prefix_cache = 1;
    ok(hy_engine_new(model, &p, &engine));
    for (uint32_t i = 0; i < CONTENTS; i++) {
        hy_sequence *s = NULL;
        ok(hy_sequence_new(engine, &s));
        ok(hy_sequence_add(s, c->ids[i], c->length[i], HY_ADD_ALL_LOGITS));
        while (hy_sequence_pending(s)) {
            hy_step_result r = {.size = sizeof r};
            ok(hy_engine_step(engine, hy_step_params(.max_chunk = i % 2), &r));
            for (uint32_t k = 0; k < r.rows; k++)
                memcpy(alone_at(c, i, r.row[k].position), r.row[k].logits, V * sizeof(float));
        }
        hy_sequence_free(s);
    }
    hy_engine_free(engine);
}

/* ---- random actions ---------------------------------------------------------------------------- */

static void drop(run *r, uint32_t at) {
    hy_sequence_free(r->stream[at].sequence);
    r->stream[at] = r->stream[--r->streams];
}

static void start(run *r) {
    if (r->streams == r->limit) return;
    stream *s = &r->stream[r->streams++];
    s->content = hy_rng_below(&r->rng, CONTENTS);
    ok(hy_sequence_new(r->engine, &s->sequence));
    const uint32_t length = r->c->length[s->content];
    const uint32_t first = hy_rng_below(&r->rng, 3) ? length : 1 + hy_rng_below(&r->rng, length);
    ok(hy_sequence_add(s->sequence, r->c->ids[s->content], first,
                       hy_rng_below(&r->rng, 4) == 0 ? HY_ADD_ALL_LOGITS : 0));
    r->hits += hy_sequence_cached(s->sequence) > 0;
}

static void extend(run *r, stream *s) {
    const uint32_t length = hy_sequence_length(s->sequence), end = r->c->length[s->content];
    if (length >= end) return;
    const uint32_t most = end - length;
    const uint32_t count = hy_rng_below(&r->rng, 2) ? 1 : 1 + hy_rng_below(&r->rng, most);
    ok(hy_sequence_add(s->sequence, r->c->ids[s->content] + length, count,
                       hy_rng_below(&r->rng, 3) == 0 ? HY_ADD_ALL_LOGITS : 0));
}

/* A fork goes on with another content of its family when it has only the shared part. */
static void fork_one(run *r, stream *s) {
    if (r->streams == r->limit || hy_sequence_pending(s->sequence)) return;
    stream *child = &r->stream[r->streams];
    ok(hy_sequence_fork(s->sequence, &child->sequence));
    child->content = s->content;
    r->streams++;
    r->forks++;
    const uint32_t length = hy_sequence_length(child->sequence);
    const uint32_t other = s->content % FAMILIES + FAMILIES * hy_rng_below(&r->rng, 4);
    if (length <= SHARED && length < r->c->length[other]) child->content = other;
}

static void cut(run *r, stream *s) {
    const uint32_t length = hy_sequence_length(s->sequence);
    if (length < 2) return;
    ok(hy_sequence_truncate(s->sequence, hy_rng_below(&r->rng, length)));
    r->cuts++;
}

static void act(run *r) {
    if (r->streams < r->limit / 2 || hy_rng_below(&r->rng, 3) == 0) start(r);
    const uint32_t at = hy_rng_below(&r->rng, r->streams);
    stream *s = &r->stream[at];
    switch (hy_rng_below(&r->rng, 8)) {
    case 0:
        for (uint32_t i = 0; i < r->streams; i++) /* the next one with nothing pending */
            if (!hy_sequence_pending(r->stream[(at + i) % r->streams].sequence)) {
                fork_one(r, &r->stream[(at + i) % r->streams]);
                break;
            }
        break;
    case 1:
        cut(r, s);
        break;
    case 2:
        if (hy_sequence_length(s->sequence) == r->c->length[s->content]) drop(r, at);
        break;
    default:
        extend(r, s);
    }
}

static uint32_t content_of(const run *r, const hy_sequence *sequence) {
    for (uint32_t i = 0; i < r->streams; i++)
        if (r->stream[i].sequence == sequence) return r->stream[i].content;
    fail_msg("a row of a sequence that is not alive");
    return 0;
}

static void compare(run *r, const hy_step_result *out) {
    if (out->sequences > r->widest) r->widest = out->sequences;
    for (uint32_t i = 0; i < out->rows; i++) {
        const uint32_t content = content_of(r, out->row[i].sequence);
        const float *wanted = alone_at(r->c, content, out->row[i].position);
        if (memcmp(wanted, out->row[i].logits, V * sizeof(float)) != 0)
            fail_msg(
                "content %u position %u differs from its run alone in a step of %u tokens of %u "
                "sequences",
                content, out->row[i].position, out->tokens, out->sequences);
    }
    r->rows += out->rows;
}

static void step(run *r) {
    hy_step_result out = {.size = sizeof out};
    const uint32_t chunks[] = {0, 1, 2, 1 + hy_rng_below(&r->rng, 20)};
    const uint32_t most = hy_rng_below(&r->rng, 3) ? 0 : 1 + hy_rng_below(&r->rng, 64);
    const uint32_t chunk = chunks[hy_rng_below(&r->rng, 4)];
    hy_status status =
        hy_engine_step(r->engine, hy_step_params(.max_tokens = most, .max_chunk = chunk), &out);
    if (status == HY_E_LIMIT) { /* the cache is meant to fill up now and then */
        r->full++;
        drop(r, hy_rng_below(&r->rng, r->streams));
        return;
    }
    ok(status);
    compare(r, &out);
}

/* As many sequences as there may be, one token of each in a step. */
static void full_house(run *r) {
    while (r->streams < r->limit)
        start(r);
    for (uint32_t i = 0; i < 12; i++) {
        hy_step_result out = {.size = sizeof out};
        for (uint32_t k = 0; k < r->streams; k++) {
            const stream *s = &r->stream[k];
            const uint32_t length = hy_sequence_length(s->sequence);
            if (hy_sequence_pending(s->sequence)) continue;
            if (length < r->c->length[s->content]) {
                ok(hy_sequence_add(s->sequence, r->c->ids[s->content] + length, 1, 0));
            } else { /* finished: another one in its place */
                drop(r, k--);
                start(r);
            }
        }
        hy_status status = hy_engine_step(r->engine, hy_step_params(.max_chunk = 1), &out);
        if (status == HY_E_LIMIT) return; /* a small cache is meant to fill up */
        ok(status);
        compare(r, &out);
    }
}

/* `rounds` random actions and steps on one device with one kind of weights and cache. */
static void check_schedule(const tiny_model *m, const hy_engine_params *params, uint32_t rounds) {
    contents *c = calloc(1, sizeof *c);
    hy_model *model = NULL;
    const char *path = tiny_model_path("batch");
    tiny_model_write(path, m);
    hy_status status = hy_model_open(instance, path, NULL, &model);
    unlink(path);
    ok(status);
    run r = {.c = c, .rng = hy_rng_seed(m->seed + 17), .limit = params->max_sequences};
    c->logits = calloc((size_t)CONTENTS * LONGEST * V, sizeof(float));
    make_contents(c, &r.rng);
    compute_alone(model, params, c);
    ok(hy_engine_new(model, params, &r.engine));
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t k = 1 + hy_rng_below(&r.rng, 2 + r.limit / 4); k > 0; k--)
            act(&r);
        for (uint32_t k = 1 + hy_rng_below(&r.rng, 6); k > 0; k--)
            step(&r);
    }
    full_house(&r);
    while (r.streams)
        drop(&r, r.streams - 1);
    hy_engine_desc desc = {.size = sizeof desc};
    ok(hy_engine_describe(r.engine, &desc));
    assert_int_equal(desc.pages_free, desc.pages);
    print_message("%s: %llu rows equal, %llu prefix hits, %llu forks, %llu cuts, %llu times full, "
                  "%llu sequences in one step\n",
                  desc.device, (unsigned long long)r.rows, (unsigned long long)r.hits,
                  (unsigned long long)r.forks, (unsigned long long)r.cuts,
                  (unsigned long long)r.full, (unsigned long long)r.widest);
    if (!params->cache_tokens) assert_int_equal(r.widest, r.limit);
    assert_true(r.rows > rounds / 2 && r.hits > 0 && r.forks > 0 && r.cuts > 0);
    hy_engine_free(r.engine);
    hy_model_free(model);
    free(c->logits);
    free(c);
}

static int set_up(void **state) {
    (void)state;
    return hy_instance_new(NULL, &instance) != HY_OK;
}

static int tear_down(void **state) {
    (void)state;
    hy_instance_free(instance);
    return 0;
}

static bool have_cpu(void) {
    for (uint32_t i = 0; i < hy_device_count(instance); i++) {
        hy_device_desc desc = {.size = sizeof desc};
        ok(hy_device_get(instance, i, &desc));
        if (strcmp(desc.id, "cpu:0") == 0) return true;
    }
    return false;
}

static void test_ref(void **state) {
    (void)state;
    check_schedule(&(tiny_model){.layers = 1, .ffn = 32, .seed = 1},
                   hy_engine_params(.device = "ref", .max_sequences = 8, .max_batch = 48,
                                    .max_rows = 24, .cache_tokens = 1024),
                   60);
}

static void test_cpu(void **state) {
    (void)state;
    if (!have_cpu()) skip();
    check_schedule(
        &(tiny_model){.seed = 2},
        hy_engine_params(.device = "cpu", .max_sequences = 64, .max_batch = 96, .max_rows = 64),
        150);
    check_schedule(&(tiny_model){.seed = 6},
                   hy_engine_params(.device = "cpu", .max_sequences = 24, .max_batch = 96,
                                    .max_rows = 40, .cache_tokens = 64 * 32),
                   100);
    check_schedule(&(tiny_model){.seed = 3, .dtype = HY_DTYPE_Q4_0, .experts = 4},
                   hy_engine_params(.device = "cpu", .max_sequences = 16, .max_batch = 64,
                                    .max_rows = 32, .kv_type = HY_KV_Q8_0),
                   200);
    check_schedule(&(tiny_model){.seed = 4, .dtype = HY_DTYPE_F16, .arch = "qwen3", .tied = true},
                   hy_engine_params(.device = "cpu", .max_sequences = 16, .max_batch = 64,
                                    .max_rows = 32, .kv_type = HY_KV_F32),
                   200);
    check_schedule(
        &(tiny_model){.seed = 5,
                      .dtype = HY_DTYPE_Q6_K,
                      .embedding = 256,
                      .ffn = 256,
                      .heads = 4,
                      .kv_heads = 4,
                      .head_dim = 64},
        hy_engine_params(.device = "cpu", .max_sequences = 16, .max_batch = 64, .max_rows = 32),
        150);
}

static const char *named; /* the device of the command line */

static void test_named(void **state) {
    (void)state;
    check_schedule(&(tiny_model){.seed = 7, .dtype = HY_DTYPE_Q4_0, .experts = 4},
                   hy_engine_params(.device = named, .max_sequences = 12, .max_batch = 48,
                                    .max_rows = 24, .cache_tokens = 64 * 20),
                   40);
    check_schedule(&(tiny_model){.seed = 8, .dtype = HY_DTYPE_F16, .arch = "qwen3", .tied = true},
                   hy_engine_params(.device = named, .max_sequences = 8, .max_batch = 40,
                                    .max_rows = 16, .kv_type = HY_KV_Q8_0),
                   40);
}

/* Without an argument on ref and cpu, else on the device that it names. */
int main(int count, char **arguments) {
    const struct CMUnitTest usual[] = {cmocka_unit_test(test_ref), cmocka_unit_test(test_cpu)};
    const struct CMUnitTest one[] = {cmocka_unit_test(test_named)};
    if (count < 2) return cmocka_run_group_tests(usual, set_up, tear_down);
    named = arguments[1];
    return cmocka_run_group_tests(one, set_up, tear_down);
}
