#include "config.h"

#include "mirrord/flight.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

#define N_BUCKETS 256

struct flights {
    const struct flight_ops *ops;
    pthread_mutex_t lock; /* guards all below, and what struct flight says */
    struct flight *buckets[N_BUCKETS];
    unsigned n;
    unsigned n_max; /* as told by who left last */
};

struct flights *flights_new(const struct flight_ops *ops)
{
    struct flights *fs = xcalloc(1, sizeof(*fs));

    fs->ops = ops;
    pthread_mutex_init(&fs->lock, NULL);
    return fs;
}

void flights_free(struct flights **ffs)
{
    struct flights *fs = *ffs;

    if (!fs)
        return;
    *ffs = NULL;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (fs->buckets[i]) {
            struct flight *f = fs->buckets[i];
            fs->buckets[i] = f->next;
            fs->ops->free(f);
        }
    }
    pthread_mutex_destroy(&fs->lock);
    free(fs);
}

/* FNV-1a; who makes keys meet only makes a chain of his own running questions longer. */
static struct flight **bucket_of(struct flights *fs, struct slice key)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.ptr[i]) * 16777619u;
    return &fs->buckets[hash % N_BUCKETS];
}

static struct slice key_of(const struct flight *f)
{
    return (struct slice){f->key, f->key_len};
}

struct flight *flight_ref(struct flight *f)
{
    pthread_mutex_lock(&f->table->lock);
    CHECK(f->refs > 0);
    f->refs++;
    pthread_mutex_unlock(&f->table->lock);
    return f;
}

void flight_unref(struct flight **ff)
{
    struct flight *f = *ff;
    struct flights *fs = f ? f->table : NULL;

    *ff = NULL;
    if (!f)
        return;
    pthread_mutex_lock(&fs->lock);
    CHECK(f->refs > 0);
    bool is_last = --f->refs == 0;
    pthread_mutex_unlock(&fs->lock);
    if (is_last)
        fs->ops->free(f);
}

/* Nobody joins it any more. */
static void take_off_locked(struct flight *f)
{
    struct flights *fs = f->table;
    struct flight **at = bucket_of(fs, key_of(f));

    CHECK(!f->is_off && fs->n > 0);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->is_off = true;
    fs->n--;
}

/* --- landing ---------------------------------------------------------------------------------- */

static void on_delivery(struct mail *m)
{
    struct flight_waiter *w = (struct flight_waiter *)m;
    struct flight *f = w->flight;

    /* The waiter may be gone when done returns. */
    w->done(w->arg, f, w->is_first);
    flight_unref(&f);
}

void flight_land(struct flight *f)
{
    struct flights *fs = f->table;

    CHECK(worker_is_current(f->home));
    pthread_mutex_lock(&fs->lock);
    if (!f->is_off)
        take_off_locked(f);
    struct flight_waiter *w = f->waiters;
    f->waiters = NULL;
    for (struct flight_waiter *each = w; each; each = each->next)
        each->is_taken = true;
    pthread_mutex_unlock(&fs->lock);
    while (w) {
        struct flight_waiter *next = w->next;
        w->mail.fn = on_delivery;
        worker_post(w->home, &w->mail);
        w = next;
    }
    flight_unref(&f);
}

/* Home: stops what still has no answer and nobody waits for, if there are still too many. */
static void on_drop(struct mail *m)
{
    struct flight *f = (struct flight *)((char *)m - offsetof(struct flight, drop));
    struct flights *fs = f->table;

    pthread_mutex_lock(&fs->lock);
    f->is_dropping = false;
    bool is_lonely = !f->is_off && !f->waiters && fs->n > fs->n_max;
    if (is_lonely)
        take_off_locked(f);
    pthread_mutex_unlock(&fs->lock);
    struct flight *own = is_lonely && fs->ops->stop(f) ? f : NULL;
    flight_unref(&own);
    flight_unref(&f);
}

/* --- joining ---------------------------------------------------------------------------------- */

static struct flight *find_locked(struct flight *f, struct slice key)
{
    while (f && !slice_equal(key_of(f), key))
        f = f->next;
    return f;
}

static struct flight *make_locked(struct flights *fs, struct slice key, void *arg)
{
    struct flight *f = fs->ops->make(arg);
    struct flight **bucket = bucket_of(fs, key);

    CHECK(key.len <= FLIGHT_KEY_MAX);
    f->drop.fn = on_drop;
    f->table = fs;
    f->home = worker_current();
    f->refs = 1;
    f->key_len = key.len;
    memcpy(f->key, key.ptr, key.len);
    f->next = *bucket;
    *bucket = f;
    fs->n++;
    return f;
}

void flights_join(struct flights *fs, struct slice key, void *arg, struct flight_waiter *w)
{
    CHECK(worker_current());
    w->home = worker_current();
    w->is_taken = false;
    pthread_mutex_lock(&fs->lock);
    struct flight *f = find_locked(*bucket_of(fs, key), key);
    w->is_first = !f;
    if (!f)
        f = make_locked(fs, key, arg);
    f->refs++;
    w->flight = f;
    w->next = f->waiters;
    f->waiters = w;
    pthread_mutex_unlock(&fs->lock);
    if (w->is_first)
        fs->ops->start(f);
}

bool flights_begin(struct flights *fs, struct slice key, void *arg)
{
    CHECK(worker_current());
    pthread_mutex_lock(&fs->lock);
    bool is_new = !find_locked(*bucket_of(fs, key), key);
    struct flight *f = is_new ? make_locked(fs, key, arg) : NULL;
    pthread_mutex_unlock(&fs->lock);
    if (is_new)
        fs->ops->start(f);
    return is_new;
}

/* The last one has left: the answer would be kept for the next, unless there are too many. */
static void maybe_drop_locked(struct flight *f, unsigned n_max)
{
    f->table->n_max = n_max;
    if (f->waiters || f->is_dropping || f->table->n <= n_max)
        return;
    f->is_dropping = true;
    f->refs++;
    worker_post(f->home, &f->drop);
}

bool flights_leave(struct flights *fs, struct flight_waiter *w, unsigned n_max)
{
    struct flight *f = w->flight;
    struct flight_waiter **at;

    pthread_mutex_lock(&fs->lock);
    bool can_leave = !w->is_taken;
    if (can_leave) {
        for (at = &f->waiters; *at != w;)
            at = &(*at)->next;
        *at = w->next;
        maybe_drop_locked(f, n_max);
    }
    pthread_mutex_unlock(&fs->lock);
    if (can_leave)
        flight_unref(&f);
    return can_leave;
}
