#include "config.h"

#include "cache/open_files.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "cache/lru.h"

#define N_SHARDS 16
#define SHARDED_FROM 256 /* fewer files than this need no shards, and a small bound stays exact */

struct blob {
    struct lru_item item; /* first */
    atomic_uint refs;
    int fd;
    uint64_t size;
    struct digest digest;
    dev_t dev;
    ino_t ino;
    _Atomic uint64_t valid_until_ms;
    _Atomic uint32_t noted;
    struct errands *errands;
    struct errand closing;
};

struct open_files {
    struct lru *lru;
    struct errands *errands;
    uint64_t valid_ms;
};

/* What a finder asks for, and what it gets. */
struct wanted {
    uint64_t now_ms;
    const struct stat *st; /* if set: any age, but it must be this file */
    struct blob *found;
};

static bool blob_has_key(const struct lru_item *it, const void *key)
{
    return digest_equal(&((const struct blob *)it)->digest, key);
}

bool open_files_is(const struct blob *b, const struct stat *st)
{
    return b->dev == st->st_dev && b->ino == st->st_ino;
}

static bool blob_take(struct lru_item *it, void *out)
{
    struct blob *b = (struct blob *)it;
    struct wanted *w = out;

    if (w->st && !open_files_is(b, w->st))
        return false;
    if (!w->st && w->now_ms >= atomic_load(&b->valid_until_ms))
        return false;
    w->found = blob_ref(b);
    return true;
}

static void blob_drop(struct lru_item *it)
{
    struct blob *b = (struct blob *)it;

    blob_unref(&b);
}

static const struct lru_kind BLOBS = {
    .has_key = blob_has_key,
    .take = blob_take,
    .drop = blob_drop,
};

struct open_files *open_files_new(struct errands *errands, unsigned n_max, unsigned valid_s)
{
    struct open_files *t = xcalloc(1, sizeof(*t));

    t->lru = lru_new(&BLOBS, n_max, n_max < SHARDED_FROM ? 1 : N_SHARDS);
    t->errands = errands;
    t->valid_ms = (uint64_t)valid_s * 1000;
    return t;
}

void open_files_free(struct open_files **tt)
{
    struct open_files *t = *tt;

    if (!t)
        return;
    lru_free(&t->lru);
    free(t);
    *tt = NULL;
}

struct blob *open_files_find(struct open_files *t, const struct digest *d)
{
    struct wanted w = {.now_ms = clock_mono_ms()};

    return lru_find(t->lru, digest_key(d), d, &w) ? w.found : NULL;
}

struct blob *open_files_renew(struct open_files *t, const struct digest *d, const struct stat *st)
{
    struct wanted w = {.st = st};

    if (!lru_find(t->lru, digest_key(d), d, &w))
        return NULL;
    atomic_store(&w.found->valid_until_ms, clock_mono_ms() + t->valid_ms);
    return w.found;
}

struct blob *open_files_add(struct open_files *t, const struct digest *d, int fd,
                            const struct stat *st)
{
    struct blob *b = xcalloc(1, sizeof(*b));

    CHECK(fd >= 0);
    CHECK(S_ISREG(st->st_mode));
    atomic_init(&b->refs, 2); /* the caller's and the table's */
    b->fd = fd;
    b->size = (uint64_t)st->st_size;
    b->digest = *d;
    b->dev = st->st_dev;
    b->ino = st->st_ino;
    b->errands = t->errands;
    atomic_init(&b->valid_until_ms, clock_mono_ms() + t->valid_ms);
    lru_put(t->lru, &b->item, digest_key(d), d, 1);
    return b;
}

static void look_at_refs(struct lru_item *it, void *arg)
{
    *(bool *)arg = atomic_load(&((struct blob *)it)->refs) > 1;
}

bool open_files_are_in_use(struct open_files *t, const struct digest *d)
{
    bool is_in_use = false;

    lru_change(t->lru, digest_key(d), d, look_at_refs, &is_in_use);
    return is_in_use;
}

_Atomic uint32_t *open_files_noted(struct blob *b)
{
    return &b->noted;
}

bool open_files_forget(struct open_files *t, const struct digest *d)
{
    return lru_remove(t->lru, digest_key(d), d);
}

int blob_fd(const struct blob *b)
{
    return b->fd;
}

uint64_t blob_size(const struct blob *b)
{
    return b->size;
}

const struct digest *blob_digest(const struct blob *b)
{
    return &b->digest;
}

struct blob *blob_ref(struct blob *b)
{
    CHECK(atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed) > 0);
    return b;
}

static void do_close(struct errand *e)
{
    struct blob *b = (struct blob *)((char *)e - offsetof(struct blob, closing));

    close(b->fd);
    free(b);
}

void blob_unref(struct blob **bb)
{
    struct blob *b = *bb;
    struct stat st;

    *bb = NULL;
    if (!b)
        return;
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before > 1)
        return;
    if (fstat(b->fd, &st) == 0 && st.st_nlink == 0)
        errand_submit(b->errands, &b->closing, do_close, NULL);
    else
        do_close(&b->closing);
}
