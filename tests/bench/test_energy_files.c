/* Energy counters that are files of the system: RAPL and hwmon, in made-up trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "tests/bench/energy_task.h"
#include "tests/bench/fake_root.h"
#include "tools/bench/energy_meter.h"

#define RAPL "/sys/class/powercap/intel-rapl:"
#define BUS "0000:03:00.0"
#define CARD "/sys/bus/pci/devices/" BUS
enum { NOBODY = 65534 };

/* ---- RAPL ---- */

static void domain(const char *number, const char *name, unsigned long long uj,
                   unsigned long long range) {
    char path[128];
    snprintf(path, sizeof path, RAPL "%s/name", number);
    char line[64];
    snprintf(line, sizeof line, "%s\n", name);
    fake_file(path, line);
    snprintf(path, sizeof path, RAPL "%s/energy_uj", number);
    fake_number(path, uj);
    snprintf(path, sizeof path, RAPL "%s/max_energy_range_uj", number);
    fake_number(path, range);
}

static double end_of(energy *e) {
    double joules = -1;
    if (!energy_end(e, &joules)) fail_msg("%s", energy_reason(e));
    return joules;
}

static bool near(double a, double b) {
    return a - b < 1e-6 && b - a < 1e-6;
}

static void rapl_one(void **state) {
    (void)state;
    domain("0", "package-0", 5000000, 262143328850);
    domain("0:0", "core", 1000000, 262143328850); /* inside the package: not to be added */
    energy *e = energy_there("cpu:0", "", "rapl package-0");
    fake_number(RAPL "0/energy_uj", 6000000); /* before: does not count */
    assert_true(energy_begin(e));
    fake_number(RAPL "0/energy_uj", 8500000);
    fake_number(RAPL "0:0/energy_uj", 9000000);
    assert_true(near(end_of(e), 2.5));
    assert_true(energy_begin(e)); /* again: from here */
    fake_number(RAPL "0/energy_uj", 8500001);
    assert_true(near(end_of(e), 1e-6));
    energy_free(e);
    energy_free(energy_there("ref:0", "", "rapl package-0"));
}

/* Two packages with memory of their own; "psys" has all of it a second time. */
static void rapl_two(void **state) {
    (void)state;
    domain("0", "package-0", 0, 1000000000);
    domain("0:0", "core", 0, 1000000000);
    domain("0:1", "dram", 0, 1000000000);
    domain("1", "package-1", 0, 1000000000);
    domain("1:0", "dram", 0, 1000000000);
    domain("3", "psys", 0, 1000000000);
    energy *e = energy_there("cpu", "", "rapl package-0 dram package-1 dram");
    assert_true(energy_begin(e));
    fake_number(RAPL "0/energy_uj", 1000000);
    fake_number(RAPL "0:0/energy_uj", 16000000);
    fake_number(RAPL "0:1/energy_uj", 2000000);
    fake_number(RAPL "1/energy_uj", 4000000);
    fake_number(RAPL "1:0/energy_uj", 8000000);
    fake_number(RAPL "3/energy_uj", 32000000);
    assert_true(near(end_of(e), 15));
    energy_free(e);
}

static void rapl_wraps(void **state) {
    (void)state;
    domain("0", "package-0", 0, 65532610987);
    fake_number(RAPL "0/energy_uj", 65530000000);
    energy *e = energy_there("cpu:0", "", "rapl package-0");
    assert_true(energy_begin(e));
    fake_number(RAPL "0/energy_uj", 1000000);
    assert_true(near(end_of(e), 2.610987 + 1));
    energy_free(e);
}

/* Round and round: each look adds to the last, and a thread looks before a counter can come round twice. */
static void rapl_wraps_often(void **state) {
    (void)state;
    energy_meter meter;
    char reason[ENERGY_TEXT];
    double first, value = 0;
    domain("0", "package-0", 0, 65532610987);
    assert_true(energy_rapl("", &meter, reason));
    assert_int_equal(meter.period_ms, ENERGY_WRAP_MS); /* 65 s at 1000 W, and the half of it */
    meter.close(&meter);
    domain("0", "package-0", 900, 1000);
    assert_true(energy_rapl("", &meter, reason));
    assert_in_range(meter.period_ms, 1, 20);
    assert_true(meter.read(&meter, &first, reason));
    for (int round = 0; round < 5; round++) {
        fake_number(RAPL "0/energy_uj", round % 2 ? 100 : 50); /* 150 | 50 | 950 | 50 | 950 */
        assert_true(meter.read(&meter, &value, reason));
    }
    assert_true(near(value - first, (150 + 50 + 950 + 50 + 950) * 1e-6));
    meter.close(&meter);
}

static void rapl_missing(void **state) {
    (void)state;
    energy_none_for("cpu:0", "", "RAPL", "/sys/class/powercap/intel-rapl");
    domain("0", "psys", 0, 1000000000); /* the board alone */
    energy_none_for("cpu:0", "", "no package");
}

/* Root alone may read since 2020; one of two that cannot be read is as good as none. */
static void rapl_unreadable(void **state) {
    (void)state;
    domain("0", "package-0", 0, 1000000000);
    domain("1", "package-1", 0, 1000000000);
    fake_mode(RAPL "1/energy_uj", 0);
    const bool root = geteuid() == 0;
    if (root && (seteuid(NOBODY) != 0 || !fake_opens(RAPL "0/energy_uj"))) {
        print_message("skipped: root reads everything, and no other user can look into TMPDIR\n");
        assert_int_equal(seteuid(0), 0);
        skip();
    }
    energy_none_for("cpu:0", "", "permission", RAPL "1/energy_uj");
    if (root) assert_int_equal(seteuid(0), 0);
}

static void rapl_fails_later(void **state) {
    (void)state;
    double joules = -1;
    domain("0", "package-0", 500, 0); /* no range: it cannot come round */
    energy *e = energy_there("cpu:0", "", "rapl package-0");
    assert_true(energy_begin(e));
    fake_number(RAPL "0/energy_uj", 400);
    assert_false(energy_end(e, &joules));
    energy_said(e, "went back");
    fake_file(RAPL "0/energy_uj", "much\n");
    assert_false(energy_begin(e));
    energy_said(e, "energy_uj cannot be read");
    fake_gone(RAPL "0/energy_uj");
    assert_false(energy_begin(e));
    energy_said(e, "energy_uj cannot be read: No such file");
    fake_number(RAPL "0/energy_uj", 1000000);
    assert_true(energy_begin(e));
    fake_number(RAPL "0/energy_uj", 4000000);
    assert_true(near(end_of(e), 3));
    assert_string_equal(energy_reason(e), "");
    assert_true(joules < 0);
    energy_free(e);
}

static void order_of_calls(void **state) {
    (void)state;
    double joules = -1;
    domain("0", "package-0", 0, 1000000000);
    energy *e = energy_there("cpu:0", "", "rapl package-0");
    assert_false(energy_end(e, &joules));
    energy_said(e, "no interval is open");
    assert_true(energy_begin(e));
    assert_false(energy_begin(e));
    energy_said(e, "open already");
    fake_number(RAPL "0/energy_uj", 1000000);
    assert_true(near(end_of(e), 1)); /* the first one still ran */
    assert_true(energy_begin(e));
    energy_free(e); /* ends it, thread and all */
    energy_free(NULL);
}

/* ---- hwmon ---- */

static void card(const char *vendor, const char *monitor, const char *driver) {
    char path[128];
    fake_file(CARD "/vendor", vendor);
    snprintf(path, sizeof path, CARD "/hwmon/%s/name", monitor);
    fake_file(path, driver);
}

/* A counter goes before a power, and the card before its parts. */
static void hwmon_energy(void **state) {
    (void)state;
    card("0x8086\n", "hwmon9", "i915_gt0\n");
    card("0x8086\n", "hwmon20", "i915\n");
    card("0x8086\n", "hwmon100", "later\n");
    fake_number(CARD "/hwmon/hwmon100/energy1_input", 1000000);
    fake_number(CARD "/hwmon/hwmon9/energy1_input", 7000000);
    fake_number(CARD "/hwmon/hwmon20/power1_average", 50000000);
    fake_number(CARD "/hwmon/hwmon20/energy1_input", 7000000);
    energy *e = energy_there("vulkan:1", BUS, "hwmon i915");
    assert_true(energy_begin(e));
    fake_number(CARD "/hwmon/hwmon9/energy1_input", 70000000);
    fake_number(CARD "/hwmon/hwmon20/energy1_input", 9250000);
    assert_true(near(end_of(e), 2.25));
    energy_free(e);
    fake_gone(CARD "/hwmon/hwmon100/energy1_input");
    fake_gone(CARD "/hwmon/hwmon20/energy1_input");
    fake_number(CARD "/hwmon/hwmon20/energy2_input", 1);
    energy_free(energy_there("vulkan:1", BUS, "hwmon i915"));
    fake_gone(CARD "/hwmon/hwmon20/energy2_input");
    energy_free(energy_there("vulkan:1", BUS, "hwmon i915 power"));
}

static void hwmon_power(void **state) {
    (void)state;
    double joules;
    card("0x1002\n", "hwmon4", "amdgpu\n");
    fake_number(CARD "/hwmon/hwmon4/power1_input", 250000000);
    setenv("HALYARD_ROCM_SMI_LIBRARY", "/nonexistent.so", 1);
    energy *e = energy_there("hip:0", BUS, "hwmon amdgpu power");
    energy_measures(e, 250, 0);
    fake_number(CARD "/hwmon/hwmon4/power1_input", 50000000);
    energy_measures(e, 50, 0);
    energy_free(e);
    fake_number(CARD "/hwmon/hwmon4/power1_average", 125000000); /* goes before power1_input */
    e = energy_there("hip:0", BUS, "hwmon amdgpu power");
    energy_measures(e, 125, 0);
    assert_true(energy_begin(e));
    fake_gone(CARD "/hwmon/hwmon4/power1_average");
    assert_false(energy_end(e, &joules));
    energy_said(e, "power1_average cannot be read");
    energy_free(e);
    unsetenv("HALYARD_ROCM_SMI_LIBRARY");
}

/* ---- choosing ---- */

static void choosing(void **state) {
    (void)state;
    setenv("HALYARD_NVML_LIBRARY", "/nonexistent-nvml.so", 1);
    setenv("HALYARD_ROCM_SMI_LIBRARY", "/nonexistent-rocm.so", 1);
    energy_none_for("vulkan:0", "", "vulkan:0", "PCI bus");
    energy_none_for("null:0", "", "null:0");
    /* Without /sys the backend tells the vendor, or nobody does. */
    const struct {
        const char *device, *vendor;
        bool nvml, rocm;
    } list[] = {{"cuda:0", NULL, true, false},         {"hip:1", NULL, false, true},
                {"vulkan:0", NULL, true, true},        {"vulkan:0", "0x10de\n", true, false},
                {"vulkan:0", "0x1002\n", false, true}, {"vulkan:0", "0x8086\n", false, false}};
    for (size_t i = 0; i < HY_COUNT_OF(list); i++) {
        if (list[i].vendor) fake_file(CARD "/vendor", list[i].vendor);
        energy *e = energy_new(list[i].device, BUS);
        assert_null(energy_source(e));
        const char *reason = energy_reason(e);
        assert_int_equal(strstr(reason, "HALYARD_NVML_LIBRARY=/nonexistent-nvml.so cannot") != NULL,
                         list[i].nvml);
        assert_int_equal(strstr(reason, "HALYARD_ROCM_SMI_LIBRARY=/nonexistent-rocm.so cannot") !=
                             NULL,
                         list[i].rocm);
        energy_said(e, "hwmon: neither energy nor power under " CARD "/hwmon");
        energy_free(e);
    }
    unsetenv("HALYARD_NVML_LIBRARY");
    unsetenv("HALYARD_ROCM_SMI_LIBRARY");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_root_new, fake_root_free)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(rapl_one),     TEST(rapl_two),        TEST(rapl_wraps),       TEST(rapl_wraps_often),
        TEST(rapl_missing), TEST(rapl_unreadable), TEST(rapl_fails_later), TEST(order_of_calls),
        TEST(hwmon_energy), TEST(hwmon_power),     TEST(choosing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
