#include "config.h"

#include "cache/fill.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/fill_file.h"
#include "cache/fill_private.h"

#define N_BUCKETS 256

struct fills {
    struct layout *layout;
    struct errands *errands;
    struct store *store;
    unsigned running_max;
    atomic_uint n_running;
    uint64_t near_bytes;
    uint64_t memory_bytes;
    pthread_mutex_t lock; /* guards the buckets and three flags of each fill */
    struct fill *buckets[N_BUCKETS];
};

struct fills *fills_new(struct layout *l, struct errands *errands, struct store *store,
                        const struct cache_config *config)
{
    struct fills *fs = xcalloc(1, sizeof(*fs));

    fs->layout = l;
    fs->errands = errands;
    fs->store = store;
    fs->running_max = config->fill_running_max;
    atomic_init(&fs->n_running, 0);
    fs->near_bytes = config->fill_near_bytes;
    fs->memory_bytes = config->fill_memory_bytes;
    pthread_mutex_init(&fs->lock, NULL);
    return fs;
}

struct layout *fills_layout(struct fills *fs)
{
    return fs->layout;
}

struct errands *fills_errands(struct fills *fs)
{
    return fs->errands;
}

struct store *fills_store(struct fills *fs)
{
    return fs->store;
}

bool fills_are_crowded(struct fills *fs)
{
    return atomic_load(&fs->n_running) > fs->running_max;
}

void fills_count_end(struct fills *fs)
{
    CHECK(atomic_fetch_sub(&fs->n_running, 1) > 0);
}

uint64_t fills_near_bytes(const struct fills *fs)
{
    return fs->near_bytes;
}

uint64_t fills_memory_bytes(const struct fills *fs)
{
    return fs->memory_bytes;
}

void fills_lock(struct fills *fs)
{
    pthread_mutex_lock(&fs->lock);
}

void fills_unlock(struct fills *fs)
{
    pthread_mutex_unlock(&fs->lock);
}

static struct fill **bucket_of(struct fills *fs, const struct digest *d)
{
    return &fs->buckets[digest_key(d) % N_BUCKETS];
}

/* The first fill of this digest in a chain. */
static struct fill *same_digest(struct fill *f, const struct digest *d)
{
    while (f && !digest_equal(&f->digest, d))
        f = f->next;
    return f;
}

/* Puts it into the table, which keeps a reference. */
static void enter_locked(struct fills *fs, struct fill *f)
{
    struct fill **bucket = bucket_of(fs, &f->digest);

    f->next = *bucket;
    *bucket = fill_retain(f);
}

/* Takes it out of the table once it is of no use there. The caller holds a reference of its own. */
static void settle_locked(struct fill *f)
{
    struct fill **link = bucket_of(f->fills, &f->digest);

    if (f->is_joinable || f->owns_files || f->waits_files)
        return;
    while (*link && *link != f)
        link = &(*link)->next;
    if (!*link)
        return;
    *link = f->next;
    f->next = NULL;
    fill_release(f);
}

static struct fill *find_locked(struct fills *fs, const struct digest *d)
{
    struct fill *f = same_digest(*bucket_of(fs, d), d);

    while (f && !f->is_joinable)
        f = same_digest(f->next, d);
    return f ? fill_ref(f) : NULL;
}

struct fill *fills_find(struct fills *fs, const struct digest *d)
{
    fills_lock(fs);
    struct fill *f = find_locked(fs, d);
    fills_unlock(fs);
    return f;
}

struct fill *fills_join(struct fills *fs, const struct digest *d, bool *is_new)
{
    CHECK(worker_current());
    fills_lock(fs);
    struct fill *f = find_locked(fs, d);
    *is_new = f == NULL;
    if (!f) {
        f = fill_new(fs, d, worker_current());
        f->is_joinable = true;
        atomic_store(&f->users, 1);
        atomic_fetch_add(&fs->n_running, 1);
        enter_locked(fs, f);
    }
    fills_unlock(fs);
    return f;
}

void fills_leave_locked(struct fill *f)
{
    f->is_joinable = false;
    settle_locked(f);
}

static struct fill *owner_locked(struct fills *fs, const struct digest *d)
{
    struct fill *f = same_digest(*bucket_of(fs, d), d);

    while (f && !f->owns_files)
        f = same_digest(f->next, d);
    return f;
}

void fills_own(struct fill *f)
{
    fills_lock(f->fills);
    CHECK(!f->owns_files && !f->waits_files);
    f->owns_files = owner_locked(f->fills, &f->digest) == NULL;
    f->waits_files = !f->owns_files;
    bool can_load = f->owns_files;
    fills_unlock(f->fills);
    if (can_load)
        fill_may_load(f);
}

/* The next in line for the files of this digest becomes their owner. A reference, or NULL. */
static struct fill *hand_on_locked(struct fills *fs, const struct digest *d)
{
    struct fill *next = same_digest(*bucket_of(fs, d), d);

    while (next && !next->waits_files)
        next = same_digest(next->next, d);
    if (!next)
        return NULL;
    next->waits_files = false;
    next->owns_files = true;
    return fill_retain(next);
}

void fills_disown(struct fill *f)
{
    struct fill *next = NULL;

    fills_lock(f->fills);
    if (f->owns_files)
        next = hand_on_locked(f->fills, &f->digest);
    f->owns_files = false;
    f->waits_files = false;
    settle_locked(f);
    fills_unlock(f->fills);
    if (next) {
        fill_may_load(next);
        fill_release(next);
    }
}

struct fill *fills_own_unused(struct fills *fs, const struct digest *d)
{
    struct fill *f = NULL;

    fills_lock(fs);
    if (!same_digest(*bucket_of(fs, d), d)) {
        f = fill_new(fs, d, NULL);
        f->owns_files = true;
        enter_locked(fs, f);
    }
    fills_unlock(fs);
    return f;
}

static void print_one(struct fill *f, struct strbuf *out)
{
    char digest[DIGEST_TEXT_SIZE];
    unsigned n_writers = 0;
    struct fill_writer *w;

    digest_format(&f->digest, digest);
    pthread_mutex_lock(&f->lock);
    LIST_FOREACH(w, &f->writers, in_fill)
    n_writers++;
    strbuf_addf(out, "{\"digest\":\"%s\",\"state\":\"%s\",\"size\":", digest,
                fill_state_name(f->state));
    if (f->size == FILL_SIZE_UNKNOWN)
        strbuf_add_str(out, "null");
    else
        strbuf_add_u64(out, f->size);
    strbuf_add_str(out, ",\"present\":");
    strbuf_add_u64(out, f->present.total);
    strbuf_addf(out, ",\"readers\":%u,\"writers\":%u,\"age_s\":", f->n_readers, n_writers);
    strbuf_add_u64(out, (clock_mono_ms() - f->born_ms) / 1000);
    strbuf_add_char(out, '}');
    pthread_mutex_unlock(&f->lock);
}

void fills_print_json(struct fills *fs, struct strbuf *out)
{
    bool is_first = true;

    strbuf_add_char(out, '[');
    fills_lock(fs);
    for (size_t i = 0; i < N_BUCKETS; i++) {
        for (struct fill *f = fs->buckets[i]; f; f = f->next) {
            if (!f->is_joinable)
                continue;
            if (!is_first)
                strbuf_add_char(out, ',');
            is_first = false;
            print_one(f, out);
        }
    }
    fills_unlock(fs);
    strbuf_add_char(out, ']');
}

/* Writes down what a fill has that never came to an end. */
static void save_last(struct fill *f)
{
    struct error err;

    pthread_mutex_lock(&f->lock);
    bool is_worth = f->fd >= 0 && !f->window.is_on && !fill_is_over_locked(f);
    pthread_mutex_unlock(&f->lock);
    if (is_worth &&
        fill_file_save_map(f->fills->layout, &f->digest, &f->present, f->size, &err) < 0)
        log_warning(f->prefix, "map of the partial file not saved: %s", err.text);
}

void fills_free(struct fills **fsp)
{
    struct fills *fs = *fsp;

    if (!fs)
        return;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (fs->buckets[i]) {
            struct fill *f = fs->buckets[i];
            save_last(f);
            fs->buckets[i] = f->next;
            fill_release(f);
        }
    }
    errands_wait(fs->errands);
    pthread_mutex_destroy(&fs->lock);
    free(fs);
    *fsp = NULL;
}
