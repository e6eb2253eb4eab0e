/* tools/bench/table.c: cells of Markdown tables. */
#include "tools/bench/table.h"

/* Characters of UTF-8 as they are printed. */
static int characters(const char *text) {
    int n = 0;
    for (; *text; text++)
        n += (((unsigned char)*text & 0xc0) != 0x80) + (*text == '|');
    return n;
}

static int width_of(const table_column *column) {
    const int heading = characters(column->heading);
    return column->width > heading ? column->width : heading;
}

void table_cell(FILE *out, const table_column *column, const char *text) {
    const int missing = width_of(column) - characters(text), pad = missing > 0 ? missing : 0;
    fprintf(out, " %*s", column->right ? pad : 0, "");
    for (; *text; text++) {
        if (*text == '|') putc('\\', out);
        putc((unsigned char)*text < 32 || *text == 127 ? ' ' : *text, out);
    }
    fprintf(out, "%*s |", column->right ? 0 : pad, "");
}

void table_rule(FILE *out, const table_column *column) {
    putc(' ', out);
    for (int i = width_of(column) - column->right; i > 0; i--)
        putc('-', out);
    fputs(column->right ? ": |" : " |", out);
}
