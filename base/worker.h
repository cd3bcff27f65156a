/*
 * A worker: one thread with one libevent loop, a mailbox, and the objects that live on it.
 *
 * Everything with events belongs to exactly one worker and is touched on its thread only.
 * Threads meet in a mailbox (worker_post) or behind a lock that says so at its declaration.
 * Objects are never freed under a callback: worker_bury() frees them after the loop turn.
 * Nothing that blocks runs here: give it to the pool (base/pool.h).
 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct worker;

/* One message. Embedded in the object it is about, or on its own; whoever posts owns it again
 * from the moment fn runs. It may be in one mailbox at a time. */
struct mail {
    struct mail *next;
    void (*fn)(struct mail *m); /* runs on the worker's thread */
    bool is_posted;             /* set by worker_post, cleared just before fn runs; see there */
};

typedef void (*worker_fn)(void *arg);

/* Makes the loop, no thread yet. Never NULL. */
struct worker *worker_new(unsigned index);
/* Runs the loop on a new thread ("worker-<index>"); or on the calling one with worker_run. */
void worker_start(struct worker *w);
void worker_run(struct worker *w);
/* Any thread: asks the loop to end after this turn. Mail already posted is still delivered. */
void worker_stop(struct worker *w);
/* Waits for the thread, runs what is left of mailbox and dead list, frees the worker. */
void worker_join(struct worker **w);

unsigned worker_index(const struct worker *w);
struct event_base *worker_event_base(struct worker *w);
/* The worker whose thread this is; NULL on other threads. */
struct worker *worker_current(void);
bool worker_is_current(const struct worker *w);

/* Any thread. Delivers in order of posting, one eventfd write per batch. Posting a mail that is
 * posted already and not yet delivered does nothing (a wake-up is never doubled); the caller must
 * make sure that only one thread at a time posts the same mail, or that a doubled post is harmless.
 */
void worker_post(struct worker *w, struct mail *m);
/* The same with an allocation: for rare things. */
void worker_call(struct worker *w, worker_fn fn, void *arg);
/* This worker's thread only: m->fn runs later in this turn, before the loop sleeps again. */
void worker_later(struct worker *w, struct mail *m);
/* This worker's thread only: m->fn runs in a loop turn of its own. For long pieces of work: only
 * one of these runs between two looks at what else is ready, however many are waiting. */
void worker_in_turn(struct worker *w, struct mail *m);
/* This worker's thread only: free_fn(obj) after this loop turn, when no callback is on the stack.
 */
void worker_bury(struct worker *w, worker_fn free_fn, void *obj);

/* This worker's thread only: nothing is on its way to it, as far as its own thread can tell. */
bool worker_is_quiet(struct worker *w);

/* Scratch memory of the worker, for use within one callback only. */
#define WORKER_SCRATCH_BYTES (256 * 1024)
void *worker_scratch(struct worker *w);

/* A slot for the outgoing HTTP client of this worker (base/http_client.h owns what is in it). */
void **worker_client_slot(struct worker *w);

#endif
