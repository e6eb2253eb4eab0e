/* tools/bench/match.c: pairs rows. */
#include "tools/bench/match.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tools/bench/rows.h"

/* In what two rows differ. DEVICE and THREADS are what people compare; the others make it another measurement. */
enum {
    MODEL = 1 << 0,
    TEST = 1 << 1,
    NUMERICS = 1 << 2,
    KV_TYPE = 1 << 3,
    BATCH = 1 << 4,
    THREADS = 1 << 5,
    DEVICE = 1 << 6,
    WORK = MODEL | TEST | NUMERICS | KV_TYPE | BATCH
};

match_key match_key_of(const json_t *row) {
    const char *kv = row_text(row, "options.kv_type");
    return (match_key){
        .row = row,
        .engine = row_text(row, "engine"),
        .sha256 = row_text(row, "model.sha256"),
        .type = row_text(row, "model_type"),
        .test = row_text(row, "test"),
        .numerics = row_text(row, "options.numerics"),
        .kv_type = kv ? kv : row_text(row, "type_k"),
        .device = row_text(row, "device_info.name"),
        .device_id = row_text(row, "device"),
        .cpu = row_text(row, "cpu_info"),
        .machine = row_text(row, "machine.id"),
        .interleave = row_text(row, "interleave.id"),
        .interleave_index = row_number(row, "interleave.index"),
        .size = row_number(row, "model_size"),
        .params = row_number(row, "model_n_params"),
        .threads = row_number(row, "n_threads"),
        .batch = row_number(row, "n_batch"),
        .micro_batch = row_number(row, "n_ubatch"),
        .cpus = row_number(row, "machine.cpu.threads"),
        .memory = row_number(row, "machine.memory.total_bytes"),
    };
}

static bool texts_differ(const char *a, const char *b) {
    return a && b && strcmp(a, b) != 0;
}

/* By more than a part of the larger. */
static bool numbers_differ(double a, double b, double part) {
    return fabs(a - b) > part * fmax(fabs(a), fabs(b));
}

/* By the file's hash where both have one. Otherwise by what llama-bench says of it; the size within 1 %, because
 * tools count padding and metadata differently. */
static bool models_differ(const match_key *a, const match_key *b) {
    if (a->sha256 && b->sha256) return strcmp(a->sha256, b->sha256) != 0;
    return (a->type && b->type && strcasecmp(a->type, b->type) != 0) ||
           numbers_differ(a->params, b->params, 0) || numbers_differ(a->size, b->size, 0.01);
}

static unsigned differences(const match_key *a, const match_key *b) {
    /* llama.cpp cuts its input by n_batch and computes by n_ubatch: between engines only this is the same thing. */
    const bool engines = texts_differ(a->engine, b->engine);
    unsigned found = models_differ(a, b) ? MODEL : 0;
    if (texts_differ(a->test, b->test)) found |= TEST;
    if (texts_differ(a->numerics, b->numerics)) found |= NUMERICS;
    if (texts_differ(a->kv_type, b->kv_type)) found |= KV_TYPE;
    if (numbers_differ(a->micro_batch, b->micro_batch, 0) ||
        (!engines && numbers_differ(a->batch, b->batch, 0)))
        found |= BATCH;
    if (numbers_differ(a->threads, b->threads, 0)) found |= THREADS;
    if (texts_differ(a->device, b->device)) found |= DEVICE;
    return found;
}

match_scope match_where(const match_key *a, const match_key *b) {
    /* A kernel keeps a little of the memory for itself, each version another part. */
    if (texts_differ(a->cpu, b->cpu) || texts_differ(a->machine, b->machine) ||
        numbers_differ(a->cpus, b->cpus, 0) || numbers_differ(a->memory, b->memory, 0.02))
        return MATCH_MACHINES;
    const bool differ =
        texts_differ(a->device, b->device) || texts_differ(a->device_id, b->device_id);
    return differ ? MATCH_DEVICES : MATCH_DEVICE;
}

bool match_interleaved(const match_key *a, const match_key *b) {
    return a->interleave && b->interleave && strcmp(a->interleave, b->interleave) == 0 &&
           a->interleave_index != b->interleave_index;
}

/* How well two rows go together; 0: not at all, 1: only if there is no other choice. */
enum { NO, ONLY_CHOICE, SAME_NAME, SAME_SETTING, TOOK_TURNS };

static int fit(const match_key *a, const match_key *b) {
    const unsigned found = differences(a, b);
    const bool same_name = !(found & DEVICE), same_id = !texts_differ(a->device_id, b->device_id);
    if (found & WORK) return NO;
    if (match_interleaved(a, b)) return TOOK_TURNS;
    if (found & THREADS && match_where(a, b) == MATCH_DEVICE) return NO;
    if (same_name && same_id && !(found & THREADS)) return SAME_SETTING;
    return same_name || (same_id && a->device_id && b->device_id) ? SAME_NAME : ONLY_CHOICE;
}

/* The first free row of b that fits `one` so well; nb when there is none. *count: how many there are. */
static size_t find(const match_key *one, const match_key *b, size_t nb, const bool *taken, int well,
                   size_t *count) {
    size_t first = nb;
    *count = 0;
    for (size_t j = 0; j < nb; j++) {
        if (taken[j] || fit(one, &b[j]) < well) continue;
        if ((*count)++ == 0) first = j;
    }
    return first;
}

/* How many free rows of a could go with b's row. */
static size_t rivals(const match_key *a, size_t na, const match_key *b, const size_t *partner,
                     size_t none) {
    size_t count = 0;
    for (size_t i = 0; i < na; i++)
        count += partner[i] == none && fit(&a[i], b) != NO;
    return count;
}

void match_rows(const match_key *a, size_t na, const match_key *b, size_t nb, size_t *partner,
                bool *taken) {
    for (size_t i = 0; i < na; i++)
        partner[i] = nb;
    memset(taken, 0, nb * sizeof *taken);
    for (int well = TOOK_TURNS; well > NO; well--) {
        for (size_t i = 0; i < na; i++) {
            size_t count;
            if (partner[i] != nb) continue;
            const size_t j = find(&a[i], b, nb, taken, well, &count);
            if (j == nb) continue;
            if (well == ONLY_CHOICE && (count > 1 || rivals(a, na, &b[j], partner, nb) > 1))
                continue;
            partner[i] = j;
            taken[j] = true;
        }
    }
}

/* ---- reasons ---- */

static const char *known(const char *text) {
    return text ? text : "unknown";
}

static void add_number(char *text, size_t capacity, const char *what, double a, double b) {
    const size_t n = strlen(text);
    snprintf(text + n, capacity - n, "%s%s %.0f, not %.0f", n ? "; " : "", what, a, b);
}

static void add_text(char *text, size_t capacity, const char *what, const char *a, const char *b) {
    const size_t n = strlen(text);
    snprintf(text + n, capacity - n, "%s%s %s, not %s", n ? "; " : "", what, known(a), known(b));
}

static void describe(const match_key *a, const match_key *b, char *text, size_t capacity) {
    const unsigned found = differences(a, b);
    if (found & NUMERICS) add_text(text, capacity, "numerics", a->numerics, b->numerics);
    if (found & KV_TYPE) add_text(text, capacity, "KV type", a->kv_type, b->kv_type);
    if (found & BATCH && numbers_differ(a->micro_batch, b->micro_batch, 0)) {
        add_number(text, capacity, "micro batch", a->micro_batch, b->micro_batch);
    } else if (found & BATCH) {
        add_number(text, capacity, "batch", a->batch, b->batch);
    }
    if (found & THREADS && match_where(a, b) == MATCH_DEVICE)
        add_number(text, capacity, "threads", a->threads, b->threads);
}

static int weight(unsigned found) {
    int sum = 0;
    for (unsigned bit = 1; bit <= DEVICE; bit <<= 1)
        sum += (found & bit) != 0;
    return sum;
}

/* The row of the same test and model that differs least; n when there is none. *fitting: free ones that would do. */
static size_t nearest_row(const match_key *one, const match_key *others, size_t n,
                          const bool *taken, size_t *fitting) {
    size_t nearest = n;
    *fitting = 0;
    for (size_t j = 0; j < n; j++) {
        const unsigned found = differences(one, &others[j]);
        if (found & (MODEL | TEST)) continue;
        *fitting += !taken[j] && fit(one, &others[j]) != NO;
        if (nearest == n || weight(found) < weight(differences(one, &others[nearest]))) nearest = j;
    }
    return nearest;
}

void match_reason(const match_key *one, const match_key *others, size_t n, const bool *taken,
                  char *text, size_t capacity) {
    size_t fitting;
    const size_t nearest = nearest_row(one, others, n, taken, &fitting);
    text[0] = 0;
    if (nearest == n) {
        snprintf(text, capacity, "the other file has no such test of this model");
    } else if (fitting) {
        snprintf(text, capacity, "%zu row%s of other devices could be meant", fitting,
                 fitting == 1 ? "" : "s");
    } else if (fit(one, &others[nearest]) != NO) {
        snprintf(text, capacity, "its like is compared with another row already");
    } else {
        describe(one, &others[nearest], text, capacity);
    }
}
