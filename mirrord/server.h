/*
 * An HTTP server: listen addresses, the connections accepted on them, and one handler that answers
 * their requests. It runs on one or more workers; each worker's part is a lane (mirrord/lane.h).
 *
 *   server_new → server_listen… → server_start_on(each worker) → server_drain → done → server_free
 *
 * Made, listened and freed on the thread that sets things up; drain, stop and limits: any thread.
 * Memory is bounded by connections_max and the limits. The process ignores SIGPIPE from
 * server_new() on.
 */
#ifndef MIRRORD_SERVER_H
#define MIRRORD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "mirrord/head.h"
#include "mirrord/txn.h"

struct access_log;
struct address;
struct server;
struct worker;

/* What one client may take of us. Times in milliseconds; none runs while we are the slow party. */
struct server_limits {
    struct head_limits head;
    unsigned head_ms;   /* a whole head, from its first byte (or from accept, for the first one) */
    unsigned body_ms;   /* silence in the middle of a request body */
    unsigned send_ms;   /* an answer is ready and the client takes nothing of it */
    unsigned idle_ms;   /* between requests; 0: one request per connection */
    unsigned linger_ms; /* reading and forgetting after the last answer, all in all */
    uint64_t linger_bytes;    /* the most that is read then */
    uint64_t discard_bytes;   /* an unread body up to this size is read to keep the connection */
    size_t send_window_bytes; /* sent by one connection in one turn of the loop */
    unsigned requests_max;    /* per connection; 0: any number */
};

struct server_config {
    struct server_limits limits;
    unsigned connections_max;  /* over all lanes */
    unsigned n_lanes;          /* workers it will be started on */
    struct access_log *access; /* NULL: none; must outlive the server */
    txn_handler_fn handler;
    void *ctx;
};

/* All but handler and ctx: one lane, 16384 connections, limits as in the sample configuration. */
struct server_config server_config_default(void);

struct server *server_new(const struct server_config *config);
/* Opens the sockets of all lanes (so that rights can be dropped afterwards). TCP: one per lane with
 * SO_REUSEPORT, for each address the name resolves to; port 0: the kernel chooses. Unix: one that
 * all lanes share; a dead socket in its place is removed. May resolve names: not on a loop. */
/* Requests that come in by the addresses listened on from here on carry this mark (txn_mark), which
 * outlives the server; NULL: none. */
void server_mark(struct server *s, const char *mark);
int server_listen(struct server *s, const struct address *address, struct error *err);
/* A listening socket of somebody else (LISTEN_FDS); all lanes share it. Owned from here on. */
int server_listen_fd(struct server *s, int fd, struct error *err);
/* How many of our descriptors from 3 on are sockets given by the service manager; forgets the
 * environment that told so (sd_listen_fds(3)). */
unsigned server_inherited_fds(void);
/* "127.0.0.1:5000" or "unix:/path" of the i-th socket, as bound; NULL behind the last. */
const char *server_address(const struct server *s, unsigned i);

/* Before the worker runs, or on its thread; n_lanes times. */
void server_start_on(struct server *s, struct worker *w);
/* New limits for what happens from now on. */
void server_set_limits(struct server *s, const struct server_limits *limits);
unsigned server_connections(const struct server *s);

/* Stops accepting, lets answers under way end, closes idle connections. done(arg) runs when the
 * last connection has ended, on the thread of the last lane. Once. */
void server_drain(struct server *s, void (*done)(void *arg), void *arg);
/* Ends all connections now. Drain first: its done tells the end. */
void server_stop(struct server *s);
/* After done, and when its workers have ended (mail of server_stop may still lie there); or before
 * any start. */
void server_free(struct server **s);

#endif
