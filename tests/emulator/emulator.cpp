/* tests/emulator/emulator.cpp: the threads of a workgroup as fibers. A fiber runs until it has to wait for others;
 * then the next one in order that need not wait goes on. When none can, somebody waits for a thread that has
 * returned or waits elsewhere, and that is the end. */
#include "shaders/simt/simt.h"

#include <pthread.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/emulator/fiber.h"
#include "tests/emulator/launch.h"

enum {
    MAX_THREADS = 1024,
    STACK_BYTES = 512 << 10,
    GUARD_BYTES = 4096,
    LAST_FRAMES = 4096, /* bytes of thread_main's and give_way's */
    POISON = 0xfb       /* four of them are a NaN-like float and a large int */
};

hy_fiber *hy_self;
hy_workgroup hy_now;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static hy_fiber fibers[MAX_THREADS];
static hy_warp warps[MAX_THREADS / HY_EMULATOR_WARP];
static u8 *stacks; /* [MAX_THREADS] of STACK_BYTES, a guard before each */
static void *caller;
static u32 running; /* fibers that have not returned */
static i32 step;    /* to the next fiber: 1 or -1 */
static const hy_emulator_entry *entry_now;
static const hy_args *args_now;

void hy_emulator_die(const hy_site &site, const char *why) {
    fprintf(stderr, "emulator: %s: workgroup %u, thread %u: %s at %s:%d %s\n", entry_now->name,
            hy_now.group, hy_self->thread, site.what, site.file, site.line, why);
    fflush(stderr);
    abort();
}

/* ---- taking turns ------------------------------------------------------------------------------------ */

static bool can_go_on(const hy_fiber *f) {
    return !f->done && (!f->waits || f->waits->epoch != f->epoch);
}

static void stuck() {
    for (u32 t = 0; t < hy_now.threads; t++) {
        hy_self = &fibers[t];
        if (hy_self->done || !hy_self->waits) continue;
        const hy_meeting &m = *hy_self->waits;
        for (u32 i = 0; i < hy_now.threads; i++) {
            const hy_fiber &other = fibers[i];
            if (other.waits == &m || (&m != &hy_now.meeting && other.warp != hy_self->warp))
                continue;
            char why[256];
            if (other.done)
                snprintf(why, sizeof why, "waits for thread %u, which has returned", i);
            else
                snprintf(why, sizeof why, "waits for thread %u, which is in %s at %s:%d", i,
                         other.waits->site.what, other.waits->site.file, other.waits->site.line);
            hy_emulator_die(m.site, why);
        }
    }
    abort();
}

/* The next fiber in order that can go on; NULL: none is left. */
static hy_fiber *next_fiber() {
    u32 t = hy_self->thread;
    for (u32 i = 0; i < hy_now.threads; i++) {
        t = step > 0 ? (t + 1 == hy_now.threads ? 0 : t + 1) : (t == 0 ? hy_now.threads : t) - 1;
        if (can_go_on(&fibers[t])) return &fibers[t];
    }
    return nullptr;
}

/* Leaves this fiber until its turn comes again. */
static void give_way() {
    hy_fiber *me = hy_self, *next = next_fiber();
    if (!next && running == 0) {
        hy_fiber_switch(&me->stack, &caller);
        return;
    }
    if (!next) stuck();
    if (next == me) return;
    hy_self = next;
    hy_fiber_switch(&me->stack, &next->stack);
}

void hy_meet(hy_meeting &meeting, const hy_site &site) {
    hy_fiber *me = hy_self;
    if (meeting.arrived == 0) {
        meeting.site = site;
    } else if (meeting.site.line != site.line || strcmp(meeting.site.file, site.file) != 0) {
        char why[256];
        snprintf(why, sizeof why, "while others are in %s at %s:%d", meeting.site.what,
                 meeting.site.file, meeting.site.line);
        hy_emulator_die(site, why);
    }
    if (++meeting.arrived == meeting.size) {
        meeting.arrived = 0;
        meeting.epoch++;
        return;
    }
    me->waits = &meeting;
    me->epoch = meeting.epoch;
    while (meeting.epoch == me->epoch)
        give_way();
    me->waits = nullptr;
}

/* ---- asynchronous copies ----------------------------------------------------------------------------- */

void hy_copy_later(void *to, const void *from, u32 bytes, bool is) {
    hy_fiber &f = *hy_self;
    if (f.copies == f.copy_room) {
        f.copy_room = f.copy_room ? 2 * f.copy_room : 64;
        f.copy = (hy_copy *)realloc(f.copy, f.copy_room * sizeof *f.copy);
        if (!f.copy) abort();
    }
    memset(to, POISON, bytes);
    f.copy[f.copies++] = {(u8 *)to, (const u8 *)from, bytes, f.group, is};
}

/* All but the last `last` groups; copies that no commit has ended yet stay. */
void hy_copy_now(u32 last) {
    hy_fiber &f = *hy_self;
    u32 left = 0;
    for (u32 i = 0; i < f.copies; i++) {
        const hy_copy &c = f.copy[i];
        if (c.group + last >= f.group) {
            f.copy[left++] = c;
        } else if (c.is) {
            memcpy(c.to, c.from, c.bytes);
        } else {
            memset(c.to, 0, c.bytes);
        }
    }
    f.copies = left;
}

/* ---- launches ---------------------------------------------------------------------------------------- */

static void thread_main() {
    entry_now->kernel(*args_now);
    hy_self->done = true;
    running--;
    give_way();
    abort(); /* nobody comes back here */
}

static void make_stacks() {
    const size_t bytes = (size_t)MAX_THREADS * (STACK_BYTES + GUARD_BYTES);
    stacks = (u8 *)mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) abort();
    for (u32 t = 0; t < MAX_THREADS; t++)
        mprotect(stacks + (size_t)t * (STACK_BYTES + GUARD_BYTES), GUARD_BYTES, PROT_NONE);
}

static void prepare_thread(u32 t) {
    hy_fiber &f = fibers[t];
    u8 *stack = stacks + (size_t)t * (STACK_BYTES + GUARD_BYTES) + GUARD_BYTES;
#if defined(__SANITIZE_ADDRESS__)
    /* The frames in which the last thread on this stack ended never returned. */
    __asan_unpoison_memory_region(stack + STACK_BYTES - LAST_FRAMES, LAST_FRAMES);
#endif
    f.thread = t;
    f.warp = &warps[t / HY_WARP];
    f.waits = nullptr;
    f.done = false;
    f.group = f.copies = 0;
    hy_fiber_make(&f.stack, stack, STACK_BYTES, thread_main);
}

static void run_workgroup(u32 group, bool reverse) {
    hy_now.group = group;
    hy_now.meeting = {hy_now.threads, 0, 0, {}};
    memset(hy_now.dynamic, POISON, hy_now.dynamic_bytes);
    for (u32 w = 0; w * HY_WARP < hy_now.threads; w++) {
        const u32 left = hy_now.threads - w * HY_WARP;
        warps[w].meeting = {left < HY_WARP ? left : HY_WARP, 0, 0, {}};
    }
    for (u32 t = 0; t < hy_now.threads; t++)
        prepare_thread(t);
    running = hy_now.threads;
    step = reverse ? -1 : 1;
    hy_self = &fibers[reverse ? hy_now.threads - 1 : 0];
    hy_fiber_switch(&caller, &hy_self->stack);
    for (u32 t = 0; t < hy_now.threads; t++)
        hy_fiber_forget(&fibers[t].stack);
}

void hy_emulator_launch(const hy_emulator_entry *entry, const hy_args *args, uint32_t grid_x,
                        uint32_t grid_y, uint32_t threads, uint32_t shared_bytes,
                        hy_emulator_order order) {
    pthread_mutex_lock(&mutex);
    if (!stacks) make_stacks();
    entry_now = entry;
    args_now = args;
    hy_now.threads = threads;
    hy_now.dynamic_bytes = shared_bytes;
    hy_now.dynamic = (u8 *)malloc(shared_bytes ? shared_bytes : 1); /* at a multiple of 16 */
    if (!hy_now.dynamic) abort();
    for (u32 group = 0; group < grid_x * grid_y; group++)
        run_workgroup(group, order == HY_ORDER_REVERSE || (order == HY_ORDER_BOTH && group % 2));
    free(hy_now.dynamic);
    pthread_mutex_unlock(&mutex);
}
