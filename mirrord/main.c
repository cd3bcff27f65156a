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
#include "mirrord/command.h"
#include "mirrord/configuration.h"
#include "mirrord/daemon.h"
#include "mirrord/gc_command.h"
#include "mirrord/image_command.h"
#include "mirrord/options_man.h"
#include "mirrord/reindex_command.h"
#include "mirrord/sample.h"
#include "mirrord/verify_command.h"

enum { EXIT_USAGE = 2 };

/* Writes to standard output; a full disk there must not look like success. */
static int print(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* Prints the text and frees it. */
static int print_made(struct strbuf *text)
{
    int rc = print(text->ptr ? text->ptr : "");

    strbuf_fini(text);
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

/* --- commands --------------------------------------------------------------------------------- */

static int run(const struct command_line *line, struct config *config)
{
    return daemon_run(line->source, config, line->argv);
}

static int check(const struct command_line *line, struct config *config)
{
    struct strbuf out = STRBUF_INIT;
    struct strbuf keys = STRBUF_INIT;

    (void)line;
    config_print_effective(config, &out);
    if (config_unbuilt(config, &keys))
        strbuf_addf(&out, "# no effect yet: %s\n", keys.ptr);
    strbuf_fini(&keys);
    fputs(config_warnings(config), stderr);
    return print_made(&out);
}

static int collect_garbage(const struct command_line *line, struct config *config)
{
    return gc_command_run(config, line->is_dry);
}

static int print_sample(const struct command_line *line, struct config *config)
{
    struct strbuf out = STRBUF_INIT;

    (void)line;
    (void)config;
    sample_print(&out);
    return print_made(&out);
}

static int print_options(const struct command_line *line, struct config *config)
{
    struct strbuf out = STRBUF_INIT;

    (void)line;
    (void)config;
    options_print_man(&out);
    return print_made(&out);
}

enum command_flag {
    COMMAND_F_CONFIG = 1 << 0, /* wants the configuration: -c and -f */
    COMMAND_F_DRY = 1 << 1,    /* knows --dry-run */
    COMMAND_F_JSON = 1 << 2,   /* knows --json */
    COMMAND_F_PACE = 1 << 3,   /* knows --rate and --jobs */
};

#define MANY 1000000

static const struct command {
    const char *name;
    const char *arguments; /* as the usage shows them, besides those of the flags */
    int operands_min, operands_max;
    unsigned flags;
    command_fn run;
    const char *does; /* one line of the usage */
} COMMANDS[] = {
    {"run", "", 0, 0, COMMAND_F_CONFIG, run, "serve; so does no command at all"},
    {"check", "", 0, 0, COMMAND_F_CONFIG, check, "validate, print what would run"},
    {"gc", "", 0, 0, COMMAND_F_CONFIG | COMMAND_F_DRY, collect_garbage,
     "remove what no manifest references"},
    {"verify", "[--rate n] [--jobs n]", 0, 0, COMMAND_F_CONFIG | COMMAND_F_DRY | COMMAND_F_PACE,
     verify_command_run, "hash again all that is stored"},
    {"reindex", "", 0, 0, COMMAND_F_CONFIG, reindex_command_run,
     "make the ledger anew from the storage"},
    {"ls", "[pattern ...]", 0, MANY, COMMAND_F_CONFIG | COMMAND_F_JSON, image_command_ls,
     "list the images of the running daemon"},
    {"pin", "image ...", 1, MANY, COMMAND_F_CONFIG | COMMAND_F_JSON, image_command_pin,
     "never evict them"},
    {"unpin", "image ...", 1, MANY, COMMAND_F_CONFIG | COMMAND_F_JSON, image_command_unpin,
     "let them be evicted again"},
    {"evict", "image ...", 1, MANY, COMMAND_F_CONFIG | COMMAND_F_DRY | COMMAND_F_JSON,
     image_command_evict, "remove mirrored images now"},
    {"sample", "", 0, 0, 0, print_sample, "print the sample file"},
    {"options", "", 0, 0, 0, print_options, "print the manual's part about options"},
};
#define N_COMMANDS (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

/* --- the command line ------------------------------------------------------------------------- */

static void make_usage(struct strbuf *out)
{
    strbuf_add_str(out, "usage: mirrord [command] [-c file] [-f flavor]\n"
                        "       mirrord -h | -V                   this text | the version\n"
                        "commands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &COMMANDS[i];
        size_t start = out->len;
        strbuf_addf(out, "  %s%s%s%s%s ", c->name, c->flags & COMMAND_F_DRY ? " [--dry-run]" : "",
                    c->flags & COMMAND_F_JSON ? " [--json]" : "", *c->arguments ? " " : "",
                    c->arguments);
        while (out->len - start < 40)
            strbuf_add_char(out, ' ');
        strbuf_addf(out, " %s\n", c->does);
    }
}

static int print_usage(void)
{
    struct strbuf out = STRBUF_INIT;

    make_usage(&out);
    return print_made(&out);
}

static int refuse(void)
{
    struct strbuf out = STRBUF_INIT;

    make_usage(&out);
    fputs(out.ptr, stderr);
    strbuf_fini(&out);
    return EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    }
    return NULL;
}

/* Whether the command takes these options and that many operands. */
static bool is_fit(const struct command *c, const struct command_line *line)
{
    return (!line->is_dry || c->flags & COMMAND_F_DRY) &&
           (!line->is_json || c->flags & COMMAND_F_JSON) &&
           ((!line->rate && !line->jobs) || c->flags & COMMAND_F_PACE) &&
           line->n_operands >= c->operands_min && line->n_operands <= c->operands_max;
}

static int obey(const struct command *c, const struct command_line *line)
{
    struct config *config = NULL;

    if (!c || !is_fit(c, line))
        return refuse();
    if (c->flags & COMMAND_F_CONFIG) {
        config = load(line->source);
        if (!config)
            return EXIT_USAGE;
    }
    int rc = c->run(line, config);
    config_unref(&config);
    return rc;
}

/* The long options become short ones in place; getopt_long's struct option would be a second type
 * of this name. */
static void shorten(int argc, char **argv)
{
    static const struct {
        const char *name;
        char option[3];
    } LONG[] = {{"--dry-run", "-n"}, {"--json", "-j"}, {"--rate", "-r"},
                {"--jobs", "-J"},    {"--help", "-h"}, {"--version", "-V"}};

    for (int i = 1; i < argc; i++) {
        for (size_t k = 0; k < sizeof(LONG) / sizeof(LONG[0]); k++) {
            if (strcmp(argv[i], LONG[k].name) == 0)
                memcpy(argv[i], LONG[k].option, sizeof(LONG[k].option));
        }
    }
}

int main(int argc, char **argv)
{
    struct config_source source = {0};
    struct command_line line = {.source = &source};
    const char *command = "run";
    int option;

    if (argc > 1 && argv[1][0] != '-') {
        command = argv[1];
        argv[1] = argv[0];
        argv++;
        argc--;
    }
    line.argv = argv;
    shorten(argc, argv);
    while ((option = getopt(argc, argv, "c:f:hjJ:nr:V")) != -1) {
        if (option == 'c')
            source.path = optarg;
        else if (option == 'f')
            source.flavor = optarg;
        else if (option == 'n')
            line.is_dry = true;
        else if (option == 'j')
            line.is_json = true;
        else if (option == 'J')
            line.jobs = optarg;
        else if (option == 'r')
            line.rate = optarg;
        else if (option == 'h')
            return print_usage();
        else if (option == 'V')
            return print(PACKAGE_STRING "\n");
        else
            return refuse();
    }
    line.operands = argv + optind;
    line.n_operands = argc - optind;
    return obey(find_command(command), &line);
}
