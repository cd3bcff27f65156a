/*
 * What carries a connection's bytes: a plain socket now, TLS later behind the same functions.
 * Non-blocking throughout. Embedded in its connection, used on that worker's thread only.
 *
 * Every function returns what moved (it may be less than asked), or a negative errno; -EAGAIN says
 * "not now". None raises SIGPIPE.
 */
#ifndef MIRRORD_TRANSPORT_H
#define MIRRORD_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct iovec;
struct transport;

struct transport_ops {
    /* 0: the peer sends no more. */
    ssize_t (*recv)(struct transport *t, void *p, size_t n);
    /* Receives and forgets, if possible without copying; p is room for n bytes. */
    ssize_t (*discard)(struct transport *t, void *p, size_t n);
    /* `more`: the caller goes on sending at once, so a part of a packet may wait. */
    ssize_t (*sendv)(struct transport *t, struct iovec *parts, unsigned n_parts, bool more);
    /* n bytes of the file from off on; 0: the file ends before that. */
    ssize_t (*sendfile)(struct transport *t, int fd, uint64_t off, size_t n);
    /* Ends our direction in order; the other stays open. */
    void (*finish)(struct transport *t);
    void (*close)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
    int fd;
};

void transport_init_plain(struct transport *t, int fd);
/* Whether both directions are dead (reset, or the peer's socket is gone): looks, reads nothing. */
bool transport_is_dead(const struct transport *t);
/* Bytes that were sent and that the peer has not taken; 0 when the socket cannot tell. */
size_t transport_n_waiting(const struct transport *t);
/* Whether recv would return something now, if only the end. */
bool transport_is_readable(const struct transport *t);

#endif
