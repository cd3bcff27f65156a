#include "config.h"

#include "base/redis_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <hiredis.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/redis_link.h"
#include "base/redis_private.h"
#include "base/worker.h"

#define PING_EVERY_S 1

struct redis_feed {
    struct redis *redis;
    char *channel;
    const struct redis_feed_ops *ops;
    void *arg;
    struct redis_link *link;
    struct event *timer; /* while it is up: SUBSCRIBE or the last PING must be answered when it
                            fires again */
    bool is_subscribed;
    bool is_waiting; /* for an answer */
};

static void fail(struct redis_feed *f, int code, const char *what)
{
    struct error why;

    error_set(&why, code, "%s", what);
    redis_link_fail(f->link, &why);
}

static void start_timer(struct redis_feed *f, unsigned ms)
{
    struct timeval after = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

    CHECK(evtimer_add(f->timer, &after) == 0);
}

/* An answer is due within the time that commands have. */
static void ask(struct redis_feed *f, int argc, const struct slice *argv)
{
    if (redis_link_send(f->link, argc, argv) < 0)
        return;
    f->is_waiting = true;
    start_timer(f, f->redis->config.timeout_ms);
}

static void on_up(void *arg)
{
    struct redis_feed *f = arg;
    struct slice subscribe[] = {SLICE("SUBSCRIBE"), slice_of(f->channel)};

    ask(f, 2, subscribe);
}

static void on_down(void *arg, const struct error *why)
{
    struct redis_feed *f = arg;
    bool was_subscribed = f->is_subscribed;

    (void)why;
    event_del(f->timer);
    f->is_subscribed = f->is_waiting = false;
    if (was_subscribed)
        f->ops->on_down(f->arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_feed *f = arg;
    struct slice ping[] = {SLICE("PING")};

    (void)fd, (void)what;
    if (f->is_waiting)
        fail(f, -ETIMEDOUT, "the subscription is not answered");
    else
        ask(f, 1, ping);
}

static bool is_word(const redisReply *reply, size_t i, const char *word)
{
    const redisReply *element = i < reply->elements ? reply->element[i] : NULL;

    return element && element->type == REDIS_REPLY_STRING && strcmp(element->str, word) == 0;
}

static void note_answer(struct redis_feed *f)
{
    f->is_waiting = false;
    redis_link_note_use(f->link);
    start_timer(f, PING_EVERY_S * 1000);
}

static void on_reply(void *arg, const redisReply *reply)
{
    struct redis_feed *f = arg;

    if (reply->type == REDIS_REPLY_ERROR) {
        redis_complain(f->redis, reply->str);
        fail(f, -EREMOTEIO, "the subscription is refused");
    } else if (reply->type != REDIS_REPLY_ARRAY) {
        fail(f, -EPROTO, "it answers what nobody asked");
    } else if (reply->elements == 3 && is_word(reply, 0, "message") &&
               is_word(reply, 1, f->channel) && reply->element[2]->type == REDIS_REPLY_STRING) {
        const redisReply *text = reply->element[2];
        if (f->is_subscribed)
            f->ops->on_message(f->arg, (struct slice){text->str, (size_t)text->len});
    } else if (is_word(reply, 0, "subscribe") && !f->is_subscribed) {
        f->is_subscribed = true;
        note_answer(f);
        f->ops->on_up(f->arg);
    } else if (is_word(reply, 0, "pong") && f->is_waiting) {
        note_answer(f);
    } else {
        fail(f, -EPROTO, "it answers what nobody asked");
    }
}

static const struct redis_link_ops LINK_OPS = {on_up, on_reply, on_down};

struct redis_feed *redis_feed_new(struct redis *r, const char *channel,
                                  const struct redis_feed_ops *ops, void *arg)
{
    struct redis_feed *f = xcalloc(1, sizeof(*f));

    CHECK(worker_current());
    f->redis = r;
    f->channel = xstrdup(channel);
    f->ops = ops;
    f->arg = arg;
    f->timer = evtimer_new(worker_event_base(worker_current()), on_timer, f);
    CHECK(f->timer);
    f->link = redis_link_new(r, &LINK_OPS, f);
    return f;
}

void redis_feed_free(struct redis_feed **ff)
{
    struct redis_feed *f = *ff;

    *ff = NULL;
    if (!f)
        return;
    redis_link_free(&f->link);
    event_free(f->timer);
    free(f->channel);
    free(f);
}
