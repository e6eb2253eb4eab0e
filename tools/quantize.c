/* tools/quantize.c: `halyard quantize`: a model file in another type. */
#include <signal.h>
#include <unistd.h>

#include "tools/cli.h"

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

static int progress(void *user, uint64_t done, uint64_t total) {
    int *last = user;
    int percent = total ? (int)(done * 100 / total) : 100;
    if (percent != *last && isatty(STDERR_FILENO))
        fprintf(stderr, "\rquantize: %3d%%", *last = percent);
    return interrupted;
}

static int quantize_main(int argc, char **argv) {
    const char *position[3];
    size_t count;
    uint32_t threads = 0;
    const cli_option options[] = {
        {"-t, --threads", CLI_U32, &threads, "N", "threads (default: physical cores)"},
        {NULL, CLI_FLAG, NULL, NULL, NULL},
    };
    int code =
        cli_parse(argc, argv,
                  "quantize IN.gguf OUT.gguf TYPE\n"
                  "types: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl "
                  "iq4_xs mxfp4",
                  options, NULL, position, 3, &count);
    if (code >= 0) return code;
    if (count != 3) return cli_fail("quantize", 2, "need IN.gguf OUT.gguf TYPE");
    hy_instance *instance;
    bool at_once = false;
    if (hy_instance_new(
            hy_instance_params(.log = cli_log_line, .log_user = &at_once, .log_level = HY_LOG_WARN),
            &instance) != HY_OK) {
        return cli_status("quantize");
    }
    signal(SIGINT, interrupt);
    int percent = -1;
    hy_status status = hy_quantize(position[0], position[1],
                                   hy_quantize_params(.type = position[2], .threads = threads,
                                                      .progress = progress, .user = &percent));
    if (percent >= 0) fputc('\n', stderr);
    code = status == HY_OK ? 0 : cli_status("quantize");
    if (!code) cli_log_show();
    hy_instance_free(instance);
    return code;
}

const cli_command cli_quantize = {"quantize", "write a model file in another type", quantize_main};
