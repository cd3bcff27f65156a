#include "config.h"

#include "cache/tag.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "cache/cache_private.h"
#include "cache/lru.h"
#include "cache/tag_file.h"

#define N_SHARDS 8

struct key {
    struct slice repo;
    struct slice tag;
    uint64_t hash;
};

struct entry {
    struct lru_item item; /* first */
    struct tag_record record;
    size_t n_repo, n_tag;
    char names[]; /* repository, then tag */
};

struct tags {
    struct layout *layout;
    struct errands *errands;
    struct lru *lru;
    /* Tags are written by one errand after the other, so that what is newer is not overtaken by
     * what is older, and no pool thread waits for another. */
    pthread_mutex_t lock; /* guards first, last */
    struct story *first, *last;
    struct errand writing; /* under way while there is a first */
};

/* One load or put under way. */
struct story {
    struct errand errand; /* first; of a load */
    struct story *next;   /* of a put */
    struct tags *tags;
    char *repo;
    char *tag;
    struct tag_record record;
    int rc;
    tag_load_fn loaded;
    void *arg;
};

static struct key key_of(struct slice repo, struct slice tag)
{
    uint64_t hash = lru_hash(repo.ptr, repo.len, tag.len);

    return (struct key){repo, tag, lru_hash(tag.ptr, tag.len, hash)};
}

static bool entry_has_key(const struct lru_item *it, const void *key)
{
    const struct entry *e = (const struct entry *)it;
    const struct key *k = key;

    return slice_equal((struct slice){e->names, e->n_repo}, k->repo) &&
           slice_equal((struct slice){e->names + e->n_repo, e->n_tag}, k->tag);
}

static bool entry_take(struct lru_item *it, void *out)
{
    *(struct tag_record *)out = ((struct entry *)it)->record;
    return true;
}

static void entry_drop(struct lru_item *it)
{
    free(it);
}

static const struct lru_kind ENTRIES = {
    .has_key = entry_has_key,
    .take = entry_take,
    .drop = entry_drop,
};

struct tags *tags_new(struct layout *l, struct errands *errands, size_t memory_bytes)
{
    struct tags *ts = xcalloc(1, sizeof(*ts));

    ts->layout = l;
    ts->errands = errands;
    ts->lru = lru_new(&ENTRIES, memory_bytes, N_SHARDS);
    pthread_mutex_init(&ts->lock, NULL);
    return ts;
}

void tags_free(struct tags **tts)
{
    struct tags *ts = *tts;

    if (!ts)
        return;
    CHECK(!ts->first);
    lru_free(&ts->lru);
    pthread_mutex_destroy(&ts->lock);
    free(ts);
    *tts = NULL;
}

bool tags_find(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct key k = key_of(repo, tag);

    return lru_find(ts->lru, k.hash, &k, out);
}

/* Without is_put, what was remembered meanwhile is younger, and stays. */
static void remember(struct tags *ts, struct slice repo, struct slice tag,
                     const struct tag_record *record, bool is_put)
{
    struct key k = key_of(repo, tag);
    size_t bytes = sizeof(struct entry) + repo.len + tag.len;
    struct entry *e = xcalloc(1, bytes);

    e->record = *record;
    e->n_repo = repo.len;
    e->n_tag = tag.len;
    memcpy(e->names, repo.ptr, repo.len);
    memcpy(e->names + repo.len, tag.ptr, tag.len);
    if (is_put)
        lru_put(ts->lru, &e->item, k.hash, &k, bytes);
    else
        lru_put_new(ts->lru, &e->item, k.hash, &k, bytes);
}

static struct story *story_new(struct tags *ts, struct slice repo, struct slice tag)
{
    struct story *s = xcalloc(1, sizeof(*s));

    s->tags = ts;
    s->repo = xmemdup0(repo.ptr, repo.len);
    s->tag = xmemdup0(tag.ptr, tag.len);
    return s;
}

static void story_free(struct story *s)
{
    free(s->repo);
    free(s->tag);
    free(s);
}

static void do_load(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct tags *ts = s->tags;
    struct slice repo = slice_of(s->repo), tag = slice_of(s->tag);

    if (tags_find(ts, repo, tag, &s->record))
        return;
    if (!layout_repo_is_valid(repo) || !layout_tag_is_valid(tag)) {
        s->rc = -ENOENT;
        return;
    }
    s->rc = tag_file_load(ts->layout, repo, tag, &s->record);
    if (s->rc == 0)
        remember(ts, repo, tag, &s->record, false);
}

static void on_loaded(struct errand *e)
{
    struct story *s = (struct story *)e;

    CHECK(s->record.origin < TAG_ORIGIN_MAX);
    s->loaded(s->arg, s->rc, s->rc == 0 ? &s->record : NULL);
    story_free(s);
}

void tags_load(struct tags *ts, struct slice repo, struct slice tag, tag_load_fn done, void *arg)
{
    struct story *s = story_new(ts, repo, tag);

    s->loaded = done;
    s->arg = arg;
    errand_submit(ts->errands, &s->errand, do_load, on_loaded);
}

/* Writes what memory says now, which may be younger than what was put. */
static void store_one(struct tags *ts, struct story *s)
{
    struct slice repo = slice_of(s->repo), tag = slice_of(s->tag);
    struct tag_record latest;
    struct error err;

    if (tags_find(ts, repo, tag, &latest) && latest.origin == TAG_MIRRORED)
        s->record = latest;
    if (tag_file_store(ts->layout, repo, tag, &s->record, &err) < 0)
        log_error("store", "tag %s of %s not kept: %s", s->tag, s->repo, err.text);
}

/* The first in line; then the errand goes to the end of the pool's queue. */
static void do_store(struct errand *e)
{
    struct tags *ts = (struct tags *)((char *)e - offsetof(struct tags, writing));

    pthread_mutex_lock(&ts->lock);
    struct story *s = ts->first;
    pthread_mutex_unlock(&ts->lock);
    CHECK(s);
    store_one(ts, s);
    pthread_mutex_lock(&ts->lock);
    ts->first = s->next;
    if (ts->first)
        errand_submit(ts->errands, &ts->writing, do_store, NULL);
    else
        ts->last = NULL;
    pthread_mutex_unlock(&ts->lock);
    story_free(s);
}

static void queue_store(struct tags *ts, struct story *s)
{
    pthread_mutex_lock(&ts->lock);
    bool was_idle = !ts->first;
    *(ts->last ? &ts->last->next : &ts->first) = s;
    ts->last = s;
    if (was_idle)
        errand_submit(ts->errands, &ts->writing, do_store, NULL);
    pthread_mutex_unlock(&ts->lock);
}

void tags_put(struct tags *ts, struct slice repo, struct slice tag, const struct tag_record *record)
{
    CHECK(record->origin < TAG_ORIGIN_MAX);
    remember(ts, repo, tag, record, true);
    /* What is absent is not worth a file; what others put there is not ours to write. */
    if (record->origin != TAG_MIRRORED || !layout_repo_is_valid(repo) || !layout_tag_is_valid(tag))
        return;
    struct story *s = story_new(ts, repo, tag);
    s->record = *record;
    queue_store(ts, s);
}
