/* tests/bench/html_of.c: html_of ROWS.json: the page of `bench -o html` for rows of a file, on standard output. */
#include "tools/bench/html.h"

int main(int argc, char **argv) {
    json_error_t error;
    json_t *rows = argc == 2 ? json_load_file(argv[1], 0, &error) : NULL;
    int code = rows && bench_html(stdout, rows) == 0 && fflush(stdout) == 0 ? 0 : 1;
    if (code) fprintf(stderr, "html_of: no page\n");
    json_decref(rows);
    return code;
}
