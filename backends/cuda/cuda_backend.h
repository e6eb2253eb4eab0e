/* backends/cuda/cuda_backend.h: what the registry sees. */
#ifndef HY_CUDA_CUDA_BACKEND_H
#define HY_CUDA_CUDA_BACKEND_H

#include "hal/hal.h"

/* NVIDIA GPUs of compute capability 7.5 and newer through libcuda, which is looked for at run time. */
extern const hy_backend hy_cuda_backend;

#endif
