/* One step: choose what each sequence computes, fill the step block, submit, wait, hand out rows. */
#include <string.h>

#include "src/engine/engine.h"

/* The batch being built. */
typedef struct batch {
    hy_engine *engine;
    uint32_t parts, tokens, rows;
    uint32_t max_tokens, max_chunk, max_parts, max_rows;
} batch;

/* ---- choosing ---------------------------------------------------------------------------------- */

static bool wants_logits(const hy_sequence *s, uint32_t position) {
    return s->want[position] || position + 1 == s->length;
}

/* How many of the pending tokens fit: budget of tokens, of rows of logits, and pages, which are taken
 * here. */
static hy_status fit(const batch *b, hy_sequence *s, uint32_t *count, uint32_t *rows) {
    uint32_t most = HY_MIN(s->length - s->computed, b->max_tokens - b->tokens);
    most = HY_MIN(most, b->max_chunk);
    uint32_t n = 0, r = 0;
    while (n < most) {
        const uint32_t position = s->computed + n, wants = wants_logits(s, position);
        if (b->rows + r + wants > b->max_rows) break;
        if (n == 0 || position % HY_PAGE_LENGTH == 0) {
            bool got = false;
            HY_TRY(hy_sequence_page(s, position, &got));
            if (!got) break;
        }
        r += wants;
        n++;
    }
    *count = n;
    *rows = r;
    return HY_OK;
}

static hy_status choose_one(batch *b, hy_sequence *s) {
    uint32_t count = 0, rows = 0;
    if (b->parts == b->max_parts || b->tokens == b->max_tokens) return HY_OK;
    HY_TRY(fit(b, s, &count, &rows));
    if (count == 0) return HY_OK;
    b->engine->part[b->parts++] = (hy_part){s, s->computed, count};
    b->tokens += count;
    b->rows += rows;
    return HY_OK;
}

/* Sequences that wait for one token come first: they are being generated. */
static hy_status choose(batch *b) {
    hy_sequence *s;
    for (s = b->engine->head; s; s = s->next)
        if (s->length - s->computed == 1) HY_TRY(choose_one(b, s));
    for (s = b->engine->head; s; s = s->next)
        if (s->length - s->computed != 1) HY_TRY(choose_one(b, s));
    return HY_OK;
}

/* ---- filling ----------------------------------------------------------------------------------- */

/* The arrays of part `p`; rows of logits are noted when `row` is not NULL. */
static uint32_t fill_part(const hy_engine *engine, hy_step_block *block, uint32_t p, uint32_t t,
                          uint32_t *r) {
    const hy_part *part = &engine->part[p];
    const hy_sequence *s = part->sequence;
    const uint32_t width = engine->setup.page_row;
    int32_t *table = block->table + (size_t)p * width;
    for (uint32_t i = 0; i < width; i++)
        table[i] = i < s->pages ? (int32_t)s->page[i] : -1;
    block->len[p] = (int32_t)(part->begin + part->count);
    for (uint32_t i = 0; i < part->count; i++, t++) {
        const uint32_t position = part->begin + i;
        block->tokens[t] = s->ids[position];
        block->pos[t] = (int32_t)position;
        block->slot[t] = (int32_t)(s->page[position / HY_PAGE_LENGTH] * HY_PAGE_LENGTH +
                                   position % HY_PAGE_LENGTH);
        block->row[t] = (int32_t)p;
        if (wants_logits(s, position)) block->rows[(*r)++] = (int32_t)t;
    }
    return t;
}

static void fill_block(const batch *b, hy_step_block *block) {
    uint32_t t = 0, r = 0;
    for (uint32_t p = 0; p < b->parts; p++)
        t = fill_part(b->engine, block, p, t, &r);
    block->counters[HY_COUNTER_T] = t;
    block->counters[HY_COUNTER_S] = b->parts;
    block->counters[HY_COUNTER_R] = r;
}

/* ---- running ----------------------------------------------------------------------------------- */

static hy_status wait_for(hy_engine *engine, uint32_t d) {
    return HY_FN(engine->timeline[d])
        ->timeline_wait(engine->timeline[d], engine->value[d], UINT64_MAX);
}

static hy_view view_of(const hy_engine *engine, const hy_place *place) {
    const hy_view view = {engine->memory.buffer[place->device][place->arena], place->offset,
                          place->size};
    return view;
}

/* A value goes from one device to another, through the host. */
static hy_status transfer(hy_engine *engine, const hy_program_step *step) {
    const hy_view src = view_of(engine, &step->operand[0]),
                  dst = view_of(engine, &step->operand[1]);
    HY_TRY(wait_for(engine, step->operand[0].device));
    HY_TRY(wait_for(engine, step->operand[1].device));
    const void *from = hy_view_host(src);
    if (!from) {
        HY_TRY(HY_FN(src.buffer)->read(src.buffer, src.offset, engine->bounce, src.size));
        from = engine->bounce;
    }
    if (hy_view_host(dst)) {
        memcpy(hy_view_host(dst), from, src.size);
        return HY_OK;
    }
    return HY_FN(dst.buffer)->write(dst.buffer, dst.offset, from, src.size);
}

static hy_status run(hy_engine *engine, const hy_recorded *recorded) {
    for (uint32_t i = 0; i < recorded->segments; i++) {
        const hy_program_segment *segment = &recorded->segment[i];
        if (!segment->cmd) {
            HY_TRY(transfer(engine, segment->transfer));
            continue;
        }
        const uint32_t d = segment->device;
        HY_TRY(HY_FN(segment->cmd)
                   ->submit(engine->setup.device[d], segment->cmd, engine->timeline[d],
                            engine->value[d] + 1));
        engine->value[d]++;
    }
    for (uint32_t d = 0; d < engine->setup.devices; d++)
        HY_TRY(wait_for(engine, d));
    return HY_OK;
}

hy_status hy_program_find_bucket(const hy_program *program, uint32_t tokens, uint32_t sequences,
                                 uint32_t rows, uint32_t *out) {
    for (uint32_t i = 0; i < program->buckets; i++) {
        const uint32_t *bound = program->bucket[i].bounds.of;
        if (tokens > bound[HY_SYMBOL_T] || sequences > bound[HY_SYMBOL_S] ||
            rows > bound[HY_SYMBOL_R])
            continue;
        *out = i;
        return HY_OK;
    }
    return hy_fail(HY_E_INTERNAL, "no bucket for %u tokens, %u sequences, %u rows", tokens,
                   sequences, rows);
}

static hy_status compute(const batch *b) {
    hy_engine *engine = b->engine;
    uint32_t bucket = 0;
    HY_TRY(hy_program_find_bucket(engine->setup.program, b->tokens, b->parts, b->rows, &bucket));
    for (uint32_t d = 0; d < engine->setup.devices; d++)
        fill_block(b, &engine->block[d]);
    return run(engine, &engine->recorded[bucket]);
}

/* ---- handing out ------------------------------------------------------------------------------- */

static void collect(const batch *b) {
    hy_engine *engine = b->engine;
    uint32_t r = 0;
    engine->step++;
    for (uint32_t p = 0; p < b->parts; p++) {
        const hy_part *part = &engine->part[p];
        hy_sequence *s = part->sequence;
        for (uint32_t position = part->begin; position < part->begin + part->count; position++) {
            if (!wants_logits(s, position)) continue;
            engine->row[r] = (hy_row){s, position, engine->logits + r * engine->logits_stride};
            s->logits_step = engine->step;
            s->logits_row = r++;
        }
        hy_sequence_advance(s, part->begin + part->count);
    }
}

static hy_status begin(hy_engine *engine, const hy_step_params *params, batch *b) {
    hy_step_params p = {0};
    const hy_engine_params *limits = &engine->setup.params;
    HY_TRY(hy_params_copy(&p, sizeof p, params, "hy_step_params"));
    *b = (batch){.engine = engine};
    b->max_tokens = p.max_tokens ? HY_MIN(p.max_tokens, limits->max_batch) : limits->max_batch;
    b->max_chunk = p.max_chunk ? p.max_chunk : b->max_tokens;
    b->max_parts = HY_MIN(limits->max_sequences, limits->max_batch);
    b->max_rows = limits->max_rows;
    return HY_OK;
}

hy_status hy_engine_step(hy_engine *engine, const hy_step_params *params, hy_step_result *result) {
    batch b;
    if (!engine) return hy_fail(HY_E_ARGUMENT, "hy_engine_step: engine is NULL");
    HY_TRY(hy_engine_check_loaded(engine));
    if (engine->failed)
        return hy_fail(HY_E_DEVICE,
                       "%s failed in an earlier step; free the engine and make another",
                       engine->setup.id[0]);
    HY_TRY(begin(engine, params, &b));
    HY_TRY(choose(&b));
    if (b.tokens == 0 && engine->head)
        return hy_fail(HY_E_LIMIT,
                       "the KV cache of %u pages of %d tokens is full; free or cut a sequence",
                       engine->setup.pages, HY_PAGE_LENGTH);
    if (b.tokens > 0) {
        HY_TRY(hy_engine_note(engine, compute(&b)));
        collect(&b);
    }
    if (!result) return HY_OK;
    const hy_step_result done = {sizeof done, b.tokens, b.parts, b.rows, engine->row};
    return hy_info_copy(result, &done, sizeof done, "hy_step_result");
}
