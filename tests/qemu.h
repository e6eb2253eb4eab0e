/* tests/qemu.h: what tests do for the sake of the emulator that they may run in. */
#ifndef HY_TESTS_QEMU_H
#define HY_TESTS_QEMU_H

#include <stdint.h>

/* After a kernel. qemu computes SVE of 256 bits and more with the host's AVX, and leaves the upper halves of its
 * registers dirty until it returns from translated code to its main loop: on Intel every later operation on
 * floats takes ten times as long. Writing this register returns there. */
static inline void qemu_settle(void) {
#if defined(__aarch64__)
    uint64_t thread;
    __asm__ __volatile__("mrs %0, tpidr_el0\n\tmsr tpidr_el0, %0" : "=r"(thread));
#endif
}

#endif
