/* tools/bench/serve.c: requests that arrive by a trace, served by one engine as they come.
 *
 * A request that has arrived takes a free sequence, first come first served; every step holds one token of each
 * request that is generating and as much of the prompts as fits. Times run from the arrival: TTFT has the wait for a
 * sequence in it. A trace is CSV or JSON lines; columns are known by the names of published traces. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/num.h"
#include "tools/bench/call.h"

enum { MOST_REQUESTS = 1 << 20, MOST_TOKENS = 1 << 20, CHAT_REQUESTS = 32 };

/* One request; the second half is its state while it is served. */
typedef struct request {
    double arrival; /* s after the trace's begin */
    uint32_t prompt, gen;
    uint32_t slot, made;
    double last; /* s: when its last token was there */
} request;

static struct {
    request *request; /* [count] by arrival */
    uint32_t count;
    size_t room;
} trace;

static bool add_request(double arrival, double prompt, double gen) {
    if (!(arrival >= 0) || !(prompt >= 1) || !(gen >= 1) || prompt > MOST_TOKENS ||
        gen > MOST_TOKENS || trace.count == MOST_REQUESTS)
        return false;
    if (hy_grow(&trace.request, trace.count, &trace.room, sizeof *trace.request) != HY_OK)
        return false;
    trace.request[trace.count++] =
        (request){.arrival = arrival, .prompt = (uint32_t)prompt, .gen = (uint32_t)gen};
    return true;
}

/* ---- the built-in trace ---- */

static double uniform(uint64_t *state) { /* in (0, 1); Knuth's 64-bit generator */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static double lognormal(uint64_t *state, double median, double sigma, double low, double high) {
    const double z = sqrt(-2 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
    return fmin(fmax(floor(median * exp(sigma * z)), low), high);
}

/* Conversations: short questions with a few long ones, answers of a paragraph; arrivals as a Poisson process of one
 * request in two seconds. The medians and spreads are near those of public chat traces (Patel et al. 2024,
 * arXiv:2311.18677, conversation). */
static bool make_chat(void) {
    uint64_t state = 1;
    double at = 0;
    for (uint32_t i = 0; i < CHAT_REQUESTS; i++) {
        const double prompt = lognormal(&state, 200, 0.9, 16, 1536);
        const double gen = lognormal(&state, 96, 0.7, 8, 384);
        if (!add_request(at, prompt, gen)) return false;
        at += -2 * log(uniform(&state));
    }
    return true;
}

/* ---- a file ---- */

/* What stands in which column; known by name, letter case and blanks aside. */
typedef struct header {
    int arrival, prompt, gen;
} header;

static bool is_one_of(const char *word, const char *const *names) {
    for (; *names; names++)
        if (strcasecmp(word, *names) == 0) return true;
    return false;
}

static const char *const arrival_names[] = {"arrival_s", "arrival", "timestamp", "time", NULL};
static const char *const prompt_names[] = {"prompt_tokens", "ContextTokens", "Request tokens",
                                           "input_length",  "n_prompt",      NULL};
static const char *const gen_names[] = {"output_tokens", "GeneratedTokens", "Response tokens",
                                        "output_length", "n_gen",           NULL};

/* Seconds: a number, or a date and time of which only differences matter. */
static bool seconds_of(const char *text, double *out) {
    struct tm tm = {0};
    char *end;
    const char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
    if (!rest) rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest) {
        const double fraction = *rest == '.' ? strtod(rest, NULL) : 0;
        *out = (double)timegm(&tm) + fraction;
        return true;
    }
    *out = strtod(text, &end);
    return end != text && *end == 0;
}

static char *trim(char *word) {
    word += strspn(word, " \t\"");
    for (size_t n = strlen(word); n > 0 && strchr(" \t\r\"", word[n - 1]); n--)
        word[n - 1] = 0;
    return word;
}

/* A line of CSV; the first one that names columns sets the header. */
static bool add_csv(char *line, header *h, bool *named) {
    char *field[16], *next = line;
    int count = 0;
    double number[3];
    while (next && count < 16)
        field[count++] = trim(strsep(&next, ","));
    if (!*named && !seconds_of(field[0], &number[0])) {
        *h = (header){-1, -1, -1};
        for (int i = 0; i < count; i++) {
            if (is_one_of(field[i], arrival_names)) h->arrival = i;
            if (is_one_of(field[i], prompt_names)) h->prompt = i;
            if (is_one_of(field[i], gen_names)) h->gen = i;
        }
        *named = true;
        return h->arrival >= 0 && h->prompt >= 0 && h->gen >= 0;
    }
    *named = true;
    if (h->arrival >= count || h->prompt >= count || h->gen >= count) return false;
    return seconds_of(field[h->arrival], &number[0]) && seconds_of(field[h->prompt], &number[1]) &&
           seconds_of(field[h->gen], &number[2]) && add_request(number[0], number[1], number[2]);
}

static bool add_json(const char *line) {
    double number[3] = {-1, 0, 0};
    const char *key;
    json_t *value, *o = json_loads(line, 0, NULL);
    json_object_foreach(o, key, value) {
        if (is_one_of(key, arrival_names)) number[0] = json_number_value(value);
        if (is_one_of(key, prompt_names)) number[1] = json_number_value(value);
        if (is_one_of(key, gen_names)) number[2] = json_number_value(value);
    }
    json_decref(o);
    return o && add_request(number[0], number[1], number[2]);
}

static int by_arrival(const void *a, const void *b) {
    const request *x = a, *y = b;
    return (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

static int read_trace(const char *path) {
    size_t length, at = 0;
    char *text = cli_read("bench", path, &length);
    header h = {0, 1, 2};
    bool named = false;
    int code = text ? 0 : 1;
    for (uint32_t line = 1; !code && at < length; line++) {
        char *begin = text + at;
        at += strcspn(begin, "\n") + 1;
        begin[strcspn(begin, "\n")] = 0;
        char *word = trim(begin);
        if (*word == 0 || *word == '#') continue;
        if (*word == '{' ? !add_json(word) : !add_csv(word, &h, &named))
            code =
                cli_fail("bench", 1,
                         "%s:%u: not a request: arrival in seconds, prompt tokens, output tokens "
                         "(CSV or JSON lines)",
                         path, line);
    }
    free(text);
    return code;
}

bool bench_trace_open(bench_options *o) {
    const bool chat = strcmp(o->trace, "chat") == 0;
    trace.count = 0;
    if (chat && !make_chat()) return cli_fail("bench", 1, "no memory for the trace"), false;
    if (!chat && read_trace(o->trace) != 0) return false;
    if (trace.count == 0) return cli_fail("bench", 1, "%s: no request", o->trace), false;
    qsort(trace.request, trace.count, sizeof *trace.request, by_arrival);
    uint32_t context = 0;
    double prompt = 0, gen = 0;
    const double first = trace.request[0].arrival;
    const double span = trace.request[trace.count - 1].arrival - first;
    const double scale = o->rate > 0 && span > 0 ? (trace.count - 1) / span / o->rate : 1;
    for (uint32_t i = 0; i < trace.count; i++) {
        trace.request[i].arrival = (trace.request[i].arrival - first) * scale;
        prompt += trace.request[i].prompt;
        gen += trace.request[i].gen;
        context = HY_MAX(context, trace.request[i].prompt + trace.request[i].gen);
    }
    for (uint32_t i = 0; i < o->tests; i++) { /* what stands in n_prompt and n_gen: means */
        o->test[i].context = context;
        o->test[i].prompt = (uint32_t)lround(prompt / trace.count);
        o->test[i].gen = (uint32_t)lround(gen / trace.count);
    }
    return true;
}

void bench_trace_close(void) {
    free(trace.request);
    memset(&trace, 0, sizeof trace);
}

/* ---- serving ---- */

/* One pass over the trace. */
typedef struct serving {
    bench_run *r;
    bool counted;
    uint64_t begin;
    uint32_t next, active; /* request to admit; those being served */
    request **in_slot;     /* [parallel] NULL: free */
} serving;

static double now_s(const serving *s) {
    return (double)(cli_now_ns() - s->begin) * 1e-9;
}

static bool add_tokens(serving *s, const request *q, uint32_t at, uint32_t count) {
    return bench_run_add(s->r, q->slot, (uint32_t)(q - trace.request), at, count, 0);
}

/* Requests that have arrived, as long as there are sequences for them. */
static bool admit(serving *s) {
    for (uint32_t slot = 0; slot < s->r->parallel && s->next < trace.count; slot++) {
        request *q = &trace.request[s->next];
        if (s->in_slot[slot]) continue;
        if (q->arrival > now_s(s)) break;
        q->slot = slot;
        q->made = 0;
        s->in_slot[slot] = q;
        s->next++;
        s->active++;
        if (s->counted) series_add(&s->r->served.queued, now_s(s) - q->arrival);
        if (hy_sequence_truncate(s->r->sequence[slot], 0) != HY_OK) return bench_run_failed(s->r);
        if (!add_tokens(s, q, 0, q->prompt)) return false;
    }
    return true;
}

static void finish(serving *s, request *q, double now) {
    s->in_slot[q->slot] = NULL;
    s->active--;
    if (!s->counted) return;
    series_add(&s->r->served.total, now - q->arrival);
    s->r->served.finished++;
    s->r->served.tokens_in += q->prompt;
    s->r->served.tokens_out += q->gen;
}

/* A token for every request that has one now. */
static bool collect(serving *s) {
    const double now = now_s(s);
    for (uint32_t slot = 0; slot < s->r->parallel; slot++) {
        request *q = s->in_slot[slot];
        if (!q || hy_sequence_pending(s->r->sequence[slot]) > 0) continue;
        if (s->counted)
            series_add(q->made ? &s->r->itl : &s->r->ttft, now - (q->made ? q->last : q->arrival));
        q->last = now;
        if (++q->made == q->gen)
            finish(s, q, now);
        else if (!add_tokens(s, q, q->prompt + q->made - 1, 1))
            return false;
    }
    return true;
}

static void wait_for_next(const serving *s) {
    const double left = trace.request[s->next].arrival - now_s(s);
    if (left > 0) usleep((useconds_t)(fmin(left, 0.02) * 1e6));
}

static bool serve(serving *s) {
    while ((s->active || s->next < trace.count) && !bench_stopped()) {
        if (!admit(s)) return false;
        if (!s->active) {
            wait_for_next(s);
            continue;
        }
        if (!bench_run_step(s->r, NULL) || !collect(s)) return false;
    }
    return true;
}

bool bench_serve(bench_run *r, bool counted) {
    serving s = {.r = r, .counted = counted, .begin = cli_now_ns()};
    s.in_slot = calloc(r->parallel, sizeof *s.in_slot);
    if (!s.in_slot) {
        snprintf(r->failure, sizeof r->failure, "no memory for %u requests", r->parallel);
        return false;
    }
    if (counted) r->served.requests += trace.count;
    const bool ok = serve(&s);
    free(s.in_slot);
    r->filled = 0;
    if (counted) r->served.seconds += now_s(&s);
    return ok;
}
