/* tools/bench/model.c: see model.h. */
#include "tools/bench/model.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int hash_file(const char *path, char out[65]) {
    enum { CHUNK = 1 << 20 };
    struct sha256_ctx context;
    uint8_t digest[SHA256_DIGEST_SIZE], *chunk = malloc(CHUNK);
    FILE *file = fopen(path, "rb");
    size_t n;
    sha256_init(&context);
    while (file && chunk && (n = fread(chunk, 1, CHUNK, file)) > 0)
        sha256_update(&context, n, chunk);
    const bool ok = file && chunk && !ferror(file);
    const int error = errno;
    if (file) fclose(file);
    free(chunk);
    if (!ok) return cli_fail("bench", 1, "%s: %s", path, strerror(error));
    sha256_digest(&context, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

/* SHAPE:TYPE into a temporary file. */
static int make(const char *spec, bool sparse, char *path, size_t capacity) {
    char shape[64];
    const char *colon = strchr(spec, ':'), *type = colon ? colon + 1 : "q4_0";
    const size_t n = colon ? (size_t)(colon - spec) : strlen(spec);
    if (n >= sizeof shape) return cli_fail("bench", 2, "--synth %s: not a SHAPE:TYPE", spec);
    memcpy(shape, spec, n);
    shape[n] = 0;
    const char *folder = getenv("TMPDIR");
    snprintf(path, capacity, "%s/halyard-%s-%.16s-%ld.gguf", folder && *folder ? folder : "/tmp",
             shape, type, (long)getpid());
    const hy_status status =
        sparse ? synth_write_sparse(shape, type, path) : synth_write(shape, type, 1, path);
    return status == HY_OK ? 0 : cli_status("bench");
}

static int open_file(const char *path, bool hash, bool *verbose, bench_model *m) {
    const int code = cli_model_open("bench", path, verbose, &m->instance, &m->model);
    if (code) return code;
    m->desc.size = sizeof m->desc;
    if (hy_model_describe(m->model, &m->desc) != HY_OK) return cli_status("bench");
    return hash ? hash_file(path, m->sha256) : 0;
}

int bench_model_open(const char *spec, bool synthetic, bool sparse, bool hash, bool *verbose,
                     bench_model *m) {
    char path[512];
    *m = (bench_model){.synthetic = synthetic};
    snprintf(m->spec, sizeof m->spec, "%s", spec);
    if (!synthetic) return open_file(spec, hash, verbose, m);
    int code = make(spec, sparse, path, sizeof path);
    if (code) return code;
    code = open_file(path, hash && !sparse, verbose, m);
    unlink(path); /* the mapping keeps it as long as it is needed */
    return code;
}

void bench_model_close(bench_model *m) {
    for (uint32_t i = 0; i < m->references; i++)
        free(m->reference[i].logits);
    hy_model_free(m->model);
    hy_instance_free(m->instance);
    *m = (bench_model){.model = NULL};
}

bool bench_device(const bench_model *m, const char *id, hy_device_desc *out) {
    const size_t n = strcspn(id, ",=");
    *out = (hy_device_desc){.size = sizeof *out};
    for (uint32_t i = 0; i < hy_device_count(m->instance); i++) {
        hy_device_desc d = {.size = sizeof d};
        if (hy_device_get(m->instance, i, &d) != HY_OK || strncmp(d.id, id, n) != 0) continue;
        if (d.id[n] != 0 && strcmp(d.id + n, ":0") != 0) continue;
        *out = d;
        return true;
    }
    return false;
}

int32_t bench_token(const bench_model *m, uint32_t sequence, uint32_t position) {
    uint64_t x = ((uint64_t)sequence << 32 | position) + 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u; /* splitmix64: Steele et al. 2014 */
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (int32_t)((x ^ x >> 31) % m->desc.vocab);
}
