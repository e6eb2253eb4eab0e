/* tools/bench/machine_virtual.c: whether the machine is a virtual one, whose, and whether we are in a container. */
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "base/num.h"
#include "tools/bench/machine_inner.h"
#include "tools/bench/sysfs.h"

/* What the firmware's tables (DMI) say, and what follows from it. `kind` is the hypervisor of the virtual machines
 * that say so; clouds rent out whole machines under the same names. */
static const struct {
    const char *said, *kind, *cloud;
} firmware[] = {{"Amazon EC2", "kvm", "aws"},
                {"Google Compute Engine", "kvm", "gcp"},
                {"7783-7084-3265-9085-8269-3286-77", "hyperv", "azure"}, /* its asset tag */
                {"OracleCloud.com", "kvm", "oracle"},
                {"Alibaba Cloud", "kvm", "alibaba"},
                {"Tencent Cloud", "kvm", "tencent"},
                {"Huawei Cloud", "kvm", "huawei"},
                {"DigitalOcean", "kvm", "digitalocean"},
                {"Hetzner", "kvm", "hetzner"},
                {"Scaleway", "kvm", "scaleway"},
                {"Vultr", "kvm", "vultr"},
                {"Linode", "kvm", "linode"},
                {"Akamai", "kvm", "linode"},
                {"OVHcloud", NULL, "ovh"},
                {"OpenStack", "kvm", "openstack"},
                {"KVM", "kvm", NULL},
                {"VMware", "vmware", NULL},
                {"VirtualBox", "virtualbox", NULL},
                {"innotek", "virtualbox", NULL},
                {"Xen", "xen", NULL},
                {"Microsoft Corporation\nVirtual Machine", "hyperv", NULL},
                {"Parallels", "parallels", NULL},
                {"BHYVE", "bhyve", NULL},
                {"QEMU", "qemu", NULL}};

/* What a hypervisor says of itself in CPUID, leaf 0x40000000. */
static const struct {
    const char *said, *kind;
} signatures[] = {
    {"KVMKVMKVM", "kvm"},           {"Microsoft Hv", "hyperv"}, {"VMwareVMware", "vmware"},
    {"XenVMMXenVMM", "xen"},        {"TCGTCGTCGTCG", "qemu"},   {"bhyve bhyve ", "bhyve"},
    {"VBoxVBoxVBox", "virtualbox"}, {"ACRNACRNACRN", "acrn"},   {" lrpepyh  vr", "parallels"}};

static const char *kind_of_cpuid(void) {
    char said[13] = "";
#if defined(__x86_64__) || defined(__i386__)
    unsigned eax, ebx, ecx, edx;
    if (*sys_root()) return NULL; /* the question is about another machine */
    __cpuid(0x40000000, eax, ebx, ecx, edx);
    memcpy(said, &ebx, 4);
    memcpy(said + 4, &ecx, 4);
    memcpy(said + 8, &edx, 4);
#endif
    for (size_t i = 0; i < HY_COUNT_OF(signatures); i++)
        if (strcmp(signatures[i].said, said) == 0) return signatures[i].kind;
    return NULL;
}

/* By the system's own interfaces, the firmware left out. */
static const char *kind_of_system(void) {
    char text[64];
    if (sys_line(text, sizeof text, "/sys/hypervisor/type") && !strcmp(text, "xen")) return "xen";
    if (!sys_line(text, sizeof text, "/proc/device-tree/hypervisor/compatible")) return NULL;
    return strstr(text, "xen") ? "xen" : strstr(text, "kvm") ? "kvm" : NULL;
}

/* 1: there is a hypervisor, 0: there is none, -1: not known. Processors of x86 tell. */
static int hypervisor_flag(void) {
    static const char *const ours = " hypervisor ";
    static char flags[8192];
    if (!machine_value("/proc/cpuinfo", ':', "flags", flags, sizeof flags - 1)) return -1;
    return strstr(strcat(flags, " "), ours) != NULL;
}

static void read_firmware(char *all, size_t size) {
    static const char *const names[] = {"sys_vendor",   "product_name", "product_version",
                                        "board_vendor", "bios_vendor",  "chassis_asset_tag"};
    char line[128];
    size_t used = 0;
    for (size_t i = 0; i < HY_COUNT_OF(names); i++)
        if (sys_line(line, sizeof line, "/sys/class/dmi/id/%s", names[i]) && used < size)
            used += (size_t)snprintf(all + used, size - used, "%s\n", line);
}

static const char *container_of(void) {
    static const struct {
        const char *said, *kind;
    } groups[] = {{"kubepods", "kubernetes"},
                  {"libpod", "podman"},
                  {"docker", "docker"},
                  {"containerd", "containerd"},
                  {"lxc", "lxc"}};
    static char line[1024];
    const char *said = getenv("container"); /* systemd's convention */
    if (getenv("KUBERNETES_SERVICE_HOST")) return "kubernetes";
    if (sys_exists("/run/.containerenv")) return "podman";
    if (sys_exists("/.dockerenv")) return "docker";
    if (said && *said) return said;
    if (sys_line(line, sizeof line, "/run/systemd/container") && *line) return line;
    FILE *file = sys_open("/proc/1/cgroup");
    const char *found = NULL;
    while (file && !found && fgets(line, sizeof line, file))
        for (size_t i = 0; i < HY_COUNT_OF(groups) && !found; i++)
            if (strstr(line, groups[i].said)) found = groups[i].kind;
    if (file) fclose(file);
    return found;
}

void machine_virtual(json_t *o) {
    char all[1024] = "", text[128];
    const char *kind = NULL, *cloud = NULL;
    int is = hypervisor_flag();
    read_firmware(all, sizeof all);
    for (size_t i = 0; i < HY_COUNT_OF(firmware); i++) {
        if (!strstr(all, firmware[i].said)) continue;
        if (!kind) kind = firmware[i].kind;
        if (!cloud) cloud = firmware[i].cloud;
    }
    const char *system = kind_of_system(), *cpuid = is == 1 ? kind_of_cpuid() : NULL;
    if (cpuid) kind = cpuid;
    if (system) kind = system;
    if (is < 0 && kind) is = 1;
    machine_flag(o, "hypervisor", is >= 0, is == 1);
    machine_text(o, "virtualization", is == 1 ? kind : NULL);
    machine_text(o, "cloud", cloud);
    machine_text(o, "vendor",
                 sys_line(text, sizeof text, "/sys/class/dmi/id/sys_vendor") ? text : NULL);
    machine_text(o, "product",
                 sys_line(text, sizeof text, "/sys/class/dmi/id/product_name") ? text : NULL);
    machine_text(o, "container", container_of());
}
