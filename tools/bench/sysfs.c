/* tools/bench/sysfs.c: reading small files. */
#include "tools/bench/sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *sys_root(void) {
    const char *root = getenv("HALYARD_SYSROOT");
    return root ? root : "";
}

/* False, with errno, when it is too long. */
static bool print_path(char out[SYS_PATH], const char *format, va_list arguments) {
    const int root = snprintf(out, SYS_PATH, "%s", sys_root());
    if (root >= 0 && root < SYS_PATH) {
        const int rest = vsnprintf(out + root, SYS_PATH - (size_t)root, format, arguments);
        if (rest >= 0 && rest < SYS_PATH - root) return true;
    }
    errno = ENAMETOOLONG;
    return false;
}

/* Declares `path` and whether it could be printed. */
#define PATH_OF(format)                                                                            \
    char path[SYS_PATH];                                                                           \
    va_list arguments;                                                                             \
    va_start(arguments, format);                                                                   \
    const bool printed = print_path(path, format, arguments);                                      \
    va_end(arguments)

FILE *sys_open(const char *format, ...) {
    PATH_OF(format);
    return printed ? fopen(path, "re") : NULL;
}

bool sys_exists(const char *format, ...) {
    PATH_OF(format);
    return printed && access(path, F_OK) == 0;
}

static bool line_of(const char *path, char *out, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    errno = 0;
    const bool got = fgets(out, (int)size, file) != NULL;
    const int code = errno ? errno : ENODATA; /* an empty file */
    fclose(file);
    errno = code;
    if (!got) return false;
    size_t from = 0, length = strlen(out);
    while (length && isspace((unsigned char)out[length - 1]))
        length--;
    while (from < length && isspace((unsigned char)out[from]))
        from++;
    memmove(out, out + from, length - from);
    out[length - from] = 0;
    return true;
}

bool sys_line(char *out, size_t size, const char *format, ...) {
    PATH_OF(format);
    return printed && line_of(path, out, size);
}

bool sys_u64(uint64_t *out, const char *format, ...) {
    char line[64], *end;
    PATH_OF(format);
    if (!printed || !line_of(path, line, sizeof line)) return false;
    errno = EINVAL; /* of what is no number */
    if (!isdigit((unsigned char)line[0])) return false;
    errno = 0;
    *out = strtoull(line, &end, 10);
    return errno == 0;
}

static int by_number(const void *a, const void *b) {
    return strverscmp(a, b);
}

uint32_t sys_list(char names[][SYS_NAME], uint32_t capacity, const char *prefix, const char *format,
                  ...) {
    PATH_OF(format);
    uint32_t count = 0;
    DIR *folder = printed ? opendir(path) : NULL;
    const struct dirent *entry;
    while (folder && count < capacity && (entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
        if (strlen(entry->d_name) >= SYS_NAME) continue;
        strcpy(names[count++], entry->d_name);
    }
    if (folder) closedir(folder);
    qsort(names, count, SYS_NAME, by_number);
    return count;
}

bool sys_link(char *out, size_t size, const char *format, ...) {
    char target[SYS_PATH];
    PATH_OF(format);
    const ssize_t length = printed ? readlink(path, target, sizeof target - 1) : -1;
    if (length <= 0) return false;
    target[length] = 0;
    const char *slash = strrchr(target, '/');
    snprintf(out, size, "%s", slash ? slash + 1 : target);
    return true;
}
