/* tools/bench/signals.c: ending early without losing what is finished. */
#include <signal.h>
#include <unistd.h>

#include "tools/bench/run.h"

static volatile sig_atomic_t caught;

static void catch_signal(int number) {
    if (caught) _exit(128 + number);
    caught = number;
}

void bench_catch_signals(void) {
    struct sigaction action = {.sa_handler = catch_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool bench_stopped(void) {
    return caught != 0;
}

int bench_stop_code(void) {
    return caught ? 128 + caught : 0;
}
