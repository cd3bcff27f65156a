/*
 * "mirrord reindex": makes the ledger anew from the storage; when no daemon uses it by itself, else
 * the daemon is asked to, in the background. Blocking; the main thread of a process that does
 * nothing else.
 */
#ifndef MIRRORD_REINDEX_COMMAND_H
#define MIRRORD_REINDEX_COMMAND_H

#include "mirrord/command.h"

/* A command function: prints, and returns the exit status. */
int reindex_command_run(const struct command_line *line, struct config *config);

#endif
