/*
 * What the command line says, for the commands of main.c: one row of its table each. Lives as long
 * as the process; the main thread.
 */
#ifndef MIRRORD_COMMAND_H
#define MIRRORD_COMMAND_H

#include <stdbool.h>

struct config;
struct config_source;

struct command_line {
    const struct config_source *source;
    char *const *argv;     /* of the process, for who looks at it as a whole */
    char *const *operands; /* what follows the options, NULL-terminated */
    int n_operands;
    bool is_dry;      /* --dry-run */
    bool is_json;     /* --json */
    const char *rate; /* --rate; NULL: not said */
    const char *jobs; /* --jobs; NULL: not said */
};

/* Returns the exit status. config: loaded and checked, or NULL for a command that needs none. */
typedef int (*command_fn)(const struct command_line *line, struct config *config);

#endif
