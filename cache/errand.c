#include "config.h"

#include "cache/errand.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"

struct errands {
    struct pool *pool;
    pthread_mutex_t lock; /* guards n_under_way */
    pthread_cond_t none_left;
    size_t n_under_way;
};

struct errands *errands_new(struct pool *pool)
{
    struct errands *set = xcalloc(1, sizeof(*set));

    CHECK(pool);
    set->pool = pool;
    pthread_mutex_init(&set->lock, NULL);
    pthread_cond_init(&set->none_left, NULL);
    return set;
}

unsigned errands_n_threads(const struct errands *set)
{
    return pool_n_threads(set->pool);
}

void errands_wait(struct errands *set)
{
    CHECK(!worker_current());
    pthread_mutex_lock(&set->lock);
    while (set->n_under_way > 0)
        pthread_cond_wait(&set->none_left, &set->lock);
    pthread_mutex_unlock(&set->lock);
}

void errands_free(struct errands **setp)
{
    struct errands *set = *setp;

    if (!set)
        return;
    CHECK(set->n_under_way == 0);
    pthread_cond_destroy(&set->none_left);
    pthread_mutex_destroy(&set->lock);
    free(set);
    *setp = NULL;
}

void errands_hold(struct errands *set)
{
    pthread_mutex_lock(&set->lock);
    set->n_under_way++;
    pthread_mutex_unlock(&set->lock);
}

void errands_release(struct errands *set)
{
    pthread_mutex_lock(&set->lock);
    CHECK(set->n_under_way > 0);
    if (--set->n_under_way == 0)
        pthread_cond_broadcast(&set->none_left);
    pthread_mutex_unlock(&set->lock);
}

static void on_work(struct pool_job *job)
{
    struct errand *e = (struct errand *)job;
    struct errands *set = e->set;
    bool has_done = e->done != NULL;

    e->work(e);
    /* Without a second half the errand may be gone or on its way again. */
    if (!has_done)
        errands_release(set);
}

static void on_done(struct pool_job *job)
{
    struct errand *e = (struct errand *)job;
    struct errands *set = e->set;

    e->done(e);
    errands_release(set);
}

void errand_submit(struct errands *set, struct errand *e, errand_fn work, errand_fn done)
{
    struct worker *home = done ? worker_current() : NULL;

    CHECK(!done || home);
    e->set = set;
    e->work = work;
    e->done = done;
    e->job.work = on_work;
    e->job.done = done ? on_done : NULL;
    errands_hold(set);
    pool_submit(set->pool, &e->job, home);
}
