/*
 * The Redis client: one server of the configuration, with one connection per worker. It is a
 * cache's client: whatever the server does, a caller is told after timeout_ms at the latest, and
 * while there is no connection nothing is asked at all, so that a dead server costs nothing.
 *
 * Made at start, shared by all workers; each opens and closes its own connection. Memory: per
 * connection in_flight_max commands and buffer_bytes of text. Nothing blocks, nothing fails but the
 * question itself.
 */
#ifndef BASE_REDIS_H
#define BASE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metric.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "base/worker.h"

struct redis;
struct redis_call;

struct redis_metrics {
    enum metric links, sent, errors, timeouts, lost, skipped;
};

struct redis_config {
    const char *role; /* for the log: "cache" */
    const char *host; /* a name, an address, or the path of a unix socket */
    unsigned port;
    unsigned db;
    const char *password; /* NULL: none */
    unsigned timeout_ms;  /* of one command */
    unsigned connect_timeout_ms;
    unsigned retry_max_ms;  /* the longest pause between two attempts to connect */
    unsigned in_flight_max; /* per connection; beyond, nothing is asked */
    size_t buffer_bytes;    /* per connection: of commands, and of one answer */
    unsigned n_workers;     /* their indexes are below */
    struct worker *herald;  /* the worker that sends for threads that are none */
    struct redis_metrics metrics;
};

/* rc 0: value is the answer (of GET its bytes, of SET "OK", of numbers their digits), valid during
 * the call; -ENOENT: there is none; -EREMOTEIO: the server refused; -ETIMEDOUT; or another
 * negative errno: the connection was lost. */
typedef void (*redis_done_fn)(struct redis_call *call, int rc, struct slice value);

/* One question; embedded in its story, which outlives it. */
struct redis_call {
    struct redis_call *next;
    uint64_t deadline_ms;
    redis_done_fn done; /* set by the caller */
};

/* The texts of the configuration are copied. */
struct redis *redis_new(const struct redis_config *config);
/* After all workers that opened it have closed it. */
void redis_free(struct redis **r);

/* On each worker: connects from now on; ends that. What was asked and not answered is told so. */
void redis_open_here(struct redis *r);
void redis_close_here(struct redis *r);

/* A worker's thread. 0: `done` will run once, on this worker, never from inside. -ENOTCONN, -EBUSY
 * or -ENOBUFS: it was not asked, and done will not run. All of one turn go out together. */
int redis_send(struct redis *r, struct redis_call *call, int argc, const struct slice *argv);
/* The same without an answer. */
int redis_tell(struct redis *r, int argc, const struct slice *argv);
/* Any thread: redis_send from the herald, some time later. `call` is told -ENOTCONN when it was not
 * asked; NULL: nobody wants to know. */
void redis_post(struct redis *r, struct redis_call *call, int argc, const struct slice *argv);

struct worker *redis_herald(const struct redis *r);
/* Any thread. Whether a connection stands. */
bool redis_is_up(const struct redis *r);
/* {"server":…,"up":…,"connections":…} */
void redis_print_json(const struct redis *r, struct strbuf *out);

#endif
