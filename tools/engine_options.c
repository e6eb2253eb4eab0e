/* tools/engine_options.c: the options that every subcommand with a model shares. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

const cli_option *cli_engine_options(cli_engine *e) {
    static cli_option rows[20];
    const cli_option table[] = {
        {NULL, CLI_HEADING, NULL, NULL, "model and device:"},
        {"-m, --model", CLI_TEXT, &e->model_path, "FILE", "model file (GGUF)"},
        {"--device", CLI_TEXT, &e->device, "ID",
         "cpu, ref, cpu:0,... (halyard devices lists them)"},
        {"-c, --ctx-size", CLI_U32, &e->context, "N",
         "tokens per sequence (default: the model's, up to 4096)"},
        {"-t, --threads", CLI_U32, &e->threads, "N", "CPU threads (default: fast physical cores)"},
        {"-b, --batch-size", CLI_U32, &e->batch, "N", "tokens per step (default 512)"},
        {"-ub, --ubatch-size", CLI_U32, &e->micro_batch, "N",
         "upper limit of -b, as others call it"},
        {"--kv-type", CLI_TEXT, &e->kv_type, "T", "KV cache: f16 (default), f32, q8_0"},
        {"--numerics", CLI_TEXT, &e->numerics, "M", "invariant (default) or fast"},
        {"--isa", CLI_TEXT, &e->isa, "NAME", "highest CPU instruction set to use"},
        {"--cpu-mask", CLI_TEXT, &e->cpu_mask, "CPUS",
         "pin CPU threads: mask (0xff) or list (0-3,8)"},
        {"--fallback", CLI_FLAG, &e->fallback, NULL, "ops a device lacks may run on another"},
        {"--no-prefix-cache", CLI_FLAG, &e->no_prefix_cache, NULL, "compute equal prefixes again"},
        {"--no-graphs", CLI_FLAG, &e->no_graphs, NULL,
         "CUDA, HIP: launch kernels one by one, no graphs"},
        {"--validate", CLI_FLAG, &e->validate, NULL, "check every call to the backend (slower)"},
        {"--profile", CLI_TEXT, &e->profile_path, "FILE",
         "write a Chrome trace of every op (slower)"},
        {"-v, --verbose", CLI_FLAG, &e->verbose, NULL, "log what is chosen and why"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    memcpy(rows, table, sizeof table);
    return rows;
}

/* "0-3,8". */
static bool is_cpu_list(const char *text) {
    for (;; text++) {
        unsigned long first, last;
        char *end;
        if (!isdigit((unsigned char)*text)) return false;
        last = first = strtoul(text, &end, 10);
        if (*end == '-') {
            if (!isdigit((unsigned char)end[1])) return false;
            last = strtoul(end + 1, &end, 10);
        }
        if (last < first || last > UINT16_MAX) return false;
        if (*end == 0) return true;
        if (*end != ',') return false;
        text = end;
    }
}

/* By its looks; whether the machine has these cpus is the library's to say. */
bool cli_check_cpus(const char *command, const char *text) {
    if (!text) return true;
    const bool mask = strncmp(text, "0x", 2) == 0;
    if (mask && text[2] && strspn(text + 2, "0123456789abcdefABCDEF") == strlen(text + 2))
        return true;
    if (!mask && is_cpu_list(text)) return true;
    cli_fail(command, 2, "--cpu-mask '%s' is not a valid mask (0xff) or list (0-3,8) of cpus",
             text);
    return false;
}

bool cli_engine_params(const char *command, const cli_engine *e, hy_engine_params *out) {
    hy_kv_type kv = HY_KV_F16;
    if (!cli_check_cpus(command, e->cpu_mask)) return false;
    if (e->kv_type && strcmp(e->kv_type, "f16") != 0) {
        if (strcmp(e->kv_type, "f32") == 0) {
            kv = HY_KV_F32;
        } else if (strcmp(e->kv_type, "q8_0") == 0) {
            kv = HY_KV_Q8_0;
        } else {
            cli_fail(command, 2, "--kv-type '%s' is not one of f16, f32, q8_0", e->kv_type);
            return false;
        }
    }
    bool fast = e->numerics && strcmp(e->numerics, "fast") == 0;
    if (e->numerics && !fast && strcmp(e->numerics, "invariant") != 0) {
        cli_fail(command, 2, "--numerics '%s' is not one of invariant, fast", e->numerics);
        return false;
    }
    uint32_t batch = e->batch ? e->batch : 512;
    if (e->micro_batch && e->micro_batch < batch) batch = e->micro_batch;
    *out = *hy_engine_params(.device = e->device, .context = e->context, .threads = e->threads,
                             .max_batch = batch, .max_rows = e->max_rows,
                             .max_sequences = e->max_sequences, .kv_type = kv,
                             .numerics = fast ? HY_NUMERICS_FAST : HY_NUMERICS_INVARIANT,
                             .cpus = e->cpu_mask, .isa = e->isa, .fallback = e->fallback,
                             .validate = e->validate, .trace = e->profile_path != NULL,
                             .no_prefix_cache = e->no_prefix_cache, .no_graphs = e->no_graphs);
    return true;
}

int cli_model_open(const char *command, const char *path, bool *verbose, hy_instance **instance,
                   hy_model **model) {
    const hy_log_level level = *verbose ? HY_LOG_DEBUG : HY_LOG_WARN;
    if (hy_instance_new(
            hy_instance_params(.log = cli_log_line, .log_user = verbose, .log_level = level),
            instance) != HY_OK ||
        hy_model_open(*instance, path, NULL, model) != HY_OK)
        return cli_status(command);
    return 0;
}

int cli_engine_open(const char *command, cli_engine *e, bool engine) {
    if (!e->model_path) return cli_fail(command, 2, "no model: give -m FILE");
    const int code = cli_model_open(command, e->model_path, &e->verbose, &e->instance, &e->model);
    return code || !engine ? code : cli_engine_start(command, e);
}

int cli_engine_start(const char *command, cli_engine *e) {
    hy_engine_params params;
    if (!cli_engine_params(command, e, &params)) return 2;
    if (hy_engine_new(e->model, &params, &e->engine) != HY_OK) return cli_status(command);
    return 0;
}

int cli_engine_close(const char *command, cli_engine *e, int code) {
    if (e->engine && e->profile_path && code == 0 &&
        hy_engine_trace(e->engine, e->profile_path) != HY_OK) {
        code = cli_status(command);
    }
    if (code == 0) cli_log_show();
    hy_engine_free(e->engine);
    hy_model_free(e->model);
    hy_instance_free(e->instance);
    e->engine = NULL;
    e->model = NULL;
    e->instance = NULL;
    return code;
}
