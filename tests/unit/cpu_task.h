/* tests/unit/cpu_task.h: one op with its memory, run on the CPU backend; shared by test_cpu*.c. */
#ifndef HY_TESTS_CPU_TASK_H
#define HY_TESTS_CPU_TASK_H

#include "hal/hal.h"

/* The ISAs of this build that have kernels of every op, by name, lowest first. */
#if defined(__aarch64__)
enum { CT_ISAS = 2 };
#else
enum { CT_ISAS = 3 };
#endif
extern const char *const ct_isas[CT_ISAS];

/* An op with its memory. */
typedef struct ct_task {
    hy_op op;
    void *data[HY_MAX_OPERANDS];
    uint32_t counters[HY_COUNTER_COUNT];
} ct_task;

/* A recorded task. */
typedef struct ct_recording {
    hy_device *device;
    hy_buffer *buffers[HY_MAX_OPERANDS], *counters, *workspace;
    hy_cmd *cmd;
    hy_timeline *timeline;
    uint64_t value;
} ct_recording;

/* The next of a fixed sequence of random numbers. */
uint32_t ct_random_bits(void);
/* Roughly normal. */
float ct_random_float(void);
/* Memory full of ones: NaN in every float type. Never NULL; freed with free(). */
void *ct_allocate(size_t bytes);
bool ct_machine_has(const char *isa);
/* isa NULL: the highest. */
hy_device *ct_open_cpu(const char *isa, uint32_t threads);

/* Gives the task an operand with memory from ct_allocate. */
void ct_set_operand(ct_task *k, uint32_t i, hy_dtype dtype, hy_counter counter, uint32_t rank,
                    uint32_t a, uint32_t b, uint32_t c, uint32_t d);
/* Random values in elements [first, first + count) of a float operand. */
void ct_fill(const ct_task *k, uint32_t i, size_t first, size_t count);
/* One element of a float operand. */
double ct_element(const ct_task *k, uint32_t i, size_t e);
void ct_free_task(ct_task *k);

/* Records the best candidate over the task's memory and counters, in place. */
ct_recording ct_record(hy_device *device, const ct_task *k);
void ct_replay(ct_recording *r);
void ct_free_recording(ct_recording *r);
/* Opens, records, replays once, closes. */
void ct_run(const char *isa, uint32_t threads, const ct_task *k);

#endif
