/* Logits -> token. Everything is computed in double from the float32 logits, and the random number of the
 * n-th token is Philox(seed, n): equal logits and seed give equal tokens on every machine.
 *
 * Each stage works on what the stages before it left, with probabilities that sum to 1 over that. Values
 * are only ordered as far as a stage needs: a heap gives them one by one, ties to the lower id. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "src/engine/engine.h"

#define DEFAULT_WINDOW 64u
#define MAX_WINDOW (1u << 20)

/* One token that may still be chosen. */
typedef struct candidate {
    int32_t id;
    double logit;  /* after bias, penalties and temperature */
    double weight; /* exp(logit - largest logit), not normalized */
    double key;    /* what the heap orders by, largest first */
} candidate;

struct hy_sampler {
    hy_model *model;
    hy_sampler_params params; /* bias points into this object's own copy */
    uint32_t vocab;
    hy_logit_bias *bias;
    candidate *candidate; /* [vocab] */
    int32_t *window;      /* [penalty_window] last tokens, a ring */
    uint32_t *seen;       /* [vocab] occurrences in the window; NULL without penalties */
    uint32_t window_count, window_next;
    uint64_t drawn; /* tokens sampled so far: the counter of the generator */
};

/* ---- making ------------------------------------------------------------------------------------ */

static hy_status check_real(const char *name, float value, float low, float high) {
    if (value >= low && value <= high) return HY_OK;
    return hy_fail(HY_E_ARGUMENT, "hy_sampler_params.%s: %g is outside [%g, %g]", name,
                   (double)value, (double)low, (double)high);
}

static hy_status check_params(const hy_sampler_params *p, uint32_t vocab) {
    HY_TRY(check_real("temperature", p->temperature, 0, 1e6f));
    HY_TRY(check_real("top_p", p->top_p, 0, 1));
    HY_TRY(check_real("min_p", p->min_p, 0, 1));
    HY_TRY(check_real("typical_p", p->typical_p, 0, 1));
    HY_TRY(check_real("repetition_penalty", p->repetition_penalty, 0, 1e6f));
    HY_TRY(check_real("frequency_penalty", p->frequency_penalty, -1e6f, 1e6f));
    HY_TRY(check_real("presence_penalty", p->presence_penalty, -1e6f, 1e6f));
    if (p->penalty_window > MAX_WINDOW)
        return hy_fail(HY_E_ARGUMENT, "hy_sampler_params.penalty_window: %u is above %u",
                       p->penalty_window, MAX_WINDOW);
    if (p->biases && !p->bias) return hy_fail(HY_E_ARGUMENT, "hy_sampler_params.bias is NULL");
    for (uint32_t i = 0; i < p->biases; i++) {
        if (p->bias[i].id < 0 || (uint32_t)p->bias[i].id >= vocab)
            return hy_fail(HY_E_ARGUMENT,
                           "hy_sampler_params.bias: id %d; the vocabulary has 0 to %u",
                           p->bias[i].id, vocab - 1);
        if (isnan(p->bias[i].bias) || p->bias[i].bias == INFINITY)
            return hy_fail(HY_E_ARGUMENT, "hy_sampler_params.bias: %g for id %d",
                           (double)p->bias[i].bias, p->bias[i].id);
    }
    return HY_OK;
}

static bool has_penalties(const hy_sampler_params *p) {
    return p->repetition_penalty != 1 || p->frequency_penalty != 0 || p->presence_penalty != 0;
}

static hy_status give_arrays(hy_sampler *s) {
    const hy_sampler_params *p = &s->params;
    s->candidate = malloc(s->vocab * sizeof *s->candidate);
    s->bias = malloc((p->biases + 1) * sizeof *s->bias);
    if (has_penalties(p)) {
        s->window = malloc(p->penalty_window * sizeof *s->window);
        s->seen = calloc(s->vocab, sizeof *s->seen);
    }
    if (!s->candidate || !s->bias || (has_penalties(p) && (!s->window || !s->seen)))
        return hy_fail(HY_E_MEMORY, "no memory for a sampler of %u tokens", s->vocab);
    if (p->biases) memcpy(s->bias, p->bias, p->biases * sizeof *s->bias);
    s->params.bias = s->bias;
    return HY_OK;
}

hy_status hy_sampler_new(const hy_model *model, const hy_sampler_params *params, hy_sampler **out) {
    hy_sampler_params p = {0};
    if (!model || !out) return hy_fail(HY_E_ARGUMENT, "hy_sampler_new: an argument is NULL");
    if (model->h.vocab == 0) return hy_fail(HY_E_STATE, "the model has no vocabulary");
    HY_TRY(hy_params_copy(&p, sizeof p, params, "hy_sampler_params"));
    HY_TRY(check_params(&p, model->h.vocab));
    if (p.penalty_window == 0) p.penalty_window = DEFAULT_WINDOW;
    if (p.repetition_penalty == 0) p.repetition_penalty = 1;
    hy_sampler *s = calloc(1, sizeof *s);
    if (!s) return hy_fail(HY_E_MEMORY, "no memory for a sampler");
    s->params = p;
    s->vocab = model->h.vocab;
    /* The reference count is the one thing of a model that changes. */
    s->model = hy_model_retain((hy_model *)(uintptr_t)model);
    hy_status status = give_arrays(s);
    if (status != HY_OK) {
        hy_sampler_free(s);
        return status;
    }
    *out = s;
    return HY_OK;
}

void hy_sampler_free(hy_sampler *sampler) {
    if (!sampler) return;
    hy_model_free(sampler->model);
    free(sampler->candidate);
    free(sampler->bias);
    free(sampler->window);
    free(sampler->seen);
    free(sampler);
}

void hy_sampler_accept(hy_sampler *sampler, int32_t id) {
    hy_sampler *s = sampler;
    if (!s || !s->seen || id < 0 || (uint32_t)id >= s->vocab) return;
    if (s->window_count == s->params.penalty_window)
        s->seen[s->window[s->window_next]]--;
    else
        s->window_count++;
    s->window[s->window_next] = id;
    s->window_next = (s->window_next + 1) % s->params.penalty_window;
    s->seen[id]++;
}

/* ---- the heap ---------------------------------------------------------------------------------- */

static bool before(const candidate *a, const candidate *b) {
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static void sift(candidate *c, uint32_t count, uint32_t at) {
    const candidate moved = c[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(&c[child + 1], &c[child])) child++;
        if (!before(&c[child], &moved)) break;
        c[at] = c[child];
    }
    c[at] = moved;
}

static void heap_make(candidate *c, uint32_t count) {
    for (uint32_t i = count / 2; i-- > 0;)
        sift(c, count, i);
}

/* Moves the first one behind the others: c[count - 1]. */
static void heap_pop(candidate *c, uint32_t count) {
    const candidate first = c[0];
    c[0] = c[count - 1];
    c[count - 1] = first;
    sift(c, count - 1, 0);
}

/* Brings the `taken` last, which were popped, to the front in the order in which they were popped. */
static uint32_t keep_popped(candidate *c, uint32_t count, uint32_t taken) {
    for (uint32_t i = 0, j = count - 1; i < j; i++, j--) {
        const candidate swap = c[i];
        c[i] = c[j];
        c[j] = swap;
    }
    return taken;
}

/* ---- the stages: c [count] -> the count that stays --------------------------------------------- */

static double penalized(const hy_sampler *s, int32_t id, double logit) {
    const hy_sampler_params *p = &s->params;
    if (!s->seen || s->seen[id] == 0) return logit;
    const double r = p->repetition_penalty;
    logit = logit > 0 ? logit / r : logit * r;
    return logit - (double)p->frequency_penalty * s->seen[id] - (double)p->presence_penalty;
}

/* Fills the candidates with finite logits, in the order of ids. Biases are rare: they are put in while
 * key holds the sum for each id. */
static uint32_t gather(hy_sampler *s, const float *logits) {
    candidate *c = s->candidate;
    for (uint32_t i = 0; i < s->vocab; i++)
        c[i].logit = isfinite(logits[i]) ? (double)logits[i] : -INFINITY;
    for (uint32_t i = 0; i < s->params.biases; i++)
        c[s->bias[i].id].logit += (double)s->bias[i].bias;
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        const double logit = penalized(s, (int32_t)i, c[i].logit);
        if (!isfinite(logit)) continue;
        c[count++] = (candidate){(int32_t)i, logit, 0, logit};
    }
    return count;
}

/* The largest logit, the lowest id among equals. */
static uint32_t best(const candidate *c, uint32_t count) {
    uint32_t b = 0;
    for (uint32_t i = 1; i < count; i++)
        if (before(&c[i], &c[b])) b = i;
    return b;
}

/* weight = exp((logit - largest) / temperature). */
static void weigh(candidate *c, uint32_t count, double temperature) {
    const double largest = c[best(c, count)].logit;
    for (uint32_t i = 0; i < count; i++) {
        c[i].logit = (c[i].logit - largest) / temperature;
        c[i].weight = exp(c[i].logit);
        c[i].key = c[i].logit;
    }
}

static double sum_of(const candidate *c, uint32_t count) {
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += c[i].weight;
    return sum;
}

static uint32_t keep_top_k(candidate *c, uint32_t count, uint32_t k) {
    if (k == 0 || k >= count) return count;
    heap_make(c, count);
    for (uint32_t i = 0; i < k; i++)
        heap_pop(c, count - i);
    return keep_popped(c, count, k);
}

/* The first by key whose weights reach `share` of the sum, at least one. */
static uint32_t keep_share(candidate *c, uint32_t count, double share) {
    const double needed = share * sum_of(c, count);
    double reached = 0;
    uint32_t taken = 0;
    heap_make(c, count);
    do {
        heap_pop(c, count - taken);
        taken++;
        reached += c[count - taken].weight;
    } while (reached < needed && taken < count);
    return keep_popped(c, count, taken);
}

/* Closest to the expected surprise first. Source: Meister et al. 2022, arXiv:2202.00666. */
static uint32_t keep_typical(candidate *c, uint32_t count, double share) {
    const double sum = sum_of(c, count), log_sum = log(sum);
    double entropy = 0;
    for (uint32_t i = 0; i < count; i++)
        if (c[i].weight > 0) entropy += c[i].weight / sum * (log_sum - c[i].logit);
    for (uint32_t i = 0; i < count; i++)
        c[i].key = -fabs(log_sum - c[i].logit - entropy);
    count = keep_share(c, count, share);
    for (uint32_t i = 0; i < count; i++)
        c[i].key = c[i].logit;
    return count;
}

static uint32_t keep_min_p(candidate *c, uint32_t count, double share) {
    double largest = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        largest = HY_MAX(largest, c[i].weight);
    for (uint32_t i = 0; i < count; i++)
        if (c[i].weight >= share * largest) c[kept++] = c[i];
    return kept;
}

/* ---- choosing ---------------------------------------------------------------------------------- */

/* Uniform in [0, 1), 53 bits, of the n-th token of this seed. */
static double uniform(uint64_t seed, uint64_t n) {
    uint32_t word[4];
    hy_philox(seed, n, 0, word);
    return (double)((uint64_t)(word[0] >> 5) << 26 | word[1] >> 6) * 0x1p-53;
}

static int32_t draw(const hy_sampler *s, const candidate *c, uint32_t count) {
    const double target = uniform(s->params.seed, s->drawn) * sum_of(c, count);
    double reached = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (c[i].weight <= 0) continue;
        last = i;
        reached += c[i].weight;
        if (reached > target) break;
    }
    return c[last].id;
}

static int32_t choose(hy_sampler *s, uint32_t count) {
    const hy_sampler_params *p = &s->params;
    candidate *c = s->candidate;
    if (p->temperature == 0) return c[best(c, count)].id;
    count = keep_top_k(c, count, p->top_k); /* temperature keeps the order: fewer to weigh */
    weigh(c, count, (double)p->temperature);
    if (p->typical_p > 0 && p->typical_p < 1) count = keep_typical(c, count, (double)p->typical_p);
    if (p->top_p > 0 && p->top_p < 1) count = keep_share(c, count, (double)p->top_p);
    if (p->min_p > 0) count = keep_min_p(c, count, (double)p->min_p);
    return draw(s, c, count);
}

hy_status hy_sampler_sample(hy_sampler *sampler, const float *logits, int32_t *id) {
    if (!sampler || !logits || !id)
        return hy_fail(HY_E_ARGUMENT, "hy_sampler_sample: an argument is NULL");
    const uint32_t count = gather(sampler, logits);
    if (count == 0)
        return hy_fail(HY_E_ARGUMENT, "none of the %u logits is finite", sampler->vocab);
    *id = choose(sampler, count);
    sampler->drawn++;
    hy_sampler_accept(sampler, *id);
    return HY_OK;
}
