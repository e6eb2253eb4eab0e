/* One stream of tokens: its ids, its pages, its place in the queue. */
#include <stdlib.h>
#include <string.h>

#include "src/engine/engine.h"

/* ---- life -------------------------------------------------------------------------------------- */

static hy_status give_arrays(hy_sequence *s) {
    const hy_setup *setup = &s->engine->setup;
    const size_t context = setup->params.context, pages = setup->page_row;
    if (!s->ids) s->ids = malloc(context * sizeof *s->ids);
    if (!s->want) s->want = malloc(context);
    if (!s->page) s->page = malloc(pages * sizeof *s->page);
    if (!s->past) s->past = malloc((pages + 1) * sizeof *s->past);
    if (!s->ids || !s->want || !s->page || !s->past)
        return hy_fail(HY_E_MEMORY, "no memory for a sequence of %zu tokens", context);
    return HY_OK;
}

hy_status hy_sequence_new(hy_engine *engine, hy_sequence **out) {
    if (!engine || !out) return hy_fail(HY_E_ARGUMENT, "hy_sequence_new: an argument is NULL");
    HY_TRY(hy_engine_check_loaded(engine));
    const uint32_t limit = engine->setup.params.max_sequences;
    for (uint32_t i = 0; i < limit; i++) {
        hy_sequence *s = &engine->sequences[i];
        if (s->alive) continue;
        HY_TRY(give_arrays(s));
        s->alive = true;
        s->queued = false;
        s->length = s->computed = s->cached = s->pages = 0;
        s->past[0] = HY_PAST_EMPTY;
        s->logits_step = 0;
        *out = s;
        return HY_OK;
    }
    return hy_fail(HY_E_LIMIT, "%u sequences are alive, the most that this engine was made for",
                   limit);
}

/* Gives pages [keep, pages) back, the last one first: of a cached past, what is furthest from its
 * beginning is the first to be evicted. */
static void drop_pages(hy_sequence *s, uint32_t keep) {
    while (s->pages > keep)
        hy_pages_release(s->engine->pages, s->page[--s->pages]);
}

void hy_sequence_free(hy_sequence *sequence) {
    if (!sequence || !sequence->alive) return;
    hy_sequence_unqueue(sequence);
    drop_pages(sequence, 0);
    sequence->alive = false;
}

hy_status hy_sequence_fork(const hy_sequence *sequence, hy_sequence **out) {
    if (!sequence || !out) return hy_fail(HY_E_ARGUMENT, "hy_sequence_fork: an argument is NULL");
    if (sequence->computed < sequence->length)
        return hy_fail(HY_E_STATE, "%u tokens of the sequence are pending; step until none is",
                       sequence->length - sequence->computed);
    hy_sequence *s = NULL;
    HY_TRY(hy_sequence_new(sequence->engine, &s));
    s->length = sequence->length;
    s->computed = sequence->computed;
    s->cached = sequence->cached;
    s->logits_step = sequence->logits_step;
    s->logits_row = sequence->logits_row;
    s->pages = (uint32_t)hy_div_up(s->computed, HY_PAGE_LENGTH);
    memcpy(s->ids, sequence->ids, s->length * sizeof *s->ids);
    memcpy(s->want, sequence->want, s->length);
    memcpy(s->page, sequence->page, s->pages * sizeof *s->page);
    memcpy(s->past, sequence->past, (s->computed / HY_PAGE_LENGTH + 1) * sizeof *s->past);
    for (uint32_t i = 0; i < s->pages; i++)
        hy_pages_retain(s->engine->pages, s->page[i]);
    *out = s;
    return HY_OK;
}

/* ---- the queue --------------------------------------------------------------------------------- */

static void enqueue(hy_sequence *s) {
    hy_engine *engine = s->engine;
    if (s->queued) return;
    s->queued = true;
    s->next = NULL;
    s->prev = engine->tail;
    if (engine->tail)
        engine->tail->next = s;
    else
        engine->head = s;
    engine->tail = s;
}

void hy_sequence_unqueue(hy_sequence *s) {
    hy_engine *engine = s->engine;
    if (!s->queued) return;
    s->queued = false;
    if (s->prev)
        s->prev->next = s->next;
    else
        engine->head = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        engine->tail = s->prev;
}

/* ---- tokens ------------------------------------------------------------------------------------ */

/* Takes pages of an equal past from the cache, all of them full; at least one token stays to be
 * computed, so that there are logits. */
static void reuse_prefix(hy_sequence *s) {
    while (s->computed + HY_PAGE_LENGTH < s->length) {
        const uint32_t i = s->pages;
        uint32_t page =
            hy_pages_find(s->engine->pages, s->past[i], s->ids + s->computed, &s->past[i + 1]);
        if (page == HY_NO_PAGE) break;
        s->page[s->pages++] = page;
        s->computed += HY_PAGE_LENGTH;
    }
    s->cached = s->computed;
}

static hy_status check_ids(const hy_engine *engine, const int32_t *ids, size_t count) {
    const int32_t vocab = (int32_t)engine->model->h.vocab;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return hy_fail(HY_E_ARGUMENT, "token %zu is %d; the vocabulary has 0 to %d", i, ids[i],
                           vocab - 1);
    return HY_OK;
}

hy_status hy_sequence_add(hy_sequence *sequence, const int32_t *ids, size_t count, unsigned flags) {
    if (!sequence || (count && !ids))
        return hy_fail(HY_E_ARGUMENT, "hy_sequence_add: an argument is NULL");
    hy_engine *engine = sequence->engine;
    const uint32_t context = engine->setup.params.context, before = sequence->length;
    if (count > context - before) {
        if (before == 0)
            return hy_fail(HY_E_LIMIT, "prompt of %zu tokens does not fit a context of %u", count,
                           context);
        return hy_fail(HY_E_LIMIT, "%zu more tokens after %u do not fit a context of %u", count,
                       before, context);
    }
    HY_TRY(check_ids(engine, ids, count));
    if (count == 0) return HY_OK;
    memcpy(sequence->ids + before, ids, count * sizeof *ids);
    memset(sequence->want + before, (flags & HY_ADD_ALL_LOGITS) != 0, count);
    sequence->length += (uint32_t)count;
    if (before == 0 && !(flags & HY_ADD_ALL_LOGITS) && !engine->setup.params.no_prefix_cache)
        reuse_prefix(sequence);
    enqueue(sequence);
    return HY_OK;
}

hy_status hy_sequence_truncate(hy_sequence *sequence, uint32_t length) {
    if (!sequence) return hy_fail(HY_E_ARGUMENT, "hy_sequence_truncate: sequence is NULL");
    if (length > sequence->length)
        return hy_fail(HY_E_ARGUMENT, "a sequence of %u tokens cannot be cut to %u",
                       sequence->length, length);
    if (length < sequence->length) sequence->logits_step = 0;
    sequence->length = length;
    if (sequence->computed > length) sequence->computed = length;
    if (sequence->cached > length) sequence->cached = length;
    drop_pages(sequence, (uint32_t)hy_div_up(sequence->computed, HY_PAGE_LENGTH));
    if (sequence->computed == length) hy_sequence_unqueue(sequence);
    return HY_OK;
}

uint32_t hy_sequence_length(const hy_sequence *sequence) {
    return sequence ? sequence->length : 0;
}

uint32_t hy_sequence_pending(const hy_sequence *sequence) {
    return sequence ? sequence->length - sequence->computed : 0;
}

uint32_t hy_sequence_cached(const hy_sequence *sequence) {
    return sequence ? sequence->cached : 0;
}

hy_status hy_sequence_logits(const hy_sequence *sequence, const float **out) {
    if (!sequence || !out) return hy_fail(HY_E_ARGUMENT, "hy_sequence_logits: an argument is NULL");
    const hy_engine *engine = sequence->engine;
    if (sequence->computed < sequence->length)
        return hy_fail(HY_E_STATE, "%u tokens of the sequence are pending; step until none is",
                       sequence->length - sequence->computed);
    if (sequence->logits_step == 0)
        return hy_fail(HY_E_STATE,
                       "no token of the sequence was computed since it was made or cut");
    if (sequence->logits_step != engine->step)
        return hy_fail(HY_E_STATE, "the logits are gone: another step was made since");
    *out = engine->logits + sequence->logits_row * engine->logits_stride;
    return HY_OK;
}

/* ---- pages ------------------------------------------------------------------------------------- */

/* Copies what all layers have in page `from` to page `to`. */
static hy_status copy_page(hy_engine *engine, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < engine->setup.program->states; i++) {
        const hy_page_state *state = &engine->state[i];
        const uint64_t src = state->offset + from * state->bytes,
                       dst = state->offset + to * state->bytes;
        if (state->buffer->host) {
            memcpy((char *)state->buffer->host + dst, (char *)state->buffer->host + src,
                   state->bytes);
            continue;
        }
        HY_TRY(HY_FN(state->buffer)->read(state->buffer, src, engine->bounce, state->bytes));
        HY_TRY(HY_FN(state->buffer)->write(state->buffer, dst, engine->bounce, state->bytes));
    }
    return HY_OK;
}

hy_status hy_sequence_page(hy_sequence *sequence, uint32_t position, bool *got) {
    hy_engine *engine = sequence->engine;
    const uint32_t index = position / HY_PAGE_LENGTH;
    *got = false;
    if (index >= sequence->pages) {
        const uint32_t page = hy_pages_take(engine->pages);
        if (page == HY_NO_PAGE) return HY_OK;
        sequence->page[sequence->pages++] = page;
    } else if (hy_pages_references(engine->pages, sequence->page[index]) > 1) {
        const uint32_t page = hy_pages_take(engine->pages), shared = sequence->page[index];
        if (page == HY_NO_PAGE) return HY_OK;
        hy_status status = copy_page(engine, shared, page);
        if (status != HY_OK) {
            hy_pages_release(engine->pages, page);
            return hy_engine_note(engine, status);
        }
        hy_pages_release(engine->pages, shared);
        sequence->page[index] = page;
    } else {
        hy_pages_unpublish(engine->pages, sequence->page[index]);
    }
    *got = true;
    return HY_OK;
}

void hy_sequence_advance(hy_sequence *sequence, uint32_t end) {
    hy_engine *engine = sequence->engine;
    uint32_t full = sequence->computed / HY_PAGE_LENGTH;
    sequence->computed = end;
    if (sequence->computed == sequence->length) hy_sequence_unqueue(sequence);
    if (engine->setup.params.no_prefix_cache) return;
    for (; full < end / HY_PAGE_LENGTH; full++)
        sequence->past[full + 1] =
            hy_pages_publish(engine->pages, sequence->page[full], sequence->past[full],
                             sequence->ids + (size_t)full * HY_PAGE_LENGTH);
}
