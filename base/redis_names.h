/*
 * The addresses of a Redis server by its configured name: a path (unix socket), a numeric address,
 * or a host name. A host name is looked up on a thread of its own: a name server that is away keeps
 * its askers for half a minute, and the few threads of the pool have other things to do. There is
 * at most one such thread per server; what it found serves until something newer is found.
 *
 * Counted: the server and a running look-up. Any thread; one short lock. Memory: eight addresses.
 */
#ifndef BASE_REDIS_NAMES_H
#define BASE_REDIS_NAMES_H

#include <sys/socket.h>

#include "base/error.h"

struct redis_names;

/* The host begins with '/': a unix socket, and the port does not matter. */
struct redis_names *redis_names_new(const char *host, unsigned port);
struct redis_names *redis_names_ref(struct redis_names *n);
void redis_names_unref(struct redis_names **n);

/* The address for this attempt: they are tried in turns. Returns its length; -EAGAIN while it is
 * being looked up (ask again soon); or another negative errno with *err. Never blocks. */
int redis_names_get(struct redis_names *n, unsigned attempt, struct sockaddr_storage *out,
                    struct error *err);

#endif
