/* tests/emulator/fiber.h: stacks that take turns. x86-64 and AArch64 have a switch of a few instructions; with
 * HY_FIBER_UCONTEXT, and elsewhere, POSIX's. AddressSanitizer needs to be told nothing: frames clean up their
 * marks when they return, and no fiber is left in the middle. */
#ifndef HY_FIBER_H
#define HY_FIBER_H

#include <stddef.h>

/* Goes on with what was saved in *to and keeps this place in *from. */
void hy_fiber_switch(void **from, void **to);
/* Makes *out a fiber that begins with `entry`, which must never return, on that stack. */
void hy_fiber_make(void **out, void *stack, size_t bytes, void (*entry)(void));
/* Frees what make() allocated besides. */
void hy_fiber_forget(void **fiber);

#endif
