/*
 * "mirrord gc": the garbage collector on the command line. With --dry-run it tells what would go,
 * reading only, beside a running daemon or without one; else it collects, when no daemon uses the
 * storage. Blocking; the main thread of a process that does nothing else.
 */
#ifndef MIRRORD_GC_COMMAND_H
#define MIRRORD_GC_COMMAND_H

#include <stdbool.h>

#include "mirrord/configuration.h"

/* Prints to standard output; returns the exit status. */
int gc_command_run(const struct config *config, bool is_dry);

#endif
