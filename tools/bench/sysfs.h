/* tools/bench/sysfs.h: the small files of /sys, /proc and the like, as text and numbers.
 *
 * Paths are printed from a format and begin at the root; the environment variable HALYARD_SYSROOT, where it is
 * set, stands in front of them (a made-up tree in tests; a host's /sys mounted elsewhere). */
#ifndef HY_TOOLS_BENCH_SYSFS_H
#define HY_TOOLS_BENCH_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Longest path and name, with the 0 behind. */
enum { SYS_PATH = 512, SYS_NAME = 64 };

/* HALYARD_SYSROOT, or "". */
const char *sys_root(void);
/* The file for reading, or NULL with errno. */
FILE *sys_open(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Whether there is such a file or folder. */
bool sys_exists(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The first line without blanks around it. False: not there, or not to be read (errno). */
bool sys_line(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The decimal number that the file begins with. */
bool sys_u64(uint64_t *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Names in a folder that begin with `prefix`, at most `capacity`, hwmon2 before hwmon10; returns how many. */
uint32_t sys_list(char names[][SYS_NAME], uint32_t capacity, const char *prefix, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
/* The last part of what a link points to: of /sys/bus/pci/devices/.../driver, "amdgpu". */
bool sys_link(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
