#include "config.h"

#include "base/redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <hiredis.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/redis_link.h"
#include "base/redis_private.h"

#define COMPLAIN_EVERY_MS 60000

/* One worker's connection with what was asked through it. Answers come in the order of asking. */
struct redis_desk {
    struct redis *redis;
    struct worker *worker;
    struct redis_link *link;
    struct redis_call *first, *last;
    unsigned n_in_flight;
    struct event *timer; /* when the first has waited long enough */
};

/* A command on its way from another thread to the herald. */
struct errand {
    struct mail mail; /* first */
    struct redis *redis;
    struct redis_call *call;
    int argc;
    struct slice argv[]; /* their texts stand behind */
};

const char *redis_prefix(const struct redis *r)
{
    return r->config.role;
}

void redis_complain(struct redis *r, const char *what)
{
    uint64_t now_ms = clock_mono_ms(), last_ms = atomic_load(&r->complained_ms);

    metric_inc(r->config.metrics.errors);
    if (last_ms != 0 && now_ms - last_ms < COMPLAIN_EVERY_MS)
        return;
    if (atomic_compare_exchange_strong(&r->complained_ms, &last_ms, now_ms))
        log_warning(redis_prefix(r), "%s: %s", r->config.host, what);
}

/* --- one worker's desk ------------------------------------------------------------------------ */

static struct redis_desk *desk_here(const struct redis *r)
{
    struct worker *w = worker_current();

    CHECK(w);
    return worker_index(w) < r->n_desks ? r->desks[worker_index(w)] : NULL;
}

static void start_timer(struct redis_desk *d)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t ms = d->first->deadline_ms > now_ms ? d->first->deadline_ms - now_ms : 0;
    struct timeval after = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};

    CHECK(evtimer_add(d->timer, &after) == 0);
}

static struct redis_call *take_first(struct redis_desk *d)
{
    struct redis_call *call = d->first;

    d->first = call->next;
    if (!d->first)
        d->last = NULL;
    d->n_in_flight--;
    return call;
}

/* The connection is lost. Those who are told may ask anew, and are refused: it is not up. */
static void tell_all(struct redis_desk *d, int rc)
{
    CHECK(!d->link || !redis_link_is_up(d->link));
    while (d->first) {
        metric_inc(rc == -ETIMEDOUT ? d->redis->config.metrics.timeouts
                                    : d->redis->config.metrics.lost);
        struct redis_call *call = take_first(d);
        call->done(call, rc, SLICE_NONE);
    }
}

static void on_up(void *arg)
{
    const struct redis_desk *d = arg;

    CHECK(!d->first);
}

static void on_down(void *arg, const struct error *why)
{
    struct redis_desk *d = arg;

    event_del(d->timer);
    tell_all(d, why->code);
}

/* What the answer says, in `done`'s terms. */
static int read_reply(struct redis *r, const redisReply *reply, char number[24], struct slice *out)
{
    switch (reply->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        *out = (struct slice){reply->str, (size_t)reply->len};
        return 0;
    case REDIS_REPLY_INTEGER:
        *out = (struct slice){number, (size_t)snprintf(number, 24, "%lld", reply->integer)};
        return 0;
    case REDIS_REPLY_NIL:
        return -ENOENT;
    case REDIS_REPLY_ERROR:
        redis_complain(r, reply->str);
        return -EREMOTEIO;
    default:
        redis_complain(r, "an answer of a wrong type");
        return -EPROTO;
    }
}

static void on_reply(void *arg, const redisReply *reply)
{
    struct redis_desk *d = arg;
    struct error why;
    struct slice value = SLICE_NONE;
    char number[24];

    if (!d->first) {
        error_set(&why, -EPROTO, "it answers what nobody asked");
        redis_link_fail(d->link, &why);
        return;
    }
    struct redis_call *call = take_first(d);
    int rc = read_reply(d->redis, reply, number, &value);
    if (rc == 0 || rc == -ENOENT)
        redis_link_note_use(d->link);
    event_del(d->timer);
    if (d->first)
        start_timer(d);
    call->done(call, rc, value);
}

static const struct redis_link_ops LINK_OPS = {on_up, on_reply, on_down};

/* One that does not answer in time is given up with all that was asked of it: what comes later
 * would have to be told apart, and those who ask next would wait behind it. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_desk *d = arg;
    struct error why;

    (void)fd, (void)what;
    CHECK(d->first);
    if (d->first->deadline_ms > clock_mono_ms()) {
        start_timer(d);
        return;
    }
    error_set(&why, -ETIMEDOUT, "no answer within %u ms", d->redis->config.timeout_ms);
    redis_link_fail(d->link, &why);
}

/* --- asking ----------------------------------------------------------------------------------- */

int redis_send(struct redis *r, struct redis_call *call, int argc, const struct slice *argv)
{
    struct redis_desk *d = desk_here(r);
    int rc = -ENOTCONN;

    CHECK(call->done);
    if (d)
        rc = d->n_in_flight >= r->config.in_flight_max ? -EBUSY
                                                       : redis_link_send(d->link, argc, argv);
    if (rc < 0) {
        metric_inc(r->config.metrics.skipped);
        return rc;
    }
    metric_inc(r->config.metrics.sent);
    call->next = NULL;
    call->deadline_ms = clock_mono_ms() + r->config.timeout_ms;
    *(d->last ? &d->last->next : &d->first) = call;
    d->last = call;
    if (d->n_in_flight++ == 0)
        start_timer(d);
    return 0;
}

static void free_call(struct redis_call *call, int rc, struct slice value)
{
    (void)rc, (void)value;
    free(call);
}

int redis_tell(struct redis *r, int argc, const struct slice *argv)
{
    struct redis_call *call = xcalloc(1, sizeof(*call));

    call->done = free_call;
    int rc = redis_send(r, call, argc, argv);
    if (rc < 0)
        free(call);
    return rc;
}

static void on_errand(struct mail *m)
{
    struct errand *e = (struct errand *)m;
    int rc = e->call ? redis_send(e->redis, e->call, e->argc, e->argv)
                     : redis_tell(e->redis, e->argc, e->argv);

    if (rc < 0 && e->call)
        e->call->done(e->call, rc, SLICE_NONE);
    free(e);
}

void redis_post(struct redis *r, struct redis_call *call, int argc, const struct slice *argv)
{
    size_t n_text = 0;

    for (int i = 0; i < argc; i++)
        n_text += argv[i].len;
    struct errand *e = xmalloc(sizeof(*e) + (size_t)argc * sizeof(argv[0]) + n_text);
    char *text = (char *)(e->argv + argc);
    *e = (struct errand){.mail = {.fn = on_errand}, .redis = r, .call = call, .argc = argc};
    for (int i = 0; i < argc; i++) {
        memcpy(text, argv[i].ptr, argv[i].len);
        e->argv[i] = (struct slice){text, argv[i].len};
        text += argv[i].len;
    }
    worker_post(r->config.herald, &e->mail);
}

/* --- life ------------------------------------------------------------------------------------- */

static char *copy_or_null(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

struct redis *redis_new(const struct redis_config *config)
{
    struct redis *r = xcalloc(1, sizeof(*r));

    CHECK(config->n_workers > 0 && config->herald && config->timeout_ms > 0);
    CHECK(config->connect_timeout_ms > 0 && config->retry_max_ms > 0 && config->buffer_bytes > 0);
    r->config = *config;
    r->config.role = xasprintf("redis %s", config->role);
    r->config.host = xstrdup(config->host);
    r->config.password = copy_or_null(config->password);
    r->names = redis_names_new(config->host, config->port);
    r->n_desks = config->n_workers;
    r->desks = xcalloc(r->n_desks, sizeof(r->desks[0]));
    return r;
}

void redis_free(struct redis **rr)
{
    struct redis *r = *rr;

    *rr = NULL;
    if (!r)
        return;
    for (unsigned i = 0; i < r->n_desks; i++)
        CHECK(!r->desks[i]);
    free(r->desks);
    redis_names_unref(&r->names);
    free((char *)(uintptr_t)r->config.role);
    free((char *)(uintptr_t)r->config.host);
    free((char *)(uintptr_t)r->config.password);
    free(r);
}

void redis_open_here(struct redis *r)
{
    struct redis_desk *d = xcalloc(1, sizeof(*d));

    d->redis = r;
    d->worker = worker_current();
    CHECK(d->worker && worker_index(d->worker) < r->n_desks && !desk_here(r));
    d->timer = evtimer_new(worker_event_base(d->worker), on_timer, d);
    CHECK(d->timer);
    d->link = redis_link_new(r, &LINK_OPS, d);
    r->desks[worker_index(d->worker)] = d;
}

void redis_close_here(struct redis *r)
{
    struct redis_desk *d = desk_here(r);

    if (!d)
        return;
    r->desks[worker_index(d->worker)] = NULL;
    redis_link_free(&d->link);
    tell_all(d, -ECANCELED);
    event_free(d->timer);
    free(d);
}

struct worker *redis_herald(const struct redis *r)
{
    return r->config.herald;
}

bool redis_is_up(const struct redis *r)
{
    return atomic_load(&r->n_up) > 0;
}

void redis_print_json(const struct redis *r, struct strbuf *out)
{
    strbuf_add_str(out, "{\"server\":\"");
    strbuf_add_json(out, slice_of(r->config.host));
    if (r->config.host[0] != '/')
        strbuf_addf(out, ":%u", r->config.port);
    strbuf_addf(out, "\",\"up\":%s,\"connections\":%u}", redis_is_up(r) ? "true" : "false",
                atomic_load(&r->n_up));
}
