#include "tests/bench/energy_task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void check_line(const char *reason, const char *said) {
    if (!strstr(reason, said)) fail_msg("'%s' does not say '%s'", reason, said);
    assert_null(strchr(reason, '\n'));
}

energy *energy_there(const char *device, const char *bus, const char *source) {
    energy *e = energy_new(device, bus);
    assert_non_null(e);
    if (!energy_source(e)) fail_msg("no counter: %s", energy_reason(e));
    assert_string_equal(energy_source(e), source);
    assert_string_equal(energy_reason(e), "");
    return e;
}

void energy_none(const char *device, const char *bus, const char *const *said) {
    double joules = -1;
    energy *e = energy_new(device, bus);
    assert_non_null(e);
    if (energy_source(e)) fail_msg("a counter: %s", energy_source(e));
    for (; *said; said++)
        check_line(energy_reason(e), *said);
    char before[600];
    snprintf(before, sizeof before, "%s", energy_reason(e));
    assert_false(energy_begin(e));
    assert_false(energy_end(e, &joules));
    assert_true(joules < 0);
    assert_string_equal(energy_reason(e), before);
    energy_free(e);
}

void energy_said(const energy *e, const char *said) {
    check_line(energy_reason(e), said);
}

double task_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void task_sleep_ms(unsigned ms) {
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

void energy_measures(energy *e, double watts, double grain) {
    double joules = -1;
    const double before = task_now();
    assert_true(energy_begin(e));
    const double inside = task_now();
    task_sleep_ms(70);
    const double least = (task_now() - inside) * watts - grain;
    if (!energy_end(e, &joules)) fail_msg("%s", energy_reason(e));
    const double most = (task_now() - before) * watts + grain;
    if (joules < least || joules > most)
        fail_msg("%g J are not between %g and %g", joules, least, most);
}
