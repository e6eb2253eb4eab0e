/* The Vulkan backend's devices as this machine has them: loading, listing, opening again and again. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/registry.h"
#include "backends/vulkan/vulkan_backend.h"
#include "base/num.h"

#define MOST 16

static const hy_backend *const vulkan = &hy_vulkan_backend;

static void must(hy_status status) {
    if (status != HY_OK) fail_msg("%s", hy_error_text());
}

/* The devices; skips the test, with the reason, where there are none. */
static uint32_t list(hy_device_info infos[MOST]) {
    uint32_t count = 0;
    hy_status status = vulkan->devices(infos, MOST, &count);
    if (status == HY_E_UNAVAILABLE) {
        print_message("skipped: %s\n", hy_error_text());
        skip();
    }
    must(status);
    assert_in_range(count, 1, MOST);
    return count;
}

/* ---- loader -------------------------------------------------------------------------------------- */

/* First of all: once a library is open it stays. */
static void no_loader(void **state) {
    (void)state;
    const char *const wrong[] = {"/nonexistent/libvulkan.so", "libm.so.6"};
    const char *const said[] = {"HALYARD_VULKAN_LIBRARY=/nonexistent/libvulkan.so",
                                "vkGetInstanceProcAddr"};
    const char *given = getenv("HALYARD_VULKAN_LIBRARY");
    char *before = given ? strdup(given) : NULL;
    hy_device *device;
    uint32_t count;
    for (size_t i = 0; i < HY_COUNT_OF(wrong); i++) {
        setenv("HALYARD_VULKAN_LIBRARY", wrong[i], 1);
        assert_int_equal(vulkan->devices(NULL, 0, &count), HY_E_UNAVAILABLE);
        assert_non_null(strstr(hy_error_text(), said[i]));
        assert_null(strchr(hy_error_text(), '\n'));
        assert_int_equal(hy_device_open("vulkan:0", NULL, &device), HY_E_UNAVAILABLE);
        assert_non_null(strstr(hy_error_text(), said[i]));
    }
    if (before)
        setenv("HALYARD_VULKAN_LIBRARY", before, 1);
    else
        unsetenv("HALYARD_VULKAN_LIBRARY");
    free(before);
}

/* ---- listing ------------------------------------------------------------------------------------- */

static void check_info(const hy_device_info *info) {
    print_message("%s, %s: %s\n", info->name, info->arch, info->detail);
    assert_true(info->name[0]);
    assert_memory_equal(info->arch, "vulkan ", 7);
    assert_true(info->detail[0]);
    assert_null(strchr(info->detail, '\n'));
    assert_false(info->host_memory);
    if (info->unusable) return;
    assert_true(info->units >= 1);
    assert_true(info->memory_total > 0);
    assert_true(info->memory_free <= info->memory_total);
    assert_int_equal(info->segment % HY_VIEW_ALIGN, 0);
    assert_true(info->segment < info->memory_total);
    assert_non_null(strstr(info->detail, "buffer addresses"));
    assert_non_null(strstr(info->detail, "subgroups of ")); /* its end: nothing was cut off */
}

static void listing(void **state) {
    (void)state;
    hy_device_info infos[MOST];
    const uint32_t count = list(infos);
    uint32_t again = 0;
    for (uint32_t i = 0; i < count; i++) {
        check_info(&infos[i]);
        if (i == 0) continue;
        assert_true(infos[i].unusable >= infos[i - 1].unusable);
        if (infos[i].unusable == infos[i - 1].unusable)
            assert_true(infos[i].software >= infos[i - 1].software);
    }
    must(vulkan->devices(NULL, 0, &again));
    assert_int_equal(again, count);
}

/* "auto" is the first device that is neither software nor unusable, of whatever backend. */
static void default_device(void **state) {
    (void)state;
    hy_device_info infos[MOST];
    const uint32_t count = list(infos);
    const hy_backend *backend;
    uint32_t index;
    must(hy_default_device(&backend, &index));
    const bool hardware = !infos[0].software && !infos[0].unusable;
    assert_int_equal(backend == vulkan, hardware);
    if (hardware) assert_int_equal(index, 0);
    assert_int_equal(hy_device_open("vulkan:999", NULL, &(hy_device *){NULL}), HY_E_NOT_FOUND);
    assert_int_equal(vulkan->open(count, NULL, &(hy_device *){NULL}), HY_E_NOT_FOUND);
}

/* ---- open and close ------------------------------------------------------------------------------ */

static uint32_t open_files(void) {
    DIR *folder = opendir("/proc/self/fd");
    uint32_t count = 0;
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void open_and_close(void **state) {
    (void)state;
    hy_device_info infos[MOST], info;
    const uint32_t count = list(infos);
    for (uint32_t i = 0; i < count; i++) {
        hy_device *device;
        uint32_t files = 0;
        if (infos[i].unusable) {
            assert_int_equal(vulkan->open(i, NULL, &device), HY_E_UNSUPPORTED);
            assert_non_null(strstr(hy_error_text(), infos[i].detail));
            continue;
        }
        for (uint32_t round = 0; round < 20; round++) {
            must(vulkan->open(i, NULL, &device));
            assert_ptr_equal(device->backend, vulkan);
            vulkan->info(device, &info);
            assert_string_equal(info.name, infos[i].name);
            assert_string_equal(info.detail, infos[i].detail);
            assert_int_equal(info.segment, infos[i].segment);
            assert_true(info.memory_total == infos[i].memory_total);
            hy_device_close(device);
            if (round == 0) files = open_files();
        }
        assert_int_equal(open_files(), files);
    }
}

/* One instance serves all; closing one device leaves the others alone. */
static void several_at_once(void **state) {
    (void)state;
    hy_device_info infos[MOST];
    list(infos);
    if (infos[0].unusable) skip();
    hy_device *device[3];
    hy_buffer *buffer;
    for (uint32_t i = 0; i < HY_COUNT_OF(device); i++)
        must(vulkan->open(0, NULL, &device[i]));
    hy_device_close(device[1]);
    hy_device_close(device[0]);
    must(vulkan->buffer_new(device[2], HY_HEAP_DEVICE, 4096, &buffer));
    char back[5] = "";
    must(vulkan->write(buffer, 4091, "hello", 5));
    must(vulkan->read(buffer, 4091, back, 5));
    assert_memory_equal(back, "hello", 5);
    hy_buffer_free(buffer);
    hy_device_close(device[2]);
}

/* ---- threads ------------------------------------------------------------------------------------- */

static void *list_often(void *failures) {
    for (int i = 0; i < 5; i++) {
        hy_device_info infos[MOST];
        hy_device *device;
        uint32_t count = 0;
        if (vulkan->devices(infos, MOST, &count) != HY_OK) ++*(int *)failures;
        if (infos[0].unusable) continue;
        if (vulkan->open(0, NULL, &device) != HY_OK)
            ++*(int *)failures;
        else
            hy_device_close(device);
    }
    return NULL;
}

static void threads(void **state) {
    (void)state;
    hy_device_info infos[MOST];
    list(infos);
    pthread_t thread[4];
    int failures[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, list_often, &failures[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(failures[i], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_loader),       cmocka_unit_test(listing),
        cmocka_unit_test(default_device),  cmocka_unit_test(open_and_close),
        cmocka_unit_test(several_at_once), cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
