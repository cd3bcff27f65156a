/*
 * The inside of a transaction, shared by txn.c (request), reply.c (answer) and conn.c (which drives
 * both). Everyone else sees mirrord/txn.h.
 */
#ifndef MIRRORD_TXN_PRIVATE_H
#define MIRRORD_TXN_PRIVATE_H

#include "base/arena.h"
#include "mirrord/body.h"
#include "mirrord/conn.h"
#include "mirrord/txn.h"

#define REPLY_HEAD_BYTES 1024

struct reply {
    int status; /* 0: txn_reply was not called yet */
    char *head; /* first_head, or a larger one in the arena */
    size_t head_len, head_cap, head_sent;
    uint64_t length;    /* of the body */
    uint64_t off;       /* how much of it is out */
    const char *memory; /* the body, or NULL when it comes from a source or there is none */
    void (*release)(void *arg);
    void *release_arg;
    const struct body_source *ops; /* NULL: no source, or closed already */
    void *source;
    bool is_ready;     /* reply_send_* was called */
    bool is_woken;     /* reply_wake since next was called */
    bool is_head_only; /* HEAD, 204, 304 */
    bool is_cut;       /* the source failed */
    bool is_overlong;  /* the head does not fit */
    bool has_type;     /* the handler gave a Content-Type */
    bool keep_alive;   /* what the head promises */
    char first_head[REPLY_HEAD_BYTES];
};

struct txn {
    struct conn *conn;
    struct txn *next; /* among the lane's spare ones */
    uint64_t id;
    uint64_t start_us;
    void (*on_gone)(void *arg);
    void *on_gone_arg;
    const char *cache_status;
    const char *origin; /* "pushed", "mirrored"; NULL: nothing to say */
    const char *upstream;
    struct slice base, ns; /* what the client addressed; permanent */

    struct body body;
    const struct body_sink *sink; /* NULL: nobody wants the body (any more) */
    void *sink_arg;
    uint64_t n_body, n_body_max;
    uint8_t n_continue; /* bytes of "100 Continue" still to be sent */
    bool is_paused;     /* the sink said so */
    bool is_resumed;    /* txn_body_resume since */
    bool must_close;    /* framing lost, refused, or timed out */
    bool is_over;       /* accounted: nothing is sent any more */
    bool has_continued; /* the client knows that its body is wanted */

    struct arena arena;
    struct reply reply;
    struct head head; /* last: most of it stays cold */
};

/* From the lane's spare ones; its head is not set yet. */
struct txn *txn_take(struct conn *c);
void txn_give(struct txn **t);
void txn_free(struct txn *t);
/* The head is parsed: ready for the handler. */
void txn_begin(struct txn *t);
/* No head could be parsed: it begins with an empty one and is answered with this status. */
void txn_refuse(struct txn *t, int status);
/* The client is gone. True: the transaction is over; false: the handler must still answer. */
bool txn_abandon(struct txn *t, int rc);
/* The body did not come in time. */
void txn_body_timeout(struct txn *t);
/* How much of its body to receive at once: never more than a Content-Length has left. */
size_t txn_receive_max(const struct txn *t);
/* Into the access log and the metrics. */
void txn_account(struct txn *t, const char *outcome);

enum conn_step txn_step_handler(struct conn *c);
enum conn_step txn_step_body(struct conn *c);

/* Sends what the window allows. 1: all is out, or it was cut; 0: wait (events are set); negative:
 * the client is gone. */
int reply_step(struct txn *t);
/* Gives back what the body holds. */
void reply_drop(struct txn *t);
/* Answers with an error of the HTTP layer. */
void reply_send_http_error(struct txn *t, int status);

#endif
