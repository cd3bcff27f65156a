/*
 * A listening socket and the event that accepts on it.
 *
 * socket half (listener_bind…): opens, binds and names sockets; blocking, before any loop runs.
 * event half (struct listener): one per lane and socket, on that lane's thread. It accepts a
 * bounded number of connections per turn. When there is no room (connection limit) or no descriptor
 * left it stops asking, instead of being woken over and over, until the server resumes it or a
 * short while has passed.
 */
#ifndef MIRRORD_LISTENER_H
#define MIRRORD_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include <sys/socket.h>

#include "base/error.h"

struct address;
struct lane;
struct listener;

#define LISTENER_NAME_SIZE 128

/* Opens n sockets that share the address by SO_REUSEPORT; the address' port 0 is replaced by the
 * one that was chosen. All or none. */
int listener_bind_tcp(struct sockaddr_storage *address, socklen_t len, unsigned n, int *fds_out,
                      struct error *err);
int listener_bind_unix(const char *path, int *fd_out, struct error *err);
/* A socket of somebody else: checks that it listens, and prepares it as ours. */
int listener_adopt(int fd, struct error *err);
/* "127.0.0.1:5000", "[::1]:5000", "unix:/path" */
void listener_name(int fd, char out[LISTENER_NAME_SIZE]);

/* admit(lane) says whether there is room for one more; the socket is closed with the listener
 * only if is_own. */
struct listener *listener_new(struct lane *lane, int fd, bool is_own, bool (*admit)(struct lane *));
/* What its connections are marked with. */
void listener_mark(struct listener *l, const char *mark);
/* There may be room again. */
void listener_resume(struct listener *l);
/* Accepts what the kernel has already completed, if there is room, and closes. */
void listener_close(struct listener **l);

#endif
