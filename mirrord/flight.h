/*
 * Questions that many may have at once and that are asked once: a table of those under way, by key.
 * Whoever asks what is being asked already waits for the same answer, on whatever worker.
 *
 * A flight is embedded in the story that asks. It belongs to the worker that asked first; it goes
 * on when all who waited have left, since its answer is worth keeping, unless there are too many.
 * Counted: one reference of its own until it has landed, one per waiter. The table and who waits
 * sit behind one short lock.
 *
 *   flights_join ──► start ──► (the story's work) ──► flight_land ──► done of each waiter
 */
#ifndef MIRRORD_FLIGHT_H
#define MIRRORD_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "base/worker.h"

struct flight;
struct flight_waiter;
struct flights;

#define FLIGHT_KEY_MAX 544

struct flight_ops {
    /* A new story for what `arg` asks for; under the table's lock: it only makes it. */
    struct flight *(*make)(void *arg);
    /* Begins the work, on the worker of who asked first. Not under the lock. */
    void (*start)(struct flight *f);
    /* Nobody waits or will, and there are too many: ends the work, on its worker; no flight_land
     * follows. False: it cannot end now; flight_land comes. */
    bool (*stop)(struct flight *f);
    /* Nobody refers to it any more; any thread. */
    void (*free)(struct flight *f);
};

struct flight {
    struct mail drop; /* brings home that nobody waits */
    struct flights *table;
    struct worker *home;
    struct flight *next; /* in its bucket; guarded by the table's lock, as all below */
    unsigned refs;
    struct flight_waiter *waiters;
    bool is_dropping; /* `drop` is on its way */
    bool is_off;      /* the table: nobody joins any more */
    size_t key_len;
    char key[FLIGHT_KEY_MAX];
};

/* One who asks; embedded in its story. */
struct flight_waiter {
    struct mail mail; /* first */
    struct flight_waiter *next;
    struct flight *flight;
    struct worker *home;
    bool is_first; /* it caused the question */
    bool is_taken; /* the answer is on its way */
    /* The answer is in the flight, unchanging, and valid until this returns. */
    void (*done)(void *arg, struct flight *f, bool is_first);
    void *arg;
};

struct flights *flights_new(const struct flight_ops *ops);
/* After all workers ended; what was being asked is never answered. */
void flights_free(struct flights **fs);

/* Asks; w->done and w->arg are set. `done` runs once on the calling worker, never from inside.
 * make(arg) when nobody asks this yet. */
void flights_join(struct flights *fs, struct slice key, void *arg, struct flight_waiter *w);
/* The same without waiting for the answer. False: it is being asked already. */
bool flights_begin(struct flights *fs, struct slice key, void *arg);
/* True: done will not run, the waiter is free. False: it is on its way and will run. n_max: with
 * more under way, those that nobody waits for are stopped. */
bool flights_leave(struct flights *fs, struct flight_waiter *w, unsigned n_max);
/* `done` may keep what it was called with beyond its return. Any thread. */
struct flight *flight_ref(struct flight *f);
void flight_unref(struct flight **f);
/* The answer is in the flight; on its worker. The story must not touch it any more. */
void flight_land(struct flight *f);

#endif
