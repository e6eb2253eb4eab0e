/* tests/gpu/faults.h: tests of a GPU's backend when calls of its driver fail, and of what a decode step costs, the same
 * for every stand-in (fault_state.h). What they find is cmocka's failure. */
#ifndef HY_TESTS_GPU_FAULTS_H
#define HY_TESTS_GPU_FAULTS_H

#include "halyard/halyard.h"
#include "tests/gpu/fault_state.h"
#include "tests/gpu/job.h"

/* The stand-in under test. */
typedef struct fault_driver {
    fault_state *state;
    const char *device;            /* "cuda:0" */
    const char *submit, *allocate; /* its calls: that runs a list, that takes device memory */
    int32_t out_of_memory, loss;   /* its codes */
    int64_t allocations;           /* an engine makes more than so many */
    bool
        listing; /* calls that list devices fail too: then the device, or the backend, is not there */
    void (*clear)(void);              /* puts back what else a test sets; NULL: nothing */
    void (*hurry)(hy_device *device); /* a device that does not answer is lost after 0.2 s */
} fault_driver;

/* Set up by main before any test runs. */
extern fault_driver faults;

/* Nothing fails any more. */
void faults_clear(void);
/* As fault_state says. */
void faults_inject(int32_t failure, const char *only, int64_t at);
/* Every call that can fail does so once, with one error, in job_whole; HY_E_DEVICE is as good as `wanted`. */
void faults_sweep(int32_t failure, hy_status wanted, const hy_device_params *params);

/* A tiny model, for the whole group of tests. */
extern hy_model *faults_model;
int faults_open_model(void **state);
int faults_close_model(void **state);
/* `steps` decode steps after a warm-up allocate nothing on the heap; note() is called before and after them. */
void faults_replay(int no_graphs, uint32_t steps, void (*note)(bool after));

void faults_test_loss_is_sticky(void **state);
void faults_test_hang(void **state);
void faults_test_probe(void **state);
void faults_test_engine_out_of_memory(void **state);
void faults_test_engine_loss(void **state);

#endif
