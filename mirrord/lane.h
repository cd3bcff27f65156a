/*
 * A lane: one worker's part of a server. It holds what the connections of one thread share: limits,
 * the handler, warm buffers and transactions, the date line, the access log's buffer, and the list
 * of connections itself.
 *
 * Owned by its server, touched on its worker's thread only (made and freed while that does not
 * run). What is kept warm is bounded by the constants below; a warm request allocates nothing.
 */
#ifndef MIRRORD_LANE_H
#define MIRRORD_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/worker.h"
#include "mirrord/server.h"

struct access_buffer;
struct conn;

/* Received bytes: one head, and what came behind it. */
struct buffer {
    struct buffer *next;
    size_t cap;
    size_t at;      /* what is before is done with */
    size_t len;     /* bytes that are there */
    size_t scanned; /* head_parse's, counted from `at` */
    char data[];
};

/* One page with malloc's own word: most heads fit, and a thousand waiting clients cost 4 MiB. */
#define LANE_BUFFER_BYTES (4096 - sizeof(struct buffer) - 16)
#define LANE_SPARES_MAX 64
/* Kept of what comes behind a chunked body, whose end is not known before it is received. */
#define LANE_AHEAD_BYTES (64 * 1024)

struct lane {
    struct worker *worker;
    struct server *server;
    struct server_limits limits;
    txn_handler_fn handler;
    void *ctx;
    struct access_buffer *access; /* NULL: none */
    struct conn *conns;           /* the newest; doubly linked */
    unsigned n_conns;
    void (*on_count)(struct lane *l, int change); /* of n_conns: the server counts, too */
    bool is_draining;

    struct buffer *spare_buffers;
    unsigned n_spare_buffers;
    struct txn *spare_txns;
    unsigned n_spare_txns;

    uint64_t next_id, end_id;
    int64_t date_s;     /* the second the lines below are made for */
    char date_line[96]; /* "Server: …\r\nDate: …\r\n" */
    size_t date_line_len;
};

void lane_init(struct lane *l, struct server *s, const struct server_config *config);
void lane_fini(struct lane *l);

/* An empty buffer of the standard size. */
struct buffer *lane_take_buffer(struct lane *l);
void lane_give_buffer(struct lane *l, struct buffer **b);
/* The same bytes with room for at least n more; the old one is given back. */
struct buffer *lane_grow_buffer(struct lane *l, struct buffer *b, size_t n);

/* A number for a transaction, unique in the process. */
uint64_t lane_next_id(struct lane *l);
/* The two lines for the current second. hot */
struct slice lane_date_line(struct lane *l);

#endif
