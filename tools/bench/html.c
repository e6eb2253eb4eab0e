/* tools/bench/html.c: puts the rows of a benchmark into the page that tools/bench/report makes. */
#include "tools/bench/html.h"

#include <string.h>

/* The page before and behind the rows; written by tools/bench/report/embed.py. */
extern const char bench_report_head[], bench_report_tail[];

/* JSON text as it may stand inside a script element. '<' occurs in JSON's strings only, where \u003c
 * means the same, and without it no text opens a comment or closes the element. */
static int put_json(const char *text, size_t length, void *file) {
    for (const char *end = text + length; text < end;) {
        const char *stop = memchr(text, '<', (size_t)(end - text));
        size_t run = (size_t)((stop ? stop : end) - text);
        if (fwrite(text, 1, run, file) != run) return -1;
        if (stop && fputs("\\u003c", file) == EOF) return -1;
        text += run + (stop != NULL);
    }
    return 0;
}

int bench_html(FILE *out, const json_t *rows) {
    if (!json_is_array(rows)) return -1;
    if (fputs(bench_report_head, out) == EOF) return -1;
    /* A line a row, ASCII only: scripts of old read U+2028 as a line's end. */
    const size_t flags = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY;
    const json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        if (fputs(i ? ",\n" : "[", out) == EOF) return -1;
        if (json_dump_callback(row, put_json, out, flags) != 0) return -1;
    }
    if (fputs(json_array_size(rows) ? "]\n" : "[]\n", out) == EOF) return -1;
    return fputs(bench_report_tail, out) == EOF || ferror(out) ? -1 : 0;
}
