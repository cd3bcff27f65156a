#include "config.h"

#include "mirrord/leftover.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/lane.h"
#include "mirrord/txn_private.h"

/* Reads of a lingering connection in one turn. */
#define LINGER_READS_MAX 4

/* --- the rest of a body ----------------------------------------------------------------------- */

void leftover_start_discard(struct conn *c)
{
    conn_goto(c, CONN_DISCARD);
    c->n_discarded = 0;
    conn_watch(c, CONN_WATCH_READ);
    conn_deadline(c, CONN_REASON_BODY, c->lane->limits.body_ms);
}

/* Drops n bytes at p, up to the body's end; false when that is not possible any more. */
static bool drop(struct conn *c, char *p, size_t n, size_t *n_used)
{
    size_t n_payload;

    if (body_decode(&c->txn->body, p, n, n_used, &n_payload) < 0)
        return false;
    c->n_discarded += *n_used;
    return c->n_discarded <= c->lane->limits.discard_bytes;
}

/* Drops what came with the head. */
static bool drop_buffered(struct conn *c)
{
    struct buffer *b = c->in;
    size_t n_used;

    if (!b || b->at == b->len)
        return true;
    if (!drop(c, b->data + b->at, b->len - b->at, &n_used))
        return false;
    b->at += n_used;
    return true;
}

/* Receives a piece into the worker's scratch and drops it. What follows the body is kept. */
static bool drop_received(struct conn *c)
{
    char *scratch = worker_scratch(c->lane->worker);
    size_t n, n_used;

    if (conn_receive(c, scratch, txn_receive_max(c->txn), &n) <= 0)
        return true;
    if (!drop(c, scratch, n, &n_used))
        return false;
    conn_keep_ahead(c, scratch + n_used, n - n_used);
    conn_deadline(c, CONN_REASON_BODY, c->lane->limits.body_ms);
    return !c->txn->must_close;
}

enum conn_step leftover_step_discard(struct conn *c)
{
    bool is_well = drop_buffered(c);

    if (is_well && !body_is_complete(&c->txn->body) && c->is_readable)
        is_well = drop_received(c);
    if (c->state == CONN_CLOSED)
        return CONN_WAIT;
    if (!is_well) {
        txn_give(&c->txn);
        leftover_start_linger(c);
        return CONN_MORE;
    }
    if (body_is_complete(&c->txn->body)) {
        txn_give(&c->txn);
        conn_next_request(c);
        return CONN_MORE;
    }
    return CONN_WAIT;
}

/* --- lingering close -------------------------------------------------------------------------- */

void leftover_start_linger(struct conn *c)
{
    CHECK(!c->txn);
    conn_goto(c, CONN_LINGER);
    lane_give_buffer(c->lane, &c->in);
    lane_give_buffer(c->lane, &c->ahead);
    c->n_discarded = 0;
    c->transport.ops->finish(&c->transport);
    conn_watch(c, CONN_WATCH_READ);
    conn_deadline(c, CONN_REASON_LINGER, c->lane->limits.linger_ms);
}

enum conn_step leftover_step_linger(struct conn *c)
{
    void *scratch = worker_scratch(c->lane->worker);

    for (int i = 0; c->is_readable && i < LINGER_READS_MAX; i++) {
        ssize_t n = c->transport.ops->discard(&c->transport, scratch, WORKER_SCRATCH_BYTES);
        if (n == -EAGAIN || (n > 0 && n < WORKER_SCRATCH_BYTES))
            c->is_readable = false;
        else if (n <= 0)
            conn_end(c, CONN_REASON_DONE);
        if (n > 0)
            c->n_discarded += (uint64_t)n;
    }
    /* Who floods us is not read any more, but has until the deadline to take the answer. */
    if (c->state == CONN_LINGER && c->n_discarded >= c->lane->limits.linger_bytes)
        conn_watch(c, CONN_WATCH_HANGUP);
    return CONN_WAIT;
}
