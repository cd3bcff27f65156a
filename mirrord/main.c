/*
 * The command line. Everything else is in daemon.c and below.
 */
#include "config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "mirrord/configuration.h"
#include "mirrord/daemon.h"
#include "mirrord/gc_command.h"
#include "mirrord/options_man.h"
#include "mirrord/sample.h"

enum { EXIT_USAGE = 2 };

static const char USAGE[] =
    "usage: mirrord [-c file] [-f flavor]        run\n"
    "       mirrord check [-c file] [-f flavor]  validate, print what would run\n"
    "       mirrord gc [--dry-run] [-c file] [-f flavor]\n"
    "                                            remove what no manifest references\n"
    "       mirrord sample | options             print sample file | manual part\n"
    "       mirrord -h | -V                      this text | the version\n";

/* Writes to standard output; a full disk there must not look like success. */
static int print(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int print_made(void (*make)(struct strbuf *out))
{
    struct strbuf out = STRBUF_INIT;

    make(&out);
    int rc = print(out.ptr ? out.ptr : "");
    strbuf_fini(&out);
    return rc;
}

/* Loads and checks; on failure says all that is wrong. */
static struct config *load(const struct config_source *source)
{
    struct strbuf problems = STRBUF_INIT;
    struct config *config = NULL;

    int rc = config_load(source, &config, &problems);
    if (rc == 0)
        rc = config_check(config, &problems);
    if (rc != 0) {
        fprintf(stderr, "%s", problems.ptr ? problems.ptr : "mirrord: no configuration\n");
        config_unref(&config);
    }
    strbuf_fini(&problems);
    return config;
}

static int check(const struct config_source *source)
{
    struct strbuf out = STRBUF_INIT;
    struct strbuf keys = STRBUF_INIT;
    struct config *config = load(source);

    if (!config)
        return EXIT_USAGE;
    config_print_effective(config, &out);
    if (config_unbuilt(config, &keys))
        strbuf_addf(&out, "# no effect yet: %s\n", keys.ptr);
    int rc = print(out.ptr);
    strbuf_fini(&out);
    strbuf_fini(&keys);
    config_unref(&config);
    return rc;
}

static int run(const struct config_source *source, char *const *argv)
{
    struct config *config = load(source);

    if (!config)
        return EXIT_USAGE;
    int rc = daemon_run(source, config, argv);
    config_unref(&config);
    return rc;
}

static int collect_garbage(const struct config_source *source, bool is_dry)
{
    struct config *config = load(source);

    if (!config)
        return EXIT_USAGE;
    int rc = gc_command_run(config, is_dry);
    config_unref(&config);
    return rc;
}

static int obey(const char *command, bool is_dry, const struct config_source *source,
                char *const *argv)
{
    if (strcmp(command, "gc") == 0)
        return collect_garbage(source, is_dry);
    if (is_dry)
        command = "";
    if (strcmp(command, "run") == 0)
        return run(source, argv);
    if (strcmp(command, "check") == 0)
        return check(source);
    if (strcmp(command, "sample") == 0)
        return print_made(sample_print);
    if (strcmp(command, "options") == 0)
        return print_made(options_print_man);
    fputs(USAGE, stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct config_source source = {0};
    static char dry_run[] = "-n";
    const char *command = "run";
    bool is_dry = false;
    int option;

    if (argc > 1 && argv[1][0] != '-') {
        command = argv[1];
        argv[1] = argv[0];
        argv++;
        argc--;
    }
    /* The one long option; getopt_long's struct option would be a second type of this name. */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--dry-run") == 0)
            argv[i] = dry_run;
    }
    while ((option = getopt(argc, argv, "c:f:hnV")) != -1) {
        if (option == 'c')
            source.path = optarg;
        else if (option == 'f')
            source.flavor = optarg;
        else if (option == 'n')
            is_dry = true;
        else if (option == 'h')
            return print(USAGE);
        else if (option == 'V')
            return print(PACKAGE_STRING "\n");
        else
            command = "";
    }
    return obey(optind == argc ? command : "", is_dry, &source, argv);
}
