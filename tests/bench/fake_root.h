/* tests/bench/fake_root.h: a made-up /sys and /proc in a temporary folder, named by HALYARD_SYSROOT. A call that
 * fails ends the test. */
#ifndef HY_TESTS_BENCH_FAKE_ROOT_H
#define HY_TESTS_BENCH_FAKE_ROOT_H

#include <stdbool.h>

/* CMocka's setup and teardown of one test: an empty tree. */
int fake_root_new(void **state);
int fake_root_free(void **state);

/* The file at `path` ("/sys/...") has this text from now on; folders are made; readers see the old text or the new
 * one. */
void fake_file(const char *path, const char *text);
/* The same with a number and a newline. */
void fake_number(const char *path, unsigned long long number);
/* A link at `path`. */
void fake_link(const char *path, const char *target);
/* Whether the file opens for this user. */
bool fake_opens(const char *path);
/* Removes a file. */
void fake_gone(const char *path);
/* The file's permissions. */
void fake_mode(const char *path, unsigned mode);

#endif
