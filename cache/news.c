#include "config.h"

#include "cache/news.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/redis.h"
#include "base/redis_feed.h"
#include "base/strbuf.h"
#include "base/worker.h"

#define TICK_MS 250
#define ID_BYTES 8

static const char *const KINDS[] = {
    [NEWS_TAG] = "tag", [NEWS_LAYER] = "layer", [NEWS_REVISION] = "revision"};
_Static_assert(sizeof(KINDS) / sizeof(KINDS[0]) == NEWS_KIND_MAX, "a name for each kind");

struct news {
    struct redis *redis;
    char *channel;
    char id[2 * ID_BYTES + 1]; /* whose messages are not for us */
    unsigned unheard_ms;
    const struct news_ops *ops;
    void *arg;
    atomic_uint n_missed;   /* since the start: what could not be told */
    atomic_uint n_made_up;  /* of them: those that all were told of */
    _Atomic int64_t lost_s; /* when something was last not taken back; 0: never */
    /* Of the herald. */
    struct redis_feed *feed;
    struct event *timer;
    bool is_hearing;
    uint64_t doubted_ms; /* when all was doubted last */
};

/* A message on its way. */
struct message {
    struct redis_call call; /* first */
    struct news *news;
    unsigned makes_up_for; /* so many missed ones; 0: an ordinary one */
};

/* --- telling ---------------------------------------------------------------------------------- */

static void note_missed(struct news *n)
{
    metric_inc(METRIC_NEWS_MISSED);
    atomic_fetch_add(&n->n_missed, 1);
}

void news_note_lost(struct news *n)
{
    int64_t now_s = clock_wall_s();

    if (!n)
        return;
    atomic_store(&n->lost_s, now_s);
    n->ops->on_distrust(n->arg, now_s);
    note_missed(n);
}

static void on_told(struct redis_call *call, int rc, struct slice value)
{
    struct message *m = (struct message *)call;

    (void)value;
    if (rc == 0 && m->makes_up_for != 0)
        atomic_store(&m->news->n_made_up, m->makes_up_for);
    else if (rc < 0 && m->makes_up_for == 0)
        note_missed(m->news);
    free(m);
}

static void tell(struct news *n, struct slice text, unsigned makes_up_for)
{
    struct message *m = xcalloc(1, sizeof(*m));
    struct slice argv[] = {SLICE("PUBLISH"), slice_of(n->channel), text};

    *m = (struct message){{.done = on_told}, n, makes_up_for};
    metric_inc(METRIC_NEWS_SENT);
    if (!worker_current()) {
        redis_post(n->redis, &m->call, 3, argv);
        return;
    }
    int rc = redis_send(n->redis, &m->call, 3, argv);
    if (rc < 0)
        on_told(&m->call, rc, SLICE_NONE);
}

void news_tell(struct news *n, enum news_kind kind, struct slice repo, struct slice name)
{
    struct strbuf text = STRBUF_INIT;

    if (!n)
        return;
    strbuf_addf(&text, "%s %s %.*s %.*s", n->id, KINDS[kind], SLICE_ARG(repo), SLICE_ARG(name));
    tell(n, (struct slice){text.ptr, text.len}, 0);
    strbuf_fini(&text);
}

/* --- hearing ---------------------------------------------------------------------------------- */

static void doubt_all(struct news *n)
{
    n->doubted_ms = clock_mono_ms();
    n->ops->on_doubt(n->arg);
}

static void on_up(void *arg)
{
    struct news *n = arg;

    n->is_hearing = true;
    log_info("news", "hearing what other processes change");
    doubt_all(n);
}

static void on_down(void *arg)
{
    struct news *n = arg;

    n->is_hearing = false;
    doubt_all(n);
}

/* "all <seconds>": whoever says so has not told everything so far, and what was confirmed up to
 * then may have been removed. */
static void on_missed(struct news *n, struct slice seconds)
{
    uint64_t until_s;

    if (slice_to_u64(seconds, &until_s) && until_s > 0 && until_s <= INT64_MAX)
        n->ops->on_distrust(n->arg, (int64_t)until_s);
    doubt_all(n);
}

static void on_message(void *arg, struct slice message)
{
    struct news *n = arg;
    struct slice rest = message;
    struct slice id = slice_cut(&rest, ' ');
    struct slice kind = slice_cut(&rest, ' ');

    if (slice_equal(id, slice_of(n->id)))
        return;
    metric_inc(METRIC_NEWS_HEARD);
    if (slice_equal(kind, SLICE("all"))) {
        on_missed(n, rest);
        return;
    }
    struct slice repo = slice_cut(&rest, ' ');
    for (enum news_kind k = 0; k < NEWS_KIND_MAX; k++) {
        if (slice_equal(kind, slice_of(KINDS[k])))
            n->ops->on_changed(n->arg, k, repo, rest);
    }
}

static const struct redis_feed_ops FEED_OPS = {on_up, on_down, on_message};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct news *n = arg;
    unsigned n_missed = atomic_load(&n->n_missed);
    char text[64];

    (void)fd, (void)what;
    if (n_missed != atomic_load(&n->n_made_up) && redis_is_up(n->redis)) {
        snprintf(text, sizeof(text), "%s all %" PRId64, n->id, atomic_load(&n->lost_s));
        tell(n, slice_of(text), n_missed);
    }
    if (!n->is_hearing && clock_mono_ms() - n->doubted_ms >= n->unheard_ms)
        doubt_all(n);
}

/* --- life ------------------------------------------------------------------------------------- */

static void make_id(char out[2 * ID_BYTES + 1])
{
    unsigned char bytes[ID_BYTES];

    CHECK(getentropy(bytes, sizeof(bytes)) == 0);
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

struct news *news_new(struct redis *redis, const char *channel, unsigned unheard_ms)
{
    struct news *n = xcalloc(1, sizeof(*n));

    CHECK(redis && channel);
    n->redis = redis;
    n->channel = xstrdup(channel);
    n->unheard_ms = unheard_ms;
    make_id(n->id);
    return n;
}

void news_set_ops(struct news *n, const struct news_ops *ops, void *arg)
{
    n->ops = ops;
    n->arg = arg;
}

void news_free(struct news **nn)
{
    struct news *n = *nn;

    *nn = NULL;
    if (!n)
        return;
    CHECK(!n->feed);
    free(n->channel);
    free(n);
}

void news_open_here(struct news *n)
{
    struct timeval often = {0, TICK_MS * 1000};

    CHECK(n->ops && worker_current() && !n->feed);
    n->feed = redis_feed_new(n->redis, n->channel, &FEED_OPS, n);
    n->timer = event_new(worker_event_base(worker_current()), -1, EV_PERSIST, on_timer, n);
    CHECK(n->timer && event_add(n->timer, &often) == 0);
}

void news_close_here(struct news *n)
{
    if (!n->feed)
        return;
    redis_feed_free(&n->feed);
    event_free(n->timer);
    n->timer = NULL;
}
