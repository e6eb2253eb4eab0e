/* tools/main.c: `halyard SUBCOMMAND ...`. */
#include <signal.h>
#include <string.h>

#include "tools/cli.h"

static const cli_command *const commands[] = {
    &cli_run,  &cli_bench,    &cli_devices, &cli_inspect, &cli_tokenize,
    &cli_eval, &cli_quantize, &cli_synth,   &cli_verify,
};

static void print_help(FILE *file) {
    fprintf(file,
            "Halyard %s: open language models on whatever hardware there is.\n\n"
            "usage: halyard COMMAND [options]   (halyard COMMAND --help for its options)\n\n",
            hy_version());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        fprintf(file, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE,
           SIG_IGN); /* a closed pipe is an error line and exit code 1, not a silent death */
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("halyard %s\n", hy_version());
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (!strcmp(argv[1], commands[i]->name)) return commands[i]->main(argc - 1, argv + 1);
    }
    fprintf(stderr, "halyard: unknown command '%s'; one of", argv[1]);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        fprintf(stderr, "%s %s", i ? "," : "", commands[i]->name);
    }
    fputc('\n', stderr);
    return 2;
}
