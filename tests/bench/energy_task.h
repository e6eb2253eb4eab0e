/* tests/bench/energy_task.h: what the tests of energy counters share. */
#ifndef HY_TESTS_BENCH_ENERGY_TASK_H
#define HY_TESTS_BENCH_ENERGY_TASK_H

#include "tools/bench/energy.h"

/* There is a counter of this name. */
energy *energy_there(const char *device, const char *bus, const char *source);
/* There is none, and the reason, one line, has each of `said` (up to NULL) in it. */
void energy_none(const char *device, const char *bus, const char *const *said);
#define energy_none_for(device, bus, ...)                                                          \
    energy_none(device, bus, (const char *const[]){__VA_ARGS__, NULL})
/* The last failure's reason, one line, has `said` in it. */
void energy_said(const energy *e, const char *said);

/* Seconds of a monotonic clock. */
double task_now(void);
void task_sleep_ms(unsigned ms);
/* Measures for a while what draws `watts`: true joules lie between those of the time inside and of the time around. */
void energy_measures(energy *e, double watts, double grain);

#endif
