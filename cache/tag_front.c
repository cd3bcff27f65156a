#include "config.h"

#include "cache/tag_front.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/doubts.h"
#include "cache/lru.h"

#define N_SHARDS 8

struct entry {
    struct lru_item item; /* first */
    struct tag_record record;
    bool is_whole;            /* the pushed half is what the storage says */
    bool is_unwritten;        /* the mirrored half is not in the storage yet */
    bool is_heard;            /* the mirrored half is another process' word */
    uint32_t doubts;          /* when the storage was read */
    uint32_t mirrored_doubts; /* when the mirrored half came */
    size_t n_repo, n_tag;
    char names[]; /* repository, then tag */
};

struct tag_front {
    struct lru *lru;
    struct doubts doubts;
};

/* What is looked for, and where to. */
struct finding {
    const struct tag_front *front;
    struct tag_record *out;
};

/* A change of an entry. */
struct deed {
    const struct tag_front *front;
    const struct tag_key *key;
    struct tag_record *record;
};

struct tag_key tag_front_key(const struct tag_front *f, struct slice repo, struct slice tag)
{
    uint64_t hash = lru_hash(repo.ptr, repo.len, tag.len);

    hash = lru_hash(tag.ptr, tag.len, hash);
    return (struct tag_key){repo, tag, hash, doubts_now(&f->doubts, hash)};
}

static bool is_doubted(const struct tag_front *f, const struct entry *e, uint32_t then)
{
    return doubts_now(&f->doubts, e->item.hash) != then;
}

/* The storage's mirrored half counts more than this one. */
static bool is_mirrored_doubted(const struct tag_front *f, const struct entry *e)
{
    return (!e->is_unwritten || e->is_heard) && is_doubted(f, e, e->mirrored_doubts);
}

static bool entry_has_key(const struct lru_item *it, const void *key)
{
    const struct entry *e = (const struct entry *)it;
    const struct tag_key *k = key;

    return slice_equal((struct slice){e->names, e->n_repo}, k->repo) &&
           slice_equal((struct slice){e->names + e->n_repo, e->n_tag}, k->tag);
}

/* A record that says nothing is not found, so that what another program puts there is; nor is what
 * was heard before a doubt, although the storage was read after it. */
static bool entry_take(struct lru_item *it, void *out)
{
    const struct entry *e = (const struct entry *)it;
    const struct finding *f = out;

    if (!e->is_whole || (!e->record.is_pushed && e->record.mirrored == TAG_UNASKED) ||
        is_doubted(f->front, e, e->doubts) ||
        (e->is_heard && is_doubted(f->front, e, e->mirrored_doubts)))
        return false;
    *f->out = e->record;
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

struct tag_front *tag_front_new(size_t memory_bytes)
{
    struct tag_front *f = xcalloc(1, sizeof(*f));

    f->lru = lru_new(&ENTRIES, memory_bytes, N_SHARDS);
    return f;
}

void tag_front_free(struct tag_front **f)
{
    if (!*f)
        return;
    lru_free(&(*f)->lru);
    free(*f);
    *f = NULL;
}

bool tag_front_find(struct tag_front *f, const struct tag_key *k, struct tag_record *out)
{
    struct finding finding = {f, out};

    return lru_find(f->lru, k->hash, k, &finding);
}

void tag_front_copy_mirrored(struct tag_record *out, const struct tag_record *from)
{
    CHECK(from->mirrored < TAG_MIRRORED_MAX);
    out->mirrored = from->mirrored;
    out->digest = from->digest;
    out->fetched_at_s = from->fetched_at_s;
    out->checked_at_s = from->checked_at_s;
    out->upstream = from->upstream;
}

/* Changes the entry of this key, which is made when there is none. */
static void change_or_make(struct tag_front *f, const struct tag_key *k,
                           void (*change)(struct lru_item *it, void *arg), void *arg)
{
    size_t bytes = sizeof(struct entry) + k->repo.len + k->tag.len;
    bool is_done = lru_change(f->lru, k->hash, k, change, arg);

    while (!is_done) {
        struct entry *e = xcalloc(1, bytes);
        e->n_repo = k->repo.len;
        e->n_tag = k->tag.len;
        memcpy(e->names, k->repo.ptr, k->repo.len);
        memcpy(e->names + k->repo.len, k->tag.ptr, k->tag.len);
        e->item.hash = k->hash;
        e->mirrored_doubts = k->doubts;
        change(&e->item, arg);
        /* Another thread may have been faster; and its entry may be gone again. */
        is_done = lru_put_new(f->lru, &e->item, k->hash, k, bytes) ||
                  lru_change(f->lru, k->hash, k, change, arg);
    }
}

static void do_read_last(struct lru_item *it, void *arg)
{
    tag_front_copy_mirrored(arg, &((const struct entry *)it)->record);
}

bool tag_front_last(struct tag_front *f, const struct tag_key *k, struct tag_record *out)
{
    struct tag_record found = {0};

    if (!lru_change(f->lru, k->hash, k, do_read_last, &found) || found.mirrored == TAG_UNASKED)
        return false;
    tag_front_copy_mirrored(out, &found);
    return true;
}

static void do_read_mirrored(struct lru_item *it, void *arg)
{
    const struct entry *e = (const struct entry *)it;
    const struct deed *deed = arg;

    if (!is_mirrored_doubted(deed->front, e))
        tag_front_copy_mirrored(deed->record, &e->record);
}

bool tag_front_mirrored(struct tag_front *f, const struct tag_key *k, struct tag_record *out)
{
    struct tag_record found = {0};

    struct deed deed = {f, k, &found};

    if (!lru_change(f->lru, k->hash, k, do_read_mirrored, &deed) || found.mirrored == TAG_UNASKED)
        return false;
    tag_front_copy_mirrored(out, &found);
    return true;
}

static void do_note(struct lru_item *it, void *arg)
{
    struct entry *e = (struct entry *)it;
    const struct deed *deed = arg;

    tag_front_copy_mirrored(&e->record, deed->record);
    e->is_heard = deed->record->is_heard;
    e->mirrored_doubts = e->is_heard ? deed->record->heard_at : deed->key->doubts;
    e->is_unwritten = deed->record->mirrored == TAG_MIRRORED;
}

void tag_front_note(struct tag_front *f, const struct tag_key *k, const struct tag_record *record)
{
    struct tag_record copy = *record;
    struct deed deed = {f, k, &copy};

    CHECK(record->mirrored != TAG_UNASKED);
    change_or_make(f, k, do_note, &deed);
}

static void do_join(struct lru_item *it, void *arg)
{
    struct entry *e = (struct entry *)it;
    const struct deed *deed = arg;
    struct tag_record *record = deed->record;
    bool is_memory_only =
        e->record.mirrored == TAG_ABSENT && !e->is_heard && record->mirrored == TAG_UNASKED;

    e->record.is_pushed = record->is_pushed;
    e->record.pushed = record->pushed;
    e->record.pushed_at_s = record->pushed_at_s;
    e->is_whole = true;
    e->doubts = deed->key->doubts;
    if (e->record.mirrored == TAG_UNASKED ||
        (is_mirrored_doubted(deed->front, e) && !is_memory_only)) {
        tag_front_copy_mirrored(&e->record, record);
        e->mirrored_doubts = deed->key->doubts;
        e->is_heard = e->is_unwritten = false;
    }
    *record = e->record;
}

void tag_front_doubt(struct tag_front *f, const struct tag_key *k)
{
    doubts_raise(&f->doubts, k->hash);
}

void tag_front_doubt_all(struct tag_front *f)
{
    doubts_raise_all(&f->doubts);
}

void tag_front_join(struct tag_front *f, const struct tag_key *k, struct tag_record *record)
{
    struct deed deed = {f, k, record};

    CHECK(record->mirrored != TAG_ABSENT);
    change_or_make(f, k, do_join, &deed);
}

static bool is_same_mirrored(const struct tag_record *a, const struct tag_record *b)
{
    return a->mirrored == b->mirrored &&
           (a->mirrored != TAG_MIRRORED ||
            (digest_equal(&a->digest, &b->digest) && a->checked_at_s == b->checked_at_s &&
             a->fetched_at_s == b->fetched_at_s));
}

static void do_drop_mirrored(struct lru_item *it, void *arg)
{
    static const struct tag_record NOTHING = {.mirrored = TAG_UNASKED};
    struct entry *e = (struct entry *)it;

    if (!is_same_mirrored(&e->record, arg))
        return;
    tag_front_copy_mirrored(&e->record, &NOTHING);
    e->is_unwritten = false;
}

void tag_front_drop_mirrored(struct tag_front *f, const struct tag_key *k,
                             const struct tag_record *record)
{
    struct tag_record copy = *record;

    lru_change(f->lru, k->hash, k, do_drop_mirrored, &copy);
}

void tag_front_remove(struct tag_front *f, const struct tag_key *k)
{
    lru_remove(f->lru, k->hash, k);
}

static void do_read_unwritten(struct lru_item *it, void *arg)
{
    *(bool *)arg = ((const struct entry *)it)->is_unwritten;
}

bool tag_front_is_unwritten(struct tag_front *f, const struct tag_key *k)
{
    bool is_unwritten = true;

    /* What has been displaced counts as unwritten. */
    lru_change(f->lru, k->hash, k, do_read_unwritten, &is_unwritten);
    return is_unwritten;
}

static void do_confirm(struct lru_item *it, void *arg)
{
    struct entry *e = (struct entry *)it;
    const struct tag_record *record = arg;

    if (e->record.mirrored == TAG_MIRRORED && digest_equal(&e->record.digest, &record->digest) &&
        e->record.checked_at_s < record->checked_at_s)
        e->record.checked_at_s = record->checked_at_s;
}

void tag_front_confirm(struct tag_front *f, const struct tag_key *k,
                       const struct tag_record *record)
{
    struct tag_record copy = *record;

    lru_change(f->lru, k->hash, k, do_confirm, &copy);
}

static void do_note_written(struct lru_item *it, void *arg)
{
    struct entry *e = (struct entry *)it;

    if (is_same_mirrored(&e->record, arg))
        e->is_unwritten = false;
}

void tag_front_note_written(struct tag_front *f, const struct tag_key *k,
                            const struct tag_record *record)
{
    struct tag_record copy = *record;

    lru_change(f->lru, k->hash, k, do_note_written, &copy);
}
