/* hal/wrap.h: the common part of the wrappers: a device whose objects stand for those of another device,
 * and a table of functions that only pass calls on. A wrapper overrides what it cares about.
 *
 * Every object alive is listed with a number that is never used again, so that a freed or foreign object is
 * recognized by its address alone. Thread-safety: as in hal/hal.h. */
#ifndef HY_HAL_WRAP_H
#define HY_HAL_WRAP_H

#include "hal/hal.h"

/* What a listed object is. */
typedef enum hy_wrap_kind { HY_WRAP_BUFFER, HY_WRAP_CMD, HY_WRAP_TIMELINE } hy_wrap_kind;

typedef struct hy_wrap_entry {
    void *object;
    hy_wrap_kind kind;
    uint64_t id; /* from 1 */
} hy_wrap_entry;

/* First member of a wrapper's device. */
typedef struct hy_wrap_device {
    hy_device base;
    hy_backend table; /* base.backend points here; the name is the inner backend's */
    hy_device *inner;
    size_t cmd_size, timeline_size; /* bytes of the wrapper's cmd and timeline structs */
    hy_wrap_entry *live;
    size_t live_count, live_capacity;
    uint64_t last_id;
} hy_wrap_device;

/* A buffer that stands for `inner`. */
typedef struct hy_wrap_buffer {
    hy_buffer base;
    hy_buffer *inner;
} hy_wrap_buffer;

/* First member of a wrapper's cmd; the rest is zero at first. */
typedef struct hy_wrap_cmd {
    hy_cmd base;
    hy_cmd *inner;
} hy_wrap_cmd;

/* First member of a wrapper's timeline; the rest is zero at first. */
typedef struct hy_wrap_timeline {
    hy_timeline base;
    hy_timeline *inner;
} hy_wrap_timeline;

/* Allocates a wrapper's device of `size` bytes around `inner`, its table passing everything on. */
HY_NODISCARD hy_status hy_wrap_new(hy_device *inner, size_t size, size_t cmd_size,
                                   size_t timeline_size, hy_wrap_device **out);
/* Frees objects still alive (through the wrapper's table), then the inner device and this one. */
void hy_wrap_close(hy_device *device);

/* The number of an object alive on this device, or 0. The object is not looked into. */
uint64_t hy_wrap_id(const hy_wrap_device *device, const void *object);
/* Lists a new object. HY_E_MEMORY. */
HY_NODISCARD hy_status hy_wrap_list(hy_wrap_device *device, hy_wrap_kind kind, void *object);
/* Takes an object off the list. */
void hy_wrap_unlist(hy_wrap_device *device, const void *object);

/* The same bytes on the inner device. */
hy_view hy_wrap_view(hy_view view);
/* The functions that pass calls on, for a wrapper to call after its own part. */
const hy_backend *hy_wrap_forward(void);

#endif
