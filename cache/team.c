#include "config.h"

#include "cache/team.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"

#define TURN_MS 2 /* of a helper */

struct helper {
    struct errand errand; /* first */
    struct team *team;
    bool is_queued; /* or running */
};

struct team {
    struct errands *errands;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t last_ended;
    void (*piece)(void *arg, size_t i);
    void *arg;
    size_t n, next, n_running; /* next == n: nothing is to be taken */
    unsigned n_helpers;
    struct helper helpers[];
};

struct team *team_new(struct errands *errands, unsigned n_helpers)
{
    unsigned n_threads = errands_n_threads(errands);
    /* One thread has the job, one is for others. */
    unsigned n_most = n_threads > 2 ? n_threads - 2 : 0;
    unsigned n = n_helpers < n_most ? n_helpers : n_most;
    struct team *t = xcalloc(1, sizeof(*t) + n * sizeof(t->helpers[0]));

    t->errands = errands;
    t->n_helpers = n;
    for (unsigned i = 0; i < n; i++)
        t->helpers[i].team = t;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->last_ended, NULL);
    return t;
}

void team_free(struct team **tt)
{
    struct team *t = *tt;

    if (!t)
        return;
    CHECK(t->next == t->n && t->n_running == 0);
    for (unsigned i = 0; i < t->n_helpers; i++)
        CHECK(!t->helpers[i].is_queued);
    pthread_cond_destroy(&t->last_ended);
    pthread_mutex_destroy(&t->lock);
    free(t);
    *tt = NULL;
}

/* Does the next piece, without the lock. False: there is none. */
static bool do_one_locked(struct team *t)
{
    if (t->next == t->n)
        return false;
    size_t i = t->next++;
    t->n_running++;
    pthread_mutex_unlock(&t->lock);
    t->piece(t->arg, i);
    pthread_mutex_lock(&t->lock);
    CHECK(t->n_running > 0);
    if (--t->n_running == 0 && t->next == t->n)
        pthread_cond_signal(&t->last_ended);
    return true;
}

static void do_help(struct errand *e)
{
    struct helper *h = (struct helper *)e;
    struct team *t = h->team;
    uint64_t until_ms = clock_mono_ms() + TURN_MS;

    pthread_mutex_lock(&t->lock);
    while (clock_mono_ms() < until_ms && do_one_locked(t))
        continue;
    h->is_queued = t->next < t->n;
    if (h->is_queued)
        errand_submit(t->errands, &h->errand, do_help, NULL);
    pthread_mutex_unlock(&t->lock);
}

void team_run(struct team *t, size_t n, void (*piece)(void *arg, size_t i), void *arg)
{
    CHECK(!worker_current());
    pthread_mutex_lock(&t->lock);
    CHECK(t->next == t->n && t->n_running == 0);
    t->piece = piece;
    t->arg = arg;
    t->n = n;
    t->next = 0;
    for (unsigned i = 0; i < t->n_helpers && i + 1 < n; i++) {
        if (t->helpers[i].is_queued)
            continue;
        t->helpers[i].is_queued = true;
        errand_submit(t->errands, &t->helpers[i].errand, do_help, NULL);
    }
    while (do_one_locked(t))
        continue;
    while (t->n_running > 0)
        pthread_cond_wait(&t->last_ended, &t->lock);
    pthread_mutex_unlock(&t->lock);
}
