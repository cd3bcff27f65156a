#include "config.h"

#include "mirrord/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "mirrord/http_status.h"
#include "mirrord/lane.h"
#include "mirrord/leftover.h"
#include "mirrord/txn_private.h"

/* Ten thousand idle clients cost what this costs. */
_Static_assert(sizeof(struct conn) <= 512, "an idle connection stays small");

/* Pipelined requests and the like: after so many steps other connections have their turn. */
#define STEPS_MAX 32

static enum conn_step step_head(struct conn *c);
static enum conn_step step_reply(struct conn *c);

static const struct {
    const char *name;
    enum conn_step (*step)(struct conn *c);
    unsigned next; /* bits of the states that may follow; CLOSED may follow any */
} STATES[] = {
    [CONN_HEAD] = {"head", step_head, 1 << CONN_HANDLER},
    [CONN_HANDLER] = {"handler", txn_step_handler, 1 << CONN_BODY | 1 << CONN_REPLY},
    [CONN_BODY] = {"body", txn_step_body, 1 << CONN_HANDLER | 1 << CONN_REPLY},
    [CONN_REPLY] = {"reply", step_reply, 1 << CONN_HEAD | 1 << CONN_DISCARD | 1 << CONN_LINGER},
    [CONN_DISCARD] = {"discard", leftover_step_discard, 1 << CONN_HEAD | 1 << CONN_LINGER},
    [CONN_LINGER] = {"linger", leftover_step_linger, 0},
    [CONN_CLOSED] = {"closed", NULL, 0},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == CONN_STATE_MAX, "one row per state");

static const char *const REASONS[] = {
    [CONN_REASON_NONE] = "none",         [CONN_REASON_IDLE] = "idle timeout",
    [CONN_REASON_HEAD] = "head timeout", [CONN_REASON_BODY] = "body timeout",
    [CONN_REASON_SEND] = "send timeout", [CONN_REASON_LINGER] = "linger timeout",
    [CONN_REASON_DONE] = "done",         [CONN_REASON_LEFT] = "client left",
    [CONN_REASON_STOP] = "server stops",
};
_Static_assert(sizeof(REASONS) / sizeof(REASONS[0]) == CONN_REASON_MAX, "one name per reason");

static void conn_run(struct conn *c);

/* --- the one mutator -------------------------------------------------------------------------- */

void conn_goto(struct conn *c, enum conn_state state)
{
    CHECK(state == CONN_CLOSED || (STATES[c->state].next & 1u << state));
    log_debug(c->peer, "%s -> %s", STATES[c->state].name, STATES[state].name);
    c->state = (uint8_t)state;
}

/* --- events ----------------------------------------------------------------------------------- */

/* Runs a connection whose socket can be read, or looks whether it is dead. One that can be written
 * waits for its turn: it sends a window, and with many of them at once a small request would wait
 * for all of their windows. */
static void on_io(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    if (c->watch == CONN_WATCH_HANGUP) {
        if (transport_is_dead(&c->transport))
            conn_end(c, CONN_REASON_LEFT);
        return;
    }
    if (what & EV_WRITE) {
        worker_in_turn(c->lane->worker, &c->wake);
        return;
    }
    c->is_readable = c->watch == CONN_WATCH_READ;
    conn_run(c);
}

void conn_watch(struct conn *c, enum conn_watch watch)
{
    static const short EVENTS[] = {
        [CONN_WATCH_NONE] = 0,
        [CONN_WATCH_READ] = EV_READ | EV_PERSIST,
        [CONN_WATCH_WRITE] = EV_WRITE | EV_PERSIST,
        [CONN_WATCH_HANGUP] = EV_READ | EV_CLOSED | EV_ET | EV_PERSIST,
    };

    CHECK(watch < CONN_WATCH_MAX);
    if (c->watch == watch)
        return;
    if (c->watch != CONN_WATCH_NONE)
        event_del(&c->io);
    c->watch = (uint8_t)watch;
    c->is_readable = false;
    if (watch == CONN_WATCH_NONE)
        return;
    event_assign(&c->io, worker_event_base(c->lane->worker), c->transport.fd, EVENTS[watch], on_io,
                 c);
    CHECK(event_add(&c->io, NULL) == 0);
}

void conn_wait_for_us(struct conn *c)
{
    c->deadline_ms = 0;
    /* Waiting to read is left on until it wakes us: most answers come before that. */
    if (c->watch == CONN_WATCH_READ && !c->is_readable)
        return;
    conn_watch(c, CONN_WATCH_HANGUP);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static void arm_timer(struct conn *c, uint64_t now_ms)
{
    uint64_t ms = c->deadline_ms > now_ms ? c->deadline_ms - now_ms : 1;
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

    c->timer_at_ms = c->deadline_ms;
    CHECK(event_add(&c->timer, &tv) == 0);
}

void conn_deadline(struct conn *c, enum conn_reason reason, unsigned ms)
{
    uint64_t now_ms = clock_mono_ms();

    c->reason = (uint8_t)reason;
    c->deadline_ms = now_ms + ms;
    if (c->timer_at_ms == 0 || c->timer_at_ms > c->deadline_ms)
        arm_timer(c, now_ms);
}

void conn_deadline_send(struct conn *c)
{
    c->n_waiting = transport_n_waiting(&c->transport);
    conn_deadline(c, CONN_REASON_SEND, c->lane->limits.send_ms);
}

/* A head that did not come: who has sent a part of it is told, who never spoke is not. */
static void expire_head(struct conn *c)
{
    if (!c->in) {
        conn_end(c, c->reason);
        return;
    }
    c->txn = txn_take(c);
    conn_goto(c, CONN_HANDLER);
    txn_refuse(c->txn, 408);
    conn_run(c);
}

static void expire(struct conn *c)
{
    if (c->reason == CONN_REASON_SEND && transport_n_waiting(&c->transport) < c->n_waiting) {
        conn_deadline_send(c);
        return;
    }
    log_debug(c->peer, "%s in state %s", REASONS[c->reason], STATES[c->state].name);
    switch (c->state) {
    case CONN_HEAD:
        expire_head(c);
        break;
    case CONN_BODY:
        txn_body_timeout(c->txn);
        conn_run(c);
        break;
    default:
        conn_end(c, c->reason);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    uint64_t now_ms = clock_mono_ms();

    (void)fd, (void)what;
    c->timer_at_ms = 0;
    if (c->deadline_ms == 0)
        return;
    if (now_ms < c->deadline_ms)
        arm_timer(c, now_ms);
    else
        expire(c);
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_wake(struct mail *m)
{
    struct conn *c = (struct conn *)((char *)m - offsetof(struct conn, wake));

    conn_run(c);
}

static void print_peer(const struct sockaddr *peer, char out[CONN_PEER_SIZE])
{
    char host[INET6_ADDRSTRLEN];

    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)peer;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, CONN_PEER_SIZE, "%s:%u", host, (unsigned)ntohs(in->sin_port));
    } else if (peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)peer;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, CONN_PEER_SIZE, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    } else {
        snprintf(out, CONN_PEER_SIZE, "unix:");
    }
}

void conn_new(struct lane *lane, int fd, const struct sockaddr *peer, const char *mark)
{
    struct conn *c = xcalloc(1, sizeof(*c));

    c->lane = lane;
    c->wake.fn = on_wake;
    transport_init_plain(&c->transport, fd);
    print_peer(peer, c->peer);
    c->address = network_address_of(peer);
    c->mark = mark;
    event_assign(&c->timer, worker_event_base(lane->worker), -1, 0, on_timer, c);
    c->next = lane->conns;
    if (c->next)
        c->next->prev = c;
    lane->conns = c;
    lane->n_conns++;
    lane->on_count(lane, 1);
    metric_inc(METRIC_HTTP_CONNS);
    metric_add(METRIC_HTTP_CONNS_OPEN, 1);
    conn_watch(c, CONN_WATCH_READ);
    conn_deadline(c, CONN_REASON_HEAD, lane->limits.head_ms);
}

static void free_conn(void *arg)
{
    free(arg);
}

/* A closed connection goes when its transaction is over and nobody is about to call it. */
static void bury_if_over(struct conn *c)
{
    CHECK(c->state == CONN_CLOSED && !c->is_buried);
    if (c->txn && c->txn->reply.is_ready) {
        reply_drop(c->txn);
        txn_account(c->txn, "left");
        txn_give(&c->txn);
    }
    if (c->txn || c->wake.is_posted)
        return;
    c->is_buried = true;
    lane_give_buffer(c->lane, &c->in);
    lane_give_buffer(c->lane, &c->ahead);
    if (c->prev)
        c->prev->next = c->next;
    else
        c->lane->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->lane->n_conns--;
    metric_add(METRIC_HTTP_CONNS_OPEN, -1);
    c->lane->on_count(c->lane, -1);
    worker_bury(c->lane->worker, free_conn, c);
}

void conn_end(struct conn *c, enum conn_reason why)
{
    bool was_running = c->is_running;

    CHECK(why < CONN_REASON_MAX);
    if (c->state == CONN_CLOSED)
        return;
    log_debug(c->peer, "%s", REASONS[why]);
    c->is_running = true;
    conn_watch(c, CONN_WATCH_NONE);
    event_del(&c->timer);
    c->deadline_ms = 0;
    c->transport.ops->close(&c->transport);
    conn_goto(c, CONN_CLOSED);
    if (c->txn && txn_abandon(c->txn, why == CONN_REASON_STOP ? -ECANCELED : -ECONNRESET))
        txn_give(&c->txn);
    c->is_running = was_running;
    if (!was_running)
        bury_if_over(c);
}

void conn_drain(struct conn *c)
{
    /* A request that is here already, unread, is still answered. */
    if (c->state == CONN_HEAD && !c->in && !transport_is_readable(&c->transport))
        conn_end(c, CONN_REASON_STOP);
}

/* --- the one driver --------------------------------------------------------------------------- */

void conn_kick(struct conn *c)
{
    if (c->is_running)
        c->is_kicked = true;
    else
        worker_later(c->lane->worker, &c->wake);
}

/* Steps until the connection waits for something. hot */
static void conn_run(struct conn *c)
{
    unsigned n_steps = 0;

    CHECK(!c->is_running && !c->is_buried);
    c->is_running = true;
    while (c->state != CONN_CLOSED) {
        c->is_kicked = false;
        enum conn_step step = STATES[c->state].step(c);
        if (step == CONN_WAIT && !c->is_kicked)
            break;
        if (++n_steps >= STEPS_MAX) {
            worker_later(c->lane->worker, &c->wake);
            break;
        }
    }
    c->is_running = false;
    if (c->state == CONN_CLOSED)
        bury_if_over(c);
}

int conn_receive(struct conn *c, void *p, size_t n, size_t *n_out)
{
    CHECK(c->is_readable && n > 0);
    c->is_readable = false;
    ssize_t n_got = c->transport.ops->recv(&c->transport, p, n);
    if (n_got == -EAGAIN)
        return -EAGAIN;
    if (n_got <= 0) {
        conn_end(c, CONN_REASON_LEFT);
        return 0;
    }
    *n_out = (size_t)n_got;
    return 1;
}

/* --- the head --------------------------------------------------------------------------------- */

/* Moves what was not parsed to the front, and sees to room for more. */
static void make_room(struct conn *c)
{
    struct buffer *b = c->in;

    if (!b) {
        c->in = lane_take_buffer(c->lane);
        return;
    }
    if (b->at > 0) {
        memmove(b->data, b->data + b->at, b->len - b->at);
        b->len -= b->at;
        b->at = 0;
    }
    if (b->len == b->cap)
        c->in = lane_grow_buffer(c->lane, b, 1);
}

/* Reads what there is, once: if it was less than the room, a second call would only say "not now",
 * and if it was more, others may want their turn. */
static void receive_head(struct conn *c)
{
    size_t n;

    make_room(c);
    int rc = conn_receive(c, c->in->data + c->in->len, c->in->cap - c->in->len, &n);
    if (rc > 0) {
        c->in->len += n;
        c->has_news = true;
    } else if (rc < 0 && c->in->len == 0) {
        lane_give_buffer(c->lane, &c->in);
    }
}

/* What has come with the head is tried in a copy: framing that is broken there already is refused
 * before anybody answers, whether the handler will want the body or not. */
static bool is_body_broken(const struct conn *c)
{
    const struct buffer *b = c->in;
    struct body trial = c->txn->body;
    size_t n = b->len - b->at;
    size_t n_used, n_payload;

    if (!body_is_chunked(&trial) || n == 0)
        return false;
    if (n > WORKER_SCRATCH_BYTES)
        n = WORKER_SCRATCH_BYTES;
    char *scratch = worker_scratch(c->lane->worker);
    memcpy(scratch, b->data + b->at, n);
    return body_decode(&trial, scratch, n, &n_used, &n_payload) < 0;
}

/* Parses: true when a transaction began (or was refused). */
static bool parse_head(struct conn *c)
{
    struct buffer *b = c->in;
    struct txn *t = txn_take(c);
    int rc =
        head_parse(b->data + b->at, b->len - b->at, &c->lane->limits.head, &b->scanned, &t->head);

    c->has_news = false;
    if (rc == 0) {
        txn_give(&t);
        return false;
    }
    c->txn = t;
    c->deadline_ms = 0;
    c->n_requests++;
    conn_goto(c, CONN_HANDLER);
    if (rc < 0) {
        txn_refuse(t, -rc);
        return true;
    }
    b->at += (size_t)rc;
    txn_begin(t);
    if (is_body_broken(c))
        txn_refuse(t, 400);
    else
        c->lane->handler(t, c->lane->ctx);
    return true;
}

static enum conn_step step_head(struct conn *c)
{
    if (c->is_readable)
        receive_head(c);
    if (c->state == CONN_CLOSED)
        return CONN_WAIT;
    if (c->has_news && parse_head(c))
        return CONN_MORE;
    conn_watch(c, CONN_WATCH_READ);
    if (c->in && (c->reason != CONN_REASON_HEAD || c->deadline_ms == 0))
        conn_deadline(c, CONN_REASON_HEAD, c->lane->limits.head_ms);
    return CONN_WAIT;
}

void conn_keep_ahead(struct conn *c, const char *p, size_t n)
{
    if (n == 0)
        return;
    CHECK(!c->ahead && c->in->at == c->in->len);
    if (n > LANE_AHEAD_BYTES) {
        c->txn->must_close = true;
        return;
    }
    struct buffer *b = lane_take_buffer(c->lane);
    if (n > b->cap)
        b = lane_grow_buffer(c->lane, b, n);
    memcpy(b->data, p, n);
    b->len = n;
    c->ahead = b;
}

/* --- from one transaction to the next --------------------------------------------------------- */

void conn_next_request(struct conn *c)
{
    struct buffer *b = c->in;

    CHECK(!c->txn);
    conn_goto(c, CONN_HEAD);
    c->n_discarded = 0;
    if (b && b->at == b->len) {
        lane_give_buffer(c->lane, &c->in);
        c->in = c->ahead;
        c->ahead = NULL;
        b = c->in;
    }
    if (b) {
        CHECK(!c->ahead);
        b->scanned = 0;
        c->has_news = true;
        c->deadline_ms = 0;
        return;
    }
    if (c->lane->is_draining)
        conn_end(c, CONN_REASON_STOP);
    else
        conn_deadline(c, CONN_REASON_IDLE, c->lane->limits.idle_ms);
}

/* The answer is out, or was cut: what becomes of the connection. */
static void after_reply(struct conn *c)
{
    struct txn *t = c->txn;
    bool is_kept = t->reply.keep_alive && !t->reply.is_cut;
    bool is_read = body_is_complete(&t->body);
    /* Who asked for the end sends nothing more; for others a reset could overtake the answer. */
    bool is_clean = is_read && !t->reply.is_cut && !t->must_close && !t->head.keep_alive &&
                    c->in->at == c->in->len;

    txn_account(t, t->reply.is_cut ? "cut" : "complete");
    if (!is_kept) {
        txn_give(&c->txn);
        if (is_clean)
            conn_end(c, CONN_REASON_DONE);
        else
            leftover_start_linger(c);
        return;
    }
    if (is_read) {
        txn_give(&c->txn);
        conn_next_request(c);
        return;
    }
    leftover_start_discard(c);
}

static enum conn_step step_reply(struct conn *c)
{
    int rc = reply_step(c->txn);

    if (rc == 0)
        return CONN_WAIT;
    if (rc < 0)
        conn_end(c, CONN_REASON_LEFT);
    else
        after_reply(c);
    return CONN_MORE;
}
