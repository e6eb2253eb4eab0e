/* tools/bench/replay.c: `halyard bench replay FILE`: the calls that made the rows of a file, again. */
#include <stdlib.h>
#include <string.h>

#include "tools/bench/call.h"
#include "tools/bench/rows.h"

/* The words of a row's call, as long as the row lives; NULL when they are no call of `bench` that measures. */
static char **call_of(const json_t *row, int *count) {
    const json_t *words = json_object_get(row, "argv");
    char **list = calloc(json_array_size(words) + 1, sizeof *list);
    bool ok = list && json_array_size(words) > 0;
    for (size_t i = 0; ok && i < json_array_size(words); i++) {
        const char *word = json_string_value(json_array_get(words, i));
        ok = word && (i != 0 || strcmp(word, "bench") == 0) && (i != 1 || *word == '-');
        list[i] = (char *)(uintptr_t)word;
    }
    *count = (int)json_array_size(words);
    if (ok) return list;
    free(list);
    return NULL;
}

/* The row is the first one of its call. */
static bool is_first(const json_t *rows, size_t index) {
    const json_t *words = json_object_get(json_array_get(rows, index), "argv");
    for (size_t i = 0; i < index; i++)
        if (json_equal(json_object_get(json_array_get(rows, i), "argv"), words)) return false;
    return true;
}

int bench_replay(int argc, char **argv) {
    const char *path = NULL;
    size_t count = 0;
    rows_error error;
    const cli_option none[] = {{NULL, CLI_FLAG, NULL, NULL, NULL}};
    int code = cli_parse(argc, argv, "bench replay FILE", none, NULL, &path, 1, &count);
    if (code >= 0) return code;
    if (count != 1) return cli_fail("bench", 2, "replay: which file of results?");
    json_t *rows = rows_read(path, &error);
    if (!rows) return cli_fail("bench", 1, "%s", error.text);
    code = 0;
    uint32_t calls = 0;
    for (size_t i = 0; i < json_array_size(rows) && !code; i++) {
        int words;
        char **list = is_first(rows, i) ? call_of(json_array_get(rows, i), &words) : NULL;
        if (!list) continue;
        code = cli_bench.main(words, list);
        free(list);
        calls++;
    }
    json_decref(rows);
    if (!code && calls == 0)
        return cli_fail("bench", 1, "%s: no row says how it was made (argv)", path);
    return code;
}
