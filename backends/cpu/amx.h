/* backends/cpu/amx.h: the tile registers of AMX, for files that are compiled for them. Any thread; each has its own. */
#ifndef HY_CPU_AMX_H
#define HY_CPU_AMX_H

#include <immintrin.h>
#include <stdint.h>

/* What _tile_loadconfig reads: palette 1, then of each register the bytes of a row and the rows. Takes some 200
 * cycles, and leaves zeros in all registers. Kernels release them when they are through: a thread's registers
 * are saved with it as long as they are in use. */
typedef struct amx_config {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} amx_config;

/* All registers whole: 16 rows of 64 bytes. */
static inline void amx_enter_whole(void) {
    static const amx_config config = {.palette = 1,
                                      .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                      .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}

/* Some compilers do not see that tile loads read memory: between what was stored there and the first load. */
#define AMX_STORED() __asm__ volatile("" ::: "memory")

#endif
