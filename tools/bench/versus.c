/* tools/bench/versus.c: two devices, or two builds, in turn: what the machine does meanwhile happens to both, so that a
 * small difference shows. The order changes from pair to pair (A B, B A, ...): a steady drift cancels. */
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/call.h"
#include "tools/bench/compare.h"
#include "tools/bench/import.h"
#include "tools/bench/rows.h"

extern char **environ;

/* What the verdict needs at the end: rows of both sides. */
typedef struct sides {
    json_t *rows[2];
    char id[64]; /* of the pairs */
} sides;

static void mark(json_t *row, const char *id, int index) {
    if (row)
        json_object_set_new(row, "interleave", json_pack("{s:s, s:i}", "id", id, "index", index));
}

static void take(bench_call *c, sides *s, int index, json_t *row) {
    mark(row, s->id, index);
    if (row) json_array_append(s->rows[index], row);
    bench_call_row(c, row);
}

/* As a table behind the rows where they are one; else on standard error, for standard output is a program's. */
static void say(bench_call *c, const sides *s) {
    json_t *result = bench_compare_rows(s->rows[0], s->rows[1], COMPARE_THRESHOLD);
    FILE *out = c->o.format == REPORT_MD ? stdout : stderr;
    if (c->o.format == REPORT_MD) putchar('\n');
    if (result) bench_compare_print(out, result);
    json_decref(result);
    json_decref(s->rows[0]);
    json_decref(s->rows[1]);
}

static void begin(sides *s) {
    s->rows[0] = json_array();
    s->rows[1] = json_array();
    snprintf(s->id, sizeof s->id, "%ld-%llu", (long)getpid(), (unsigned long long)cli_now_ns());
}

/* ---- devices ---- */

void bench_versus(bench_call *c, bench_model *m, const cli_engine *e) {
    sides s;
    begin(&s);
    for (uint32_t i = 0; i < c->o.tests && !bench_call_ends(c); i++) {
        const bench_test *test = &c->o.test[i];
        cli_engine other = *e;
        bench_run run[2];
        other.device = c->o.versus;
        bool ok = bench_run_open(&run[0], &c->o, m, e, test->parallel, test->context);
        ok = bench_run_open(&run[1], &c->o, m, &other, test->parallel, test->context) && ok;
        for (int side = 0; side < 2; side++) {
            run[side].test = *test;
            bench_call_watch(c, &run[side]);
        }
        if (ok) (void)bench_run_test(run, 2, test, c->until);
        for (int side = 0; side < 2; side++)
            take(c, &s, side, bench_row(&run[side], c->record));
        bench_run_close(&run[0]);
        bench_run_close(&run[1]);
    }
    say(c, &s);
}

/* ---- builds ---- */

/* The call's own words without those that start this, and with one repetition as JSON. */
static char **words(const bench_call *c, const char *path, bool first) {
    const bench_options *o = &c->o;
    char **list = calloc((size_t)o->argc + 10, sizeof *list);
    int n = 0;
    if (!list) return NULL;
    list[n++] = (char *)(uintptr_t)path;
    for (int i = 0; i < o->argc; i++) {
        if (strcmp(o->argv[i], "--vs-binary") == 0) {
            i++;
            continue;
        }
        if (strncmp(o->argv[i], "--vs-binary=", 12) != 0) list[n++] = o->argv[i];
    }
    static char *const more[] = {"-o", "json", "-oe", "none", "-r", "1"};
    memcpy(list + n, more, sizeof more);
    n += 6;
    if (!first) list[n++] = "--no-verify";
    return list;
}

/* At least one, and all with a status: other JSON is no result of ours. */
static bool are_rows(const json_t *rows) {
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        if (!row_text(row, "status")) return false;
    }
    return json_array_size(rows) > 0;
}

/* Runs one binary and reads its rows; NULL after an error line. */
static json_t *child_rows(const char *path, char **list) {
    int fd[2], status = 0;
    pid_t child;
    if (!list || pipe(fd) != 0) {
        cli_fail("bench", 1, "no memory or files for %s", path);
        return NULL;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, fd[0]);
    const int error = posix_spawn(&child, path, &actions, NULL, list, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    json_error_t at = {.text = ""};
    json_t *rows = error ? NULL : json_loadfd(fd[0], 0, &at);
    close(fd[0]);
    if (error)
        cli_fail("bench", 1, "%s: %s", path, strerror(error));
    else
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
    if (!error && !are_rows(rows) && !bench_stopped())
        cli_fail("bench", 1, "%s bench -o json printed no rows%s%s", path, *at.text ? ": " : "",
                 at.text);
    if (are_rows(rows)) return rows;
    json_decref(rows);
    return NULL;
}

/* The samples of `from` behind those of `into`. */
static bool add_samples(json_t *into, const json_t *from) {
    if (json_array_size(into) != json_array_size(from)) return false;
    for (size_t i = 0; i < json_array_size(into); i++)
        bench_row_merge(json_array_get(into, i), json_array_get(from, i));
    return true;
}

static bool binaries(bench_call *c, const char *const path[2], json_t *rows[2]) {
    for (uint32_t i = 0; i < c->o.repeats && !bench_stopped() && cli_now_ns() < c->until; i++)
        for (int turn = 0; turn < 2; turn++) {
            const int side = (turn + (int)i) % 2;
            char **list = words(c, path[side], i == 0);
            if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r\033[K%s: %u of %u", path[side], i + 1, c->o.repeats);
            json_t *some = child_rows(path[side], list);
            free(list);
            if (!some) return false;
            if (!rows[side]) {
                rows[side] = some;
                continue;
            }
            const bool same = add_samples(rows[side], some);
            json_decref(some);
            if (!same) {
                cli_fail("bench", 1, "%s printed another number of rows than before", path[side]);
                return false;
            }
        }
    return rows[0] && rows[1];
}

int bench_versus_binary(bench_call *c) {
    char self[512] = "";
    const char *path[2] = {self, c->o.versus_binary};
    json_t *rows[2] = {NULL, NULL};
    sides s;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return cli_fail("bench", 1, "/proc/self/exe: %s", strerror(errno));
    if (access(path[1], X_OK) != 0)
        return cli_fail("bench", 1, "--vs-binary %s: %s", path[1], strerror(errno));
    begin(&s);
    const bool ok = binaries(c, path, rows);
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < json_array_size(rows[side]); i++)
            take(c, &s, side, json_incref(json_array_get(rows[side], i)));
    say(c, &s);
    json_decref(rows[0]);
    json_decref(rows[1]);
    return ok || bench_stopped() ? c->code : 1;
}
