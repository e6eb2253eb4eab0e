/* tools/main.c: `halyard SUBCOMMAND ...`. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

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

/* Standard streams that are closed are opened such that using them fails: otherwise the next file opened
 * would take their number, and text would end up in it. */
static void occupy_standard_streams(void) {
    static const int mode[] = {O_WRONLY, O_RDONLY,
                               O_RDWR}; /* the wrong way round; errors get lost */
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", mode[fd]);
    }
}

static void end_by_signal(int number) {
    _exit(128 + number); /* what a shell says of a process that a signal ended */
}

/* The first process of a container (or of any PID namespace) does not get signals that it has no handler for:
 * Ctrl-C and a request to stop would go unheard. A subcommand may replace these handlers. */
static void hear_signals_as_first(void) {
    static const int numbers[] = {SIGINT, SIGTERM};
    const struct sigaction action = {.sa_handler = end_by_signal};
    if (getpid() != 1) return;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaction(numbers[i], &action, NULL);
}

int main(int argc, char **argv) {
    occupy_standard_streams();
    hear_signals_as_first();
    signal(SIGPIPE,
           SIG_IGN); /* a closed pipe is an error line and exit code 1, not a silent death */
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : cli_flush("--help");
    }
    if (!strcmp(argv[1], "--version")) {
        printf("halyard %s\n", hy_version());
        return cli_flush("--version");
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (!strcmp(argv[1], commands[i]->name)) return commands[i]->main(argc - 1, argv + 1);
    }
    char names[256] = "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        strcat(strcat(names, i ? ", " : ""), commands[i]->name);
    }
    return cli_fail("", 2, "unknown command '%.200s'; one of %s", argv[1], names);
}
