/* The metadata cache in this process' memory. Values are copied in and out under a shard's lock. */
#include "config.h"

#include "cache/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "base/worker.h"
#include "cache/lru.h"
#include "cache/meta_private.h"

#define N_SHARDS 8

struct entry {
    struct lru_item item; /* first */
    uint64_t until_ms;    /* 0: for ever */
    size_t n_key, n_value;
    char text[]; /* key, then value */
};

struct memory {
    struct meta meta; /* first */
    struct lru *lru;
};

/* An answer on its way to who asked. */
struct answer {
    struct mail mail; /* first */
    struct strbuf value;
    meta_get_fn done;
    void *arg;
};

static bool entry_has_key(const struct lru_item *it, const void *key)
{
    const struct entry *e = (const struct entry *)it;

    return slice_equal((struct slice){e->text, e->n_key}, *(const struct slice *)key);
}

static bool entry_take(struct lru_item *it, void *out)
{
    const struct entry *e = (const struct entry *)it;

    if (e->until_ms != 0 && clock_mono_ms() >= e->until_ms)
        return false;
    strbuf_add(out, e->text + e->n_key, e->n_value);
    return true;
}

static void entry_drop(struct lru_item *it)
{
    free(it);
}

static const struct lru_kind ENTRIES = {entry_has_key, entry_take, entry_drop};

static void on_answer(struct mail *m)
{
    struct answer *a = (struct answer *)m;

    a->done(a->arg, 0, (struct slice){a->value.ptr, a->value.len});
    strbuf_fini(&a->value);
    free(a);
}

static int do_get(struct meta *meta, struct slice key, meta_get_fn done, void *arg)
{
    const struct memory *m = (struct memory *)meta;
    struct strbuf value = STRBUF_INIT;

    if (!lru_find(m->lru, lru_hash(key.ptr, key.len, 0), &key, &value))
        return -ENOENT;
    meta_note_found(meta, true);
    struct answer *a = xcalloc(1, sizeof(*a));
    *a = (struct answer){.mail = {.fn = on_answer}, .value = value, .done = done, .arg = arg};
    worker_later(worker_current(), &a->mail);
    return 0;
}

static void do_put(struct meta *meta, struct slice key, struct slice value, unsigned ttl_s)
{
    const struct memory *m = (struct memory *)meta;
    size_t bytes = sizeof(struct entry) + key.len + value.len;
    struct entry *e = xmalloc(bytes);

    *e = (struct entry){.n_key = key.len, .n_value = value.len};
    if (ttl_s > 0)
        e->until_ms = clock_mono_ms() + (uint64_t)ttl_s * 1000;
    memcpy(e->text, key.ptr, key.len);
    memcpy(e->text + key.len, value.ptr, value.len);
    lru_put(m->lru, &e->item, lru_hash(key.ptr, key.len, 0), &key, bytes);
}

static void do_forget(struct meta *meta, struct slice key)
{
    const struct memory *m = (struct memory *)meta;

    lru_remove(m->lru, lru_hash(key.ptr, key.len, 0), &key);
}

static void do_free(struct meta *meta)
{
    struct memory *m = (struct memory *)meta;

    lru_free(&m->lru);
    free(m);
}

static const struct meta_ops OPS = {do_get, do_put, do_forget, do_free};

struct meta *meta_memory_new(enum meta_role role, size_t memory_bytes)
{
    struct memory *m = xcalloc(1, sizeof(*m));

    CHECK(role < META_ROLE_MAX);
    m->meta = (struct meta){.ops = &OPS, .role = role};
    m->lru = lru_new(&ENTRIES, memory_bytes, N_SHARDS);
    return &m->meta;
}
