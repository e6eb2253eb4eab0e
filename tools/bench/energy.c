/* tools/bench/energy.c: choosing a source, and summing over an interval. */
#include "tools/bench/energy.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "tools/bench/energy_meter.h"
#include "tools/bench/sysfs.h"

struct energy {
    energy_meter meter; /* .read NULL: there is none */
    char reason[ENERGY_TEXT];
    bool open; /* an interval is */
    /* Of the open interval. While the thread runs they are its own, but for `stop`. */
    double joules, last; /* so far; the latest reading */
    uint64_t last_ns;
    bool failed;
    char trouble[ENERGY_TEXT]; /* why */
    /* Reads the meter every period_ms. */
    bool threaded, stop;
    pthread_t thread;
    pthread_mutex_t lock; /* guards `stop` */
    pthread_cond_t wake;
};

bool energy_fail(char *reason, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, ENERGY_TEXT, format, arguments);
    va_end(arguments);
    return false;
}

bool energy_unreadable(char *reason, const char *what, const char *path) {
    if (errno == EACCES || errno == EPERM)
        return energy_fail(reason, "%s: no permission to read %s", what, path);
    return energy_fail(reason, "%s: %s cannot be read: %s", what, path, strerror(errno));
}

/* ---- choosing ---- */

/* Sources of cards: for one vendor's, or for all of them. */
static const struct {
    bool (*open)(const char *bus, energy_meter *out, char *reason);
    const char *vendor;  /* as PCI has it; NULL: any */
    const char *backend; /* whose devices are this vendor's */
} sources[] = {
    {energy_nvml, "0x10de", "cuda"}, {energy_rocm, "0x1002", "hip"}, {energy_hwmon, NULL, NULL}};

static bool is_of(const char *device_id, const char *backend) {
    const size_t n = strlen(backend);
    return strncmp(device_id, backend, n) == 0 && (device_id[n] == ':' || device_id[n] == 0);
}

/* Whether the device may be `vendor`'s, whose backend is `backend`. */
static bool may_be(const char *device_id, const char *bus, const char *vendor,
                   const char *backend) {
    char said[16];
    if (sys_line(said, sizeof said, "/sys/bus/pci/devices/%s/vendor", bus))
        return strcmp(said, vendor) == 0;
    return is_of(device_id, backend) || !(is_of(device_id, "cuda") || is_of(device_id, "hip"));
}

static bool choose(energy *e, const char *id, const char *bus) {
    char reason[ENERGY_TEXT];
    if (strchr(id, ','))
        return energy_fail(e->reason, "%s: one counter does not cover several devices", id);
    if (is_of(id, "cpu") || is_of(id, "ref")) return energy_rapl(bus, &e->meter, e->reason);
    if (!*bus)
        return energy_fail(e->reason,
                           "%s: its PCI bus id is not known, by which counters are found", id);
    for (size_t i = 0; i < HY_COUNT_OF(sources); i++) {
        const size_t used = strlen(e->reason);
        if (sources[i].vendor && !may_be(id, bus, sources[i].vendor, sources[i].backend)) continue;
        if (sources[i].open(bus, &e->meter, reason)) return true;
        snprintf(e->reason + used, sizeof e->reason - used, "%s%s", used ? "; " : "", reason);
    }
    return false;
}

energy *energy_new(const char *device_id, const char *pci_bus) {
    energy *e = calloc(1, sizeof *e);
    pthread_condattr_t monotonic;
    if (!e) return NULL;
    pthread_mutex_init(&e->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (choose(e, device_id, pci_bus))
        e->reason[0] = 0;
    else
        e->meter = (energy_meter){.read = NULL};
    return e;
}

void energy_free(energy *e) {
    double joules;
    if (!e) return;
    if (e->open) energy_end(e, &joules);
    if (e->meter.read) e->meter.close(&e->meter);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

const char *energy_source(const energy *e) {
    return e->meter.read ? e->meter.name : NULL;
}

const char *energy_reason(const energy *e) {
    return e->reason;
}

/* ---- summing ---- */

/* Adds what was used since the last reading; between two samples of a power it is taken to change evenly. */
static void take(energy *e) {
    double value;
    if (e->failed) return;
    e->failed = !e->meter.read(&e->meter, &value, e->trouble);
    if (e->failed) return;
    const uint64_t now = hy_clock_ns();
    if (e->meter.power) {
        e->joules += (e->last + value) / 2 * (double)(now - e->last_ns) * 1e-9;
    } else if (value >= e->last) {
        e->joules += value - e->last;
    } else {
        e->failed = !energy_fail(e->trouble, "%s: the counter went back", e->meter.name);
    }
    e->last = value;
    e->last_ns = now;
}

static void *sample(void *context) {
    energy *e = context;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    pthread_mutex_lock(&e->lock);
    while (!e->stop) {
        const uint64_t ns = (uint64_t)next.tv_nsec + (uint64_t)e->meter.period_ms * 1000000;
        next.tv_sec += (time_t)(ns / 1000000000);
        next.tv_nsec = (long)(ns % 1000000000);
        while (!e->stop && pthread_cond_timedwait(&e->wake, &e->lock, &next) == 0)
            ;
        if (e->stop) break;
        pthread_mutex_unlock(&e->lock);
        take(e);
        clock_gettime(CLOCK_MONOTONIC, &next);
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void stop_thread(energy *e) {
    if (!e->threaded) return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    e->threaded = false;
}

bool energy_begin(energy *e) {
    if (!e->meter.read) return false;
    if (e->open) return energy_fail(e->reason, "%s: an interval is open already", e->meter.name);
    if (!e->meter.read(&e->meter, &e->last, e->reason)) return false;
    e->last_ns = hy_clock_ns();
    e->joules = 0;
    e->failed = e->stop = false;
    if (e->meter.period_ms) {
        const int code = pthread_create(&e->thread, NULL, sample, e);
        if (code) return energy_fail(e->reason, "%s: no thread: %s", e->meter.name, strerror(code));
        e->threaded = true;
    }
    e->open = true;
    e->reason[0] = 0;
    return true;
}

bool energy_end(energy *e, double *joules) {
    if (!e->open) {
        if (e->meter.read) energy_fail(e->reason, "%s: no interval is open", e->meter.name);
        return false;
    }
    stop_thread(e);
    take(e);
    e->open = false;
    if (e->failed) return energy_fail(e->reason, "%s", e->trouble);
    *joules = e->joules;
    return true;
}
