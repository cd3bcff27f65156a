/*
 * A team: one long job that several threads of the pool do together, piece by piece. Who has the
 * job works on it himself and never waits for a thread to become free: a helper takes pieces while
 * there are any, a few milliseconds of them at a time, then goes to the end of the pool's queue, so
 * that other work has its turn.
 *
 * Owner: who has the jobs, one at a time. Memory: one errand per helper.
 */
#ifndef CACHE_TEAM_H
#define CACHE_TEAM_H

#include <stddef.h>

#include "cache/errand.h"

struct team;

/* At most n_helpers; less when the pool is small: a thread of it is left for others. */
struct team *team_new(struct errands *errands, unsigned n_helpers);
/* No helper may be queued or running: after errands_wait. */
void team_free(struct team **t);
/* Calls piece(arg, i) once for each i below n, on this thread and on those of helpers, in no order
 * that can be relied on. Returns when all calls have. Not on a worker's thread. */
void team_run(struct team *t, size_t n, void (*piece)(void *arg, size_t i), void *arg);

#endif
