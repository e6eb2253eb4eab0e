/* tests/bench/stand_in.h: stand-ins for NVML and ROCm SMI, and what a test sees and sets of one: exported as `stand_in`.
 * Its one device, at STAND_IN_BUS, draws `watts` from when the library was first started. */
#ifndef HY_TESTS_BENCH_STAND_IN_H
#define HY_TESTS_BENCH_STAND_IN_H

#include <stdatomic.h>

#define STAND_IN_BUS "0001:65:1f.0"

enum { STAND_IN_MOST = 64 };

typedef struct stand_in_state {
    _Atomic int watts;
    const char
        *_Atomic fails; /* the function that fails with `code`, or "*", each one; NULL: none */
    _Atomic int code;
    _Atomic int open;                     /* starts without their ends */
    _Atomic int calls;                    /* that asked for power */
    _Atomic double called[STAND_IN_MOST]; /* when the first ones did, in seconds of stand_in_now */
} stand_in_state;

/* Seconds of CLOCK_MONOTONIC. */
double stand_in_now(void);

/* ---- inside a stand-in ---- */

#define STAND_IN_EXPORT __attribute__((visibility("default")))
/* First in each function that can fail. */
#define STAND_IN_CALL()                                                                            \
    do {                                                                                           \
        const int failed = stand_in_call(__func__);                                                \
        if (failed) return failed;                                                                 \
    } while (0)

extern STAND_IN_EXPORT stand_in_state stand_in;
int stand_in_call(const char *name);
void stand_in_start(void);
/* Since the first start. */
double stand_in_joules(void);

#endif
