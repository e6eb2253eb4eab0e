/* tests/emulator/device.h: one software device behind both stand-in libraries: memory, streams, graphs, events,
 * modules. Every function returns a code that means the same in CUDA and HIP. Everything is done when it is asked
 * for, so that streams order nothing; a capture keeps launches and copies for a graph. */
#ifndef HY_EMULATOR_DEVICE_H
#define HY_EMULATOR_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "tests/emulator/emulator_state.h"
#include "tests/emulator/launch.h"

enum {
    EMU_OK = 0,
    EMU_INVALID_VALUE = 1,
    EMU_OUT_OF_MEMORY = 2,
    EMU_INVALID_HANDLE = 400,
    EMU_NOT_FOUND = 500,
    EMU_NOT_READY = 600,
    EMU_LAUNCH_FAILED = 719,
    EMU_CAPTURE_UNSUPPORTED = 900
};

#define EMU_EXPORT extern "C" __attribute__((visibility("default")))
#define EMU_MEMORY ((size_t)4 << 30) /* bytes of a device */

extern "C" {
extern __attribute__((visibility("default"))) emulator_state_of emulator_state;
}

/* Stands in every function while it runs. */
struct emu_guard {
    emu_guard() {
        if (emulator_state.faults.enter) emulator_state.faults.enter();
    }
    ~emu_guard() {
        if (emulator_state.faults.leave) emulator_state.faults.leave();
    }
};

struct emu_stream;
struct emu_graph;
struct emu_event;
struct emu_module;
typedef const hy_emulator_entry emu_function;

/* Whether this call, of a function that can fail, is to fail; its code. May be asked for during a capture? */
int emu_call(const char *name, bool in_capture);
const char *emu_error_name(int code); /* "OUT_OF_MEMORY" */
int emu_device_count(void);

int emu_alloc(void **out, size_t bytes, bool host);
int emu_free(void *p);
size_t emu_free_bytes(void);
int emu_copy(void *to, const void *from, size_t bytes, emu_stream *stream);
int emu_stream_new(emu_stream **out);
int emu_stream_free(emu_stream *stream);
int emu_capture_begin(emu_stream *stream);
int emu_capture_end(emu_stream *stream, emu_graph **out);
int emu_graph_copy(emu_graph **out, const emu_graph *graph); /* the executable one */
int emu_graph_launch(const emu_graph *graph);
int emu_graph_free(emu_graph *graph);
int emu_event_new(emu_event **out);
int emu_event_record(emu_event *event, emu_stream *stream);
int emu_event_query(const emu_event *event);
int emu_event_free(emu_event *event);
int emu_module_new(emu_module **out, const void *image);
int emu_module_free(emu_module *module);
int emu_function_find(emu_function **out, emu_module *module, const char *name);
int emu_function_shared(emu_function *function,
                        int bytes); /* dynamic shared memory that it may have */
int emu_launch(emu_function *function, const uint32_t grid[3], const uint32_t block[3],
               uint32_t shared_bytes, emu_stream *stream, void **params);
int emu_retain(int by); /* contexts */

/* D [n, t] = A [k, n]^T B [k, t], columns first, `step` elements from one to the next; A and B f16, D float32. */
struct emu_product {
    const uint16_t *a, *b;
    float *d;
    uint64_t n, t, k;
    int64_t a_step, b_step, d_step;
};
/* For the stand-in BLAS, another library. */
EMU_EXPORT int emu_multiply(const emu_product *product, emu_stream *stream);

#endif
