/* tests/model/test_golden.c: every golden micro model whose architecture and types this build knows, on one
 * device (argv[1], default cpu): logits against float64, greedy ids, ragged batches bit for bit; the others
 * are refused by name. argv[2]: highest ISA ("": all). argv[3]: only cases whose name contains it. argv[4]:
 * "fast" for numerics=fast, where ragged batches may differ and matrix units round activations to f16 or bf16. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/golden.h"

typedef struct tally {
    const char *device, *isa, *filter;
    bool fast;
    hy_instance *instance;
    uint32_t run, refused, failed;
} tally;

static void fail(tally *t, const golden_case *c, const char *what, double got, double limit) {
    printf("FAIL %s on %s: %s %.3g, limit %.3g\n", c->name, t->device, what, got, limit);
    t->failed++;
}

static bool is_ref(const tally *t) {
    return strncmp(t->device, "ref", 3) == 0;
}

/* With numerics=fast a CPU's tiles may round weights, activations and attention to bf16. */
static bool may_round_to_bfloat(const tally *t) {
    return t->fast && strncmp(t->device, "cpu", 3) == 0;
}

/* What the logits may differ from float64 by, with a float32 KV cache. */
static double limit_of(const tally *t, const golden_case *c) {
    if (is_ref(t)) return 1e-11;
    if (strcmp(c->type, "F32") == 0) return 1e-9;
    if (strcmp(c->type, "F16") == 0) return may_round_to_bfloat(t) ? 1e-4 : 1e-6;
    if (strcmp(c->type, "BF16") == 0) return 5e-5;
    return 1.1 * c->peer_nmse;
}

static hy_status open_engine(const tally *t, hy_model *model, hy_kv_type kv, hy_engine **out) {
    return hy_engine_new(
        model,
        hy_engine_params(.device = t->device, .context = 512, .max_sequences = 3, .max_batch = 128,
                         .max_rows = 128, .kv_type = kv,
                         .numerics = t->fast ? HY_NUMERICS_FAST : HY_NUMERICS_INVARIANT,
                         .validate = 1),
        out);
}

/* Logits, ragged and chunked runs and greedy ids with a float32 cache; the error to *nmse. */
static bool exact_cache(tally *t, const golden_case *c, hy_model *model, double *nmse) {
    hy_engine *engine;
    if (open_engine(t, model, HY_KV_F32, &engine) != HY_OK) {
        printf("FAIL %s on %s: %s\n", c->name, t->device, hy_error_text());
        t->failed++;
        return false;
    }
    bool float_file = c->type[0] == 'F';
    double gap = is_ref(t) || float_file ? 0 : 1e-2; /* rounded activations may flip an expert */
    golden_logits alone, ragged, chunked;
    uint32_t same = 0, all = 0;
    bool ok = golden_run(engine, c, false, 0, &alone) && golden_run(engine, c, true, 0, &ragged) &&
              golden_run(engine, c, true, 7, &chunked) && golden_greedy(engine, c, &same, &all);
    if (!ok) {
        t->failed++;
    } else {
        *nmse = golden_nmse(c, &alone, gap);
        if (!(*nmse <= limit_of(t, c))) fail(t, c, "NMSE", *nmse, limit_of(t, c));
        if (!t->fast && !golden_equal(c, &alone, &ragged))
            fail(t, c, "a ragged batch differs from single runs", 1, 0);
        if (!t->fast && !golden_equal(c, &alone, &chunked))
            fail(t, c, "a chunked batch differs from single runs", 1, 0);
        if (!t->fast && (float_file || is_ref(t)) && same != all)
            fail(t, c, "greedy ids equal", same, all);
        printf("ok %s on %s: NMSE %.2e (limit %.2e, %.2f of the peer's), greedy %u of %u\n",
               c->name, t->device, *nmse, limit_of(t, c), *nmse / c->peer_nmse, same, all);
    }
    golden_logits_free(&alone);
    golden_logits_free(&ragged);
    golden_logits_free(&chunked);
    hy_engine_free(engine);
    return ok;
}

/* The default f16 cache costs no more than 1e-6 on top; attention that rounds to bf16 has the 5e-5 of that. On
 * quantized files a device that rounds activations rounds other values then, an error of the same size but another
 * sample: the exact device (ref) shows what the cache costs, and here half as much again is allowed. */
static void default_cache(tally *t, const golden_case *c, hy_model *model, double exact) {
    hy_engine *engine;
    golden_logits logits = {{0}};
    if (open_engine(t, model, HY_KV_F16, &engine) != HY_OK) {
        printf("FAIL %s on %s: %s\n", c->name, t->device, hy_error_text());
        t->failed++;
        return;
    }
    if (golden_run(engine, c, true, 0, &logits)) {
        double nmse = golden_nmse(c, &logits, c->type[0] == 'F' || is_ref(t) ? 0 : 1e-2);
        bool rounds = !is_ref(t) && c->type[0] != 'F' && c->type[0] != 'B';
        double cache = may_round_to_bfloat(t) ? 5e-5 : 1e-6;
        double limit = rounds ? fmax(1.5 * exact, 1.1 * c->peer_nmse) : exact + cache;
        if (!(nmse <= limit)) fail(t, c, "NMSE with the f16 cache", nmse, limit);
    } else {
        t->failed++;
    }
    golden_logits_free(&logits);
    hy_engine_free(engine);
}

static void refused(tally *t, const golden_case *c) {
    const char *text = hy_error_text();
    bool names = strstr(text, c->arch) || strstr(text, "type");
    if (!names) {
        printf("FAIL %s: refused without a name: %s\n", c->name, text);
        t->failed++;
        return;
    }
    printf("refused %s: %s\n", c->name, text);
    t->refused++;
}

static void run_case(tally *t, const golden_case *c) {
    hy_model *model = NULL;
    hy_engine *engine = NULL;
    hy_status status = hy_model_open(t->instance, c->path, NULL, &model);
    if (status == HY_OK) status = open_engine(t, model, HY_KV_F32, &engine);
    if (status == HY_E_UNSUPPORTED) {
        refused(t, c);
    } else if (status != HY_OK) {
        printf("FAIL %s: %s\n", c->name, hy_error_text());
        t->failed++;
    }
    hy_engine_free(engine);
    if (status == HY_OK) {
        double nmse = 0;
        t->run++;
        if (exact_cache(t, c, model, &nmse)) default_cache(t, c, model, nmse);
    }
    hy_model_free(model);
}

int main(int argc, char **argv) {
    const char *data = getenv("HALYARD_TEST_DATA");
    char folder[512];
    snprintf(folder, sizeof folder, "%s/golden", data ? data : "../shared/data");
    struct dirent **names;
    int count = scandir(folder, &names, NULL, alphasort);
    if (count < 0) {
        printf("skipped: no golden models at %s (set HALYARD_TEST_DATA)\n", folder);
        return 77;
    }
    tally t = {.device = argc > 1 ? argv[1] : "cpu",
               .filter = argc > 3 ? argv[3] : "",
               .fast = argc > 4 && strcmp(argv[4], "fast") == 0};
    if (argc > 2 && argv[2][0]) t.isa = argv[2];
    if (hy_instance_new(NULL, &t.instance) != HY_OK) return 1;
    for (int i = 0; i < count; i++) {
        golden_case c;
        bool wanted = names[i]->d_name[0] != '.' && strstr(names[i]->d_name, t.filter);
        if (wanted && golden_load(folder, names[i]->d_name, &c)) {
            run_case(&t, &c);
            golden_free(&c);
        }
        free(names[i]);
    }
    free(names);
    hy_instance_free(t.instance);
    printf("%u cases run, %u refused by name, %u failures\n", t.run, t.refused, t.failed);
    return t.failed || t.run == 0;
}
