/* Pass select: one kernel per node and bucket. For every distinct op the device's kernels are sorted into
 * options: an option is one class of kernels (equal bits in every bucket) with one layout of every constant
 * operand. Nodes that read the same constant agree on its layout by the lowest total cost; where they
 * cannot, the constant exists once per layout. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "src/compile/inner.h"

typedef struct selector {
    hy_compiler *c;
    hy_map map;          /* distinct ops */
    hy_options *options; /* [count] */
    size_t count, room;
} selector;

/* ---- options of one op -------------------------------------------------------------------------- */

/* Layout and bytes of a constant operand; 0 rows means the file's own. */
static void layout_of(const hy_kernel *kernel, uint32_t operand, uint32_t *layout,
                      uint64_t *bytes) {
    const hy_constant_layout *c = &kernel->constant[operand];
    *layout = c->rows ? c->layout : 0;
    *bytes = *layout ? c->bytes : 0;
}

static bool same_layout(const hy_kernel *a, const hy_kernel *b, uint32_t operand) {
    uint32_t la, lb;
    uint64_t ba, bb;
    layout_of(a, operand, &la, &ba);
    layout_of(b, operand, &lb, &bb);
    return la == lb && ba == bb;
}

static bool same_layouts(const hy_op *op, const hy_kernel *a, const hy_kernel *b) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        if (op->operand[i].constant && !same_layout(a, b, i)) return false;
    return true;
}

/* The cheapest kernel of an answer with that class and those layouts. */
static const hy_kernel *cheapest(const hy_compile_params *params, const hy_answer *answer,
                                 const hy_kernel *like) {
    const hy_kernel *best = NULL;
    for (uint32_t i = 0; i < answer->count; i++) {
        const hy_kernel *k = &answer->kernel[i];
        if (hy_kernel_class(params, k) != hy_kernel_class(params, like)) continue;
        if (!same_layouts(&answer->op, k, like)) continue;
        if (!best || k->cost < best->cost) best = k;
    }
    return best;
}

/* Option that begins with `like`; false when some bucket lacks such a kernel. Cost is per token: a token of
 * a decode step counts as much as one of a prefill. */
static bool option_of(const hy_compile_params *params, const hy_answer *const *answer,
                      const hy_kernel *like, hy_option *out) {
    out->class = hy_kernel_class(params, like);
    out->cost = 0;
    for (uint32_t b = 0; b < params->buckets; b++) {
        out->kernel[b] = cheapest(params, answer[b], like);
        if (!out->kernel[b]) return false;
        out->cost += out->kernel[b]->cost / (float)params->bucket[b];
    }
    return true;
}

static hy_status find_options(selector *s, uint32_t node, hy_options *out) {
    const hy_compile_params *params = s->c->params;
    const hy_answer *answer[HY_MAX_BUCKETS];
    uint32_t device = s->c->graph->node[node].device;
    hy_op op;
    for (uint32_t b = 0; b < params->buckets; b++) {
        hy_bounds bounds = hy_bucket_bounds(params, b);
        hy_graph_op(s->c->graph, node, &bounds, &op);
        answer[b] = hy_query_ask(&s->c->query, device, &op);
        if (!answer[b]) return s->c->query.status;
    }
    const hy_answer *largest = answer[params->buckets - 1];
    hy_option *list = hy_arena_alloc(&s->c->scratch, largest->count, sizeof *list);
    if (!list) return HY_NO_MEMORY();
    out->count = 0;
    for (uint32_t i = 0; i < largest->count; i++) {
        hy_option option;
        uint32_t at = 0;
        if (!option_of(params, answer, &largest->kernel[i], &option)) continue;
        while (at < out->count &&
               !(list[at].class == option.class &&
                 same_layouts(&largest->op, list[at].kernel[0], option.kernel[0])))
            at++;
        if (at < out->count) continue;
        for (at = out->count++; at > 0 && list[at - 1].cost > option.cost; at--)
            list[at] = list[at - 1];
        list[at] = option;
    }
    out->option = list;
    return HY_OK;
}

static bool equal_options(const void *user, uint32_t a, uint32_t b) {
    const selector *s = user;
    const hy_answer *x = s->options[a].answer, *y = s->options[b].answer;
    return x == y; /* answers are distinct already */
}

static hy_status no_kernel(const selector *s, const hy_answer *answer) {
    char name[64];
    hy_text text = {0};
    hy_query_device_name(s->c->params, answer->device, name);
    hy_op_print(&answer->op, &text);
    hy_status status = hy_fail(HY_E_UNSUPPORTED, "device %s has no kernel for %s", name,
                               text.data ? text.data : "an op");
    hy_text_free(&text);
    return status;
}

static hy_status options_of_task(selector *s, hy_task *task, uint32_t *index) {
    const hy_compile_params *params = s->c->params;
    hy_bounds bounds = hy_bucket_bounds(params, params->buckets - 1);
    hy_op op;
    hy_graph_op(s->c->graph, task->node, &bounds, &op);
    const hy_answer *answer = hy_query_ask(&s->c->query, s->c->graph->node[task->node].device, &op);
    if (!answer) return s->c->query.status;
    HY_TRY(hy_grow(&s->options, s->count, &s->room, sizeof *s->options));
    s->options[s->count] = (hy_options){.answer = answer};
    uint32_t found = hy_map_add(&s->map, hy_hash(&answer, sizeof answer, 0), (uint32_t)s->count,
                                equal_options, s);
    if (found == HY_NO_ID) return HY_E_MEMORY;
    *index = found;
    if (found < s->count) return HY_OK;
    s->count++;
    HY_TRY(find_options(s, task->node, &s->options[found]));
    return s->options[found].count ? HY_OK : no_kernel(s, answer);
}

/* ---- agreeing on layouts ------------------------------------------------------------------------ */

/* The option keeps what was agreed for the operands in task->fixed. */
static bool keeps(const hy_task *task, const hy_option *option) {
    for (uint32_t i = 0; i < HY_MAX_OPERANDS; i++)
        if ((task->fixed >> i & 1) && !same_layout(option->kernel[0], task->chosen->kernel[0], i))
            return false;
    return true;
}

/* The cheapest option that also has `like`'s layout of operand `like_operand` at `operand`. */
static const hy_option *agreeing(const hy_task *task, uint32_t operand, const hy_kernel *like,
                                 uint32_t like_operand) {
    uint32_t layout, wanted;
    uint64_t bytes, wanted_bytes;
    layout_of(like, like_operand, &wanted, &wanted_bytes);
    for (uint32_t i = 0; i < task->options->count; i++) {
        const hy_option *option = &task->options->option[i];
        layout_of(option->kernel[0], operand, &layout, &bytes);
        if (layout == wanted && bytes == wanted_bytes && keeps(task, option)) return option;
    }
    return NULL;
}

/* Readers of one constant on one device: task * HY_MAX_OPERANDS + operand. */
static void agree(hy_compiler *c, uint32_t readers, const uint32_t *reader) {
    const hy_task *first = &c->task[reader[0] / HY_MAX_OPERANDS];
    const hy_kernel *best = NULL;
    uint32_t first_operand = reader[0] % HY_MAX_OPERANDS;
    float best_cost = 0;
    for (uint32_t i = 0; i < first->options->count; i++) {
        const hy_kernel *like = first->options->option[i].kernel[0];
        float cost = 0;
        bool all = true;
        for (uint32_t r = 0; all && r < readers; r++) {
            const hy_option *option = agreeing(&c->task[reader[r] / HY_MAX_OPERANDS],
                                               reader[r] % HY_MAX_OPERANDS, like, first_operand);
            all = option != NULL;
            if (all) cost += option->cost;
        }
        if (!all || (best && cost >= best_cost)) continue;
        best = like;
        best_cost = cost;
    }
    for (uint32_t r = 0; best && r < readers; r++) {
        hy_task *task = &c->task[reader[r] / HY_MAX_OPERANDS];
        task->chosen = agreeing(task, reader[r] % HY_MAX_OPERANDS, best, first_operand);
        task->fixed |= 1u << reader[r] % HY_MAX_OPERANDS;
    }
}

static bool is_constant(const hy_graph *graph, uint32_t id) {
    return id != HY_NO_ID &&
           (graph->value[id].kind == HY_VALUE_WEIGHT || graph->value[id].kind == HY_VALUE_LITERAL);
}

/* Lists the readers of every constant (linked through `next`) and lets those with several agree. */
static hy_status agree_all(hy_compiler *c) {
    const hy_graph *graph = c->graph;
    size_t uses = (size_t)c->tasks * HY_MAX_OPERANDS;
    uint32_t *head = malloc((graph->values + 1) * sizeof *head);
    uint32_t *next = malloc((uses + 1) * sizeof *next),
             *reader = malloc((uses + 1) * sizeof *reader);
    hy_status status = head && next && reader ? HY_OK : HY_NO_MEMORY();
    if (status == HY_OK) memset(head, 0xff, (graph->values + 1) * sizeof *head);
    for (uint32_t t = c->tasks; status == HY_OK && t-- > 0;)
        for (uint32_t k = 0; k < HY_MAX_OPERANDS; k++) {
            uint32_t id = graph->node[c->task[t].node].operand[k];
            if (!is_constant(graph, id) || !c->task[t].options) continue;
            next[t * HY_MAX_OPERANDS + k] = head[id];
            head[id] = t * HY_MAX_OPERANDS + k;
        }
    for (uint32_t id = 0; status == HY_OK && id < graph->values; id++)
        for (uint32_t d = 0; head[id] != HY_NO_ID && d < c->params->devices; d++) {
            uint32_t readers = 0;
            for (uint32_t use = head[id]; use != HY_NO_ID; use = next[use])
                if (graph->node[c->task[use / HY_MAX_OPERANDS].node].device == d)
                    reader[readers++] = use;
            if (readers > 1) agree(c, readers, reader);
        }
    free(head);
    free(next);
    free(reader);
    return status;
}

/* ---- constants ---------------------------------------------------------------------------------- */

/* The entry of a constant for one reader; made when no earlier reader has the same layout. */
static hy_status constant_for(hy_compiler *c, hy_task *task, uint32_t operand, uint32_t *last) {
    const hy_node *node = &c->graph->node[task->node];
    uint32_t id = node->operand[operand], buckets = c->params->buckets;
    const hy_kernel *kernel = task->chosen->kernel[buckets - 1];
    uint32_t layout, other;
    uint64_t bytes, other_bytes;
    layout_of(kernel, operand, &layout, &bytes);
    for (uint32_t i = last[id]; i != HY_NO_ID; i = c->constant_next[i]) {
        const hy_program_constant *k = &c->constant[i];
        layout_of(&k->kernel, k->operand, &other, &other_bytes);
        if (k->place.device != node->device || layout != other || bytes != other_bytes) continue;
        task->constant[operand] = i;
        return HY_OK;
    }
    hy_program_constant made = {.value = id, .operand = operand, .packed = layout != 0};
    hy_bounds bounds = hy_bucket_bounds(c->params, buckets - 1);
    hy_graph_op(c->graph, task->node, &bounds, &made.op);
    made.kernel = *kernel;
    made.place = (hy_place){.device = node->device, .arena = HY_ARENA_WEIGHTS, .size = bytes};
    if (!layout && hy_value_bytes(&c->graph->value[id], &bounds, &made.place.size))
        return hy_fail(HY_E_LIMIT, "%%%s is too large", c->graph->value[id].name);
    size_t room = c->constant_room;
    HY_TRY(hy_grow(&c->constant, c->constants, &c->constant_room, sizeof *c->constant));
    if (room != c->constant_room) {
        uint32_t *grown = realloc(c->constant_next, c->constant_room * sizeof *grown);
        if (!grown) return HY_NO_MEMORY();
        c->constant_next = grown;
    }
    task->constant[operand] = (uint32_t)c->constants;
    c->constant_next[c->constants] = last[id];
    last[id] = (uint32_t)c->constants;
    c->constant[c->constants++] = made;
    return HY_OK;
}

static hy_status collect_constants(hy_compiler *c) {
    uint32_t *last = malloc((c->graph->values + 1) * sizeof *last);
    hy_status status = HY_OK;
    if (!last) return HY_NO_MEMORY();
    memset(last, 0xff, (c->graph->values + 1) * sizeof *last);
    for (uint32_t t = 0; status == HY_OK && t < c->tasks; t++)
        for (uint32_t k = 0; status == HY_OK && k < HY_MAX_OPERANDS; k++) {
            c->task[t].constant[k] = HY_NO_ID;
            if (c->task[t].options &&
                is_constant(c->graph, c->graph->node[c->task[t].node].operand[k]))
                status = constant_for(c, &c->task[t], k, last);
        }
    free(last);
    return status;
}

hy_status hy_compile_select(hy_compiler *c) {
    selector s = {.c = c};
    hy_status status = HY_OK;
    uint32_t *index = malloc((c->tasks + 1) * sizeof *index);
    if (!index) return HY_NO_MEMORY();
    for (uint32_t t = 0; status == HY_OK && t < c->tasks; t++)
        if (!c->task[t].transfer) status = options_of_task(&s, &c->task[t], &index[t]);
    hy_options *kept = hy_arena_alloc(&c->scratch, s.count, sizeof *kept);
    if (status == HY_OK && !kept) status = HY_NO_MEMORY();
    if (status == HY_OK && s.count) memcpy(kept, s.options, s.count * sizeof *kept);
    for (uint32_t t = 0; status == HY_OK && t < c->tasks; t++) {
        if (c->task[t].transfer) continue;
        c->task[t].options = &kept[index[t]];
        c->task[t].chosen = c->task[t].options->option;
    }
    if (status == HY_OK) status = agree_all(c);
    if (status == HY_OK) status = collect_constants(c);
    free(index);
    free(s.options);
    hy_map_free(&s.map);
    return status;
}
