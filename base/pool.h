/*
 * A few threads for what blocks: fsync, unlink, directory walks, hashing, opening files.
 * A job has two halves: `work` on a pool thread, then `done` on the worker that gave it (may be
 * NULL). The job struct is embedded in its story; its owner keeps it alive until `done` ran (or
 * `work`, when there is no done). FIFO; the queue is bounded only by what callers embed.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdint.h>

#include "base/worker.h"

struct pool;

struct pool_job {
    struct mail mail; /* first: carries `done` home */
    struct pool_job *next;
    void (*work)(struct pool_job *job); /* pool thread */
    void (*done)(struct pool_job *job); /* the worker's thread; may free the job */
    struct worker *home;                /* set by pool_submit */
};

struct pool *pool_new(unsigned n_threads);
unsigned pool_n_threads(const struct pool *p);
/* Any thread. `home` may be NULL when the job has no `done`. */
void pool_submit(struct pool *p, struct pool_job *job, struct worker *home);
/* Waits until no job is queued or running; done-halves may be on their way. Not from a worker's or
 * a pool thread. Tells how many jobs there have been so far. */
uint64_t pool_wait(struct pool *p);
/* Runs what is queued, then ends the threads. Done-halves go to mailboxes as usual. */
void pool_free(struct pool **p);

#endif
