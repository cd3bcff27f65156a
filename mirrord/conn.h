/*
 * A connection: bytes and time. It owns the socket, one I/O event, one timer and the received
 * bytes, and brings them to the transaction of the moment; there is one at a time, and what a
 * client sends behind it waits (in the buffer, then in the kernel).
 *
 * States (table in conn.c):
 *
 *   head ──► handler ◄──► body         the handler thinks; pulls the request body
 *    ▲          │
 *    │          ▼
 *    ├──────  reply ──► linger ──► closed
 *    └ discard ◄┘                      closed also from any other, when the client is gone
 *
 * Owned by its lane, one thread, freed after the loop turn in which it closed and its transaction
 * ended. Memory: itself; a buffer from the first byte of a head to the end of its transaction. An
 * idle connection holds neither.
 *
 * One timer serves all deadlines. Setting a later deadline does not touch it: when it fires too
 * early it is armed again for the rest, so a warm request costs no heap operation.
 */
#ifndef MIRRORD_CONN_H
#define MIRRORD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event_struct.h>

#include "base/worker.h"
#include "mirrord/network.h"
#include "mirrord/transport.h"

struct buffer;
struct lane;
struct txn;

enum conn_state {
    CONN_HEAD,    /* the client's turn: idle, or in the middle of a head */
    CONN_HANDLER, /* ours: the handler thinks */
    CONN_BODY,    /* the client's: request body for the handler */
    CONN_REPLY,   /* the answer goes out; or waits for its source */
    CONN_DISCARD, /* the answer is out, a small unread body is still coming */
    CONN_LINGER,  /* our direction is closed, the other is read and forgotten */
    CONN_CLOSED,  /* no socket; kept until the handler has answered */
    CONN_STATE_MAX
};

/* Why a connection ended, or what its deadline is for. */
enum conn_reason {
    CONN_REASON_NONE,
    CONN_REASON_IDLE,   /* deadlines: keep-alive idle */
    CONN_REASON_HEAD,   /* head */
    CONN_REASON_BODY,   /* body progress */
    CONN_REASON_SEND,   /* send progress */
    CONN_REASON_LINGER, /* lingering close */
    CONN_REASON_DONE,   /* ends: the last answer is out */
    CONN_REASON_LEFT,   /* the client left */
    CONN_REASON_STOP,   /* the server stops */
    CONN_REASON_MAX
};

/* What the I/O event waits for. */
enum conn_watch {
    CONN_WATCH_NONE,
    CONN_WATCH_READ,
    CONN_WATCH_WRITE,
    CONN_WATCH_HANGUP, /* only whether the socket dies; edge-triggered, so bytes that we do not
                          want now and half-closes do not wake us over and over */
    CONN_WATCH_MAX
};

enum conn_step { CONN_MORE, CONN_WAIT };

#define CONN_PEER_SIZE 56 /* "[IPv6]:port" and NUL */

struct conn {
    struct event io;
    struct event timer;
    struct mail wake; /* worker_later: run again in this turn */
    struct transport transport;
    struct lane *lane;
    struct conn *prev, *next; /* in the lane's list */
    struct txn *txn;          /* NULL between requests */
    struct buffer *in;        /* head and what followed it; NULL when idle */
    struct buffer *ahead;     /* what came behind a chunked body */
    uint64_t deadline_ms;     /* 0: none */
    uint64_t timer_at_ms;     /* 0: the timer is not armed */
    size_t n_waiting;         /* bytes in the socket when the deadline for sending was set */
    uint64_t n_discarded;     /* bytes of a discarded body, or of lingering */
    unsigned n_requests;
    uint8_t state;        /* enum conn_state */
    uint8_t reason;       /* enum conn_reason, of the deadline */
    uint8_t watch;        /* enum conn_watch */
    bool is_readable : 1; /* the I/O event said so and recv was not called since */
    bool has_news : 1;    /* bytes in `in` that were not parsed yet */
    bool is_running : 1;
    bool is_kicked : 1; /* something happened while it ran */
    bool is_buried : 1;
    struct network_address address; /* the peer's */
    const char *mark;               /* of the listener; or NULL */
    char peer[CONN_PEER_SIZE];
};

struct sockaddr;

/* A connection of the lane on an accepted, non-blocking socket, which it takes. mark: of its
 * listener.
 */
void conn_new(struct lane *lane, int fd, const struct sockaddr *peer, const char *mark);
/* Something changed in its transaction: it runs later in this turn, or goes on if it runs. */
void conn_kick(struct conn *c);
/* Ends it now, whatever is under way. Not from inside a transaction's callback. */
void conn_end(struct conn *c, enum conn_reason why);
/* The server drains: ends it if it is idle. */
void conn_drain(struct conn *c);

/* --- for the transaction's steps (txn.c, reply.c, leftover.c) --------------------------------- */

void conn_watch(struct conn *c, enum conn_watch watch);
/* ms from now on, for this reason; 0: none. */
void conn_deadline(struct conn *c, enum conn_reason reason, unsigned ms);
/* The deadline for sending, counted from the last byte that the client has taken: a socket that is
 * full may hold minutes of a slow client's time, in which it takes bytes and we cannot send. */
void conn_deadline_send(struct conn *c);
/* Nothing is wanted from the client: no deadline, and no wake-ups by what it sends. */
void conn_wait_for_us(struct conn *c);
void conn_goto(struct conn *c, enum conn_state state);
/* Receives once: 1 and *n_out bytes; -EAGAIN; 0: nothing came and the connection has ended. */
int conn_receive(struct conn *c, void *p, size_t n, size_t *n_out);
/* Bytes that came behind a chunked body: the next request's. Of more than LANE_AHEAD_BYTES none is
 * kept, and the connection closes after this answer: who pipelines so much has to send it again
 * (RFC 9112 section 9.3.2). */
void conn_keep_ahead(struct conn *c, const char *p, size_t n);
/* The transaction is over and given back: on to what comes next on this connection. */
void conn_next_request(struct conn *c);

#endif
