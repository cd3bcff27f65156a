#include "config.h"

#include "base/http_wait.h"

#include "base/http_client_private.h"

#include <stdlib.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"

struct http_wait {
    struct mail mail; /* first: it is cast back */
    struct http_wait *next, *prev;
    struct http_client *client; /* NULL once it is out of the client */
    struct event *timer;
    void (*over)(void *arg); /* NULL once it ran, or is not to run */
    void *arg;
    bool is_freed; /* by its owner, while the mail was on its way */
};

static void leave_client(struct http_wait *w)
{
    struct http_client *c = w->client;

    if (!c)
        return;
    if (w->next)
        w->next->prev = w->prev;
    if (w->prev)
        w->prev->next = w->next;
    else
        c->waits = w->next;
    w->client = NULL;
}

/* The mail brings it, so that a closing client is not called back. */
static void on_over(struct mail *m)
{
    struct http_wait *w = (struct http_wait *)m;
    void (*over)(void *arg) = w->over;

    CHECK(!w->client);
    w->over = NULL;
    if (w->is_freed)
        free(w);
    else if (over)
        over(w->arg);
}

void http_wait_end(struct http_wait *w)
{
    leave_client(w);
    event_free(w->timer);
    w->timer = NULL;
    worker_later(worker_current(), &w->mail);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    http_wait_end(arg);
}

struct http_wait *http_wait_new(unsigned ms, void (*over)(void *arg), void *arg)
{
    struct http_client *c = http_client_get();
    struct http_wait *w = xcalloc(1, sizeof(*w));
    struct timeval after = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

    CHECK(over);
    w->mail.fn = on_over;
    w->over = over;
    w->arg = arg;
    if (!c) {
        worker_later(worker_current(), &w->mail);
        return w;
    }
    w->timer = event_new(worker_event_base(c->worker), -1, 0, on_timer, w);
    CHECK(w->timer && event_add(w->timer, &after) == 0);
    w->client = c;
    w->next = c->waits;
    if (w->next)
        w->next->prev = w;
    c->waits = w;
    return w;
}

void http_wait_free(struct http_wait **ww)
{
    struct http_wait *w = *ww;

    *ww = NULL;
    if (!w)
        return;
    leave_client(w);
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
    w->over = NULL;
    w->is_freed = true;
    if (!w->mail.is_posted)
        free(w);
}
