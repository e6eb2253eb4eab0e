/* What the Vulkan backend concludes from what drivers say. The drivers are made up, so that devices which
 * this machine lacks are listed, ordered and judged too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/registry.h"
#include "backends/vulkan/coopmat.h"
#include "backends/vulkan/probe.h"
#include "base/num.h"

#define GIB (UINT64_C(1) << 30)
#define DISCRETE VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU

/* ---- a made-up driver ---------------------------------------------------------------------------- */

typedef struct shape {
    uint32_t m, n, k;
    VkComponentTypeKHR ab, c;
    VkScopeKHR scope;
} shape;

/* Zero is a good card of 8 GiB with Vulkan 1.3, of type OTHER. */
typedef struct fake {
    const char *name, *driver_name;
    VkPhysicalDeviceType type;
    uint32_t api;
    VkDriverId driver;
    const char *extension[8];
    bool no_address, no_timeline, no_compute, no_f16, no_device_scope, dot8;
    bool matrices, no_matrix_feature; /* matrices: the extension is there */
    uint32_t min_subgroup, units;
    uint64_t heap, used, max_allocation, max_buffer; /* bytes */
    const shape *shapes;
    uint32_t shape_count;
} fake;

static const fake *fakes;
static uint32_t fake_count;
static uint32_t matrix_calls, modern_calls_on_old;
static bool have_modules;

static const fake *fake_of(VkPhysicalDevice physical) {
    return &fakes[(uintptr_t)physical - 1];
}

static void *find(void *chain, VkStructureType type) {
    for (VkBaseOutStructure *s = chain; s; s = s->pNext)
        if (s->sType == type) return s;
    return NULL;
}

static uint32_t api_of(const fake *f) {
    return f->api ? f->api : VK_API_VERSION_1_3;
}

static bool fake_has(const fake *f, const char *name) {
    if (strcmp(name, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) == 0) return f->matrices;
    for (size_t i = 0; i < HY_COUNT_OF(f->extension) && f->extension[i]; i++)
        if (strcmp(f->extension[i], name) == 0) return true;
    return false;
}

static VkResult VKAPI_CALL enumerate(VkInstance instance, uint32_t *count, VkPhysicalDevice *out) {
    (void)instance;
    *count = HY_MIN(*count, fake_count);
    for (uintptr_t i = 0; i < *count; i++)
        out[i] = (VkPhysicalDevice)(i + 1);
    return VK_SUCCESS;
}

static VkResult VKAPI_CALL extensions(VkPhysicalDevice physical, const char *layer, uint32_t *count,
                                      VkExtensionProperties *out) {
    (void)layer;
    const fake *f = fake_of(physical);
    const char *list[HY_COUNT_OF(f->extension) + 1];
    uint32_t n = 0;
    for (uint32_t i = 0; i < HY_COUNT_OF(f->extension) && f->extension[i]; i++)
        list[n++] = f->extension[i];
    if (f->matrices) list[n++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    for (uint32_t i = 0; out && i < HY_MIN(n, *count); i++)
        strcpy(out[i].extensionName, list[i]);
    const VkResult result = out && *count < n ? VK_INCOMPLETE : VK_SUCCESS;
    *count = out ? HY_MIN(*count, n) : n;
    return result;
}

static void VKAPI_CALL properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *out) {
    const fake *f = fake_of(physical);
    memset(out, 0, sizeof *out);
    out->apiVersion = api_of(f);
    out->deviceType = f->type;
    strcpy(out->deviceName, f->name);
    out->limits.maxPushConstantsSize = 128;
    out->limits.maxComputeWorkGroupInvocations = 1024;
    out->limits.maxComputeWorkGroupSize[0] = 512;
    out->limits.maxComputeWorkGroupCount[0] = 2147483647;
    out->limits.maxComputeSharedMemorySize = 49152;
}

static void fill_more(const fake *f, void *chain) {
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV *nvidia =
        find(chain, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV);
    VkPhysicalDeviceShaderCoreProperties2AMD *amd =
        find(chain, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD);
    VkPhysicalDevicePCIBusInfoPropertiesEXT *pci =
        find(chain, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
    /* A struct may hang in the chain only where its extension is. */
    assert_int_equal(nvidia != NULL, fake_has(f, "VK_NV_shader_sm_builtins"));
    assert_int_equal(amd != NULL, fake_has(f, "VK_AMD_shader_core_properties2"));
    assert_int_equal(pci != NULL, fake_has(f, "VK_EXT_pci_bus_info"));
    if (nvidia) nvidia->shaderSMCount = f->units;
    if (amd) amd->activeComputeUnitCount = f->units;
    if (!pci) return;
    pci->pciDomain = 0x10000, pci->pciBus = 0xe1, pci->pciDevice = 0x1f, pci->pciFunction = 7;
}

static void VKAPI_CALL properties2(VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *out) {
    const fake *f = fake_of(physical);
    VkPhysicalDeviceVulkan11Properties *v11 =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    VkPhysicalDeviceVulkan12Properties *v12 =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
    VkPhysicalDeviceMaintenance4Properties *m4 =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    VkPhysicalDeviceSubgroupSizeControlProperties *subgroups =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    modern_calls_on_old += api_of(f) < VK_API_VERSION_1_2;
    properties(physical, &out->properties);
    v11->maxMemoryAllocationSize = f->max_allocation ? f->max_allocation : 4 * GIB;
    v11->subgroupSize = 32;
    v12->driverID = f->driver ? f->driver : VK_DRIVER_ID_MESA_RADV;
    strcpy(v12->driverName, f->driver_name ? f->driver_name : "fake");
    strcpy(v12->driverInfo, "1.2.3");
    assert_int_equal(m4 != NULL, api_of(f) >= VK_API_VERSION_1_3);
    if (m4) m4->maxBufferSize = f->max_buffer ? f->max_buffer : UINT64_MAX;
    if (subgroups) {
        subgroups->minSubgroupSize = f->min_subgroup;
        subgroups->requiredSubgroupSizeStages = VK_SHADER_STAGE_COMPUTE_BIT;
    }
    fill_more(f, out);
}

static void VKAPI_CALL features2(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *out) {
    const fake *f = fake_of(physical);
    VkPhysicalDeviceVulkan12Features *v12 =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    VkPhysicalDeviceShaderIntegerDotProductFeatures *dot =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    VkPhysicalDeviceSubgroupSizeControlFeatures *size =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR *matrices =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    v12->bufferDeviceAddress = !f->no_address;
    v12->timelineSemaphore = !f->no_timeline;
    v12->shaderFloat16 = !f->no_f16;
    v12->vulkanMemoryModel = VK_TRUE;
    v12->vulkanMemoryModelDeviceScope = !f->no_device_scope;
    assert_int_equal(matrices != NULL, fake_has(f, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME));
    assert_int_equal(dot != NULL, api_of(f) >= VK_API_VERSION_1_3 ||
                                      fake_has(f, "VK_KHR_shader_integer_dot_product"));
    if (dot) dot->shaderIntegerDotProduct = f->dot8;
    if (matrices) matrices->cooperativeMatrix = !f->no_matrix_feature;
    if (size) size->subgroupSizeControl = size->computeFullSubgroups = VK_TRUE;
}

static void VKAPI_CALL memory2(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *out) {
    const fake *f = fake_of(physical);
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget =
        find(out, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
    VkPhysicalDeviceMemoryProperties *m = &out->memoryProperties;
    assert_int_equal(budget != NULL, fake_has(f, "VK_EXT_memory_budget"));
    memset(m, 0, sizeof *m);
    m->memoryHeapCount = 3; /* the host's, the device's, and a window of 256 MiB */
    m->memoryHeaps[0] = (VkMemoryHeap){64 * GIB, 0};
    m->memoryHeaps[1] =
        (VkMemoryHeap){f->heap ? f->heap : 8 * GIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
    m->memoryHeaps[2] = (VkMemoryHeap){GIB / 4, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
    if (!budget) return;
    budget->heapBudget[1] = f->heap;
    budget->heapUsage[1] = f->used;
}

/* Family 0 draws and computes, family 1 only copies, family 2 only computes. */
static void VKAPI_CALL queues(VkPhysicalDevice physical, uint32_t *count,
                              VkQueueFamilyProperties *out) {
    const VkQueueFlags flags[3] = {VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT,
                                   VK_QUEUE_TRANSFER_BIT, VK_QUEUE_COMPUTE_BIT};
    const VkQueueFlags without = fake_of(physical)->no_compute ? VK_QUEUE_COMPUTE_BIT : 0;
    assert_true(*count >= 3);
    *count = 3;
    for (uint32_t i = 0; i < 3; i++)
        out[i] = (VkQueueFamilyProperties){.queueFlags = flags[i] & ~without, .queueCount = 1};
}

static VkResult VKAPI_CALL matrices(VkPhysicalDevice physical, uint32_t *count,
                                    VkCooperativeMatrixPropertiesKHR *out) {
    const fake *f = fake_of(physical);
    matrix_calls++;
    *count = HY_MIN(*count, f->shape_count);
    for (uint32_t i = 0; i < *count; i++) {
        const shape *s = &f->shapes[i];
        assert_int_equal(out[i].sType, VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR);
        out[i].MSize = s->m, out[i].NSize = s->n, out[i].KSize = s->k;
        out[i].AType = out[i].BType = s->ab;
        out[i].CType = out[i].ResultType = s->c;
        out[i].scope = s->scope;
    }
    return VK_SUCCESS;
}

static const vulkan_loader loader = {
    .api = VK_API_VERSION_1_3,
    .EnumeratePhysicalDevices = enumerate,
    .EnumerateDeviceExtensionProperties = extensions,
    .GetPhysicalDeviceProperties = properties,
    .GetPhysicalDeviceProperties2 = properties2,
    .GetPhysicalDeviceFeatures2 = features2,
    .GetPhysicalDeviceMemoryProperties2 = memory2,
    .GetPhysicalDeviceQueueFamilyProperties = queues,
    .GetPhysicalDeviceCooperativeMatrixPropertiesKHR = (PFN_vkVoidFunction)matrices,
};

/* In place of the build's shaders. */
const vulkan_module *vulkan_module_find(const char *name) {
    static const vulkan_module module;
    assert_true(!strcmp(name, "matmul.q4_0.gemv.dot8") || !strcmp(name, "matmul.q4_0.coopmat"));
    return have_modules ? &module : NULL;
}

/* In place of the backend: what the registry sees. */
static hy_status list_fakes(hy_device_info *infos, uint32_t capacity, uint32_t *count) {
    vulkan_probe *probes;
    HY_TRY(vulkan_probe_all(&loader, &probes, count));
    for (uint32_t i = 0; i < *count && i < capacity; i++)
        infos[i] = probes[i].info;
    free(probes);
    return HY_OK;
}
const hy_backend hy_vulkan_backend = {.name = "vulkan", .devices = list_fakes};

/* ---- tests --------------------------------------------------------------------------------------- */

static vulkan_probe *probe_all(const fake *list, uint32_t count) {
    vulkan_probe *probes;
    uint32_t found;
    fakes = list;
    fake_count = count;
    have_modules = true;
    matrix_calls = modern_calls_on_old = 0;
    if (vulkan_probe_all(&loader, &probes, &found) != HY_OK) fail_msg("%s", hy_error_text());
    assert_int_equal(found, count);
    return probes;
}

static vulkan_probe probe_one(const fake *f) {
    vulkan_probe *probes = probe_all(f, 1), probe = probes[0];
    free(probes);
    return probe;
}

static void none(void **state) {
    (void)state;
    vulkan_probe *probes;
    uint32_t count;
    fake_count = 0;
    assert_int_equal(vulkan_probe_all(&loader, &probes, &count), HY_E_UNAVAILABLE);
    assert_non_null(strstr(hy_error_text(), "no Vulkan device"));
}

static void order(void **state) {
    (void)state;
    const fake list[] = {
        {.name = "cpu", .type = VK_PHYSICAL_DEVICE_TYPE_CPU},
        {.name = "other", .type = VK_PHYSICAL_DEVICE_TYPE_OTHER},
        {.name = "old", .type = DISCRETE, .api = VK_API_VERSION_1_1},
        {.name = "virtual", .type = VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU},
        {.name = "integrated", .type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU},
        {.name = "first", .type = DISCRETE},
        {.name = "second", .type = DISCRETE},
        {.name = "strange", .type = (VkPhysicalDeviceType)77},
    };
    const char *const want[] = {"first", "second",  "integrated", "virtual",
                                "other", "strange", "cpu",        "old"};
    vulkan_probe *probes = probe_all(list, HY_COUNT_OF(list));
    for (size_t i = 0; i < HY_COUNT_OF(want); i++) {
        assert_string_equal(probes[i].info.name, want[i]);
        assert_int_equal(probes[i].info.software, !strcmp(want[i], "cpu"));
        assert_int_equal(probes[i].info.unusable, !strcmp(want[i], "old"));
    }
    assert_true(probes[6].limits.ops_per_us < probes[2].limits.ops_per_us);
    assert_true(probes[2].limits.ops_per_us < probes[0].limits.ops_per_us);
    assert_int_equal(modern_calls_on_old, 0); /* its driver does not know those structs */
    free(probes);
}

static void unusable(void **state) {
    (void)state;
    const struct {
        fake f;
        const char *reason;
    } list[] = {
        {{.name = "a", .no_address = true}, "bufferDeviceAddress"},
        {{.name = "b", .no_timeline = true}, "timelineSemaphore"},
        {{.name = "c", .no_compute = true}, "no queue"},
        {{.name = "d", .api = VK_API_VERSION_1_1}, "1.2"},
        {{.name = "e", .max_allocation = 4096}, "allocation"},
    };
    for (size_t i = 0; i < HY_COUNT_OF(list); i++) {
        const vulkan_probe p = probe_one(&list[i].f);
        const hy_backend *backend;
        uint32_t index;
        assert_true(p.info.unusable);
        assert_non_null(strstr(p.info.detail, list[i].reason));
        if (hy_default_device(&backend, &index) != HY_OK) fail_msg("%s", hy_error_text());
        assert_string_equal(backend->name, "cpu");
    }
}

static void preferred(void **state) {
    (void)state;
    const fake list[] = {{.name = "cpu", .type = VK_PHYSICAL_DEVICE_TYPE_CPU},
                         {.name = "card", .type = DISCRETE}};
    const hy_backend *backend;
    uint32_t index;
    free(probe_all(list, 2));
    if (hy_default_device(&backend, &index) != HY_OK) fail_msg("%s", hy_error_text());
    assert_string_equal(backend->name, "vulkan");
    assert_int_equal(index, 0);
    free(probe_all(list, 1)); /* software alone is passed over */
    if (hy_default_device(&backend, &index) != HY_OK) fail_msg("%s", hy_error_text());
    assert_string_equal(backend->name, "cpu");
}

static void numbers(void **state) {
    (void)state;
    const fake f = {
        .name = "GeForce",
        .driver = VK_DRIVER_ID_NVIDIA_PROPRIETARY,
        .driver_name = "NVIDIA",
        .extension = {"VK_NV_shader_sm_builtins", "VK_EXT_memory_budget", "VK_EXT_pci_bus_info"},
        .units = 84,
        .heap = 24 * GIB,
        .used = 5 * GIB,
        .max_allocation = 4 * GIB - 1,
        .max_buffer = 8 * GIB};
    vulkan_probe p = probe_one(&f);
    assert_string_equal(p.info.arch, "vulkan 1.3 nvidia");
    assert_string_equal(p.info.bus, "10000:e1:1f.7");
    assert_int_equal(p.info.units, 84);
    assert_true(p.info.memory_total == 24 * GIB && p.info.memory_free == 19 * GIB);
    assert_true(p.max_allocation == 4 * GIB - 65536 && p.info.segment == p.max_allocation);
    assert_int_equal(p.queue_family, 2);
    assert_int_equal(p.limits.max_threads, 512);
    assert_int_equal(p.limits.max_grid, 2147483647);
    assert_int_equal(p.limits.shared_bytes, 49152);
    assert_int_equal(p.limits.subgroup, 32);
    assert_true(p.size_control && !p.size_control_extension);
    fake small = f; /* everything fits in one buffer; an AMD card */
    small.heap = 4 * GIB - 65536;
    small.used = 5 * GIB; /* more than there is */
    small.extension[0] = "VK_AMD_shader_core_properties2";
    p = probe_one(&small);
    assert_int_equal(p.info.segment, 0);
    assert_int_equal(p.info.memory_free, 0);
    assert_int_equal(p.info.units, 84);
    small.max_buffer = GIB;
    small.extension[2] = NULL;
    p = probe_one(&small);
    assert_string_equal(p.info.bus, "");
    assert_true(p.info.segment == GIB);
}

static const shape shapes[] = {
    {16, 8, 8, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, VK_SCOPE_SUBGROUP_KHR},
    {16, 16, 16, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR,
     VK_SCOPE_SUBGROUP_KHR},
    {16, 8, 16, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR,
     VK_SCOPE_SUBGROUP_KHR},
    /* Not ours: f16 accumulators, int8, a workgroup's, too large, no divisor of 32. */
    {32, 32, 16, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT16_KHR,
     VK_SCOPE_SUBGROUP_KHR},
    {32, 32, 32, (VkComponentTypeKHR)3, (VkComponentTypeKHR)5, VK_SCOPE_SUBGROUP_KHR},
    {32, 32, 32, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, (VkScopeKHR)2},
    {64, 16, 16, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR,
     VK_SCOPE_SUBGROUP_KHR},
    {24, 24, 24, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR,
     VK_SCOPE_SUBGROUP_KHR},
};

static void matrix_shape(void **state) {
    (void)state;
    fake f = {.name = "a", .matrices = true, .shapes = shapes, .shape_count = HY_COUNT_OF(shapes)};
    vulkan_probe p = probe_one(&f);
    assert_int_equal(p.limits.features, GPU_COOPMAT);
    assert_true(p.coopmat);
    for (int i = 0; i < 3; i++)
        assert_int_equal(p.limits.coopmat[i], 16);
    assert_non_null(strstr(p.info.detail, "cooperative matrices 16x16x16 f16->f32"));
    assert_non_null(strstr(p.info.detail, "lacks integer dot product;"));
    f.shapes = shapes + 3; /* none fits */
    f.shape_count = HY_COUNT_OF(shapes) - 3;
    p = probe_one(&f);
    assert_int_equal(p.limits.features, 0);
    assert_false(p.coopmat);
}

static void matrix_needs(void **state) {
    (void)state;
    const fake list[] = {
        {.name = "f16", .matrices = true, .no_f16 = true},
        {.name = "scope", .matrices = true, .no_device_scope = true},
        {.name = "feature", .matrices = true, .no_matrix_feature = true},
        {.name = "extension"},
        /* Crashed when asked: never ask. */
        {.name = "amd", .matrices = true, .driver = VK_DRIVER_ID_AMD_PROPRIETARY},
        {.name = "arc",
         .matrices = true,
         .driver = VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
         .min_subgroup = 8},
    };
    for (size_t i = 0; i < HY_COUNT_OF(list); i++) {
        const vulkan_probe p = probe_one(&list[i]);
        assert_int_equal(p.limits.features, 0);
        assert_false(p.coopmat);
        assert_int_equal(matrix_calls, 0);
        assert_non_null(strstr(p.info.detail, ", cooperative matrices"));
    }
    fake xe2 = list[HY_COUNT_OF(list) - 1];
    xe2.min_subgroup = 16;
    xe2.shapes = shapes;
    xe2.shape_count = HY_COUNT_OF(shapes);
    assert_true(probe_one(&xe2).coopmat);
}

static void dot_product(void **state) {
    (void)state;
    fake f = {.name = "a", .dot8 = true};
    vulkan_probe p = probe_one(&f);
    assert_int_equal(p.limits.features, GPU_DOT8);
    assert_true(p.dot8 && !p.dot8_extension);
    f.api = VK_API_VERSION_1_2; /* there only as an extension */
    assert_false(probe_one(&f).dot8);
    f.extension[0] = "VK_KHR_shader_integer_dot_product";
    p = probe_one(&f);
    assert_true(p.dot8 && p.dot8_extension);
    assert_memory_equal(p.info.arch, "vulkan 1.2", 10);
    have_modules = false; /* a build by an older glslang */
    vulkan_probe *probes;
    uint32_t count;
    assert_int_equal(vulkan_probe_all(&loader, &probes, &count), HY_OK);
    assert_false(probes->dot8);
    assert_int_equal(probes->limits.features, 0);
    assert_non_null(strstr(probes->info.detail, "integer dot product (not in this build)"));
    free(probes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none),         cmocka_unit_test(order),
        cmocka_unit_test(unusable),     cmocka_unit_test(preferred),
        cmocka_unit_test(numbers),      cmocka_unit_test(matrix_shape),
        cmocka_unit_test(matrix_needs), cmocka_unit_test(dot_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
