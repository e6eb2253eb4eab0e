/* tests/gpu/job.h: a small job on the HAL that makes every kind of call that a model makes, for tests that fail calls
 * of a GPU's driver. Failures of the test itself are cmocka's. */
#ifndef HY_TESTS_GPU_JOB_H
#define HY_TESTS_GPU_JOB_H

#include "hal/hal.h"
#include "halyard/halyard.h"

typedef struct job {
    hy_device *device;
    hy_buffer *operands, *counters;
    hy_cmd *cmd;
    hy_timeline *timeline;
} job;

/* Fails the test unless the status is HY_OK. */
void job_ok(hy_status status);
/* 1 + 2 on the device, read back to *out. What was opened stays in *j, also on failure. */
hy_status job_run(job *j, const char *device, const hy_device_params *params, float *out);
void job_end(job *j);
/* Both; the error's text is kept. */
hy_status job_whole(const char *device, const hy_device_params *params, float *out);
/* Adds `count` tokens to a sequence and steps until nothing is left to do. */
void job_decode(hy_engine *engine, hy_sequence *sequence, uint32_t count);

#endif
