/* Sets of cpus as text, and the choice of cores on machines that are folders of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/num.h"

static char root[64];

/* Writes a line to a file of the made-up /sys, and the folders on the way. */
static void put(const char *name, const char *line) {
    char path[256];
    snprintf(path, sizeof path, "%s/devices/%s", root, name);
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", line);
    fclose(file);
}

static void put_cpu(uint32_t cpu, const char *siblings, const char *capacity) {
    char name[96];
    snprintf(name, sizeof name, "system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    put(name, siblings);
    snprintf(name, sizeof name, "system/cpu/cpu%u/cpu_capacity", cpu);
    if (capacity) put(name, capacity);
}

static void new_machine(const char *online) {
    snprintf(root, sizeof root, "/tmp/halyard-cpu-XXXXXX");
    assert_non_null(mkdtemp(root));
    if (online) put("system/cpu/online", online);
}

static void remove_machine(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    assert_int_equal(system(command), 0);
}

static hy_cpu_set set_of(const char *text) {
    hy_cpu_set set;
    assert_int_equal(hy_cpu_set_parse(text, &set), HY_OK);
    return set;
}

/* The chosen cpus are exactly those of `want`. */
static void expect(const char *allowed, bool fast, const char *want) {
    static uint32_t order[HY_MAX_CPUS];
    const hy_cpu_set set = set_of(allowed), wanted = set_of(want);
    const uint32_t count = hy_cpu_cores(root, &set, fast, order, HY_MAX_CPUS);
    if (count != hy_cpu_set_count(&wanted))
        fail_msg("%u cores of %s, not %s", count, allowed, want);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(hy_cpu_set_has(&wanted, order[i]));
        assert_true(i == 0 || order[i] > order[i - 1]);
    }
    assert_int_equal(hy_cpu_cores(root, &set, fast, NULL, 0), count);
}

static void parses_sets(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",       "x",  "0x",  "0xg", "0x0",   "1,",   ",1",
        "1-",     "-1", "3-2", "1 2", "1-2-3", "8192", "99999999999999999999",
        "0-8192", "1e3"};
    hy_cpu_set set = {{0}};
    for (size_t i = 0; i < HY_COUNT_OF(wrong); i++) {
        assert_int_equal(hy_cpu_set_parse(wrong[i], &set), HY_E_ARGUMENT);
        assert_non_null(strstr(hy_error_text(), "valid"));
    }
    set = set_of("0-3,8");
    assert_int_equal(hy_cpu_set_count(&set), 5);
    assert_true(hy_cpu_set_has(&set, 3) && hy_cpu_set_has(&set, 8) && !hy_cpu_set_has(&set, 4));
    set = set_of("0x80000000000000000000000000000005"); /* wider than any word */
    assert_int_equal(hy_cpu_set_count(&set), 3);
    assert_true(hy_cpu_set_has(&set, 0) && hy_cpu_set_has(&set, 2) && hy_cpu_set_has(&set, 127));
    set = set_of("8191");
    assert_true(hy_cpu_set_has(&set, 8191) && !hy_cpu_set_has(&set, 8192));
}

/* 6 fast cores of two threads each, 8 slow ones. */
static void hybrid(void **state) {
    (void)state;
    for (int says_capacity = 0; says_capacity < 2; says_capacity++) {
        new_machine("0-19");
        for (uint32_t cpu = 0; cpu < 20; cpu++) {
            char siblings[16];
            snprintf(siblings, sizeof siblings, cpu < 12 ? "%u-%u" : "%u", cpu & ~1u, cpu | 1);
            if (cpu >= 12) snprintf(siblings, sizeof siblings, "%u", cpu);
            put_cpu(cpu, siblings,
                    !says_capacity ? NULL
                    : cpu >= 12    ? "500"
                    : cpu < 4      ? "1024"
                                   : "1009");
        }
        if (!says_capacity) {
            put("cpu_core/cpus", "0-11");
            put("cpu_atom/cpus", "12-19");
        }
        expect("0-19", true, "0,2,4,6,8,10");
        expect("0-19", false, "0,2,4,6,8,10,12-19");
        expect("1,3,5-19", true, "1,3,5,6,8,10"); /* whichever thread of a core is allowed */
        expect("12-19", true, "12-19");           /* all that there is */
        expect("0-1,12-19", true, "0,12-19");     /* nine at half the pace are more than one */
        expect("0-1,12", true, "0-0");
        remove_machine();
    }
}

static void put_arm(const char *const *capacity, uint32_t count) {
    char online[16];
    snprintf(online, sizeof online, "0-%u", count - 1);
    new_machine(online);
    for (uint32_t cpu = 0; cpu < count; cpu++) {
        char own[16];
        snprintf(own, sizeof own, "%u", cpu);
        put_cpu(cpu, own, capacity[cpu]);
    }
}

static void big_little(void **state) {
    static const char *const four_four[] = {"530",  "530",  "530",  "530",
                                            "1024", "1024", "1024", "1024"};
    static const char *const one_three_four[] = {"300", "300", "300", "300",
                                                 "650", "650", "650", "1024"};
    static const char *const two_six[] = {"800", "800", "800", "800", "800", "800", "1024", "1024"};
    (void)state;
    put_arm(four_four, 8);
    expect("0-7", true, "4-7");
    expect("0-7", false, "0-7");
    expect("0-3", true, "0-3");
    remove_machine();
    put_arm(one_three_four, 8);
    expect("0-7", true, "4-7"); /* one core would be less than four at 650 */
    remove_machine();
    put_arm(two_six, 8);
    expect("0-7", true, "0-7");
    remove_machine();
}

/* Two packages of 32 cores; the second threads are numbered after all first ones. */
static void two_sockets(void **state) {
    (void)state;
    new_machine("0-127");
    for (uint32_t cpu = 0; cpu < 128; cpu++) {
        char siblings[16];
        snprintf(siblings, sizeof siblings, "%u,%u", cpu % 64, cpu % 64 + 64);
        put_cpu(cpu, siblings, NULL);
    }
    expect("0-127", true, "0-63");
    expect("32-127", true, "32-95");
    expect("64-127", true, "64-127");
    remove_machine();
}

static void offline_and_unreadable(void **state) {
    (void)state;
    new_machine("0,2-3");
    put_cpu(0, "0-1", NULL);
    put_cpu(2, "2-3", "");
    put_cpu(3, "2-3", "many");
    expect("0-3", true, "0,2");
    expect("1-3", true, "2-2"); /* 1 is off */
    expect("1", true, "1");     /* rather what is allowed than nothing */
    remove_machine();
    new_machine(NULL); /* nothing to read at all: every cpu is a core */
    expect("0-5,70", true, "0-5,70");
    rmdir(root);
    expect("0-5", true, "0-5");
}

static void put_cache(uint32_t cpu, uint32_t index, const char *size, const char *shared) {
    char name[96];
    snprintf(name, sizeof name, "system/cpu/cpu%u/cache/index%u/size", cpu, index);
    put(name, size);
    snprintf(name, sizeof name, "system/cpu/cpu%u/cache/index%u/shared_cpu_list", cpu, index);
    put(name, shared);
}

/* Two caches of 32 MiB and one of 96; one core more whose last level is its own 2 MiB. */
static void caches(void **state) {
    (void)state;
    new_machine("0-12");
    for (uint32_t cpu = 0; cpu < 13; cpu++) {
        const char *const shared[] = {"0-3", "4-7", "8-11", "12"};
        char alone[16];
        snprintf(alone, sizeof alone, "%u", cpu);
        put_cache(cpu, 0, "32K", alone);
        put_cache(cpu, 2, cpu < 12 ? "1024K" : "2048K", alone);
        if (cpu < 12) put_cache(cpu, 3, cpu < 8 ? "32768K" : "96M", shared[cpu / 4]);
    }
    const hy_cpu_set all = set_of("0-12"), some = set_of("2,3,9"), unknown = set_of("13-15");
    assert_int_equal(hy_cpu_cache_bytes(root, &all), UINT64_C(162) << 20);
    assert_int_equal(hy_cpu_cache_bytes(root, &some), UINT64_C(128) << 20);
    assert_int_equal(hy_cpu_cache_bytes(root, &unknown), 0);
    put_cache(0, 3, "much", "0-3");
    assert_int_equal(hy_cpu_cache_bytes(root, &all), UINT64_C(130) << 20);
    remove_machine();
}

static void of_this_process(void **state) {
    (void)state;
    hy_cpu_set allowed;
    hy_cpu_allowed(&allowed);
    assert_in_range(hy_cpu_set_count(&allowed), 1, HY_MAX_CPUS);
    assert_true(hy_cpu_quota() >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_sets),
        cmocka_unit_test(hybrid),
        cmocka_unit_test(big_little),
        cmocka_unit_test(two_sockets),
        cmocka_unit_test(offline_and_unreadable),
        cmocka_unit_test(caches),
        cmocka_unit_test(of_this_process),
    };
    return cmocka_run_group_tests_name("base_cpu", tests, NULL, NULL);
}
