#include "config.h"

#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/thread.h"

/* A first-in first-out run of mails. */
struct queue {
    struct mail *first, *last;
};

/* What is freed after the turn. */
struct grave {
    struct grave *next;
    worker_fn free_fn;
    void *obj;
};

struct call {
    struct mail mail;
    worker_fn fn;
    void *arg;
};

struct worker {
    unsigned index;
    struct event_base *base;
    struct event *mailbox_event;
    int mailbox_fd; /* eventfd */
    pthread_t thread;
    bool has_thread;
    bool is_stopping; /* own thread only */

    pthread_mutex_t lock; /* guards mailbox */
    struct queue mailbox;

    struct queue later; /* own thread only, like all below */
    struct queue turns; /* one of them a turn */
    struct grave *graves;
    void *scratch;
    void *client;
};

static _Thread_local struct worker *current;

static void queue_add(struct queue *q, struct mail *m)
{
    m->next = NULL;
    if (q->last)
        q->last->next = m;
    else
        q->first = m;
    q->last = m;
}

static struct queue queue_take(struct queue *q)
{
    struct queue all = *q;

    *q = (struct queue){NULL, NULL};
    return all;
}

/* Runs each mail once. A mail may be posted anew from the moment its flag is cleared, so its link
 * is read before. */
static void queue_run(struct queue q)
{
    struct mail *m = q.first;

    while (m) {
        struct mail *next = m->next;
        __atomic_store_n(&m->is_posted, false, __ATOMIC_RELEASE);
        m->fn(m);
        m = next;
    }
}

/* Runs the first mail. */
static void queue_run_one(struct queue *q)
{
    struct mail *m = q->first;

    if (!m)
        return;
    q->first = m->next;
    if (!q->first)
        q->last = NULL;
    __atomic_store_n(&m->is_posted, false, __ATOMIC_RELEASE);
    m->fn(m);
}

static void deliver_mailbox(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    struct queue all = queue_take(&w->mailbox);
    pthread_mutex_unlock(&w->lock);
    queue_run(all);
}

static void on_mailbox(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;

    (void)what;
    /* The count does not matter: whatever was posted before the lock is taken gets delivered. */
    if (read(fd, &count, sizeof(count)) < 0)
        CHECK(errno == EAGAIN || errno == EINTR);
    deliver_mailbox(arg);
}

static void free_buried(struct worker *w)
{
    while (w->graves) {
        struct grave *g = w->graves;
        w->graves = g->next;
        g->free_fn(g->obj);
        free(g);
    }
}

struct worker *worker_new(unsigned index)
{
    struct worker *w = xcalloc(1, sizeof(*w));
    struct event_config *config = event_config_new();

    CHECK(config);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
    w->base = event_base_new_with_config(config);
    event_config_free(config);
    CHECK(w->base);
    w->index = index;
    pthread_mutex_init(&w->lock, NULL);
    w->mailbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(w->mailbox_fd >= 0);
    w->mailbox_event = event_new(w->base, w->mailbox_fd, EV_READ | EV_PERSIST, on_mailbox, w);
    CHECK(w->mailbox_event && event_add(w->mailbox_event, NULL) == 0);
    return w;
}

void worker_run(struct worker *w)
{
    CHECK(!current);
    current = w;
    while (!w->is_stopping) {
        bool is_waiting = w->later.first || w->turns.first;
        int flags = EVLOOP_ONCE | (is_waiting ? EVLOOP_NONBLOCK : 0);
        CHECK(event_base_loop(w->base, flags) >= 0);
        queue_run(queue_take(&w->later));
        queue_run_one(&w->turns);
        free_buried(w);
    }
    current = NULL;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    char name[16];

    snprintf(name, sizeof(name), "worker-%u", w->index);
    pthread_setname_np(pthread_self(), name);
    worker_run(w);
    return NULL;
}

void worker_start(struct worker *w)
{
    CHECK(!w->has_thread);
    w->has_thread = true;
    thread_start(&w->thread, worker_main, w);
}

static void do_stop(void *arg)
{
    struct worker *w = arg;

    w->is_stopping = true;
}

void worker_stop(struct worker *w)
{
    worker_call(w, do_stop, w);
}

void worker_join(struct worker **ww)
{
    struct worker *w = *ww;

    if (w->has_thread)
        pthread_join(w->thread, NULL);
    CHECK(!current);
    current = w;
    while (w->mailbox.first || w->later.first || w->turns.first || w->graves) {
        deliver_mailbox(w);
        queue_run(queue_take(&w->later));
        queue_run_one(&w->turns);
        free_buried(w);
    }
    current = NULL;
    event_free(w->mailbox_event);
    close(w->mailbox_fd);
    event_base_free(w->base);
    pthread_mutex_destroy(&w->lock);
    free(w->scratch);
    free(w);
    *ww = NULL;
}

unsigned worker_index(const struct worker *w)
{
    return w->index;
}

struct event_base *worker_event_base(struct worker *w)
{
    return w->base;
}

struct worker *worker_current(void)
{
    return current;
}

bool worker_is_current(const struct worker *w)
{
    return current == w;
}

void worker_post(struct worker *w, struct mail *m)
{
    uint64_t one = 1;

    CHECK(m->fn);
    if (__atomic_exchange_n(&m->is_posted, true, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_lock(&w->lock);
    bool was_empty = !w->mailbox.first;
    queue_add(&w->mailbox, m);
    pthread_mutex_unlock(&w->lock);
    /* Only the first of a batch rings; a full counter rings already. */
    if (was_empty && write(w->mailbox_fd, &one, sizeof(one)) < 0)
        CHECK(errno == EAGAIN);
}

static void on_call(struct mail *m)
{
    struct call *c = (struct call *)m;
    worker_fn fn = c->fn;
    void *arg = c->arg;

    free(c);
    fn(arg);
}

void worker_call(struct worker *w, worker_fn fn, void *arg)
{
    struct call *c = xcalloc(1, sizeof(*c));

    c->mail.fn = on_call;
    c->fn = fn;
    c->arg = arg;
    worker_post(w, &c->mail);
}

void worker_later(struct worker *w, struct mail *m)
{
    CHECK(worker_is_current(w));
    if (__atomic_exchange_n(&m->is_posted, true, __ATOMIC_ACQ_REL))
        return;
    queue_add(&w->later, m);
}

void worker_in_turn(struct worker *w, struct mail *m)
{
    CHECK(worker_is_current(w));
    if (__atomic_exchange_n(&m->is_posted, true, __ATOMIC_ACQ_REL))
        return;
    queue_add(&w->turns, m);
}

bool worker_is_quiet(struct worker *w)
{
    CHECK(worker_is_current(w));
    pthread_mutex_lock(&w->lock);
    bool is_quiet = !w->mailbox.first;
    pthread_mutex_unlock(&w->lock);
    return is_quiet && !w->later.first && !w->turns.first && !w->graves;
}

void worker_bury(struct worker *w, worker_fn free_fn, void *obj)
{
    struct grave *g = xmalloc(sizeof(*g));

    CHECK(worker_is_current(w));
    g->free_fn = free_fn;
    g->obj = obj;
    g->next = w->graves;
    w->graves = g;
}

void *worker_scratch(struct worker *w)
{
    CHECK(worker_is_current(w));
    if (!w->scratch)
        w->scratch = xmalloc(WORKER_SCRATCH_BYTES);
    return w->scratch;
}

void **worker_client_slot(struct worker *w)
{
    return &w->client;
}
