#include "config.h"

#include "base/http_client.h"

#include "base/http_client_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"

/* One socket that curl wants to be watched. */
struct watch {
    struct http_client *client;
    struct event *event;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
/* Stands in the slot of a worker whose client was closed. */
static char closed_mark;

static void init_curl(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

/* Hands on what curl has finished. Ends are delivered by mail, so nothing starts or dies here. */
static void collect(struct http_client *c)
{
    CURLMsg *msg;
    int n_left;

    while ((msg = curl_multi_info_read(c->multi, &n_left))) {
        struct http_call *call = NULL;
        CURLcode code = msg->data.result;
        CHECK(msg->msg == CURLMSG_DONE);
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        CHECK(call);
        http_call_finished(call, code); /* msg is gone after this */
    }
}

static void act(struct http_client *c, curl_socket_t fd, int flags)
{
    int n_running;

    CHECK(curl_multi_socket_action(c->multi, fd, flags, &n_running) == CURLM_OK);
    collect(c);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct watch *watch = arg;
    int flags = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

    act(watch->client, fd, flags);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* curl: call me in timeout_ms; -1: never mind. Zero must not be answered by calling at once. */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *c = arg;
    struct timeval after = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

    (void)multi;
    if (timeout_ms < 0)
        event_del(c->timer);
    else
        event_add(c->timer, &after);
    return 0;
}

static void watch_free(struct watch *watch)
{
    event_free(watch->event);
    free(watch);
}

static struct watch *watch_new(struct http_client *c, curl_socket_t fd, short events)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));

    watch->client = c;
    watch->event = event_new(worker_event_base(c->worker), fd, events, on_ready, watch);
    CHECK(watch->event);
    return watch;
}

/* curl: watch this socket for that, or no longer. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *old)
{
    struct http_client *c = arg;
    struct watch *watch = old;
    short events = EV_PERSIST;

    (void)easy;
    if (watch) {
        watch_free(watch);
        watch = NULL;
    }
    if (what != CURL_POLL_REMOVE) {
        events = (short)(events | (what & CURL_POLL_IN ? EV_READ : 0));
        events = (short)(events | (what & CURL_POLL_OUT ? EV_WRITE : 0));
        watch = watch_new(c, fd, events);
        CHECK(event_add(watch->event, NULL) == 0);
    }
    curl_multi_assign(c->multi, fd, watch);
    return 0;
}

static struct http_client *client_new(struct worker *w)
{
    struct http_client *c = xcalloc(1, sizeof(*c));

    pthread_once(&curl_once, init_curl);
    c->worker = w;
    c->multi = curl_multi_init();
    c->timer = event_new(worker_event_base(w), -1, 0, on_timer, c);
    CHECK(c->multi && c->timer);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_CLIENT_IDLE_MAX);
    return c;
}

struct http_client *http_client_get(void)
{
    struct worker *w = worker_current();

    CHECK(w);
    void **slot = worker_client_slot(w);
    if (*slot == &closed_mark)
        return NULL;
    if (!*slot)
        *slot = client_new(w);
    return *slot;
}

int http_client_add(struct http_client *c, struct http_call *call)
{
    CHECK(!call->client);
    if (curl_multi_add_handle(c->multi, call->easy) != CURLM_OK)
        return -EIO;
    call->client = c;
    call->prev = NULL;
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    return 0;
}

void http_client_remove(struct http_call *call)
{
    struct http_client *c = call->client;

    if (!c)
        return;
    CHECK(curl_multi_remove_handle(c->multi, call->easy) == CURLM_OK);
    if (call->next)
        call->next->prev = call->prev;
    if (call->prev)
        call->prev->next = call->next;
    else
        c->calls = call->next;
    call->client = NULL;
}

void http_client_close(void)
{
    struct worker *w = worker_current();
    struct error why;

    CHECK(w);
    void **slot = worker_client_slot(w);
    struct http_client *c = *slot;
    *slot = &closed_mark;
    if (!c || (void *)c == &closed_mark)
        return;
    error_set(&why, -ECANCELED, "the http client is closed");
    while (c->calls)
        http_call_end(c->calls, HTTP_END_CLOSED, &why);
    while (c->waits)
        http_wait_end(c->waits);
    CHECK(curl_multi_cleanup(c->multi) == CURLM_OK);
    event_free(c->timer);
    free(c);
}
