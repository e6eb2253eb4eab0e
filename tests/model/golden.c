/* tests/model/golden.c: see golden.h. */
#include "tests/model/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_prompt(const json_t *o, golden_prompt *p) {
    size_t i;
    const json_t *v;
    json_array_foreach(json_object_get(o, "tokens"), i, v) {
        if (i < GOLDEN_MAX_TOKENS) p->ids[p->count++] = (int32_t)json_integer_value(v);
    }
    json_array_foreach(json_object_get(o, "stored_rows"), i, v) {
        if (i < GOLDEN_MAX_TOKENS) p->stored[p->stored_count++] = (uint32_t)json_integer_value(v);
    }
    json_array_foreach(json_object_get(o, "greedy"), i, v) {
        if (i < 64) p->greedy[p->greedy_count++] = (int32_t)json_integer_value(v);
    }
    for (i = 0; i < GOLDEN_MAX_TOKENS; i++)
        p->router_gap[i] = HUGE_VAL;
    json_array_foreach(json_object_get(o, "router_gap_per_pos"), i, v) {
        if (i < GOLDEN_MAX_TOKENS) p->router_gap[i] = json_number_value(v);
    }
    p->first_row = (uint32_t)json_integer_value(json_object_get(o, "first_row"));
}

static bool read_want(const char *path, golden_case *c) {
    uint32_t rows = 0;
    for (int i = 0; i < GOLDEN_PROMPTS; i++)
        rows += c->prompt[i].stored_count;
    size_t count = (size_t)rows * c->vocab;
    c->want = malloc(count * sizeof(float) + 1);
    FILE *file = fopen(path, "rb");
    bool ok = c->want && file && fread(c->want, sizeof(float), count, file) == count;
    if (file) fclose(file);
    return ok;
}

bool golden_load(const char *folder, const char *name, golden_case *c) {
    char path[512];
    memset(c, 0, sizeof *c);
    snprintf(path, sizeof path, "%s/%s/case.json", folder, name);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root) return false;
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(c->arch, sizeof c->arch, "%s", json_string_value(json_object_get(root, "arch")));
    snprintf(c->type, sizeof c->type, "%s", json_string_value(json_object_get(root, "type")));
    snprintf(c->path, sizeof c->path, "%s/%s/model.gguf", folder, name);
    c->vocab = (uint32_t)json_integer_value(json_object_get(root, "row_width"));
    c->peer_nmse =
        json_number_value(json_object_get(json_object_get(root, "llamacpp_vs_ref"), "nmse"));
    const json_t *prompts = json_object_get(root, "prompts");
    for (size_t i = 0; i < GOLDEN_PROMPTS; i++)
        read_prompt(json_array_get(prompts, i), &c->prompt[i]);
    json_decref(root);
    snprintf(path, sizeof path, "%s/%s/ref.f32", folder, name);
    if (read_want(path, c)) return true;
    fprintf(stderr, "%s: cannot be read\n", path);
    golden_free(c);
    return false;
}

void golden_free(golden_case *c) {
    free(c->want);
    c->want = NULL;
}

void golden_logits_free(golden_logits *l) {
    for (int i = 0; i < GOLDEN_PROMPTS; i++) {
        free(l->row[i]);
        l->row[i] = NULL;
    }
}

static bool failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, hy_error_text());
    return false;
}

/* Steps until nothing is pending, storing rows by sequence. */
static bool drain(hy_engine *engine, const golden_case *c, hy_sequence *const *sequence,
                  uint32_t chunk, golden_logits *out) {
    for (;;) {
        hy_step_result result = {.size = sizeof result};
        if (hy_engine_step(engine, hy_step_params(.max_chunk = chunk), &result) != HY_OK)
            return failed("step");
        if (result.tokens == 0) return true;
        for (uint32_t r = 0; r < result.rows; r++) {
            for (int i = 0; i < GOLDEN_PROMPTS; i++) {
                if (!sequence[i] || result.row[r].sequence != sequence[i]) continue;
                memcpy(out->row[i] + (size_t)result.row[r].position * c->vocab,
                       result.row[r].logits, c->vocab * sizeof(float));
            }
        }
    }
}

bool golden_run(hy_engine *engine, const golden_case *c, bool ragged, uint32_t chunk,
                golden_logits *out) {
    hy_sequence *sequence[GOLDEN_PROMPTS] = {0};
    bool ok = true;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < GOLDEN_PROMPTS && ok; i++) {
        const golden_prompt *p = &c->prompt[i];
        out->row[i] = calloc((size_t)p->count * c->vocab, sizeof(float));
        ok = out->row[i] != NULL && hy_sequence_new(engine, &sequence[i]) == HY_OK &&
             hy_sequence_add(sequence[i], p->ids, p->count, HY_ADD_ALL_LOGITS) == HY_OK;
        if (!ok) failed(c->name);
        if (ok && !ragged) ok = drain(engine, c, sequence, chunk, out);
    }
    if (ok && ragged) ok = drain(engine, c, sequence, chunk, out);
    for (int i = 0; i < GOLDEN_PROMPTS; i++)
        hy_sequence_free(sequence[i]);
    return ok;
}

double golden_nmse(const golden_case *c, const golden_logits *l, double min_gap) {
    double error = 0, power = 0;
    for (int i = 0; i < GOLDEN_PROMPTS; i++) {
        const golden_prompt *p = &c->prompt[i];
        uint32_t good = 0; /* positions before the first one with a small margin */
        while (good < p->count && p->router_gap[good] >= min_gap)
            good++;
        for (uint32_t s = 0; s < p->stored_count; s++) {
            if (p->stored[s] >= good) continue;
            const float *got = l->row[i] + (size_t)p->stored[s] * c->vocab;
            const float *want = c->want + (size_t)(p->first_row + s) * c->vocab;
            double mean = 0;
            for (uint32_t v = 0; v < c->vocab; v++)
                mean += (double)want[v] / c->vocab;
            for (uint32_t v = 0; v < c->vocab; v++) {
                error += ((double)got[v] - want[v]) * ((double)got[v] - want[v]);
                power += (want[v] - mean) * (want[v] - mean);
            }
        }
    }
    return power > 0 ? error / power : HUGE_VAL;
}

bool golden_equal(const golden_case *c, const golden_logits *a, const golden_logits *b) {
    for (int i = 0; i < GOLDEN_PROMPTS; i++) {
        size_t bytes = (size_t)c->prompt[i].count * c->vocab * sizeof(float);
        if (memcmp(a->row[i], b->row[i], bytes) != 0) return false;
    }
    return true;
}

static int32_t best_of(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return (int32_t)best;
}

bool golden_greedy(hy_engine *engine, const golden_case *c, uint32_t *same, uint32_t *all) {
    *same = *all = 0;
    for (int i = 0; i < GOLDEN_PROMPTS; i++) {
        const golden_prompt *p = &c->prompt[i];
        hy_sequence *sequence;
        if (hy_sequence_new(engine, &sequence) != HY_OK) return failed(c->name);
        bool ok = hy_sequence_add(sequence, p->ids, p->count, 0) == HY_OK, equal = true;
        for (uint32_t g = 0; g < p->greedy_count && ok; g++) {
            const float *logits;
            ok = hy_engine_step(engine, NULL, NULL) == HY_OK &&
                 hy_sequence_logits(sequence, &logits) == HY_OK;
            if (!ok) break;
            int32_t id = best_of(logits, c->vocab);
            equal = equal && id == p->greedy[g];
            *same += equal;
            ok = hy_sequence_add(sequence, &id, 1, 0) == HY_OK;
        }
        *all += p->greedy_count;
        hy_sequence_free(sequence);
        if (!ok) return failed(c->name);
    }
    return true;
}
