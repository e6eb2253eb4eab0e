/* The record of the machine: in made-up trees, for what NVML tells on a stand-in, and printed for this one. Argument: the
 * stand-in. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "tests/bench/energy_task.h"
#include "tests/bench/fake_root.h"
#include "tests/bench/stand_in.h"
#include "tools/bench/machine.h"

#define CPU "/sys/devices/system/cpu/cpu"
#define DMI "/sys/class/dmi/id/"
#define BUS STAND_IN_BUS
#define CARD "/sys/bus/pci/devices/" BUS

static const char *nvml;

/* ---- asking ---- */

/* The value at "a.b.c"; the object stays the caller's. */
static const json_t *at(const json_t *o, const char *path) {
    char part[64];
    while (*path) {
        const size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        o = json_object_get(o, part);
        if (!o) fail_msg("no field %s", part);
        path += n + (path[n] == '.');
    }
    return o;
}

static void is_text(const json_t *o, const char *path, const char *want) {
    const char *have = json_string_value(at(o, path));
    if (!want && json_is_null(at(o, path))) return;
    if (!have || !want || strcmp(have, want) != 0)
        fail_msg("%s is %s, not %s", path, have ? have : "no text", want ? want : "null");
}

static void is_number(const json_t *o, const char *path, double want) {
    const double have = json_number_value(at(o, path));
    if (!json_is_number(at(o, path)) || have - want > 1e-6 || want - have > 1e-6)
        fail_msg("%s is %g, not %g", path, have, want);
}

static void is_flag(const json_t *o, const char *path, bool want) {
    if (!json_is_boolean(at(o, path)) || json_is_true(at(o, path)) != want)
        fail_msg("%s is not %s", path, want ? "true" : "false");
}

static void is_null(const json_t *o, const char *path) {
    if (!json_is_null(at(o, path))) fail_msg("%s is not null", path);
}

static void is_list(const json_t *o, const char *path, const char *words) {
    char have[512] = "";
    size_t i;
    json_t *word;
    json_array_foreach((json_t *)(uintptr_t)at(o, path), i, word) {
        strncat(have, i ? " " : "", sizeof have - strlen(have) - 1);
        strncat(have, json_string_value(word), sizeof have - strlen(have) - 1);
    }
    assert_true(json_is_array(at(o, path)));
    assert_string_equal(have, words);
}

/* ---- the processor ---- */

static void cpu_file(int cpu, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, CPU "%d/%s", cpu, name);
    fake_file(path, text);
}

static void cpu_number(int cpu, const char *name, unsigned long long number) {
    char text[32];
    snprintf(text, sizeof text, "%llu\n", number);
    cpu_file(cpu, name, text);
}

static void cache(int cpu, int index, int level, const char *type, const char *size,
                  const char *shared) {
    const struct {
        const char *name, *text;
    } files[] = {{"type", type}, {"size", size}, {"shared_cpu_list", shared}};
    char name[64];
    snprintf(name, sizeof name, "cache/index%d/level", index);
    cpu_number(cpu, name, (unsigned)level);
    for (size_t i = 0; i < HY_COUNT_OF(files); i++) {
        snprintf(name, sizeof name, "cache/index%d/%s", index, files[i].name);
        cpu_file(cpu, name, files[i].text);
    }
}

#define INTEL_CPU(n)                                                                               \
    "processor\t: " #n "\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Platinum "     \
    "8480+\nmicrocode\t: 0x2b0004d0\ncpu MHz\t\t: 2000.000\nflags\t\t: fpu avx512f avx2 "          \
    "amx_int8 avx512_vnnix fma amx_tile avx\n\n"

/* Two sockets of two cores of two threads, without the last of them: 0 and 2 are one core, 1 and 3 the next. */
static void intel_server(void) {
    fake_file("/proc/cpuinfo", INTEL_CPU(0) INTEL_CPU(1));
    fake_file("/sys/devices/system/cpu/online", "0-6\n");
    fake_file("/sys/devices/system/node/online", "0-1\n");
    for (int cpu = 0; cpu < 7; cpu++) {
        char pair[16], four[16];
        const int socket = cpu / 4, core = cpu % 2 + 4 * socket;
        snprintf(pair, sizeof pair, core == 5 ? "%d\n" : "%d,%d\n", core, core + 2);
        snprintf(four, sizeof four, socket ? "4-6\n" : "0-3\n");
        cpu_number(cpu, "topology/physical_package_id", (unsigned)socket);
        cpu_file(cpu, "topology/thread_siblings_list", pair);
        cache(cpu, 0, 1, "Data\n", "48K\n", pair);
        cache(cpu, 1, 1, "Instruction\n", "32K\n", pair);
        cache(cpu, 2, 2, "Unified\n", "2048K\n", pair);
        cache(cpu, 3, 3, "Unified\n", "105M\n", four);
        cpu_file(cpu, "cpufreq/scaling_driver", "intel_pstate\n");
        cpu_file(cpu, "cpufreq/scaling_governor", cpu == 6 ? "powersave\n" : "performance\n");
        cpu_number(cpu, "cpufreq/scaling_min_freq", cpu == 2 ? 700000 : 800000);
        cpu_number(cpu, "cpufreq/scaling_max_freq", cpu == 3 ? 3800000 : 3000000);
        cpu_number(cpu, "cpufreq/scaling_cur_freq", 1000000 + 100000 * (unsigned)cpu);
    }
    fake_file(CPU "0/cpufreq/energy_performance_preference", "balance_performance\n");
    fake_number("/sys/devices/system/cpu/intel_pstate/no_turbo", 1);
}

static void cpu_intel(void **state) {
    (void)state;
    intel_server();
    json_t *o = machine_cpu_json();
    is_text(o, "model", "Intel(R) Xeon(R) Platinum 8480+");
    is_text(o, "vendor", "GenuineIntel");
    is_text(o, "microcode", "0x2b0004d0");
    is_list(o, "isa", "avx fma avx2 avx512f amx_tile amx_int8");
    is_number(o, "sockets", 2);
    is_number(o, "cores", 4);
    is_number(o, "threads", 7);
    is_number(o, "numa_nodes", 2);
    is_number(o, "caches.l1d.bytes", 48 << 10);
    is_number(o, "caches.l1d.count", 4);
    is_number(o, "caches.l2.bytes", 2 << 20);
    is_number(o, "caches.l3.bytes", 105 << 20);
    is_number(o, "caches.l3.count", 2);
    is_text(o, "frequency.driver", "intel_pstate");
    is_text(o, "frequency.governor", "performance powersave");
    is_text(o, "frequency.preference", "balance_performance");
    is_number(o, "frequency.min_mhz", 700);
    is_number(o, "frequency.max_mhz", 3800);
    is_number(o, "frequency.current_mhz", 1300);
    is_flag(o, "frequency.boost", false);
    assert_true(json_integer_value(at(o, "usable")) >= 1); /* of this process */
    assert_true(json_integer_value(at(o, "affinity")) >= json_integer_value(at(o, "usable")));
    json_decref(o);
}

/* Virtual machines have no cpufreq; /proc/cpuinfo has the clock. */
static void cpu_boost_and_clock(void **state) {
    (void)state;
    fake_file("/proc/cpuinfo", "model name : AMD EPYC\ncpu MHz : 2400.5\n\nmodel name : other\n"
                               "cpu MHz : 2600.5\n");
    json_t *o = machine_cpu_json();
    is_text(o, "model", "AMD EPYC");
    is_number(o, "frequency.current_mhz", 2500.5);
    is_null(o, "frequency.boost");
    is_null(o, "frequency.governor");
    is_null(o, "isa");
    is_null(o, "cores");
    is_null(o, "caches.l3");
    json_decref(o);
    fake_number("/sys/devices/system/cpu/cpufreq/boost", 1);
    o = machine_cpu_json();
    is_flag(o, "frequency.boost", true);
    json_decref(o);
}

#define ARM_CPU(part)                                                                              \
    "processor : 0\nFeatures : fp asimd aes asimdhp asimddp sve i8mm bf16 svebf16\n"               \
    "CPU implementer : 0x41\nCPU variant : 0x1\nCPU part : " part "\n\n"

static void cpu_arm(void **state) {
    (void)state;
    const struct {
        const char *cpuinfo, *model, *vendor;
    } list[] = {
        {ARM_CPU("0xd0c") ARM_CPU("0xd0c"), "Neoverse-N1", "ARM"},
        {ARM_CPU("0xd44") ARM_CPU("0xd41") ARM_CPU("0xd41") ARM_CPU("0xd05"),
         "Cortex-X1 x 1, Cortex-A78 x 2, Cortex-A55 x 1", "ARM"},
        {ARM_CPU("0xfff"), "0xfff", "ARM"},
        {"CPU implementer : 0xc0\nCPU part : 0xac3\n", "Ampere-1", "Ampere"},
        {"CPU implementer : 0x99\nCPU part : 0x001\n", "0x001", "0x99"},
    };
    for (size_t i = 0; i < HY_COUNT_OF(list); i++) {
        fake_file("/proc/cpuinfo", list[i].cpuinfo);
        json_t *o = machine_cpu_json();
        is_text(o, "model", list[i].model);
        is_text(o, "vendor", list[i].vendor);
        if (i == 0) is_list(o, "isa", "asimd asimdhp asimddp i8mm bf16 sve svebf16");
        json_decref(o);
    }
}

/* ---- memory and system ---- */

static void memory(void **state) {
    (void)state;
    fake_file("/proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n"
                               "MemAvailable:    8192 kB\nHugepagesize:       2048 kB\n");
    fake_file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    fake_number("/proc/sys/vm/nr_hugepages", 12);
    json_t *o = machine_memory_json();
    is_number(o, "total_bytes", 16 << 20);
    is_number(o, "available_bytes", 8 << 20);
    is_number(o, "huge_page_bytes", 2 << 20);
    is_number(o, "huge_pages", 12);
    is_text(o, "transparent_huge_pages", "madvise");
    json_decref(o);
}

static void system_and_load(void **state) {
    (void)state;
    fake_file("/etc/os-release",
              "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
    fake_file("/proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
    fake_file("/proc/loadavg", "0.50 1.25 2.00 1/123 4567\n");
    fake_file("/proc/stat", "cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 2 3\n");
    json_t *o = machine_host_json();
    is_text(o, "os", "Debian GNU/Linux 12 (bookworm)");
    is_text(o, "kernel", "Linux 6.1.0-13-amd64");
    is_number(o, "steal_since_boot", 0.1);
    assert_int_equal(json_array_size(at(o, "load_average")), 3);
    assert_true(json_real_value(json_array_get(at(o, "load_average"), 1)) == 1.25);
    json_decref(o);
}

/* ---- virtual machines and containers ---- */

/* `is`: 1, 0, -1 not known. */
static void check_virtual(int is, const char *kind, const char *cloud) {
    json_t *o = machine_host_json();
    if (is < 0)
        is_null(o, "hypervisor");
    else
        is_flag(o, "hypervisor", is == 1);
    is_text(o, "virtualization", kind);
    is_text(o, "cloud", cloud);
    json_decref(o);
}

static void firmware(const char *vendor, const char *product, const char *tag) {
    fake_file(DMI "sys_vendor", vendor);
    fake_file(DMI "product_name", product);
    fake_file(DMI "chassis_asset_tag", tag);
}

static void virtual_x86(void **state) {
    (void)state;
    const char *tag = "7783-7084-3265-9085-8269-3286-77\n";
    fake_file("/proc/cpuinfo", "flags : fpu hypervisor\n");
    check_virtual(1, NULL, NULL);
    firmware("Amazon EC2\n", "c7i.large\n", "Amazon EC2\n");
    check_virtual(1, "kvm", "aws");
    json_t *o = machine_host_json();
    is_text(o, "vendor", "Amazon EC2");
    is_text(o, "product", "c7i.large");
    json_decref(o);
    firmware("Microsoft Corporation\n", "Virtual Machine\n", tag);
    check_virtual(1, "hyperv", "azure");
    firmware("Microsoft Corporation\n", "Virtual Machine\n", "1234\n");
    check_virtual(1, "hyperv", NULL);
    firmware("Google\n", "Google Compute Engine\n", "\n");
    check_virtual(1, "kvm", "gcp");
    firmware("Xen\n", "HVM domU\n", "\n");
    check_virtual(1, "xen", NULL);
    firmware("VMware, Inc.\n", "VMware7,1\n", "No Asset Tag\n");
    check_virtual(1, "vmware", NULL);
    fake_file("/proc/cpuinfo", "flags : fpu hypervisorless\n"); /* a whole machine */
    firmware("Amazon EC2\n", "c7i.metal-24xl\n", "Amazon EC2\n");
    check_virtual(0, NULL, "aws");
    firmware("Dell Inc.\n", "PowerEdge R750\n", "\n");
    check_virtual(0, NULL, NULL);
}

/* AArch64 has no flag of processors. */
static void virtual_arm(void **state) {
    (void)state;
    fake_file("/proc/cpuinfo", ARM_CPU("0xd0c"));
    check_virtual(-1, NULL, NULL);
    firmware("QEMU\n", "QEMU Virtual Machine\n", "\n");
    check_virtual(1, "qemu", NULL);
    fake_file("/proc/device-tree/hypervisor/compatible", "linux,kvm\n");
    check_virtual(1, "kvm", NULL);
    fake_file("/sys/hypervisor/type", "xen\n");
    check_virtual(1, "xen", NULL);
}

static void check_container(const char *kind) {
    json_t *o = machine_host_json();
    is_text(o, "container", kind);
    json_decref(o);
}

static void containers(void **state) {
    (void)state;
    unsetenv("container");
    unsetenv("KUBERNETES_SERVICE_HOST");
    check_container(NULL);
    fake_file("/proc/1/cgroup", "0::/\n");
    check_container(NULL);
    fake_file("/proc/1/cgroup", "1:cpu:/\n0::/kubepods.slice/cri-containerd-1\n");
    check_container("kubernetes");
    fake_file("/proc/1/cgroup", "4:memory:/docker/0123\n");
    check_container("docker");
    fake_file("/run/systemd/container", "systemd-nspawn\n");
    check_container("systemd-nspawn");
    setenv("container", "lxc", 1);
    check_container("lxc");
    fake_file("/.dockerenv", "");
    check_container("docker");
    fake_file("/run/.containerenv", "");
    check_container("podman");
    setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1);
    check_container("kubernetes");
    unsetenv("container");
    unsetenv("KUBERNETES_SERVICE_HOST");
}

/* ---- cards ---- */

static void gpu_amd(void **state) {
    (void)state;
    fake_file(CARD "/vendor", "0x1002\n");
    fake_file(CARD "/device", "0x744c\n");
    fake_link(CARD "/driver", "../../../../bus/pci/drivers/amdgpu");
    fake_file("/sys/module/amdgpu/version", "6.8.5\n");
    fake_file(CARD "/current_link_speed", "16.0 GT/s PCIe\n");
    fake_file(CARD "/max_link_speed", "32.0 GT/s PCIe\n");
    fake_number(CARD "/current_link_width", 8);
    fake_number(CARD "/max_link_width", 16);
    fake_file(CARD "/pp_dpm_sclk", "0: 500Mhz \n1: 1200Mhz *\n2: 2482Mhz \n");
    fake_file(CARD "/pp_dpm_mclk", "0: 1249Mhz \n1: 96Mhz *\n");
    fake_number(CARD "/hwmon/hwmon3/power1_cap", 339000000);
    fake_number(CARD "/hwmon/hwmon3/temp1_input", 45500);
    setenv("HALYARD_NVML_LIBRARY", nvml, 1); /* it is not asked about this one */
    json_t *o = machine_gpu_json(BUS);
    is_text(o, "bus", BUS);
    is_text(o, "pci_id", "1002:744c");
    is_text(o, "driver", "amdgpu");
    is_text(o, "driver_version", "6.8.5");
    is_number(o, "clock_mhz", 1200);
    is_number(o, "clock_max_mhz", 2482);
    is_number(o, "memory_clock_mhz", 96);
    is_number(o, "memory_clock_max_mhz", 1249);
    is_number(o, "power_limit_w", 339);
    is_number(o, "temperature_c", 45.5);
    is_number(o, "pcie.generation", 4);
    is_number(o, "pcie.generation_max", 5);
    is_number(o, "pcie.width", 8);
    is_number(o, "pcie.width_max", 16);
    is_null(o, "ecc");
    is_null(o, "throttle");
    json_decref(o);
}

static void gpu_nvidia(void **state) {
    (void)state;
    setenv("HALYARD_NVML_LIBRARY", nvml, 1);
    fake_file(CARD "/max_link_speed", "64.0 GT/s PCIe\n"); /* the system knows better */
    json_t *o = machine_gpu_json(BUS);
    is_text(o, "driver_version", "550.54.15");
    is_number(o, "clock_mhz", 1980);
    is_number(o, "clock_max_mhz", 2001);
    is_number(o, "memory_clock_mhz", 2619);
    is_number(o, "memory_clock_max_mhz", 2002);
    is_number(o, "power_limit_w", 700);
    is_number(o, "temperature_c", 41);
    is_flag(o, "ecc", true);
    is_flag(o, "mig", false);
    is_flag(o, "persistence", true);
    is_list(o, "throttle", "power_cap display_clocks");
    is_number(o, "pcie.generation", 4);
    is_number(o, "pcie.generation_max", 6);
    is_number(o, "pcie.width", 8);
    is_number(o, "pcie.width_max", 16);
    json_decref(o);
}

/* Each field of the answer is null, but for the bus. */
static void gpu_unknown(void **state) {
    (void)state;
    const char *key;
    json_t *value;
    setenv("HALYARD_NVML_LIBRARY", "/nonexistent.so", 1);
    json_t *o = machine_gpu_json("0000:01:00.0");
    assert_true(json_object_size(o) > 10);
    json_object_foreach(o, key, value) {
        if (strcmp(key, "pcie") == 0)
            is_null(value, "generation");
        else
            assert_int_equal(json_is_null(value), strcmp(key, "bus") != 0);
    }
    json_decref(o);
    o = machine_gpu_json("");
    is_null(o, "bus");
    json_decref(o);
}

/* ---- whatever the files hold ---- */

static const char *const read_files[] = {"/proc/cpuinfo",
                                         "/proc/meminfo",
                                         "/proc/loadavg",
                                         "/proc/stat",
                                         "/proc/1/cgroup",
                                         "/proc/sys/kernel/osrelease",
                                         "/proc/sys/vm/nr_hugepages",
                                         "/etc/os-release",
                                         "/sys/kernel/mm/transparent_hugepage/enabled",
                                         "/sys/devices/system/cpu/online",
                                         "/sys/devices/system/node/online",
                                         CPU "0/topology/physical_package_id",
                                         CPU "0/topology/thread_siblings_list",
                                         CPU "0/cache/index0/level",
                                         CPU "0/cache/index0/size",
                                         CPU "0/cache/index0/shared_cpu_list",
                                         CPU "0/cpufreq/scaling_governor",
                                         CPU "0/cpufreq/scaling_cur_freq",
                                         DMI "sys_vendor",
                                         "/sys/hypervisor/type",
                                         CARD "/vendor",
                                         CARD "/device",
                                         CARD "/current_link_speed",
                                         CARD "/pp_dpm_sclk",
                                         CARD "/hwmon/hwmon0/power1_cap"};

static void try_all(void) {
    json_t *(*const ask[])(void) = {machine_cpu_json, machine_memory_json, machine_host_json};
    machine_busy busy;
    machine_share share;
    for (size_t i = 0; i < HY_COUNT_OF(ask) + 1; i++) {
        json_t *o = i < HY_COUNT_OF(ask) ? ask[i]() : machine_gpu_json(BUS);
        char *text = json_dumps(o, 0);
        assert_non_null(text);
        free(text);
        json_decref(o);
    }
    machine_busy_begin(&busy);
    machine_busy_end(&busy, &share);
}

static void garbage(void **state) {
    (void)state;
    static char text[20000];
    setenv("HALYARD_NVML_LIBRARY", "/nonexistent.so", 1);
    try_all(); /* nothing is there at all */
    uint32_t seed = 1;
    for (int round = 0; round < 40; round++) {
        for (size_t f = 0; f < HY_COUNT_OF(read_files); f++) {
            const size_t n = round % 4 == 0 ? seed % 3 : seed % (sizeof text - 1);
            for (size_t i = 0; i < n; i++) {
                seed = seed * 1664525 + 1013904223;
                text[i] = "0123456789:,-= \n\t[]*KMx.flagsCPU\xff\x80"[seed >> 16 & 31];
            }
            text[n] = 0;
            seed = seed * 1664525 + 1013904223;
            fake_file(read_files[f], text);
        }
        try_all();
    }
}

/* ---- a quiet machine ---- */

/* Ticks of a cpu that this process may use, and lines behind it. */
static void stat_file(unsigned used, unsigned idle, unsigned steal, const char *rest) {
    char text[512];
    snprintf(text, sizeof text, "cpu  9 9 9 9 9 9 9 9 0 0\ncpu%d %u 0 0 %u 0 0 0 %u 0 0\n%s",
             sched_getcpu(), used, idle, steal, rest);
    fake_file("/proc/stat", text);
}

static void busy_shares(void **state) {
    (void)state;
    machine_busy busy;
    machine_share share = {-1, -1, -1};
    machine_busy_begin(&busy);
    assert_false(machine_busy_end(&busy, &share)); /* there is no /proc/stat */
    stat_file(1000, 5000, 100,
              "cpu8000 10 10 10 10 10 10 10 10 0 0\nintr 1\ncpu0 1 1 1 1 1 1 1 1\n");
    machine_busy_begin(&busy);
    assert_false(machine_busy_end(&busy, &share)); /* no time has passed */
    assert_true(share.others < 0);
    /* Of 10000000 ticks 3000000 are others', 1000000 are stolen; what the test itself uses is little. */
    stat_file(3001000, 6005000, 1000100, "cpu8000 12 11 10 13 11 10 10 12 0 0\n");
    assert_true(machine_busy_end(&busy, &share));
    assert_true(share.others > 0.299 && share.others <= 0.3 + 1e-9);
    assert_true(share.stolen > 0.0999 && share.stolen < 0.1001);
    assert_true(share.far > 0.3 && share.far < 0.34); /* 3 of 9 */
}

/* This process' own work is not the work of others. */
static void busy_own(void **state) {
    (void)state;
    const clock_t began = clock();
    machine_busy busy;
    machine_share share;
    stat_file(0, 0, 0, "");
    machine_busy_begin(&busy);
    while (clock() - began < CLOCKS_PER_SEC * 3 / 10)
        ;
    const unsigned second = (unsigned)sysconf(_SC_CLK_TCK);
    stat_file(second / 5, 4 * second, 0, "");
    assert_true(machine_busy_end(&busy, &share));
    assert_true(share.others < 1e-9 && share.far < 1e-9);
    stat_file(2 * second, 2 * second, 0, "");
    assert_true(machine_busy_end(&busy, &share));
    assert_true(share.others > 0.1 && share.others < 1.71 / 4);
}

/* ---- this process ---- */

static void peak(void **state) {
    (void)state;
    enum { BYTES = 64 << 20 };
    if (!machine_peak_bytes()) {
        print_message("skipped: the system does not tell the peak\n");
        skip();
    }
    const bool resets = machine_peak_reset();
    const uint64_t before = machine_peak_bytes();
    char *memory_ = malloc(BYTES);
    assert_non_null(memory_);
    memset(memory_, 1, BYTES);
    assert_true(machine_peak_bytes() >= before + BYTES - (4 << 20));
    free(memory_);
    assert_true(machine_peak_bytes() >= before + BYTES - (4 << 20)); /* it stays */
    if (resets && !getenv("HALYARD_SANITIZER")) {                    /* which keep what is freed */
        assert_true(machine_peak_reset());
        assert_true(machine_peak_bytes() < before + BYTES / 2);
    }
}

/* The real machine; its record is the test's output. */
static void print(void **state) {
    (void)state;
    unsetenv("HALYARD_NVML_LIBRARY");
    json_t *o = json_pack("{s:o, s:o, s:o, s:o}", "cpu", machine_cpu_json(), "memory",
                          machine_memory_json(), "host", machine_host_json(), "gpu",
                          machine_gpu_json("ffff:ff:1f.7"));
    char *text = json_dumps(o, JSON_INDENT(2));
    assert_non_null(text);
    puts(text);
    assert_true(json_integer_value(at(o, "memory.total_bytes")) > 1 << 20);
    assert_true(json_integer_value(at(o, "cpu.usable")) >= 1);
    assert_true(json_string_length(at(o, "host.kernel")) > 6);
    free(text);
    json_decref(o);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fake_root_new, fake_root_free)

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        TEST(cpu_intel),        TEST(cpu_boost_and_clock),
        TEST(cpu_arm),          TEST(memory),
        TEST(system_and_load),  TEST(virtual_x86),
        TEST(virtual_arm),      TEST(containers),
        TEST(gpu_amd),          TEST(gpu_nvidia),
        TEST(gpu_unknown),      TEST(garbage),
        TEST(busy_shares),      TEST(busy_own),
        cmocka_unit_test(peak), cmocka_unit_test(print),
    };
    if (count != 2) {
        fprintf(stderr, "usage: test_machine NVML\n");
        return 2;
    }
    nvml = arguments[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
