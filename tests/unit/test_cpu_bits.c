/* One answer on every CPU: logits of small models are the same bits on every instruction set with a fused
 * multiply-add, x86-64 and AArch64 alike. The hashes were made with AVX2. They change with the order of
 * additions (docs/numerics.md), and with nothing else. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/cpu/cpu.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/rng.h"
#include "halyard/halyard.h"
#include "tests/unit/tiny_model.h"

enum { V = 80, LENGTH = 70 }; /* over one page */

/* Those with all kernels of their own, and the levels that add some; lowest first. */
typedef struct level {
    const char *name;
    uint32_t isa;
} level;
static const level levels[] = {
#if defined(__x86_64__)
    {"avx2", CPU_AVX2},
    {"avx512", CPU_AVX2 | CPU_AVX512},
    {"amx", CPU_AMX},
#elif defined(__aarch64__)
    {"dotprod", CPU_DOTPROD},
    {"i8mm", CPU_DOTPROD | CPU_I8MM},
    {"sve256", CPU_DOTPROD | CPU_SVE256},
    {"sve512", CPU_DOTPROD | CPU_SVE512},
#endif
    {NULL, 0},
};

typedef struct expected {
    tiny_model model;
    hy_kv_type kv_type;
    uint64_t hash;
} expected;
static const expected all[] = {
    {{.seed = 1}, HY_KV_F32, 0x09a8b8f61aeff5b5},
    {{.seed = 2, .dtype = HY_DTYPE_F16, .arch = "qwen3", .tied = true},
     HY_KV_F16,
     0x16fdb5ecfb3be577},
    {{.seed = 3, .dtype = HY_DTYPE_BF16}, HY_KV_Q8_0, 0x9621d5b125d445b7},
    {{.seed = 4, .dtype = HY_DTYPE_Q4_0, .experts = 4}, HY_KV_F16, 0x06de7ccc0a064388},
    {{.seed = 5,
      .dtype = HY_DTYPE_Q4_K,
      .embedding = 256,
      .ffn = 256,
      .heads = 4,
      .kv_heads = 4,
      .head_dim = 64},
     HY_KV_Q8_0,
     0xee3d7eb20110df8a},
#define LONG_ROWS .embedding = 256, .ffn = 768, .heads = 4, .kv_heads = 2, .head_dim = 64
    {{.seed = 6, .dtype = HY_DTYPE_Q2_K, LONG_ROWS}, HY_KV_F16, 0xd1ead496bd21f7c1},
    {{.seed = 7, .dtype = HY_DTYPE_Q3_K, LONG_ROWS}, HY_KV_F16, 0xa33d6e801b3d391e},
    {{.seed = 8, .dtype = HY_DTYPE_Q6_K, LONG_ROWS}, HY_KV_F16, 0xc2fc6760602bc826},
    {{.seed = 9, .dtype = HY_DTYPE_IQ4_XS, LONG_ROWS}, HY_KV_F16, 0x4ad974e3fb0ceb10},
};

static hy_instance *instance;

static void ok(hy_status status) {
    if (status != HY_OK) fail_msg("%s: %s", hy_status_name(status), hy_error_text());
}

/* Of all logits of one prompt, taken in chunks of `chunk`. */
static uint64_t hash_logits(const char *path, hy_kv_type kv_type, const char *isa, uint32_t chunk) {
    hy_model *model = NULL;
    hy_engine *engine = NULL;
    hy_sequence *s = NULL;
    ok(hy_model_open(instance, path, NULL, &model));
    ok(hy_engine_new(
        model,
        hy_engine_params(.device = "cpu", .isa = isa, .kv_type = kv_type, .max_sequences = 1),
        &engine));
    ok(hy_sequence_new(engine, &s));
    int32_t ids[LENGTH];
    hy_rng rng = hy_rng_seed(9);
    for (int i = 0; i < LENGTH; i++)
        ids[i] = (int32_t)hy_rng_below(&rng, V);
    ok(hy_sequence_add(s, ids, LENGTH, HY_ADD_ALL_LOGITS));
    uint64_t hash = 0;
    while (hy_sequence_pending(s)) {
        hy_step_result r = {.size = sizeof r};
        ok(hy_engine_step(engine, hy_step_params(.max_chunk = chunk), &r));
        for (uint32_t k = 0; k < r.rows; k++)
            hash = hy_hash(r.row[k].logits, V * sizeof(float), hash);
    }
    hy_sequence_free(s);
    hy_engine_free(engine);
    hy_model_free(model);
    return hash;
}

static void test_one_answer(void **state) {
    (void)state;
    const char *path = tiny_model_path("bits");
    uint32_t wrong = 0, tried = 0;
    for (size_t i = 0; i < HY_COUNT_OF(all); i++) {
        tiny_model_write(path, &all[i].model);
        for (const level *l = levels; l->name; l++) {
            if (l->isa & ~cpu_isa_detect()) continue;
            for (uint32_t chunk = 1; chunk <= LENGTH; chunk += LENGTH - 1) {
                const uint64_t hash = hash_logits(path, all[i].kv_type, l->name, chunk);
                tried++;
                if (hash == all[i].hash) continue;
                printf("model %zu, %s, chunks of %u: 0x%016" PRIx64 "\n", i, l->name, chunk, hash);
                wrong++;
            }
        }
    }
    remove(path);
    if (!tried) skip();
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_answer)};
    if (hy_instance_new(NULL, &instance) != HY_OK) return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hy_instance_free(instance);
    return failed;
}
