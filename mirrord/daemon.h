/*
 * The running daemon: makes the parts from a configuration, ties them together, obeys signals, and
 * takes everything down in order. The calling thread becomes the control loop.
 */
#ifndef MIRRORD_DAEMON_H
#define MIRRORD_DAEMON_H

struct config;
struct config_source;

/* Runs until a signal ends it and returns the exit status: 0, or 1 when something needed at start
 * was not to be had (already logged). `source` is loaded again on SIGHUP; argv is what /_ping tells
 * of the launch. Both outlive the call. */
int daemon_run(const struct config_source *source, struct config *config, char *const *argv);

#endif
