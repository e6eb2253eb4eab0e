/* tests/emulator/fiber.cpp: see fiber.h. */
#include "tests/emulator/fiber.h"

#include <stdint.h>

#if !defined(HY_FIBER_UCONTEXT) && (defined(__x86_64__) || defined(__aarch64__))

#if defined(__x86_64__)

asm(".text\n"
    ".hidden hy_fiber_turn\n"
    ".type hy_fiber_turn, @function\n"
    "hy_fiber_turn:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq "
    "%r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq (%rsi), %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size hy_fiber_turn, . - hy_fiber_turn\n");

enum { SAVED = 6, PLACE = SAVED }; /* words; the one where the address to return to is */

#else

asm(".text\n"
    ".hidden hy_fiber_turn\n"
    ".type hy_fiber_turn, %function\n"
    "hy_fiber_turn:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp, #0]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n    str x9, [x0]\n"
    "    ldr x9, [x1]\n    mov sp, x9\n"
    "    ldp x19, x20, [sp, #0]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    ret\n"
    ".size hy_fiber_turn, . - hy_fiber_turn\n");

enum { SAVED = 20, PLACE = 11 };

#endif

extern "C" void hy_fiber_turn(void **from, void **to);

void hy_fiber_switch(void **from, void **to) {
    hy_fiber_turn(from, to);
}

/* What hy_fiber_turn would have saved, and behind it a word that is nobody's return address, so that `entry`
 * finds the stack as after a call. */
void hy_fiber_make(void **out, void *stack, size_t bytes, void (*entry)(void)) {
    uint64_t *top = (uint64_t *)(((uintptr_t)stack + bytes) & ~(uintptr_t)15) - 4;
    uint64_t *saved = top - SAVED;
    for (int i = 0; i < SAVED + 4; i++)
        saved[i] = 0;
    saved[PLACE] = (uint64_t)(uintptr_t)entry;
    *out = saved;
}

void hy_fiber_forget(void **fiber) {
    *fiber = nullptr;
}

#else

#include <stdlib.h>
#include <ucontext.h>

static ucontext_t *context_of(void **fiber) {
    if (!*fiber) *fiber = calloc(1, sizeof(ucontext_t));
    return (ucontext_t *)*fiber;
}

void hy_fiber_switch(void **from, void **to) {
    swapcontext(context_of(from), context_of(to));
}

void hy_fiber_make(void **out, void *stack, size_t bytes, void (*entry)(void)) {
    ucontext_t *context = context_of(out);
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = bytes;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
}

void hy_fiber_forget(void **fiber) {
    free(*fiber);
    *fiber = nullptr;
}

#endif
