/* tools/bench/options.c: see options.h. */
#include "tools/bench/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* ---- lists ---- */

/* A number at *text, which moves behind it. */
static bool number(const char **text, uint32_t *out) {
    char *end;
    if (**text < '0' || **text > '9') return false;
    errno = 0;
    const unsigned long value = strtoul(*text, &end, 10);
    if (errno || value > UINT32_MAX) return false;
    *text = end;
    *out = (uint32_t)value;
    return true;
}

static bool add(bench_list *list, uint32_t value) {
    if (list->count == BENCH_MAX_LIST) return false;
    list->value[list->count++] = value;
    return true;
}

/* "7", "1-4", "0-4096+1024" or "1-64*2" at *text. */
static bool range(const char **text, bench_list *out) {
    uint32_t first, last, step = 1;
    char how = '+';
    if (!number(text, &first)) return false;
    last = first;
    if (**text == '-') {
        ++*text;
        if (!number(text, &last) || last < first) return false;
        if (**text == '+' || **text == '*') {
            how = *(*text)++;
            if (!number(text, &step)) return false;
        }
        if (step == 0 || (how == '*' && (step == 1 || first == 0))) return false;
    }
    for (uint64_t v = first; v <= last; v = how == '*' ? v * step : v + step)
        if (!add(out, (uint32_t)v)) return false;
    return true;
}

bool bench_list_parse(const char *text, bench_list *out) {
    bench_list list = {.count = 0};
    do {
        if (!range(&text, &list)) return false;
    } while (*text++ == ',');
    if (text[-1] != 0) return false;
    *out = list;
    return true;
}

/* ---- tests ---- */

const char *bench_kind_name(bench_kind kind) {
    static const char *const names[] = {"pp", "tg", "pg", "serve"};
    return names[kind];
}

void bench_test_name(const bench_test *t, char *out, size_t capacity) {
    char depth[24] = "", parallel[24] = "";
    if (t->depth) snprintf(depth, sizeof depth, " @ d%u", t->depth);
    if (t->parallel > 1) snprintf(parallel, sizeof parallel, " x %u", t->parallel);
    if (t->kind == BENCH_SERVE)
        snprintf(out, capacity, "serve%s", parallel);
    else if (t->kind == BENCH_PP)
        snprintf(out, capacity, "pp%u%s%s", t->prompt, depth, parallel);
    else if (t->kind == BENCH_TG)
        snprintf(out, capacity, "tg%u%s%s", t->gen, depth, parallel);
    else
        snprintf(out, capacity, "pp%u+tg%u%s%s", t->prompt, t->gen, depth, parallel);
}

static bool add_test(bench_options *o, bench_kind kind, uint32_t prompt, uint32_t gen,
                     uint32_t depth, uint32_t parallel) {
    if (prompt + gen == 0) return true;
    if (hy_grow(&o->test, o->tests, &o->room, sizeof *o->test) != HY_OK) return false;
    o->test[o->tests++] = (bench_test){kind, prompt, gen, depth, parallel, depth + prompt + gen};
    return true;
}

/* What the lists ask for before their product. */
typedef struct wanted {
    bench_list prompt, gen, depth, parallel;
    bench_list pair; /* prompt, gen, prompt, gen, ... */
} wanted;

/* One depth and number of sequences. A prompt alone is one sequence's: more of them wait for each other. */
static bool add_group(bench_options *o, const wanted *w, uint32_t depth, uint32_t parallel,
                      bool prompts) {
    bool ok = true;
    for (uint32_t i = 0; i < w->prompt.count && prompts; i++)
        ok = ok && add_test(o, BENCH_PP, w->prompt.value[i], 0, depth, 1);
    for (uint32_t i = 0; i < w->gen.count; i++)
        ok = ok && add_test(o, BENCH_TG, 0, w->gen.value[i], depth, parallel);
    for (uint32_t i = 0; i + 1 < w->pair.count; i += 2)
        ok = ok && add_test(o, BENCH_PG, w->pair.value[i], w->pair.value[i + 1], depth, parallel);
    return ok;
}

static bool add_tests(bench_options *o, const wanted *w) {
    bool ok = true, one = false;
    for (uint32_t i = 0; i < w->parallel.count; i++)
        one |= w->parallel.value[i] == 1;
    const wanted prompts = {.prompt = w->prompt};
    for (uint32_t d = 0; d < w->depth.count; d++) {
        if (!one) ok = ok && add_group(o, &prompts, w->depth.value[d], 1, true);
        for (uint32_t p = 0; p < w->parallel.count; p++)
            ok = ok && add_group(o, w, w->depth.value[d], w->parallel.value[p],
                                 w->parallel.value[p] == 1);
    }
    return ok;
}

/* ---- the command line ---- */

enum { NOT_GIVEN = INT32_MAX };

/* Options as text, before they are understood. */
typedef struct raw {
    const char *prompt, *gen, *depth, *parallel, *threads, *batch, *micro_batch;
    const char *kv_types, *numerics, *format, *second;
    cli_list pairs;
    bool json;
} raw;

/* Two rows have a word in common. */
static bool shadows(const cli_option *own, const cli_option *other) {
    if (!own->names || !other->names) return false;
    for (const char *word = other->names; *word; word += strspn(word, ", ")) {
        const size_t length = strcspn(word, ", ");
        if (cli_names(own->names, word, length)) return true;
        word += length;
    }
    return false;
}

/* The engine's options but those that this command has in another form. */
static const cli_option *other_options(cli_engine *e, const cli_option *own) {
    static cli_option rows[32];
    uint32_t count = 0;
    const cli_option *shared = cli_engine_options(e);
    for (; shared->names || shared->kind == CLI_HEADING; shared++) {
        bool twice = false;
        for (const cli_option *o = own; o->names || o->kind == CLI_HEADING; o++)
            twice |= shadows(o, shared);
        if (!twice) rows[count++] = *shared;
    }
    rows[count] = *shared;
    return rows;
}

static int parse_list(const char *option, const char *text, uint32_t most, bench_list *out) {
    if (!text) return -1;
    if (!bench_list_parse(text, out))
        return cli_fail("bench", 2,
                        "%s '%s' is not a list such as 512, 1,4,16, 0-4096+1024 or "
                        "1-64*2 of at most %d numbers",
                        option, text, BENCH_MAX_LIST);
    for (uint32_t i = 0; i < out->count; i++)
        if (out->value[i] > most)
            return cli_fail("bench", 2, "%s %u: more than %u", option, out->value[i], most);
    return -1;
}

/* Words between commas, in place of a copy that lives as long as the process. */
static int parse_names(const char *option, const char *text, const char *const *known,
                       const char **out, uint32_t *count) {
    *count = 0;
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        const size_t length = strcspn(at, ",");
        uint32_t k = 0;
        while (known[k] && (strlen(known[k]) != length || strncmp(known[k], at, length) != 0))
            k++;
        if (!known[k])
            return cli_fail("bench", 2, "%s '%.*s' is not one of %s, %s%s%s", option, (int)length,
                            at, known[0], known[1], known[2] ? ", " : "", known[2] ? known[2] : "");
        for (uint32_t i = 0; i < *count; i++)
            if (out[i] == known[k])
                return cli_fail("bench", 2, "%s names %s twice", option, known[k]);
        out[(*count)++] = known[k];
    }
    return -1;
}

static int parse_pairs(const cli_list *pairs, bench_list *out) {
    for (uint32_t i = 0; i < pairs->count; i++) {
        bench_list pair;
        if (!bench_list_parse(pairs->item[i], &pair) || pair.count != 2 || pair.value[0] == 0 ||
            pair.value[1] == 0 || !add(out, pair.value[0]) || !add(out, pair.value[1]))
            return cli_fail("bench", 2, "-pg '%s' is not a pair such as 512,128", pairs->item[i]);
    }
    return -1;
}

static int parse_formats(bench_options *o, const raw *r) {
    o->format = r->json ? REPORT_JSON : REPORT_MD;
    if (r->format && !report_format_by_name(r->format, &o->format))
        return cli_fail("bench", 2, "-o '%s' is not one of " REPORT_FORMATS, r->format);
    o->has_second = r->second != NULL && strcmp(r->second, "none") != 0;
    if (o->has_second && !report_format_by_name(r->second, &o->second))
        return cli_fail("bench", 2, "-oe '%s' is not one of " REPORT_FORMATS, r->second);
    return -1;
}

static int parse_lists(bench_options *o, const raw *r, wanted *w) {
    static const char *const kv_types[] = {"f16", "f32", "q8_0", NULL};
    static const char *const numerics[] = {"invariant", "fast", NULL};
    bench_list micro = {.count = 0};
    int code = parse_list("-p", r->prompt, 1 << 24, &w->prompt);
    if (code < 0) code = parse_list("-n", r->gen, 1 << 24, &w->gen);
    if (code < 0) code = parse_list("-d", r->depth, 1 << 24, &w->depth);
    if (code < 0) code = parse_list("-b", r->parallel, BENCH_MAX_PARALLEL, &w->parallel);
    if (code < 0) code = parse_list("-t", r->threads, 4096, &o->threads);
    if (code < 0) code = parse_list("--batch-size", r->batch, 1 << 20, &o->batches);
    if (code < 0) code = parse_list("-ub", r->micro_batch, 1 << 20, &micro);
    if (code < 0) code = parse_pairs(&r->pairs, &w->pair);
    if (code < 0) code = parse_names("--kv-type", r->kv_types, kv_types, o->kv_type, &o->kv_types);
    if (code < 0)
        code = parse_names("--numerics", r->numerics, numerics, o->numerics, &o->numericses);
    if (code < 0) code = parse_formats(o, r);
    if (micro.count) o->batches = micro;
    return code;
}

static int check_choices(const bench_options *o, const wanted *w) {
    if (o->repeats < 1 || o->repeats > BENCH_MAX_REPEATS)
        return cli_fail("bench", 2, "-r %u is not between 1 and %d", o->repeats, BENCH_MAX_REPEATS);
    for (uint32_t i = 0; i < w->parallel.count; i++)
        if (w->parallel.value[i] == 0) return cli_fail("bench", 2, "-b 0: at least one sequence");
    if (!(o->price >= 0) || !(o->rate >= 0))
        return cli_fail("bench", 2, "--price and --rate are not negative");
    if (o->models.count && o->synths.count && o->predict)
        return cli_fail("bench", 2, "give one of -m, --synth and --predict");
    if (o->versus && o->versus_binary)
        return cli_fail("bench", 2, "give one of --vs and --vs-binary");
    if (o->predict && (o->versus || o->versus_binary || o->trace))
        return cli_fail("bench", 2,
                        "--predict measures no model: leave --vs, --vs-binary, --trace");
    return -1;
}

static int understand(bench_options *o, const raw *r) {
    hy_engine_params checked;
    if (o->repeats == NOT_GIVEN) o->repeats = o->trace ? 1 : 5;
    if (!cli_engine_params("bench", &o->e, &checked)) return 2;
    wanted w = {.prompt = {{512}, 1}, .gen = {{128}, 1}, .depth = {{0}, 1}, .parallel = {{1}, 1}};
    if (o->trace) w.parallel = (bench_list){{16}, 1};
    if (r->pairs.count && !r->prompt) w.prompt.count = 0;
    if (r->pairs.count && !r->gen) w.gen.count = 0;
    int code = parse_lists(o, r, &w);
    if (code < 0) code = check_choices(o, &w);
    if (code >= 0) return code;
    bool ok = true;
    for (uint32_t i = 0; i < w.parallel.count && o->trace; i++) {
        ok = ok && add_test(o, BENCH_SERVE, 1, 1, 0, w.parallel.value[i]);
    }
    if (!o->trace) ok = add_tests(o, &w);
    if (!ok) return cli_fail("bench", 1, "no memory for the list of tests");
    if (o->tests == 0) return cli_fail("bench", 2, "nothing to measure: -p 0 -n 0");
    return -1;
}

int bench_options_parse(int argc, char **argv, bench_options *o) {
    raw r = {.kv_types = "f16", .numerics = "invariant"};
    *o = (bench_options){.repeats = NOT_GIVEN, .argc = argc, .argv = argv};
    const cli_option own[] = {
        {"-m, --model", CLI_LIST, &o->models, "FILE", "model (GGUF); may be given again"},
        {"--synth", CLI_LIST, &o->synths, "SHAPE:TYPE",
         "random weights, no file (default llama-3.2-1b:q4_0); may be given again"},
        {"--device", CLI_LIST, &o->devices, "ID",
         "cpu:0, ..., or all; a list in one ID is one engine over several; may be given again"},
        {"-p, --n-prompt", CLI_TEXT, &r.prompt, "N,...", "prefill tokens (default 512, 0: none)"},
        {"-n, --n-gen", CLI_TEXT, &r.gen, "N,...", "decode tokens (default 128, 0: none)"},
        {"-pg", CLI_LIST, &r.pairs, "P,N", "prefill, then decode; may be given again"},
        {"-d, --n-depth", CLI_TEXT, &r.depth, "N,...", "tokens already there (default 0)"},
        {"-b, --parallel", CLI_TEXT, &r.parallel, "N,...",
         "sequences that decode side by side (default 1)"},
        {"-r, --repetitions", CLI_U32, &o->repeats, "N",
         "after one warm-up (default 5; of a trace 1)"},
        {"--no-warmup", CLI_FLAG, &o->no_warmup, NULL, "the first repetition counts"},
        {"--delay", CLI_U32, &o->delay_s, "S", "seconds of rest before each row"},
        {"--time-limit", CLI_U32, &o->time_limit_s, "S", "begins nothing after so many seconds"},
        {"--no-verify", CLI_FLAG, &o->no_verify, NULL,
         "do not compare logits with another device first"},
        {"--no-hash", CLI_FLAG, &o->no_hash, NULL, "leave the model's SHA-256 out"},
        {"--trace", CLI_TEXT, &o->trace, "FILE",
         "requests that arrive by a trace, or chat: the built-in one"},
        {"--rate", CLI_F32, &o->rate, "N", "requests per second, whatever the trace says"},
        {"--vs", CLI_TEXT, &o->versus, "ID", "take turns with this device, compare"},
        {"--vs-binary", CLI_TEXT, &o->versus_binary, "PATH",
         "take turns with this halyard, compare"},
        {"--predict", CLI_TEXT, &o->predict, "SHAPE:TYPE",
         "speed and memory of a model too large to try, from the peaks measured here"},
        {"--price", CLI_F32, &o->price, "P", "of the machine per hour: adds the cost per token"},
        {"-o, --output", CLI_TEXT, &r.format, "F", REPORT_FORMATS " (default md)"},
        {"-oe, --output-err", CLI_TEXT, &r.second, "F", "the same on standard error"},
        {"--json", CLI_FLAG, &r.json, NULL, "-o json"},
        {NULL, CLI_HEADING, NULL, NULL, "also lists:"},
        {"-t, --threads", CLI_TEXT, &r.threads, "N,...", "CPU threads"},
        {"--batch-size", CLI_TEXT, &r.batch, "N,...", "tokens per step (default 512)"},
        {"-ub, --ubatch-size", CLI_TEXT, &r.micro_batch, "N,...", "the same, as others call it"},
        {"--kv-type, -ctk, -ctv", CLI_TEXT, &r.kv_types, "T,...", "KV cache: f16, f32, q8_0"},
        {"--numerics", CLI_TEXT, &r.numerics, "M,...", "invariant (default), fast"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code = cli_parse(argc, argv,
                         "bench [-m FILE | --synth SHAPE:TYPE]... [--device ID|all]... [options]\n"
                         "       halyard bench compare A B | import FILE... | replay FILE",
                         own, other_options(&o->e, own), NULL, 0, NULL);
    return code >= 0 ? code : understand(o, &r);
}

void bench_options_free(bench_options *o) {
    free(o->test);
    o->test = NULL;
    o->tests = 0;
}
