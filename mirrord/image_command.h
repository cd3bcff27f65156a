/*
 * "mirrord ls", "pin", "unpin" and "evict": what an operator does with the images of a running
 * daemon, through its admin listener (admin_client.h). Blocking; the main thread of a process that
 * does nothing else. Memory: ls holds what it prints, to sort it; the others one page.
 */
#ifndef MIRRORD_IMAGE_COMMAND_H
#define MIRRORD_IMAGE_COMMAND_H

#include "mirrord/command.h"

/* Command functions: they print, and return the exit status. */
int image_command_ls(const struct command_line *line, struct config *config);
int image_command_pin(const struct command_line *line, struct config *config);
int image_command_unpin(const struct command_line *line, struct config *config);
int image_command_evict(const struct command_line *line, struct config *config);

#endif
