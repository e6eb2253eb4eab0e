/* tools/bench/series.c: see series.h. */
#include "tools/bench/series.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "tools/bench/stats.h"

bool series_add(series *s, double value) {
    if (hy_grow(&s->value, s->count, &s->room, sizeof *s->value) != HY_OK) return false;
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

double series_harmonic_mean(const series *s) {
    double sum = 0;
    for (uint32_t i = 0; i < s->count; i++)
        sum += 1 / s->value[i];
    return s->count ? s->count / sum : NAN;
}

void series_clear(series *s) {
    s->count = 0;
}

void series_free(series *s) {
    free(s->value);
    *s = (series){.value = NULL};
}
