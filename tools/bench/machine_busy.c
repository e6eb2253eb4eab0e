/* tools/bench/machine_busy.c: what others did with the processors between two moments. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/num.h"
#include "tools/bench/machine.h"
#include "tools/bench/sysfs.h"

enum { LEAST_TICKS = 20 };

static double own_ticks(void) {
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return 0;
    return ((double)t.tv_sec + (double)t.tv_nsec * 1e-9) * (double)sysconf(_SC_CLK_TCK);
}

/* One line of /proc/stat, "cpu3 user nice system idle iowait irq softirq steal ...". */
static void note(machine_busy *b, const hy_cpu_set *allowed, const char *line) {
    unsigned cpu;
    unsigned long long t[8];
    if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &t[0], &t[1], &t[2],
               &t[3], &t[4], &t[5], &t[6], &t[7]) != 9)
        return;
    const uint64_t used = t[0] + t[1] + t[2] + t[5] + t[6], all = used + t[3] + t[4] + t[7];
    if (hy_cpu_set_has(allowed, cpu)) {
        b->used += used;
        b->all += all;
        b->stolen += t[7];
        b->known = true;
    } else {
        b->far_used += used;
        b->far_all += all;
    }
}

void machine_busy_begin(machine_busy *busy) {
    char line[512];
    hy_cpu_set allowed;
    FILE *file = sys_open("/proc/stat");
    *busy = (machine_busy){.known = false};
    hy_cpu_allowed(&allowed);
    while (file && fgets(line, sizeof line, file) && strncmp(line, "cpu", 3) == 0)
        note(busy, &allowed, line);
    if (file) fclose(file);
    busy->own = own_ticks();
}

bool machine_busy_end(const machine_busy *busy, machine_share *out) {
    machine_busy now;
    machine_busy_begin(&now);
    if (!busy->known || !now.known || now.all < busy->all + LEAST_TICKS) return false;
    const double all = (double)(now.all - busy->all);
    const double used = (double)now.used - (double)busy->used - (now.own - busy->own);
    const double far_all = (double)now.far_all - (double)busy->far_all;
    const double far_used = (double)now.far_used - (double)busy->far_used;
    *out = (machine_share){.others = HY_MIN(HY_MAX(used, 0) / all, 1),
                           .stolen = HY_MAX((double)now.stolen - (double)busy->stolen, 0) / all};
    if (far_all > 0) out->far = HY_MIN(HY_MAX(far_used, 0) / far_all, 1);
    return true;
}
