/*
 * An errand: a pool job on behalf of the cache, counted, so that cache_close can wait until none
 * is under way and nothing runs on freed memory. Embedded in the object it is about, whose owner
 * keeps it alive until `done` ran (or `work`, when there is no done; work may then free it or
 * submit it again).
 */
#ifndef CACHE_ERRAND_H
#define CACHE_ERRAND_H

#include "base/pool.h"

struct errands;
struct errand;

typedef void (*errand_fn)(struct errand *e);

struct errand {
    struct pool_job job; /* first */
    struct errands *set;
    errand_fn work; /* pool thread */
    errand_fn done; /* the worker that submitted it; may be NULL */
};

struct errands *errands_new(struct pool *pool);
/* Of its pool. */
unsigned errands_n_threads(const struct errands *set);
/* Blocks until none is queued, running, or on its way home. Not on a worker's thread. */
void errands_wait(struct errands *set);
/* None may be under way. */
void errands_free(struct errands **set);

/* With `done`: a worker's thread only. */
void errand_submit(struct errands *set, struct errand *e, errand_fn work, errand_fn done);

/* Counts something that is no job of its own but waits for one, until it has been released: mail
 * from a pool thread on its way to a worker. Any thread. */
void errands_hold(struct errands *set);
void errands_release(struct errands *set);

#endif
