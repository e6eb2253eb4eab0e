/* tools/eval.c: `halyard eval`: perplexity, logits and KL divergence on a text. Runs the model through the
 * public API; looks inside only for the .npy files. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/format/npy.h"
#include "tools/cli.h"
#include "tools/logits.h"

typedef struct eval {
    cli_engine e;
    const char *file, *prompt, *ids_text, *logits_path, *kld_path;
    uint32_t window; /* tokens per window, 0: the context */
    bool no_bos, json;
    hy_model_desc model;
    int32_t *ids; /* [count] */
    size_t count;
    hy_npy_writer *logits;
    hy_npy reference;
    double nll, nll_squares; /* sums over scored tokens */
    uint64_t scored;
    double kld;
    uint64_t compared, agreed;
    uint64_t ns;
} eval;

static void compare(eval *v, const float *got, const float *want) {
    uint32_t best_got, best_want;
    v->kld += logits_divergence(got, want, v->model.vocab, &best_got, &best_want);
    v->agreed += best_got == best_want;
    v->compared++;
}

/* The logits that follow token `at` of all ids; the next one is in the same window if `next`. */
static int take_row(eval *v, size_t at, bool next, const float *logits) {
    if (v->logits && hy_npy_write(v->logits, logits, v->model.vocab) != HY_OK)
        return cli_status("eval");
    if (v->reference.data) compare(v, logits, v->reference.data + at * v->model.vocab);
    if (next) {
        uint32_t best;
        double nll = logits_log_sum(logits, v->model.vocab, &best) - (double)logits[v->ids[at + 1]];
        v->nll += nll;
        v->nll_squares += nll * nll;
        v->scored++;
    }
    return 0;
}

static int window(eval *v, hy_sequence *sequence, size_t begin, size_t length, uint32_t rows) {
    if (hy_sequence_truncate(sequence, 0) != HY_OK ||
        hy_sequence_add(sequence, v->ids + begin, length, HY_ADD_ALL_LOGITS) != HY_OK) {
        return cli_status("eval");
    }
    size_t done = 0;
    while (done < length) {
        hy_step_result result = {.size = sizeof result};
        uint64_t start = cli_now_ns();
        if (hy_engine_step(v->e.engine, hy_step_params(.max_tokens = rows), &result) != HY_OK) {
            return cli_status("eval");
        }
        v->ns += cli_now_ns() - start;
        for (uint32_t i = 0; i < result.rows; i++, done++) {
            int code = take_row(v, begin + done, done + 1 < length, result.row[i].logits);
            if (code) return code;
        }
        if (result.rows == 0) return cli_fail("eval", 1, "a step returned no logits");
        if (isatty(STDERR_FILENO)) {
            fprintf(stderr, "\reval: %zu of %zu tokens", begin + done, v->count);
        }
    }
    return 0;
}

static int evaluate(eval *v) {
    hy_engine_desc engine = {.size = sizeof engine};
    hy_sequence *sequence;
    if (hy_engine_describe(v->e.engine, &engine) != HY_OK ||
        hy_sequence_new(v->e.engine, &sequence) != HY_OK) {
        return cli_status("eval");
    }
    size_t limit = v->window && v->window < engine.context ? v->window : engine.context;
    int code = 0;
    for (size_t at = 0; at < v->count && !code;) {
        size_t length = v->count - at < limit ? v->count - at : limit;
        code = window(v, sequence, at, length, engine.max_rows);
        at += length;
    }
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    hy_sequence_free(sequence);
    return code;
}

static int report(const eval *v) {
    double n = (double)v->scored, mean = n > 0 ? v->nll / n : 0;
    double variance = n > 1 ? fmax(0, (v->nll_squares - n * mean * mean) / (n - 1)) : 0;
    double perplexity = exp(mean), error = n > 0 ? perplexity * sqrt(variance / n) : 0;
    double seconds = (double)v->ns * 1e-9;
    double kld = v->compared ? v->kld / (double)v->compared : 0;
    double agree = v->compared ? (double)v->agreed / (double)v->compared : 0;
    if (v->json) {
        json_t *root =
            json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f}", "model", v->e.model_path, "tokens",
                      (json_int_t)v->count, "scored", (json_int_t)v->scored, "nll", mean,
                      "perplexity", perplexity, "perplexity_error", error, "seconds", seconds);
        if (!root) return cli_fail("eval", 1, "cannot write the result as JSON");
        if (!v->scored) { /* one token: nothing follows it */
            json_object_set_new(root, "nll", json_null());
            json_object_set_new(root, "perplexity", json_null());
            json_object_set_new(root, "perplexity_error", json_null());
        }
        if (v->compared) {
            json_object_set_new(root, "kld", json_real(kld));
            json_object_set_new(root, "top1_agreement", json_real(agree));
        }
        json_dumpf(root, stdout, JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(root);
        return cli_flush("eval");
    }
    if (v->scored) {
        printf("perplexity %.4f +/- %.4f   (%llu tokens scored, %.1f tokens/s)\n", perplexity,
               error, (unsigned long long)v->scored, (double)v->count / seconds);
    }
    if (v->compared) {
        printf("KL divergence %.4e, top-1 agreement %.2f %%   (%llu rows)\n", kld, agree * 100,
               (unsigned long long)v->compared);
    }
    return cli_flush("eval");
}

static int read_ids(eval *v) {
    if (v->ids_text) {
        v->ids = cli_ids("eval", v->ids_text, &v->count);
        return v->ids ? 0 : 2;
    }
    size_t length = v->prompt ? strlen(v->prompt) : 0;
    char *owned = v->prompt ? NULL : cli_read("eval", v->file, &length);
    const char *text = v->prompt ? v->prompt : owned;
    if (!text) return 1;
    v->ids = cli_tokenize_text("eval", v->e.model, text, length,
                               v->no_bos ? 0 : HY_TOKENIZE_ADD_SPECIAL, &v->count);
    free(owned);
    return v->ids ? 0 : 1;
}

static int open_files(eval *v) {
    const uint64_t dim[2] = {v->count, v->model.vocab};
    if (v->kld_path) {
        if (hy_npy_open(v->kld_path, &v->reference) != HY_OK) return cli_status("eval");
        if (v->reference.dim[0] != dim[0] || v->reference.dim[1] != dim[1]) {
            return cli_fail("eval", 1,
                            "%s: shape [%llu, %llu], expected [%zu, %u] (tokens, vocabulary)",
                            v->kld_path, (unsigned long long)v->reference.dim[0],
                            (unsigned long long)v->reference.dim[1], v->count, v->model.vocab);
        }
    }
    if (!v->logits_path) return 0;
    return hy_npy_writer_new(v->logits_path, 2, dim, &v->logits) == HY_OK ? 0 : cli_status("eval");
}

static int eval_all(eval *v) {
    int code = cli_engine_open("eval", &v->e, false);
    if (code) return code;
    v->model.size = sizeof v->model;
    if (hy_model_describe(v->e.model, &v->model) != HY_OK) return cli_status("eval");
    code = read_ids(v);
    if (code) return code;
    if (v->count < 1) return cli_fail("eval", 1, "the text has no tokens");
    if ((v->count < 2 || v->window == 1) && !v->logits_path && !v->kld_path)
        return cli_fail("eval", 1, "one token has nothing to score: perplexity needs two in a row");
    /* rows of logits per step: at most 64 MB of them, so that a large vocabulary stays cheap */
    uint64_t rows = (64u << 20) / (sizeof(float) * (uint64_t)v->model.vocab);
    uint32_t batch = v->e.batch ? v->e.batch : 512;
    v->e.max_rows = (uint32_t)(rows < 1 ? 1 : rows < batch ? rows : batch);
    code = cli_engine_start("eval", &v->e);
    if (!code) code = open_files(v);
    if (!code) code = evaluate(v);
    if (code) {
        hy_npy_writer_abandon(v->logits);
    } else if (v->logits && hy_npy_writer_finish(v->logits) != HY_OK) {
        code = cli_status("eval");
    }
    return code ? code : report(v);
}

static int eval_main(int argc, char **argv) {
    eval v = {0};
    const cli_option options[] = {
        {"-f, --file", CLI_TEXT, &v.file, "FILE", "text, - for standard input"},
        {"-p, --prompt", CLI_TEXT, &v.prompt, "TEXT", "text"},
        {"--ids", CLI_TEXT, &v.ids_text, "1,2,3", "token ids, taken as they are"},
        {"--window", CLI_U32, &v.window, "N", "tokens per window (default: the context)"},
        {"--logits", CLI_TEXT, &v.logits_path, "OUT.npy", "write float32 [tokens, vocabulary]"},
        {"--kld", CLI_TEXT, &v.kld_path, "REF.npy",
         "KL divergence and top-1 agreement with these logits"},
        {"--no-bos", CLI_FLAG, &v.no_bos, NULL, "add no special tokens"},
        {"--json", CLI_FLAG, &v.json, NULL, "one JSON object"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code = cli_parse(argc, argv, "eval -m FILE (-f TEXT | -p TEXT | --ids 1,2,3) [options]",
                         options, cli_engine_options(&v.e), NULL, 0, NULL);
    if (code >= 0) return code;
    if (!!v.file + !!v.prompt + !!v.ids_text != 1) {
        return cli_fail("eval", 2, "give one of -f, -p and --ids");
    }
    code = eval_all(&v);
    hy_npy_close(&v.reference);
    free(v.ids);
    return cli_engine_close("eval", &v.e, code);
}

const cli_command cli_eval = {"eval", "perplexity, logits, KL divergence", eval_main};
