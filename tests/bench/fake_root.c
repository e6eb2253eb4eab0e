#include "tests/bench/fake_root.h"

#include <ftw.h>
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

static char root[256];

int fake_root_new(void **state) {
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/halyard-root-XXXXXX", folder && *folder ? folder : "/tmp");
    if (!mkdtemp(root) || chmod(root, 0755) != 0) return -1;
    return setenv("HALYARD_SYSROOT", root, 1);
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at) {
    (void)about, (void)kind, (void)at;
    return remove(path);
}

int fake_root_free(void **state) {
    (void)state;
    unsetenv("HALYARD_SYSROOT");
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void path_of(char out[1024], const char *path) {
    snprintf(out, 1024, "%s%s", root, path);
    for (char *slash = strchr(out + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(out, 0755);
        *slash = '/';
    }
}

void fake_file(const char *path, const char *text) {
    char full[1024], beside[1040];
    path_of(full, path);
    snprintf(beside, sizeof beside, "%s.new", full);
    FILE *file = fopen(beside, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(beside, full), 0);
}

void fake_number(const char *path, unsigned long long number) {
    char text[32];
    snprintf(text, sizeof text, "%llu\n", number);
    fake_file(path, text);
}

void fake_link(const char *path, const char *target) {
    char full[1024];
    path_of(full, path);
    assert_int_equal(symlink(target, full), 0);
}

bool fake_opens(const char *path) {
    char full[1024];
    path_of(full, path);
    FILE *file = fopen(full, "r");
    if (file) fclose(file);
    return file != NULL;
}

void fake_gone(const char *path) {
    char full[1024];
    path_of(full, path);
    assert_int_equal(unlink(full), 0);
}

void fake_mode(const char *path, unsigned mode) {
    char full[1024];
    path_of(full, path);
    assert_int_equal(chmod(full, mode), 0);
}
