/*
 * The command line. Everything else is in daemon.c and below.
 */
#include "config.h"

#include <stdarg.h>
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
    COMMAND_F_IMAGES = 1 << 4, /* its operands are images; it asks the running daemon */
};

#define MANY 1000000

static const struct command {
    const char *name;
    const char *operands; /* as the usage shows them */
    int operands_min, operands_max;
    unsigned flags;
    command_fn run;
    const char *does; /* one line of the usage */
} COMMANDS[] = {
    {"run", "", 0, 0, COMMAND_F_CONFIG, run, "serve; so does no command at all"},
    {"check", "", 0, 0, COMMAND_F_CONFIG, check, "validate, print what would run"},
    {"gc", "", 0, 0, COMMAND_F_CONFIG | COMMAND_F_DRY, collect_garbage,
     "remove what no manifest references"},
    {"verify", "", 0, 0, COMMAND_F_CONFIG | COMMAND_F_DRY | COMMAND_F_PACE, verify_command_run,
     "hash again all that is stored"},
    {"reindex", "", 0, 0, COMMAND_F_CONFIG, reindex_command_run,
     "make the ledger anew from the storage"},
    {"ls", "[image ...]", 0, MANY, COMMAND_F_CONFIG | COMMAND_F_JSON | COMMAND_F_IMAGES,
     image_command_ls, "list images, or those that match"},
    {"pin", "[image ...]", 0, MANY, COMMAND_F_CONFIG | COMMAND_F_JSON | COMMAND_F_IMAGES,
     image_command_pin, "never evict them; without any, list the pins"},
    {"unpin", "image ...", 1, MANY, COMMAND_F_CONFIG | COMMAND_F_JSON | COMMAND_F_IMAGES,
     image_command_unpin, "let them be evicted again"},
    {"evict", "image ...", 1, MANY,
     COMMAND_F_CONFIG | COMMAND_F_DRY | COMMAND_F_JSON | COMMAND_F_IMAGES, image_command_evict,
     "remove mirrored images now"},
    {"sample", "", 0, 0, 0, print_sample, "print the sample file"},
    {"options", "", 0, 0, 0, print_options, "print the manual's part about options"},
};
#define N_COMMANDS (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

/* --- usage ------------------------------------------------------------------------------------ */

/* What may stand behind a command's name. */
static const struct choice {
    unsigned flag;
    const char *word;
    const char *means;
} CHOICES[] = {
    {COMMAND_F_DRY, "--dry-run", "only tell what would be done"},
    {COMMAND_F_JSON, "--json", "print for programs"},
    {COMMAND_F_PACE, "--rate n", "read at most so many bytes a second, such as 50MiB"},
    {COMMAND_F_PACE, "--jobs n", "hash so many blobs at a time"},
    {COMMAND_F_CONFIG, "-c file", "the configuration, instead of $DOCKER_REGISTRY_CONFIG"},
    {COMMAND_F_CONFIG, "-f flavor", "its section, instead of $SETTINGS_FLAVOR"},
};

/* "ls [--json] [image ...]"; -c and -f, which nearly all have, if they are wanted. */
static void add_form(const struct command *c, bool wants_config, struct strbuf *out)
{
    strbuf_add_str(out, c->name);
    for (size_t i = 0; i < sizeof(CHOICES) / sizeof(CHOICES[0]); i++) {
        const struct choice *o = &CHOICES[i];
        if ((c->flags & o->flag) && (wants_config || o->flag != COMMAND_F_CONFIG))
            strbuf_addf(out, " [%s]", o->word);
    }
    strbuf_addf(out, "%s%s", *c->operands ? " " : "", c->operands);
}

static void make_list(struct strbuf *out)
{
    strbuf_add_str(out, "usage: mirrord [command] [-c file] [-f flavor]\n"
                        "       mirrord command --help    more about a command\n"
                        "       mirrord -h | -V           this text | the version\n"
                        "commands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        struct strbuf form = STRBUF_INIT;
        add_form(&COMMANDS[i], false, &form);
        strbuf_addf(out, "  %-41s %s\n", form.ptr, COMMANDS[i].does);
        strbuf_fini(&form);
    }
}

static void make_usage(const struct command *c, struct strbuf *out)
{
    strbuf_add_str(out, "usage: mirrord ");
    add_form(c, true, out);
    strbuf_addf(out, "\n%s\n", c->does);
    for (size_t i = 0; i < sizeof(CHOICES) / sizeof(CHOICES[0]); i++) {
        if (c->flags & CHOICES[i].flag)
            strbuf_addf(out, "  %-12s %s\n", CHOICES[i].word, CHOICES[i].means);
    }
    if (c->flags & COMMAND_F_IMAGES)
        strbuf_add_str(
            out, "images: repository, repository:tag or repository@digest, as clients name\n"
                 "them; * stands for any characters and ? for one (in quotes), a repository\n"
                 "alone for all of its images. The running daemon is asked, at admin_listen.\n");
    strbuf_add_str(out, "More: mirrord(8)\n");
}

/* NULL: about all of them. */
static int print_usage(const struct command *c)
{
    struct strbuf out = STRBUF_INIT;

    if (c)
        make_usage(c, &out);
    else
        make_list(&out);
    return print_made(&out);
}

/* --- the command line ------------------------------------------------------------------------- */

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    }
    return NULL;
}

/* Says what is wrong with the command line. */
static int __attribute__((format(printf, 2, 3)))
refuse(const struct command *c, const char *fmt, ...)
{
    struct strbuf form = STRBUF_INIT;
    va_list ap;

    add_form(c, true, &form);
    fprintf(stderr, "mirrord %s: ", c->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: mirrord %s\n", form.ptr);
    strbuf_fini(&form);
    return EXIT_USAGE;
}

/* An option that the command does not have; NULL: there is none. */
static const char *find_unfit(const struct command *c, const struct command_line *line)
{
    if (line->is_dry && !(c->flags & COMMAND_F_DRY))
        return "--dry-run";
    if (line->is_json && !(c->flags & COMMAND_F_JSON))
        return "--json";
    if (line->rate && !(c->flags & COMMAND_F_PACE))
        return "--rate";
    return line->jobs && !(c->flags & COMMAND_F_PACE) ? "--jobs" : NULL;
}

static int obey(const struct command *c, const struct command_line *line)
{
    struct config *config = NULL;
    const char *unfit = find_unfit(c, line);

    if (unfit)
        return refuse(c, "takes no %s", unfit);
    if (line->n_operands < c->operands_min)
        return refuse(c, "no image is named");
    if (line->n_operands > c->operands_max)
        return refuse(c, "what is `%s` for?", line->operands[c->operands_max]);
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
 * of this name. Returns one that is not known, or NULL. */
static const char *shorten(int argc, char **argv)
{
    static const struct {
        const char *name;
        char option[3];
        bool has_value; /* --name value or --name=value */
    } LONG[] = {{"--dry-run", "-n", false}, {"--json", "-j", false}, {"--rate", "-r", true},
                {"--jobs", "-J", true},     {"--help", "-h", false}, {"--version", "-V", false}};

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        size_t len = strcspn(argv[i], "=");
        bool is_known = strncmp(argv[i], "--", 2) != 0;
        for (size_t k = 0; !is_known && k < sizeof(LONG) / sizeof(LONG[0]); k++) {
            if (strlen(LONG[k].name) != len || strncmp(argv[i], LONG[k].name, len) != 0 ||
                (argv[i][len] == '=' && !LONG[k].has_value))
                continue;
            const char *value = argv[i] + len + (argv[i][len] == '=');
            memmove(argv[i] + 2, value, strlen(value) + 1);
            memcpy(argv[i], LONG[k].option, 2);
            is_known = true;
        }
        if (!is_known)
            return argv[i];
    }
    return NULL;
}

/* What getopt found; -1: go on, else the exit status. */
static int take_option(const struct command *c, struct config_source *source,
                       struct command_line *line, int option)
{
    if (option == 'c')
        source->path = optarg;
    else if (option == 'f')
        source->flavor = optarg;
    else if (option == 'n')
        line->is_dry = true;
    else if (option == 'j')
        line->is_json = true;
    else if (option == 'J')
        line->jobs = optarg;
    else if (option == 'r')
        line->rate = optarg;
    else if (option == ':')
        return refuse(c, "%s wants a value",
                      optopt == 'r'   ? "--rate"
                      : optopt == 'J' ? "--jobs"
                      : optopt == 'c' ? "-c"
                                      : "-f");
    else if (option == '?')
        return refuse(c, "unknown option -%c", optopt);
    return -1;
}

int main(int argc, char **argv)
{
    struct config_source source = {0};
    struct command_line line = {.source = &source};
    const struct command *command = &COMMANDS[0];
    bool has_command = argc > 1 && argv[1][0] != '-';
    int option;

    if (has_command) {
        command = find_command(argv[1]);
        if (!command) {
            fprintf(stderr, "mirrord: no command `%s`; mirrord --help lists all\n", argv[1]);
            return EXIT_USAGE;
        }
        argv[1] = argv[0];
        argv++;
        argc--;
    }
    line.argv = argv;
    const char *unknown = shorten(argc, argv);
    if (unknown)
        return refuse(command, "unknown option %s", unknown);
    while ((option = getopt(argc, argv, ":c:f:hjJ:nr:V")) != -1) {
        if (option == 'h')
            return print_usage(has_command ? command : NULL);
        if (option == 'V')
            return print(PACKAGE_STRING "\n");
        int status = take_option(command, &source, &line, option);
        if (status >= 0)
            return status;
    }
    line.operands = argv + optind;
    line.n_operands = argc - optind;
    return obey(command, &line);
}
