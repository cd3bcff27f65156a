#include "config.h"

#include "mirrord/txn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/metric.h"
#include "mirrord/access_log.h"
#include "mirrord/lane.h"
#include "mirrord/txn_private.h"

#define ARENA_FIRST_BYTES 1024
#define ARENA_MAX_BYTES (1024 * 1024)

static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
#define CONTINUE_LEN (sizeof(CONTINUE) - 1)

/* --- life ------------------------------------------------------------------------------------- */

struct txn *txn_take(struct conn *c)
{
    struct lane *lane = c->lane;
    struct txn *t = lane->spare_txns;

    if (t) {
        lane->spare_txns = t->next;
        lane->n_spare_txns--;
    } else {
        t = xmalloc(sizeof(*t));
        arena_init(&t->arena, ARENA_FIRST_BYTES, ARENA_MAX_BYTES);
    }
    t->conn = c;
    return t;
}

void txn_give(struct txn **tt)
{
    struct txn *t = *tt;
    struct lane *lane = t->conn->lane;

    *tt = NULL;
    if (lane->n_spare_txns >= LANE_SPARES_MAX) {
        txn_free(t);
        return;
    }
    arena_reset(&t->arena);
    t->next = lane->spare_txns;
    lane->spare_txns = t;
    lane->n_spare_txns++;
}

void txn_free(struct txn *t)
{
    arena_fini(&t->arena);
    free(t);
}

void txn_begin(struct txn *t)
{
    t->next = NULL;
    t->id = lane_next_id(t->conn->lane);
    t->start_us = clock_mono_us();
    t->on_gone = NULL;
    t->cache_status = NULL;
    t->origin = t->upstream = NULL;
    t->base = t->ns = SLICE("");
    body_init(&t->body, &t->head);
    t->sink = NULL;
    t->n_body = t->n_body_max = 0;
    t->n_continue = 0;
    t->is_paused = t->is_resumed = t->must_close = t->is_over = t->has_continued = false;
    memset(&t->reply, 0, offsetof(struct reply, first_head));
}

void txn_refuse(struct txn *t, int status)
{
    /* What was parsed before the fault is not to be trusted; only the method decides about HEAD. */
    memset(&t->head, 0, offsetof(struct head, fields));
    t->head.method = HTTP_OTHER;
    t->head.minor = 1;
    txn_begin(t);
    reply_send_http_error(t, status);
}

bool txn_abandon(struct txn *t, int rc)
{
    const struct body_sink *sink = t->sink;

    if (t->is_over)
        return true;
    t->sink = NULL;
    if (sink)
        sink->end(t->sink_arg, rc);
    if (t->reply.is_ready) {
        if (t->reply.off < t->reply.length)
            metric_inc(METRIC_HTTP_CLIENTS_GONE);
        reply_drop(t);
    } else if (t->on_gone) {
        void (*on_gone)(void *arg) = t->on_gone;
        t->on_gone = NULL;
        on_gone(t->on_gone_arg);
        reply_drop(t);
    } else {
        return false;
    }
    txn_account(t, "left");
    return true;
}

void txn_account(struct txn *t, const char *outcome)
{
    struct lane *lane = t->conn->lane;
    uint64_t now_us = clock_mono_us();

    CHECK(!t->is_over);
    t->is_over = true;
    if (t->reply.status)
        metric_inc((enum metric)(METRIC_HTTP_REQUESTS_1XX + (t->reply.status / 100 - 1)));
    if (!lane->access)
        return;
    struct access_entry entry = {
        .id = t->id,
        .peer = t->conn->peer,
        .head = &t->head,
        .status = t->reply.status ? t->reply.status : 499,
        .n_bytes = t->reply.off,
        .cache_status = t->cache_status,
        .origin = t->origin,
        .upstream = t->upstream,
        .duration_us = now_us - t->start_us,
        .outcome = outcome,
    };
    access_buffer_add(lane->access, &entry);
}

/* --- what a handler asks ---------------------------------------------------------------------- */

const struct head *txn_head(const struct txn *t)
{
    return &t->head;
}

struct arena *txn_arena(struct txn *t)
{
    return &t->arena;
}

uint64_t txn_id(const struct txn *t)
{
    return t->id;
}

const char *txn_peer(const struct txn *t)
{
    return t->conn->peer;
}

const struct network_address *txn_peer_address(const struct txn *t)
{
    return &t->conn->address;
}

const char *txn_mark(const struct txn *t)
{
    return t->conn->mark;
}

void txn_on_gone(struct txn *t, void (*fn)(void *arg), void *arg)
{
    t->on_gone = fn;
    t->on_gone_arg = arg;
}

void txn_note_cache(struct txn *t, const char *cache_status)
{
    t->cache_status = cache_status;
}

void txn_note_origin(struct txn *t, bool is_pushed, const char *upstream)
{
    t->origin = is_pushed ? "pushed" : "mirrored";
    t->upstream = is_pushed ? NULL : upstream;
}

void txn_set_namespace(struct txn *t, struct slice base, struct slice ns)
{
    t->base = base.ptr ? base : SLICE("");
    t->ns = ns.ptr ? ns : SLICE("");
}

struct slice txn_base(const struct txn *t)
{
    return t->base;
}

struct slice txn_namespace(const struct txn *t)
{
    return t->ns;
}

enum conn_step txn_step_handler(struct conn *c)
{
    struct txn *t = c->txn;

    if (t->reply.is_ready) {
        conn_goto(c, CONN_REPLY);
        return CONN_MORE;
    }
    if (t->sink) {
        conn_goto(c, CONN_BODY);
        return CONN_MORE;
    }
    conn_wait_for_us(c);
    return CONN_WAIT;
}

/* --- the request's body ----------------------------------------------------------------------- */

void txn_read_body(struct txn *t, uint64_t n_max, const struct body_sink *sink, void *arg)
{
    CHECK(!t->sink && sink && sink->data && sink->end);
    t->sink = sink;
    t->sink_arg = arg;
    t->n_body_max = n_max;
    conn_kick(t->conn);
}

void txn_body_resume(struct txn *t)
{
    t->is_resumed = true;
    t->is_paused = false;
    conn_kick(t->conn);
}

/* The sink gets its end; the handler's answer follows, now or later. */
static void end_body(struct txn *t, int rc)
{
    const struct body_sink *sink = t->sink;

    t->sink = NULL;
    if (rc < 0)
        t->must_close = true;
    sink->end(t->sink_arg, rc);
}

void txn_body_timeout(struct txn *t)
{
    CHECK(t->sink);
    end_body(t, -ETIMEDOUT);
}

size_t txn_receive_max(const struct txn *t)
{
    uint64_t n = body_left_min(&t->body);

    /* Clients send chunks of 4 to 32 KiB: as many as fit come at once. */
    if (body_is_chunked(&t->body) || n > WORKER_SCRATCH_BYTES)
        return WORKER_SCRATCH_BYTES;
    return (size_t)n;
}

/* Whether a length that is told in advance is too much already. */
static bool is_too_long(const struct txn *t)
{
    return t->n_body + (body_is_chunked(&t->body) ? 0 : body_left_min(&t->body)) > t->n_body_max;
}

/* Finds the payload among n bytes at p and moves it to p; *n_used bytes belong to the body. */
static bool decode(struct txn *t, char *p, size_t n, size_t *n_used, size_t *n_payload)
{
    if (body_decode(&t->body, p, n, n_used, n_payload) == 0)
        return true;
    end_body(t, -EBADMSG);
    return false;
}

/* Gives the payload to the sink. */
static void deliver(struct txn *t, const char *p, size_t n_payload)
{
    t->n_body += n_payload;
    if (t->n_body > t->n_body_max) {
        end_body(t, -EFBIG);
        return;
    }
    if (n_payload == 0)
        return;
    t->is_resumed = false;
    int rc = t->sink->data(t->sink_arg, p, n_payload);
    if (rc < 0)
        t->sink = NULL;
    else
        t->is_paused = rc > 0 && !t->is_resumed;
}

/* Tells a client that asked first that its body is wanted. True: there is nothing (more) to say. */
static bool send_continue(struct conn *c)
{
    struct txn *t = c->txn;

    if (!t->has_continued) {
        t->has_continued = true;
        /* A client that did not wait needs no invitation (RFC 9110 section 10.1.1). */
        t->n_continue = t->head.expect_continue && c->in->at == c->in->len ? CONTINUE_LEN : 0;
    }
    while (t->n_continue > 0) {
        char text[sizeof(CONTINUE)];
        memcpy(text, CONTINUE, sizeof(text));
        struct iovec part = {text + CONTINUE_LEN - t->n_continue, t->n_continue};
        ssize_t n = c->transport.ops->sendv(&c->transport, &part, 1, false);
        if (n == -EAGAIN) {
            conn_watch(c, CONN_WATCH_WRITE);
            conn_deadline_send(c);
            return false;
        }
        if (n < 0) {
            conn_end(c, CONN_REASON_LEFT);
            return false;
        }
        t->n_continue -= (uint8_t)n;
    }
    return true;
}

/* Gives the sink what came with the head, else one piece from the socket. */
static enum conn_step read_piece(struct conn *c)
{
    struct txn *t = c->txn;
    struct buffer *b = c->in;
    size_t n, n_used, n_payload;

    if (b->at < b->len) {
        char *p = b->data + b->at;
        if (decode(t, p, b->len - b->at, &n_used, &n_payload)) {
            b->at += n_used;
            deliver(t, p, n_payload);
        }
        return CONN_MORE;
    }
    if (!c->is_readable) {
        conn_watch(c, CONN_WATCH_READ);
        conn_deadline(c, CONN_REASON_BODY, c->lane->limits.body_ms);
        return CONN_WAIT;
    }
    char *scratch = worker_scratch(c->lane->worker);
    if (conn_receive(c, scratch, txn_receive_max(t), &n) <= 0)
        return c->state == CONN_CLOSED ? CONN_WAIT : CONN_MORE;
    if (decode(t, scratch, n, &n_used, &n_payload)) {
        conn_keep_ahead(c, scratch + n_used, n - n_used);
        deliver(t, scratch, n_payload);
    }
    return CONN_MORE;
}

enum conn_step txn_step_body(struct conn *c)
{
    struct txn *t = c->txn;

    if (t->reply.is_ready || !t->sink) {
        t->sink = NULL;
        conn_goto(c, t->reply.is_ready ? CONN_REPLY : CONN_HANDLER);
        return CONN_MORE;
    }
    if (t->is_paused) {
        conn_wait_for_us(c);
        return CONN_WAIT;
    }
    if (body_is_complete(&t->body)) {
        end_body(t, 0);
        return CONN_MORE;
    }
    if (is_too_long(t)) {
        end_body(t, -EFBIG);
        return CONN_MORE;
    }
    return send_continue(c) ? read_piece(c) : CONN_WAIT;
}
