/* Pass plan_memory: offsets of results and workspaces in one bucket's activations. Every block lives from
 * the wave that makes it to the last wave that reads it, both included, since ops of a wave may run at
 * once. Blocks are placed one by one, each into the smallest gap that is free while it lives; largest
 * first, or in order of time, or backwards in time, whichever gives the smallest arena. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "src/compile/inner.h"

typedef struct block {
    uint64_t size, offset;
    uint32_t first, last; /* waves */
    uint8_t device;
    bool fixed; /* holds an output: offset is given */
} block;

/* Blocks that live in a wave, linked. */
typedef struct link {
    uint32_t block, next;
} link;

/* Bytes [from, to). */
typedef struct range {
    uint64_t from, to;
} range;

/* Key of a block in the order of placing; largest first. */
typedef struct rank {
    uint64_t key;
    uint32_t block;
    bool fixed;
} rank;

typedef struct planner {
    hy_compiler *c;
    hy_program_bucket *bucket;
    hy_program_step *step;
    block *block;
    uint32_t blocks;
    uint32_t *block_of;     /* [values] roots; HY_NO_ID: none */
    uint32_t *step_block;   /* [steps] workspace; HY_NO_ID: none */
    uint32_t *last_wave;    /* [values] */
    uint32_t *last_readers; /* [values] operands that read it in that wave */
    /* of one placing */
    uint32_t *head; /* [waves] links of blocks that live in the wave */
    link *links;
    size_t link_count, link_room;
    uint32_t *met, stamp; /* [blocks] */
    range *taken;         /* [blocks] conflicts of the block being placed */
    hy_arena arena;
} planner;

/* ---- lifetimes ---------------------------------------------------------------------------------- */

static void find_last_waves(planner *p) {
    const hy_graph *graph = p->c->graph;
    for (uint32_t i = 0; i < p->bucket->steps; i++) {
        const hy_node *node = &graph->node[p->step[i].node];
        uint32_t wave = p->step[i].wave;
        for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
            if (node->operand[k] == HY_NO_ID) continue;
            uint32_t root = hy_graph_root(graph, node->operand[k]);
            bool made = hy_node_role(node->kind, k) & HY_ROLE_OUT;
            if (made || wave > p->last_wave[root]) p->last_readers[root] = 0;
            p->last_wave[root] = wave;
            p->last_readers[root] += !made;
        }
    }
    for (uint32_t id = 0; id < graph->values; id++)
        if (p->c->is_output[id]) p->last_wave[id] = HY_MAX(p->bucket->waves, 1) - 1;
}

static uint32_t add_block(planner *p, uint32_t step, uint64_t size, uint32_t last) {
    uint32_t id = p->blocks++;
    p->block[id] = (block){.size = hy_align_up(size, HY_VIEW_ALIGN),
                           .first = p->step[step].wave,
                           .last = HY_MAX(last, p->step[step].wave),
                           .device = p->step[step].device};
    return id;
}

static bool same_layout(const hy_tensor *a, const hy_tensor *b) {
    return a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof a->dim) &&
           !memcmp(a->stride, b->stride, sizeof a->stride);
}

/* The block of an operand whose last reader is this step and whose bytes the kernel may overwrite. */
static uint32_t in_place_block(const planner *p, uint32_t step, uint32_t out) {
    if (p->c->params->no_sharing) return HY_NO_ID;
    const hy_program_step *s = &p->step[step];
    const hy_graph *graph = p->c->graph;
    const hy_node *node = &graph->node[s->node];
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
        uint32_t id = node->operand[k];
        if (!(s->kernel.in_place >> k & 1) || id == HY_NO_ID || s->transfer) continue;
        if (hy_node_role(node->kind, k) & (HY_ROLE_OUT | HY_ROLE_STATE)) continue;
        uint32_t root = hy_graph_root(graph, id);
        if (p->block_of[root] == HY_NO_ID || p->c->is_output[root]) continue;
        if (p->last_wave[root] != s->wave || p->last_readers[root] != 1) continue;
        if (hy_graph_root(graph, id) != id && graph->value[id].offset) continue;
        if (!same_layout(&s->op.operand[k], &s->op.operand[out])) continue;
        if (p->block[p->block_of[root]].size !=
            hy_align_up(hy_tensor_bytes(&s->op.operand[out]), HY_VIEW_ALIGN))
            continue;
        return p->block_of[root];
    }
    return HY_NO_ID;
}

/* Blocks of the results of one step; the first result may take over an operand's block. */
static void add_results(planner *p, uint32_t step) {
    const hy_node *node = &p->c->graph->node[p->step[step].node];
    bool first = true;
    for (uint32_t k = 0; k < hy_node_operands(node->kind); k++) {
        uint32_t id = node->operand[k];
        if (!(hy_node_role(node->kind, k) & HY_ROLE_OUT) || id == HY_NO_ID) continue;
        uint32_t reused = first ? in_place_block(p, step, k) : HY_NO_ID;
        first = false;
        if (reused == HY_NO_ID)
            reused =
                add_block(p, step, hy_tensor_bytes(&p->step[step].op.operand[k]), p->last_wave[id]);
        else
            p->block[reused].last = HY_MAX(p->block[reused].last, p->last_wave[id]);
        p->block_of[id] = reused;
        if (!p->c->is_output[id]) continue;
        p->block[reused].fixed = true;
        p->block[reused].offset = p->c->place[id].offset;
    }
}

static void find_blocks(planner *p) {
    memset(p->block_of, 0xff, (p->c->graph->values + 1) * sizeof *p->block_of);
    for (uint32_t i = 0; i < p->bucket->steps; i++) {
        uint64_t workspace = p->step[i].workspace.size;
        add_results(p, i);
        p->step_block[i] = workspace ? add_block(p, i, workspace, p->step[i].wave) : HY_NO_ID;
    }
}

static hy_status check_blocks(const planner *p) {
    for (uint32_t i = 0; i < p->blocks; i++) {
        const hy_place place = {p->block[i].device, HY_ARENA_ACTIVATIONS, 0, p->block[i].size};
        HY_TRY(hy_segment_check(p->c, &place, "a result of the largest batch"));
    }
    return HY_OK;
}

/* ---- placing ------------------------------------------------------------------------------------ */

static hy_status put(planner *p, uint32_t id) {
    for (uint32_t w = p->block[id].first; w <= p->block[id].last; w++) {
        HY_TRY(hy_grow(&p->links, p->link_count, &p->link_room, sizeof *p->links));
        p->links[p->link_count] = (link){id, p->head[w]};
        p->head[w] = (uint32_t)p->link_count++;
    }
    return HY_OK;
}

static int compare_offset(const void *x, const void *y) {
    const range *a = x, *b = y;
    return a->from < b->from ? -1 : a->from > b->from;
}

/* Ranges taken by blocks of the same device that live while `id` does, by offset. */
static uint32_t conflicts(planner *p, uint32_t id) {
    const block *b = &p->block[id];
    uint32_t count = 0;
    p->stamp++;
    for (uint32_t w = b->first; w <= b->last; w++)
        for (uint32_t l = p->head[w]; l != HY_NO_ID; l = p->links[l].next) {
            uint32_t other = p->links[l].block;
            const block *o = &p->block[other];
            if (p->met[other] == p->stamp || o->device != b->device) continue;
            p->met[other] = p->stamp;
            p->taken[count++] = (range){o->offset, o->offset + o->size};
        }
    qsort(p->taken, count, sizeof *p->taken, compare_offset);
    return count;
}

/* The smallest gap that holds the block, or the end. */
static uint64_t find_offset(const planner *p, uint32_t count, const block *b) {
    const uint64_t segment = p->c->segment[b->device];
    uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t gap = p->taken[i].from > end ? p->taken[i].from - end : 0;
        uint64_t at = hy_segment_fit(end, b->size, segment);
        if (at + b->size <= p->taken[i].from && gap < best_gap) {
            best = at;
            best_gap = gap;
        }
        end = HY_MAX(end, p->taken[i].to);
    }
    return best == UINT64_MAX ? hy_segment_fit(end, b->size, segment) : best;
}

/* Places all blocks in the given order, fixed ones first; peak[] gets the end of each device. */
static hy_status place_all(planner *p, const rank *order, uint64_t *peak) {
    memset(p->head, 0xff, (p->bucket->waves + 1) * sizeof *p->head);
    memset(peak, 0, HY_MAX_DEVICES * sizeof *peak);
    p->link_count = 0;
    for (uint32_t i = 0; i < p->blocks; i++) {
        block *b = &p->block[order[i].block];
        if (!b->fixed) b->offset = find_offset(p, conflicts(p, order[i].block), b);
        HY_TRY(put(p, order[i].block));
        peak[b->device] = HY_MAX(peak[b->device], b->offset + b->size);
    }
    return HY_OK;
}

static int compare_rank(const void *x, const void *y) {
    const rank *a = x, *b = y;
    if (a->fixed != b->fixed) return a->fixed ? -1 : 1;
    if (a->key != b->key) return a->key > b->key ? -1 : 1;
    return a->block > b->block ? -1 : a->block < b->block; /* outputs are fixed: backwards fits */
}

enum { LARGEST_FIRST, LATEST_FIRST, EARLIEST_FIRST, ORDERS };

static uint64_t key_of(const block *b, int by) {
    if (by == LARGEST_FIRST) return b->size;
    return by == LATEST_FIRST ? b->last : UINT64_MAX - b->first;
}

static void rank_blocks(const planner *p, int by, rank *order) {
    for (uint32_t i = 0; i < p->blocks; i++)
        order[i] = (rank){key_of(&p->block[i], by), i, p->block[i].fixed};
    qsort(order, p->blocks, sizeof *order, compare_rank);
}

static uint64_t total(const uint64_t *peak) {
    uint64_t sum = 0;
    for (uint32_t d = 0; d < HY_MAX_DEVICES; d++)
        sum += peak[d];
    return sum;
}

/* Tries all orders; the blocks keep the offsets of the best. */
static hy_status place_best(planner *p, rank *order) {
    uint64_t *peak = p->bucket->activation_bytes, best = UINT64_MAX;
    int best_by = LARGEST_FIRST, by = 0;
    for (; by < ORDERS; by++) {
        rank_blocks(p, by, order);
        HY_TRY(place_all(p, order, peak));
        if (total(peak) >= best) continue;
        best = total(peak);
        best_by = by;
    }
    if (best_by == ORDERS - 1) return HY_OK; /* the last one tried */
    rank_blocks(p, best_by, order);
    return place_all(p, order, peak);
}

/* ---- the pass ----------------------------------------------------------------------------------- */

static bool planner_room(planner *p) {
    size_t values = p->c->graph->values + 1, steps = p->bucket->steps;
    size_t blocks = values + steps + 1;
    hy_arena *a = &p->arena;
    p->block = hy_arena_alloc(a, blocks, sizeof *p->block);
    p->block_of = hy_arena_alloc(a, values, sizeof *p->block_of);
    p->step_block = hy_arena_alloc(a, steps, sizeof *p->step_block);
    p->last_wave = hy_arena_alloc(a, values, sizeof *p->last_wave);
    p->last_readers = hy_arena_alloc(a, values, sizeof *p->last_readers);
    p->head = hy_arena_alloc(a, p->bucket->waves + 1, sizeof *p->head);
    p->met = hy_arena_alloc(a, blocks, sizeof *p->met);
    p->taken = hy_arena_alloc(a, blocks, sizeof *p->taken);
    return p->block && p->block_of && p->step_block && p->last_wave && p->last_readers && p->head &&
           p->met && p->taken;
}

/* Every block in room of its own. For tests: what the plan shares must not change results. */
static void place_apart(planner *p) {
    uint64_t *peak = p->bucket->activation_bytes;
    memcpy(peak, p->c->activation_base, sizeof p->c->activation_base);
    for (uint32_t i = 0; i < p->blocks; i++) {
        block *b = &p->block[i];
        if (b->fixed) continue;
        b->offset = hy_segment_fit(peak[b->device], b->size, p->c->segment[b->device]);
        peak[b->device] = b->offset + b->size;
    }
}

static void write_places(planner *p) {
    for (uint32_t id = 0; id < p->c->graph->values; id++) {
        if (p->block_of[id] == HY_NO_ID) continue;
        const block *b = &p->block[p->block_of[id]];
        p->c->place[id] = (hy_place){b->device, HY_ARENA_ACTIVATIONS, b->offset, b->size};
    }
    for (uint32_t i = 0; i < p->bucket->steps; i++)
        if (p->step_block[i] != HY_NO_ID)
            p->step[i].workspace.offset = p->block[p->step_block[i]].offset;
}

hy_status hy_compile_plan_memory(hy_compiler *c, hy_program_bucket *bucket, hy_program_step *step) {
    planner p = {.c = c, .bucket = bucket, .step = step};
    hy_status status;
    if (!planner_room(&p)) {
        status = HY_NO_MEMORY();
    } else {
        find_last_waves(&p);
        find_blocks(&p);
        rank *order = hy_arena_alloc(&p.arena, p.blocks, sizeof *order);
        status = order ? check_blocks(&p) : HY_NO_MEMORY();
        if (status == HY_OK && c->params->no_sharing)
            place_apart(&p);
        else if (status == HY_OK)
            status = place_best(&p, order);
        if (status == HY_OK) write_places(&p);
    }
    free(p.links);
    hy_arena_free(&p.arena);
    return status;
}
