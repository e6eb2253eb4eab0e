/* Mappings, and files that appear whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[16][512];
    static int turn;
    char *p = path[turn++ % 16];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static int make_folder(void **state) {
    strcpy(folder, "/tmp/halyard-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int count_entries(bool remove) {
    DIR *d = opendir(folder);
    int count = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        count++;
        if (remove) unlink(in_folder(e->d_name));
    }
    if (d) closedir(d);
    return count;
}

static int remove_folder(void **state) {
    count_entries(true);
    return rmdir(folder);
}

static void put(const char *path, const void *data, size_t size) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static void assert_content(const char *path, const void *data, size_t size) {
    uint8_t *got = NULL;
    size_t n = 0;
    assert_int_equal(hy_file_read(path, 1 << 24, &got, &n), HY_OK);
    assert_int_equal(n, size);
    if (size) assert_memory_equal(got, data, size);
    assert_int_equal(got[n], 0);
    free(got);
}

static void reading(void **state) {
    uint8_t *data = NULL;
    size_t size = 99;
    put(in_folder("r"), "halyard", 7);
    assert_content(in_folder("r"), "halyard", 7);
    assert_int_equal(hy_file_read(in_folder("r"), 7, &data, &size), HY_OK);
    free(data);
    data = NULL;
    size = 99;
    assert_int_equal(hy_file_read(in_folder("r"), 6, &data, &size), HY_E_LIMIT);
    assert_int_equal(hy_file_read(in_folder("missing"), 6, &data, &size), HY_E_NOT_FOUND);
    assert_non_null(strstr(hy_error_text(), "missing"));
    assert_int_equal(hy_file_read(folder, 6, &data, &size), HY_E_IO);
    assert_null(data); /* nothing written on failure */
    assert_int_equal(size, 99);
    put(in_folder("empty"), "", 0);
    assert_content(in_folder("empty"), "", 0);
    count_entries(true);
}

static void mapping(void **state) {
    size_t size = 5 * 4096 + 17;
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    put(in_folder("m"), bytes, size);
    hy_mapping m = {0};
    assert_int_equal(hy_mapping_open(in_folder("m"), &m), HY_OK);
    assert_int_equal(m.size, size);
    assert_memory_equal(m.data, bytes, size);
    hy_mapping_advise(&m, 100, 9000, 1);
    hy_mapping_advise(&m, 100, 9000, 0);
    hy_mapping_advise(&m, 0, size, 0);
    hy_mapping_advise(&m, size - 1, SIZE_MAX, 1);
    hy_mapping_advise(&m, size - 1, SIZE_MAX, 0);
    hy_mapping_advise(&m, size, 1, 0);
    hy_mapping_advise(&m, SIZE_MAX, SIZE_MAX, 0);
    assert_memory_equal(m.data, bytes, size); /* dropped pages come back the same */
    uint8_t *copy = malloc(size);
    assert_int_equal(hy_mapping_read(&m, 0, size, copy), HY_OK);
    assert_memory_equal(copy, bytes, size);
    assert_int_equal(hy_mapping_read(&m, size - 3, 3, copy), HY_OK);
    assert_memory_equal(copy, bytes + size - 3, 3);
    assert_int_equal(hy_mapping_read(&m, size, 0, copy), HY_OK);
    assert_int_equal(hy_mapping_read(&m, size - 3, 4, copy), HY_E_INTERNAL);
    assert_int_equal(hy_mapping_read(&m, SIZE_MAX, 4, copy), HY_E_INTERNAL);
    const hy_mapping memory = {bytes, size, 0};
    assert_int_equal(hy_mapping_read(&memory, 5, 100, copy), HY_OK);
    assert_memory_equal(copy, bytes + 5, 100);
    assert_int_equal(truncate(in_folder("m"), 50), 0);
    assert_int_equal(hy_mapping_read(&m, 0, size, copy), HY_E_IO); /* where a mapping would trap */
    free(copy);
    hy_mapping_close(&m);
    assert_null(m.data);
    hy_mapping_close(&m);
    free(bytes);
    put(in_folder("empty"), "", 0);
    assert_int_equal(hy_mapping_open(in_folder("empty"), &m), HY_OK);
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    hy_mapping_advise(&m, 0, 1, 1);
    hy_mapping_close(&m);
    assert_int_equal(hy_mapping_open(in_folder("missing"), &m), HY_E_NOT_FOUND);
    assert_int_equal(hy_mapping_open(folder, &m), HY_E_IO);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(hy_mapping_open(in_folder("pipe"), &m), HY_E_IO); /* and does not hang */
    count_entries(true);
}

static void writing(void **state) {
    size_t size = 300001; /* several buffers, pieces smaller and larger than one */
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 1000);
    const char *path = in_folder("w");
    hy_writer *w = NULL;
    assert_int_equal(hy_writer_open(path, &w), HY_OK);
    size_t at = 0, pieces[] = {1, 65535, 0, 1, 70000, 65536, 3, 100000};
    for (size_t i = 0; at < size; i = (i + 1) % 8) {
        size_t n = pieces[i] < size - at ? pieces[i] : size - at;
        assert_int_equal(hy_writer_write(w, bytes + at, n), HY_OK);
        at += n;
        assert_int_equal(hy_writer_offset(w), at);
    }
    assert_int_not_equal(access(path, F_OK), 0); /* not there before commit */
    assert_int_equal(hy_writer_commit(w), HY_OK);
    assert_content(path, bytes, size);
    assert_int_equal(count_entries(false), 1);
    free(bytes);
    count_entries(true);
}

static void replacing(void **state) {
    const char *path = in_folder("old");
    put(path, "old", 3);
    chmod(path, 0640);
    assert_int_equal(symlink("old", in_folder("link")), 0);
    hy_writer *w = NULL;
    assert_int_equal(hy_writer_open(path, &w), HY_OK);
    assert_int_equal(hy_writer_write(w, "never", 5), HY_OK);
    hy_writer_abandon(w);
    assert_content(path, "old", 3);
    assert_int_equal(count_entries(false), 2);
    assert_int_equal(hy_writer_open(in_folder("link"), &w), HY_OK);
    assert_int_equal(hy_writer_write(w, "new text", 8), HY_OK);
    assert_content(path, "old", 3);
    assert_int_equal(hy_writer_commit(w), HY_OK);
    assert_content(path, "new text", 8);
    struct stat st;
    assert_int_equal(lstat(in_folder("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode)); /* the link is still one, and the mode is kept */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(count_entries(false), 2);
    hy_writer_abandon(NULL);
    count_entries(true);
}

static void killed_writer(void **state) {
    put(in_folder("kept"), "kept", 4);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        hy_writer *a = NULL, *b = NULL;
        static uint8_t block[1 << 17];
        if (hy_writer_open(in_folder("kept"), &a) || hy_writer_open(in_folder("fresh"), &b))
            _exit(1);
        if (hy_writer_write(a, block, sizeof block) || hy_writer_write(b, block, sizeof block))
            _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    char c;
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_content(in_folder("kept"), "kept", 4);
    assert_int_not_equal(access(in_folder("fresh"), F_OK), 0);
    count_entries(true);
}

static void refused(void **state) {
    hy_writer *w = NULL;
    assert_int_equal(hy_writer_open(in_folder("no/such/place"), &w), HY_E_NOT_FOUND);
    assert_int_equal(hy_writer_open(folder, &w), HY_E_IO);
    assert_int_equal(hy_writer_open("", &w), HY_E_ARGUMENT);
    put(in_folder("file"), "x", 1);
    assert_int_not_equal(hy_writer_open(in_folder("file/below"), &w), HY_OK);
    assert_int_not_equal(hy_writer_open("/proc/halyard-test", &w), HY_OK); /* even root cannot */
    if (geteuid() != 0) {
        chmod(folder, 0500);
        assert_int_equal(hy_writer_open(in_folder("new"), &w), HY_E_IO);
        chmod(folder, 0700);
        chmod(in_folder("file"), 0400);
        assert_int_equal(hy_writer_open(in_folder("file"), &w), HY_E_IO);
    }
    assert_null(w);
    count_entries(true);
}

/* A device is written in place (never renamed over); a full one fails at commit or before. */
static void devices(void **state) {
    hy_writer *w = NULL;
    assert_int_equal(hy_writer_open("/dev/null", &w), HY_OK);
    assert_int_equal(hy_writer_write(w, "x", 1), HY_OK);
    assert_int_equal(hy_writer_commit(w), HY_OK);
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    if (access("/dev/full", W_OK) != 0) return;
    assert_int_equal(hy_writer_open("/dev/full", &w), HY_OK);
    assert_int_equal(hy_writer_write(w, "x", 1), HY_OK); /* buffered */
    assert_int_equal(hy_writer_commit(w), HY_E_IO);
}

/* A write that the system refuses half-way: every later call fails, and nothing appears. */
static void disk_full(void **state) {
    static uint8_t block[1 << 17];
    hy_writer *w = NULL;
    struct rlimit before, tight;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(hy_writer_open(in_folder("full"), &w), HY_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    tight.rlim_cur = 100000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    hy_status first = hy_writer_write(w, block, sizeof block);
    hy_status second = hy_writer_write(w, block, 1);
    hy_status commit = hy_writer_commit(w);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(first, HY_E_IO);
    assert_int_equal(second, HY_E_IO);
    assert_int_equal(commit, HY_E_IO);
    assert_int_equal(count_entries(true), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),   cmocka_unit_test(mapping),       cmocka_unit_test(writing),
        cmocka_unit_test(replacing), cmocka_unit_test(killed_writer), cmocka_unit_test(refused),
        cmocka_unit_test(devices),   cmocka_unit_test(disk_full),
    };
    return cmocka_run_group_tests_name("base_file", tests, make_folder, remove_folder);
}
