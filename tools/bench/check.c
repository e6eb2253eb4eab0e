/* tools/bench/check.c: is the answer right? Logits for the first tokens of the test's own prompt, computed by the very
 * plans that are about to be timed, against those of a device that is trusted more.
 *
 * Causal attention makes it cheap: logits of the first positions do not depend on what follows, so a prompt of any
 * length is verified by a reference of a few tokens. Prompts are checked in the step that holds them whole, decoding by
 * as many sequences side by side as the row has. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/status.h"
#include "tools/bench/run.h"
#include "tools/logits.h"

enum {
    LEAST_TOKENS = 2,
    BUDGET_NS = 1500000000 /* of time for the reference's tokens */
};
#define REF_FLOPS 1e8 /* of one token: beyond, ref takes too long */

/* Rounding activations to 8 bits moves logits of these models by 1e-5 to 1e-3 nats; a wrong kernel by one or more. */
const double bench_kl_limit = 0.02, bench_top1_limit = 0.9;
/* First choices are equal too if the reference finds the other one nearly as likely: random weights have many
 * such ties. */
static const double tie = 0.8;

/* ---- the reference ---- */

static hy_status compute(bench_model *m, hy_engine *engine, bench_reference *r) {
    hy_sequence *sequence;
    const float *logits;
    HY_TRY(hy_sequence_new(engine, &sequence));
    hy_status status = HY_OK;
    const uint64_t begin = cli_now_ns();
    while (r->tokens < BENCH_CHECK_TOKENS && status == HY_OK && !bench_stopped() &&
           (r->tokens < LEAST_TOKENS || cli_now_ns() - begin < BUDGET_NS)) {
        const int32_t id = bench_token(m, 0, r->tokens);
        status = hy_sequence_add(sequence, &id, 1, 0);
        if (status == HY_OK) status = hy_engine_step(engine, NULL, NULL);
        if (status == HY_OK) status = hy_sequence_logits(sequence, &logits);
        if (status != HY_OK) break;
        memcpy(r->logits + (size_t)r->tokens++ * m->desc.vocab, logits,
               m->desc.vocab * sizeof *logits);
    }
    hy_sequence_free(sequence);
    return status;
}

static void make_reference(bench_model *m, bench_reference *r) {
    hy_engine *engine = NULL;
    r->logits = malloc((size_t)BENCH_CHECK_TOKENS * m->desc.vocab * sizeof *r->logits);
    hy_status status = hy_engine_new(m->model,
                                     hy_engine_params(.device = r->device, .isa = r->isa,
                                                      .context = BENCH_CHECK_TOKENS, .max_batch = 1,
                                                      .kv_type = r->kv_type),
                                     &engine);
    if (status == HY_OK && r->logits) status = compute(m, engine, r);
    if (status != HY_OK || !r->logits) {
        r->tokens = 0;
        snprintf(r->reason, sizeof r->reason, "%s: %s", r->device,
                 r->logits ? hy_error_text() : "no memory for logits");
    }
    hy_engine_free(engine);
}

/* The operations of one token, without loading anything. */
static double token_flops(const bench_model *m) {
    hy_engine_desc desc = {.size = sizeof desc};
    hy_engine *plan;
    if (hy_engine_new(
            m->model,
            hy_engine_params(.device = "cpu", .context = 64, .max_batch = 1, .plan_only = 1),
            &plan) != HY_OK)
        return INFINITY;
    const hy_status status = hy_engine_describe(plan, &desc);
    hy_engine_free(plan);
    return status == HY_OK ? desc.flops_per_token : INFINITY;
}

const bench_reference *bench_reference_for(bench_model *m, const char *device, hy_kv_type kv_type) {
    const char *isa = NULL, *other = "cpu";
    if (strncmp(device, "cpu", 3) == 0) {
        if (m->token_flops == 0) m->token_flops = token_flops(m);
        const bool quick = m->token_flops <= REF_FLOPS;
        other = quick ? "ref" : "cpu";
        isa = quick ? NULL : "generic";
    }
    for (uint32_t i = 0; i < m->references; i++) {
        const bench_reference *r = &m->reference[i];
        if (strcmp(r->device, other) == 0 && r->kv_type == kv_type && !r->isa == !isa) return r;
    }
    bench_reference *r = &m->reference[m->references++];
    *r = (bench_reference){.device = other, .isa = isa, .kv_type = kv_type};
    make_reference(m, r);
    return r;
}

/* ---- comparing ---- */

/* One position: adds to *check, whose sums become means later. */
static void compare(bench_check *check, const float *got, const float *want, uint32_t n) {
    uint32_t first, wanted;
    double kl = logits_divergence(got, want, n, &first, &wanted);
    if (!(kl >= -1e-6) || !isfinite(kl)) kl = INFINITY; /* NaN too */
    check->kl_mean += kl;
    check->kl_max = fmax(check->kl_max, kl);
    check->top1 += exp((double)want[first] - want[wanted]) >= tie;
    check->tokens++;
}

/* The prompt of a row, its first tokens with logits; rows come in the order of positions. */
static bool check_prompt(bench_run *r, const bench_reference *ref) {
    const uint32_t all = HY_MIN(r->test.prompt, r->desc.max_batch);
    const uint32_t known = HY_MIN(HY_MIN(ref->tokens, all), r->desc.max_rows - 1);
    uint32_t seen = 0;
    hy_step_result result = {.size = sizeof result};
    if (!bench_run_queue(r, 1, 0, known, HY_ADD_ALL_LOGITS) ||
        !bench_run_queue(r, 1, known, all - known, 0))
        return false;
    while (hy_sequence_pending(r->sequence[0])) {
        if (!bench_run_step(r, &result)) return false;
        for (uint32_t i = 0; i < result.rows; i++)
            if (result.row[i].position < known) {
                const size_t at = (size_t)result.row[i].position * r->m->desc.vocab;
                compare(&r->check, result.row[i].logits, ref->logits + at, r->m->desc.vocab);
                seen++;
            }
    }
    if (seen == known) return true;
    snprintf(r->failure, sizeof r->failure, "%u rows of logits for %u tokens", seen, known);
    return false;
}

/* The same tokens one by one, in every sequence; the first and the last one are compared. */
static bool check_decode(bench_run *r, const bench_reference *ref) {
    for (uint32_t t = 0; t < ref->tokens && !bench_stopped(); t++) {
        const float *logits;
        for (uint32_t i = 0; i < r->test.parallel; i++)
            if (!bench_run_add(r, i, 0, t, 1, 0)) return false;
        if (!bench_run_idle(r, r->test.parallel)) return false;
        for (uint32_t i = 0; i < r->test.parallel; i += HY_MAX(r->test.parallel - 1, 1)) {
            if (hy_sequence_logits(r->sequence[i], &logits) != HY_OK) return bench_run_failed(r);
            compare(&r->check, logits, ref->logits + (size_t)t * r->m->desc.vocab,
                    r->m->desc.vocab);
        }
    }
    return true;
}

static bool forget(bench_run *r) {
    for (uint32_t i = 0; i < r->parallel; i++)
        if (hy_sequence_truncate(r->sequence[i], 0) != HY_OK) return bench_run_failed(r);
    r->filled = 0;
    return true;
}

bool bench_check_run(bench_run *r) {
    bench_check *c = &r->check;
    const bench_reference *ref = bench_reference_for(r->m, r->desc.device, r->params.kv_type);
    snprintf(c->against, sizeof c->against, "%s%s%s", ref->device, ref->isa ? ", " : "",
             ref->isa ? ref->isa : "");
    if (ref->tokens == 0) {
        snprintf(c->reason, sizeof c->reason, "%s", ref->reason);
        return true;
    }
    if (!forget(r)) return false;
    if (r->test.kind != BENCH_TG && (!check_prompt(r, ref) || !forget(r))) return false;
    if (r->test.kind != BENCH_PP && (!check_decode(r, ref) || !forget(r))) return false;
    c->kl_mean /= c->tokens;
    c->top1 /= c->tokens;
    c->done = !bench_stopped();
    c->passed = c->kl_mean <= bench_kl_limit && c->top1 >= bench_top1_limit;
    if (!c->passed)
        snprintf(c->reason, sizeof c->reason,
                 "logits differ from %s: KL divergence %.3g nats (limit %.3g), top-1 agreement "
                 "%.0f %% (limit %.0f %%)",
                 c->against, c->kl_mean, bench_kl_limit, c->top1 * 100, bench_top1_limit * 100);
    return true;
}
