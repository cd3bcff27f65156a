#include "config.h"

#include "base/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/thread.h"

struct pool {
    pthread_mutex_t lock; /* guards all below but the threads */
    pthread_cond_t wake;
    pthread_cond_t idle;
    struct pool_job *first, *last;
    uint64_t n_submitted, n_ended;
    bool is_ending;
    unsigned n_threads;
    pthread_t threads[];
};

/* Brings the second half of a job to its worker. */
static void on_home(struct mail *m)
{
    struct pool_job *job = (struct pool_job *)m;

    job->done(job);
}

/* The next job, or NULL when the pool ends and nothing is left. */
static struct pool_job *take_job(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->first && !p->is_ending)
        pthread_cond_wait(&p->wake, &p->lock);
    struct pool_job *job = p->first;
    if (job) {
        p->first = job->next;
        if (!p->first)
            p->last = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void count_end(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->n_ended++;
    CHECK(p->n_ended <= p->n_submitted);
    if (p->n_ended == p->n_submitted)
        pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
}

static void *pool_main(void *arg)
{
    struct pool *p = arg;
    struct pool_job *job;

    pthread_setname_np(pthread_self(), "pool");
    while ((job = take_job(p))) {
        struct worker *home = job->home;
        bool has_done = job->done != NULL;
        job->work(job);
        /* Without a second half the job may be gone by now. */
        if (has_done)
            worker_post(home, &job->mail);
        count_end(p);
    }
    return NULL;
}

struct pool *pool_new(unsigned n_threads)
{
    struct pool *p = xcalloc(1, sizeof(*p) + n_threads * sizeof(p->threads[0]));

    CHECK(n_threads > 0);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->n_threads = n_threads;
    for (unsigned i = 0; i < n_threads; i++)
        thread_start(&p->threads[i], pool_main, p);
    return p;
}

unsigned pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}

void pool_submit(struct pool *p, struct pool_job *job, struct worker *home)
{
    CHECK(job->work);
    CHECK(home || !job->done);
    job->home = home;
    job->next = NULL;
    job->mail.fn = on_home;
    pthread_mutex_lock(&p->lock);
    if (p->last)
        p->last->next = job;
    else
        p->first = job;
    p->last = job;
    p->n_submitted++;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

uint64_t pool_wait(struct pool *p)
{
    CHECK(!worker_current());
    pthread_mutex_lock(&p->lock);
    while (p->n_ended < p->n_submitted)
        pthread_cond_wait(&p->idle, &p->lock);
    uint64_t n = p->n_submitted;
    pthread_mutex_unlock(&p->lock);
    return n;
}

void pool_free(struct pool **pp)
{
    struct pool *p = *pp;

    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_ending = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pp = NULL;
}
