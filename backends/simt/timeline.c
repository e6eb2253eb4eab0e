/* backends/simt/timeline.c: submissions and their events, waits that end, device loss.
 *
 * Submission n records event n % SIMT_EVENTS behind its work. Before an event is recorded anew, the submission that
 * it stood for is waited for, so that all but the last SIMT_EVENTS submissions are known to be done, and an event
 * that comes to pass says at least what it was asked for. Waits ask again and again, giving way to other threads,
 * for as long as a decode step may take, then between naps that cost a hundredth of the time: loss seen
 * by one thread ends the waits of all, and a device that ends nothing for patience_us counts as lost. */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "backends/simt/simt.h"
#include "base/clock.h"
#include "base/num.h"

enum { YIELD_US = 10000, LONGEST_NAP_US = 1000, POINTS = 2 * SIMT_EVENTS };

typedef struct point {
    _Atomic uint64_t number, value; /* submission `number` reaches `value` */
} point;

typedef struct simt_timeline {
    hy_timeline base;
    point point[POINTS]; /* number i at i % POINTS */
    _Atomic uint64_t points;
} simt_timeline;

static uint64_t now_us(void) {
    return hy_clock_ns() / 1000;
}

static void nap(uint64_t us) {
    const struct timespec time = {.tv_nsec = (long)us * 1000};
    nanosleep(&time, NULL);
}

/* ---- submissions --------------------------------------------------------------------------------- */

hy_status simt_events_open(simt_device *device) {
    for (uint32_t i = 0; i < SIMT_EVENTS; i++) {
        const hy_status status =
            simt_check(device, device->api->event_new(&device->event[i]), "making an event");
        if (status == HY_OK) continue;
        simt_events_close(device);
        return status;
    }
    atomic_store(&device->stirred_us, now_us());
    return HY_OK;
}

void simt_events_close(simt_device *device) {
    for (uint32_t i = 0; i < SIMT_EVENTS; i++) {
        if (device->event[i]) device->api->event_free(device->event[i]);
        device->event[i] = NULL;
    }
}

static void raise_done(simt_device *device, uint64_t number) {
    uint64_t done = atomic_load(&device->done);
    while (done < number && !atomic_compare_exchange_weak(&device->done, &done, number))
        ;
    atomic_store(&device->stirred_us, now_us());
}

/* Whether submission `number`, which has been made, is done. */
static hy_status is_done(simt_device *device, uint64_t number, bool *out) {
    *out = atomic_load(&device->done) >= number;
    if (*out) return HY_OK;
    const int code = device->api->event_query(device->event[number % SIMT_EVENTS]);
    if (code == SIMT_OK) {
        raise_done(device, number);
        *out = true;
        return HY_OK;
    }
    *out = atomic_load(&device->done) >= number; /* the event may be another's by now */
    return *out || code == SIMT_NOT_READY ? HY_OK : simt_check(device, code, "asking for an event");
}

/* HY_E_DEVICE when work is pending and nothing has ended for too long. */
static hy_status check_progress(simt_device *device) {
    const uint64_t now = now_us(), since = atomic_load(&device->stirred_us);
    if (atomic_load(&device->done) >= atomic_load(&device->submitted)) return HY_OK;
    if (!device->patience_us || now < since || now - since < device->patience_us) return HY_OK;
    atomic_store(&device->lost, true);
    return hy_fail(HY_E_DEVICE, "%s: %s: no answer for %.1f s; the device counts as lost",
                   device->vendor->backend->name, device->info.name, (double)(now - since) / 1e6);
}

/* One turn of a wait that began at `start`. */
static hy_status pass_time(simt_device *device, uint64_t start, uint64_t timeout_us) {
    const uint64_t spent = now_us() - start;
    HY_TRY(simt_enter(device));
    HY_TRY(check_progress(device));
    if (spent >= timeout_us)
        return hy_fail(HY_E_TIMEOUT, "%s: not done after %llu us", device->vendor->backend->name,
                       (unsigned long long)timeout_us);
    if (spent < YIELD_US)
        sched_yield();
    else
        nap(HY_MIN(HY_MIN(spent / 100, (uint64_t)LONGEST_NAP_US), timeout_us - spent));
    return HY_OK;
}

static hy_status settle(simt_device *device, uint64_t number, uint64_t timeout_us) {
    const uint64_t start = now_us();
    for (;;) {
        bool done;
        HY_TRY(simt_enter(device));
        HY_TRY(is_done(device, number, &done));
        if (done) return HY_OK;
        HY_TRY(pass_time(device, start, timeout_us));
    }
}

hy_status simt_settle(simt_device *device, uint64_t number) {
    return settle(device, number, UINT64_MAX);
}

void simt_quiesce(simt_device *device, uint64_t number) {
    if (!atomic_load(&device->lost) && simt_settle(device, number) != HY_OK)
        return; /* lost by now: there is nothing to wait for */
}

hy_status simt_submitted(simt_device *device, uint64_t *number) {
    const uint64_t next = atomic_load(&device->submitted) + 1;
    if (next > SIMT_EVENTS) HY_TRY(simt_settle(device, next - SIMT_EVENTS));
    HY_TRY(simt_check(device,
                      device->api->event_record(device->event[next % SIMT_EVENTS], device->stream),
                      "recording an event"));
    atomic_store(&device->stirred_us, now_us());
    atomic_store(&device->submitted, next);
    *number = next;
    return HY_OK;
}

/* ---- timelines ----------------------------------------------------------------------------------- */

/* The first of the latest points that are looked at: SIMT_EVENTS that may be under way, and one that is done for
 * sure. As many again may be made meanwhile without replacing them. */
static uint64_t first_point(uint64_t points) {
    return points > SIMT_EVENTS + 1 ? points - SIMT_EVENTS - 1 : 0;
}

static point *point_of(simt_timeline *timeline, uint64_t i) {
    return &timeline->point[i % POINTS];
}

hy_status simt_timeline_new(hy_device *base, hy_timeline **out) {
    simt_timeline *timeline = calloc(1, sizeof *timeline);
    if (!timeline) return hy_fail(HY_E_MEMORY, "%s: no memory for a timeline", base->backend->name);
    timeline->base.device = base;
    *out = &timeline->base;
    return HY_OK;
}

void simt_timeline_free(hy_timeline *base) {
    simt_timeline *timeline = (simt_timeline *)base;
    const uint64_t points = timeline ? atomic_load(&timeline->points) : 0;
    if (points)
        simt_quiesce((simt_device *)base->device,
                     atomic_load(&point_of(timeline, points - 1)->number));
    free(timeline);
}

void simt_timeline_set(hy_timeline *base, uint64_t number, uint64_t value) {
    simt_timeline *timeline = (simt_timeline *)base;
    const uint64_t points = atomic_load(&timeline->points);
    point *p = point_of(timeline, points);
    atomic_store(&p->number, number);
    atomic_store(&p->value, value);
    atomic_store(&timeline->points, points + 1);
}

hy_status simt_timeline_value(hy_timeline *base, uint64_t *value) {
    simt_timeline *timeline = (simt_timeline *)base;
    simt_device *device = (simt_device *)base->device;
    HY_TRY(simt_enter(device));
    const uint64_t points = atomic_load(&timeline->points), first = first_point(points);
    *value = 0;
    for (uint64_t i = points; i > first; i--) {
        const point *p = point_of(timeline, i - 1);
        bool done;
        *value = atomic_load(&p->value);
        HY_TRY(is_done(device, atomic_load(&p->number), &done));
        if (done) return HY_OK;
        *value = 0;
    }
    return check_progress(device);
}

/* The submission that reaches `value`; 0: none has been made yet. */
static uint64_t submission_of(simt_timeline *timeline, uint64_t value) {
    const uint64_t points = atomic_load(&timeline->points), first = first_point(points);
    uint64_t number = 0;
    for (uint64_t i = points; i > first; i--) {
        const point *p = point_of(timeline, i - 1);
        if (atomic_load(&p->value) < value) break;
        number = atomic_load(&p->number);
    }
    return number;
}

hy_status simt_timeline_wait(hy_timeline *base, uint64_t value, uint64_t timeout_us) {
    simt_timeline *timeline = (simt_timeline *)base;
    simt_device *device = (simt_device *)base->device;
    const uint64_t start = now_us();
    while (value) {
        bool done = false;
        const uint64_t number = submission_of(timeline, value);
        HY_TRY(simt_enter(device));
        if (number) HY_TRY(is_done(device, number, &done));
        if (done) return HY_OK;
        HY_TRY(pass_time(device, start, timeout_us));
    }
    return HY_OK;
}
