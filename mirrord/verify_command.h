/*
 * "mirrord verify": hashes all that is stored at once, says what is damaged, and does about it what
 * the scrub does (cache/scrub.h). With --dry-run, and beside a running daemon, it only reads. The
 * daemon, which knows what it has open, is told of each damaged blob through its admin listener
 * (POST /scrub?digest=), and of the rest as a pass when there are more than it takes one by one;
 * not with --dry-run. Blocking; the main thread of a process that does nothing else.
 */
#ifndef MIRRORD_VERIFY_COMMAND_H
#define MIRRORD_VERIFY_COMMAND_H

struct command_line;
struct config;

/* A command_fn: 0 when all is well, 1 when something is damaged, missing or could not be read. */
int verify_command_run(const struct command_line *line, struct config *config);

#endif
