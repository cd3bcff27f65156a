/*
 * A transaction: one HTTP request and its reply, seen without connection, socket or protocol
 * version (TLS and HTTP/2 come behind this interface).
 *
 * The life of a pull, with the names of the functions that carry it:
 *
 *   hit        conn reads a head (conn_on_readable → head_parse), makes the transaction and calls
 *              the handler (api_handle). route_parse names repository and reference. A manifest
 *              is found in memory (tags_find, manifests_find) and sent with reply_send_memory; a
 *              blob is found open (store_find) and sent with reply_send_source, whose body is
 *              pulled one window at a time with sendfile.
 *   miss       no open blob: store_open_blob looks on disk off the loop; -ENOENT: fills_join
 *              makes a fill, pull_start gives it an upstream fetch as its driver. The reader waits
 *              for the size (fill_reader_want_size), then the head goes out and the body follows
 *              the fill's mark.
 *   join       fills_join finds the running fill; everything else is as above. One fetch.
 *   the end    access_log_write, then the connection parses the next head.
 *
 * Belongs to its connection's worker; all calls on that thread. It is freed after the loop turn in
 * which its reply ended or its client left. Memory: one arena per transaction, bounded.
 *
 * A handler answers exactly once, at once or later (reply_send_*). Until then it may wait for what
 * it likes; txn_on_gone tells it when the client has left. After a reply was sent the handler must
 * not touch the transaction again; the body source keeps what it needs.
 */
#ifndef MIRRORD_TXN_H
#define MIRRORD_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "mirrord/head.h"

struct arena;
struct network_address;
struct reply;
struct txn;

typedef void (*txn_handler_fn)(struct txn *txn, void *ctx);

/* The parsed request; its slices live as long as the transaction. */
const struct head *txn_head(const struct txn *txn);
struct arena *txn_arena(struct txn *txn);
uint64_t txn_id(const struct txn *txn); /* unique in the process, for logs */
/* The client's address as text ("192.0.2.7:1234", "unix:"). */
const char *txn_peer(const struct txn *txn);
/* Of the listener it came in by (server_mark), or NULL. */
const char *txn_mark(const struct txn *txn);
const struct network_address *txn_peer_address(const struct txn *txn);

/* fn(arg) once, when the client leaves before it was answered; the transaction is over then and
 * must not be answered any more. Not after reply_send_* (what was given to the reply is told by
 * release or close). A handler without it answers as always, into nothing. NULL fn takes it back.
 */
void txn_on_gone(struct txn *txn, void (*fn)(void *arg), void *arg);

/* For the access line: a static text such as "hit" or "miss". */
void txn_note_cache(struct txn *txn, const char *cache_status);
/* For the access line, too: where what is sent came from. The upstream's name lives for ever. */
void txn_note_origin(struct txn *txn, bool is_pushed, const char *upstream);

/* What the client addressed beside the repository's name: the path before /v2, which links must
 * keep, and the ns it gave, which is told back in every answer (OCI distribution-spec, "Registry
 * Proxying"). Either may be empty; they outlive the transaction. */
void txn_set_namespace(struct txn *txn, struct slice base, struct slice ns);
struct slice txn_base(const struct txn *txn);
struct slice txn_namespace(const struct txn *txn);

/* --- the request's body, pulled ----------------------------------------------------------------
 */

struct body_sink {
    /* Takes all n bytes, which are gone when it returns: 0 = more please; 1 = pause until
     * txn_body_resume; negative = stop reading, and `end` is not called. */
    int (*data)(void *arg, const void *p, size_t n);
    /* rc 0: the whole body was delivered; negative errno: it was not (-EBADMSG: broken framing,
     * -EFBIG: more than n_max, -ETIMEDOUT, -ECONNRESET: client gone). The handler still answers.
     * Not called any more once the handler has answered. */
    void (*end)(void *arg, int rc);
};
/* Sends 100 Continue if it was expected and starts reading. n_max bounds the running total:
 * beyond it `end` gets -EFBIG. A handler that never calls this leaves the body unread (it is then
 * discarded within bounds, or the connection closes). */
void txn_read_body(struct txn *txn, uint64_t n_max, const struct body_sink *sink, void *arg);
void txn_body_resume(struct txn *txn);

/* --- the reply -------------------------------------------------------------------------------- */

/* A piece of a body: memory if ptr is set, else len bytes of fd from off. Valid until the next call
 * of the same source's next or close. */
struct body_part {
    const void *ptr;
    int fd;
    uint64_t off;
    uint64_t len;
};

struct body_source {
    /* 1: *out has at least one byte and at most `want` of the body from `off` on. 0: not yet,
     * reply_wake() follows. Negative: it failed; the connection ends short, in order (FIN). */
    int (*next)(void *source, uint64_t off, uint64_t want, struct body_part *out);
    /* Once, when the last byte is out, the source failed, or the client left. */
    void (*close)(void *source);
};

/* Begins the reply; headers follow. Date, Server, Connection, Content-Length and Content-Type
 * (unless set) belong to the writer. Also counts by class of status. */
struct reply *txn_reply(struct txn *txn, int status);
void reply_header(struct reply *r, const char *name, struct slice value);
void reply_headerf(struct reply *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Prepared lines, each ending with CRLF. */
void reply_header_lines(struct reply *r, struct slice lines);

/* Sends n bytes; they stay valid until release(arg) runs (NULL: static, or in the arena). */
void reply_send_memory(struct reply *r, const void *p, size_t n, void (*release)(void *arg),
                       void *arg);
/* Sends `length` bytes pulled from the source. For HEAD only the headers go out and the source is
 * closed at once. */
void reply_send_source(struct reply *r, uint64_t length, const struct body_source *ops,
                       void *source);
/* Headers only: 204, 304; for others Content-Length: 0. */
void reply_send_empty(struct reply *r);
/* Any time after next() returned 0, on the transaction's worker. Safe to call twice. The token to
 * keep is the reply: it lives until close() was called. */
void reply_wake(struct reply *r);

#endif
