/* tools/bench/series.c: see series.h. */
#include "tools/bench/series.h"

#include <math.h>
#include <stdlib.h>

#include "tools/bench/stats.h"

bool series_add(series *s, double value) {
    if (s->count == s->room) {
        const uint32_t room = s->room ? 2 * s->room : 64;
        double *grown = realloc(s->value, room * sizeof *grown);
        if (!grown) return false;
        s->value = grown;
        s->room = room;
    }
    s->value[s->count++] = value;
    return true;
}

double series_percentile(const series *s, double percent) {
    double *scratch = malloc((s->count + 1) * sizeof *scratch);
    const double value =
        scratch && s->count ? stats_percentile(s->value, s->count, percent, scratch) : NAN;
    free(scratch);
    return value;
}

double series_median(const series *s) {
    return series_percentile(s, 50);
}

void series_clear(series *s) {
    s->count = 0;
}

void series_free(series *s) {
    free(s->value);
    *s = (series){.value = NULL};
}
