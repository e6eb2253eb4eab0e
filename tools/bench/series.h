/* tools/bench/series.h: numbers that arrive one by one. */
#ifndef HY_TOOLS_BENCH_SERIES_H
#define HY_TOOLS_BENCH_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct series {
    double *value; /* [count] */
    uint32_t count;
    size_t room;
} series;

/* False without memory; the series is then as it was. */
bool series_add(series *s, double value);
/* Percentile, 0 to 100; NaN of an empty series. */
double series_percentile(const series *s, double percent);
double series_median(const series *s);
/* Of rates: the one of the whole, if each holds for as much work. NaN of an empty series. */
double series_harmonic_mean(const series *s);
/* Keeps the memory. */
void series_clear(series *s);
void series_free(series *s);

#endif
