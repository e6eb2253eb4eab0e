/* tools/bench/energy_meter.h: what energy.c needs of a source of joules, and the sources. */
#ifndef HY_TOOLS_BENCH_ENERGY_METER_H
#define HY_TOOLS_BENCH_ENERGY_METER_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes of a reason, with the 0 behind. */
enum { ENERGY_TEXT = 512 };

typedef struct energy_meter energy_meter;
/* Filled by the function that opens one. */
struct energy_meter {
    char name[128]; /* for energy_source */
    bool power;     /* read gives watts of now, not joules since some time that only grow */
    uint32_t
        period_ms; /* while an interval is open it is read at least so often; 0: only at the ends */
    /* False: `reason` [ENERGY_TEXT] is one line. */
    bool (*read)(energy_meter *meter, double *value, char *reason);
    void (*close)(energy_meter *meter);
    void *state;
};

enum {
    ENERGY_POWER_MS = 20,  /* between two samples of a power that is integrated */
    ENERGY_WRAP_MS = 10000 /* between two looks at a counter that may wrap around */
};

/* Each opens a source that answered once, or says why not in `reason` [ENERGY_TEXT]. bus: "0000:65:00.0". */
bool energy_rapl(const char *bus, energy_meter *out, char *reason);
bool energy_nvml(const char *bus, energy_meter *out, char *reason);
bool energy_rocm(const char *bus, energy_meter *out, char *reason);
bool energy_hwmon(const char *bus, energy_meter *out, char *reason);

/* Formats `reason` and returns false. */
bool energy_fail(char *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a file of the system that cannot be read, by errno. */
bool energy_unreadable(char *reason, const char *what, const char *path);

#endif
