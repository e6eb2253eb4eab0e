/* Energy counters that vendors' libraries have, on stand-ins that count at a known rate and fail on demand. Arguments:
 * the stand-ins for NVML, without energy, without init; for ROCm SMI, without energy. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bench/energy_task.h"
#include "tests/bench/fake_root.h"
#include "tests/bench/stand_in.h"

#define BUS STAND_IN_BUS
enum { NVML_NOT_SUPPORTED = 3, NVML_NOT_LOADED = 9, NVML_LOST = 15, ROCM_NOT_SUPPORTED = 2 };

static const char *nvml, *nvml_no_energy, *nvml_no_init, *rocm, *rocm_no_energy;

/* Makes the library the one that is loaded; what a test sees of it. */
static stand_in_state *use(const char *variable, const char *path) {
    setenv(variable, path, 1);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    stand_in_state *s = dlsym(library, "stand_in");
    assert_non_null(s);
    s->fails = NULL;
    s->watts = 100;
    s->calls = 0;
    assert_int_equal(s->open, 0); /* by all tests before */
    return s;
}
static stand_in_state *use_nvml(const char *path) {
    return use("HALYARD_NVML_LIBRARY", path);
}
static stand_in_state *use_rocm(const char *path) {
    return use("HALYARD_ROCM_SMI_LIBRARY", path);
}

static void fail_from_now(stand_in_state *s, const char *name, int code) {
    s->code = code;
    s->fails = name;
}

/* It ends with a reason, and works again when the device does. */
static void loses(energy *e, stand_in_state *s, const char *name, int code, const char *said) {
    double joules = -1;
    assert_true(energy_begin(e));
    fail_from_now(s, name, code);
    assert_false(energy_end(e, &joules));
    assert_true(joules < 0);
    energy_said(e, name);
    energy_said(e, said);
    assert_false(energy_begin(e));
    energy_said(e, said);
    s->fails = NULL;
    energy_measures(e, 100, 0.01);
    assert_string_equal(energy_reason(e), "");
}

/* ---- NVML ---- */

static void nvml_counts(void **state) {
    (void)state;
    stand_in_state *s = use_nvml(nvml);
    energy *e = energy_there("cuda:0", BUS, "nvml");
    assert_int_equal(s->open, 1);
    energy_measures(e, 100, 0.002);
    energy_measures(e, 100, 0.002);
    assert_int_equal(s->calls, 0); /* nobody samples power */
    loses(e, s, "nvmlDeviceGetTotalEnergyConsumption", NVML_LOST, "GPU is lost");
    energy_free(e);
    assert_int_equal(s->open, 0);
}

/* A driver that starts anew begins at 0. */
static void nvml_starts_anew(void **state) {
    (void)state;
    double joules = -1;
    stand_in_state *s = use_nvml(nvml);
    energy *e = energy_there("vulkan:0", BUS, "nvml");
    task_sleep_ms(20);
    assert_true(energy_begin(e));
    s->watts = 0;
    assert_false(energy_end(e, &joules));
    energy_said(e, "went back");
    energy_free(e);
}

static void nvml_power(void **state) {
    (void)state;
    stand_in_state *s = use_nvml(nvml_no_energy);
    energy *e = energy_there("cuda:0", BUS, "nvml power");
    energy_measures(e, 100, 0);
    loses(e, s, "nvmlDeviceGetPowerUsage", NVML_LOST, "GPU is lost");
    energy_free(e);
    assert_int_equal(s->open, 0);
    s = use_nvml(nvml); /* a card before Volta */
    fail_from_now(s, "nvmlDeviceGetTotalEnergyConsumption", NVML_NOT_SUPPORTED);
    e = energy_there("cuda:0", BUS, "nvml power");
    energy_measures(e, 100, 0);
    energy_free(e);
    assert_int_equal(s->open, 0);
}

static void wait_for_calls(const stand_in_state *s, int calls) {
    const double until = task_now() + 60;
    while (s->calls < calls && task_now() < until)
        task_sleep_ms(1);
    assert_true(s->calls >= calls);
}

/* What happens between the ends is seen: none is drawn at either, 300 W between. */
static void nvml_samples(void **state) {
    (void)state;
    double joules = -1;
    stand_in_state *s = use_nvml(nvml_no_energy);
    energy *e = energy_there("cuda:0", BUS, "nvml power");
    s->watts = 0;
    s->calls = 0;
    const double before = task_now();
    assert_true(energy_begin(e));
    s->watts = 300;
    wait_for_calls(s, 8);
    s->watts = 0;
    if (!energy_end(e, &joules)) fail_msg("%s", energy_reason(e));
    /* Calls 2 to 6 (from 0) drew 300 W all the time. */
    assert_true(joules >= 300 * (s->called[6] - s->called[2]));
    assert_true(joules <= 300 * (task_now() - before));
    energy_free(e);
}

/* Between two readings power changes evenly: 0 and 300 W are 150 W. */
static void nvml_trapezoid(void **state) {
    (void)state;
    double joules = -1, least = 0, most = 0;
    stand_in_state *s = use_nvml(nvml_no_energy);
    energy *e = energy_there("cuda:0", BUS, "nvml power");
    for (int round = 0; round < 200;
         round++) { /* until the thread takes no sample between the ends */
        s->watts = 0;
        s->calls = 0;
        const double before = task_now();
        assert_true(energy_begin(e));
        const double inside = task_now();
        s->watts = 300;
        task_sleep_ms(2);
        least = 150 * (task_now() - inside);
        assert_true(energy_end(e, &joules));
        most = 150 * (task_now() - before);
        if (s->calls == 2) break;
    }
    assert_int_equal(s->calls, 2);
    assert_true(joules >= least && joules <= most);
    energy_free(e);
}

/* Lost while only the thread looks, and back at the end: the sum has a hole, so that it does not count. */
static void nvml_lost_between(void **state) {
    (void)state;
    double joules = -1;
    stand_in_state *s = use_nvml(nvml_no_energy);
    energy *e = energy_there("cuda:0", BUS, "nvml power");
    s->calls = 0;
    assert_true(energy_begin(e));
    wait_for_calls(s, 3);
    fail_from_now(s, "*", NVML_LOST);
    task_sleep_ms(200); /* ten samples and more */
    s->fails = NULL;
    assert_false(energy_end(e, &joules));
    energy_said(e, "GPU is lost");
    energy_free(e);
}

static void nvml_none(void **state) {
    (void)state;
    stand_in_state *s = use_nvml(nvml);
    fail_from_now(s, "nvmlInit_v2", NVML_NOT_LOADED);
    energy_none_for("cuda:0", BUS, "nvmlInit_v2: Driver Not Loaded");
    assert_int_equal(s->open, 0);
    s->fails = NULL;
    energy_none_for("cuda:0", "0000:00:00.0", "no device at 0000:00:00.0: Not Found");
    assert_int_equal(s->open, 0);
    fail_from_now(s, "nvmlDeviceGetHandleByPciBusId_v2", NVML_LOST);
    energy_none_for("cuda:0", BUS, "GPU is lost");
    s = use_nvml(nvml_no_energy);
    fail_from_now(s, "nvmlDeviceGetPowerUsage", 4711);
    energy_none_for("cuda:0", BUS, "nvmlDeviceGetPowerUsage: an unknown error");
    assert_int_equal(s->open, 0);
    s->fails = NULL;
    use_nvml(nvml_no_init);
    energy_none_for("cuda:0", BUS, "lacks nvmlInit_v2");
    setenv("HALYARD_NVML_LIBRARY", "", 1); /* empty is not set */
    energy_none_for("cuda:0", "ffff:ff:00.0", "NVML");
    unsetenv("HALYARD_NVML_LIBRARY");
}

/* ---- ROCm SMI ---- */

static void rocm_counts(void **state) {
    (void)state;
    stand_in_state *s = use_rocm(rocm);
    energy *e = energy_there("hip:0", BUS, "rocm-smi");
    assert_int_equal(s->open, 1);
    energy_measures(e, 100, 0.0001);
    loses(e, s, "rsmi_dev_energy_count_get", ROCM_NOT_SUPPORTED, "RSMI_STATUS_NOT_SUPPORTED");
    energy_free(e);
    assert_int_equal(s->open, 0);
}

static void rocm_none(void **state) {
    (void)state;
    stand_in_state *s = use_rocm(rocm);
    fail_from_now(s, "rsmi_init", 8);
    energy_none_for("hip:0", BUS, "rsmi_init: RSMI_STATUS_UNKNOWN_ERROR", "hwmon");
    fail_from_now(s, "rsmi_num_monitor_devices", 8);
    energy_none_for("hip:0", BUS, "rsmi_num_monitor_devices");
    fail_from_now(s, "rsmi_dev_pci_id_get", 8);
    energy_none_for("hip:0", BUS, "no device at " BUS);
    fail_from_now(s, "rsmi_dev_energy_count_get", ROCM_NOT_SUPPORTED);
    energy_none_for("hip:0", BUS, "rsmi_dev_energy_count_get: RSMI_STATUS_NOT_SUPPORTED");
    s->fails = NULL;
    energy_none_for("hip:0", "0000:65:1f.0", "no device at 0000:65:1f.0"); /* another domain */
    energy_none_for("hip:0", "nonsense", "no device at nonsense");
    energy_none_for("hip:0", "0001:65:1e.0", "counts no energy"); /* a second die */
    assert_int_equal(s->open, 0);
    use_rocm(rocm_no_energy);
    energy_none_for("hip:0", BUS, "lacks rsmi_dev_energy_count_get");
}

/* The kernel's own sensor is next. */
static void rocm_then_hwmon(void **state) {
    (void)state;
    use_rocm(rocm_no_energy);
    fake_file("/sys/bus/pci/devices/" BUS "/vendor", "0x1002\n");
    fake_file("/sys/bus/pci/devices/" BUS "/hwmon/hwmon0/name", "amdgpu\n");
    fake_number("/sys/bus/pci/devices/" BUS "/hwmon/hwmon0/power1_average", 33000000);
    energy *e = energy_there("vulkan:0", BUS, "hwmon amdgpu power");
    energy_measures(e, 33, 0);
    energy_free(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_root_new, fake_root_free)

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        TEST(nvml_counts),    TEST(nvml_starts_anew),  TEST(nvml_power), TEST(nvml_samples),
        TEST(nvml_trapezoid), TEST(nvml_lost_between), TEST(nvml_none),  TEST(rocm_counts),
        TEST(rocm_none),      TEST(rocm_then_hwmon),
    };
    if (count != 6) {
        fprintf(stderr, "usage: test_energy_libraries NVML NVML NVML ROCM ROCM\n");
        return 2;
    }
    nvml = arguments[1];
    nvml_no_energy = arguments[2];
    nvml_no_init = arguments[3];
    rocm = arguments[4];
    rocm_no_energy = arguments[5];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
