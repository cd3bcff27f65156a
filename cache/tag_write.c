/*
 * What changes tags: an upstream's word (queued, written one after the other), a push, a removal.
 * Each reads the file, changes its half, writes, and tells the front, under the tag's stripe.
 */
#include "config.h"

#include "cache/tag.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/news.h"
#include "cache/tag_check.h"
#include "cache/tag_file.h"
#include "cache/tag_private.h"

/* A mirrored half on its way to the storage. */
struct tag_write {
    struct tag_write *next;
    char *repo;
    char *tag;
    struct tag_record record;
    uint32_t n_removals; /* when memory was told */
    bool is_dropped;     /* the tag was removed meanwhile; guarded by the queue's lock */
};

/* --- what an upstream says -------------------------------------------------------------------- */

/* What is still to be written: memory's word may be younger than the queued one. It may also be
 * about a manifest that is not kept yet, when it is about another: then its own turn comes. */
static bool choose_locked(struct tags *ts, const struct tag_write *w, const struct tag_key *k,
                          struct tag_record *out)
{
    struct tag_record latest = w->record;

    pthread_mutex_lock(&ts->lock);
    bool is_dropped = w->is_dropped;
    pthread_mutex_unlock(&ts->lock);
    if (is_dropped || w->n_removals != doubts_now(&ts->removals, k->hash) ||
        !tag_front_is_unwritten(ts->front, k))
        return false;
    if (!tag_front_mirrored(ts->front, k, &latest) && w->record.is_heard)
        return false;
    if (latest.mirrored == TAG_MIRRORED && !digest_equal(&latest.digest, &w->record.digest))
        latest = w->record;
    if (latest.mirrored == TAG_MIRRORED)
        tag_front_copy_mirrored(out, &latest);
    return latest.mirrored == TAG_MIRRORED;
}

static void write_one(struct tags *ts, const struct tag_write *w)
{
    struct tag_key k = tag_front_key(ts->front, slice_of(w->repo), slice_of(w->tag));
    struct tag_record record = {0}, theirs;
    struct error err;

    tag_begin_change(ts, &k);
    if (choose_locked(ts, w, &k, &theirs)) {
        int rc = tag_file_load(ts->layout, k.repo, k.tag, &record);
        tag_front_copy_mirrored(&record, &theirs);
        if (rc < 0 && rc != -ENOENT)
            error_sys(&err, rc, "read it");
        else
            rc = tag_file_store(ts->layout, k.repo, k.tag, &record, &err);
        if (rc == 0) {
            tag_front_note_written(ts->front, &k, &theirs);
            tag_tell_ledger(ts, &k, &record);
            tag_front_join(ts->front, &k, &record);
        } else {
            log_error("store", "tag %s of %s not kept: %s", w->tag, w->repo, err.text);
        }
    }
    tag_end_change(ts, &k);
}

/* The first in line; then the errand goes to the end of the pool's queue. */
static void do_write(struct errand *e)
{
    struct tags *ts = (struct tags *)((char *)e - offsetof(struct tags, writing));

    pthread_mutex_lock(&ts->lock);
    struct tag_write *w = ts->first;
    pthread_mutex_unlock(&ts->lock);
    CHECK(w);
    write_one(ts, w);
    pthread_mutex_lock(&ts->lock);
    ts->first = w->next;
    if (ts->first)
        errand_submit(ts->errands, &ts->writing, do_write, NULL);
    else
        ts->last = NULL;
    pthread_mutex_unlock(&ts->lock);
    free(w->repo);
    free(w->tag);
    free(w);
}

void tags_note(struct tags *ts, struct slice repo, struct slice tag,
               const struct tag_record *record)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);

    tag_front_note(ts->front, &k, record);
}

/* Puts it into the queue for the storage. What is absent is not worth a file. */
static void queue_write(struct tags *ts, const struct tag_key *k, const struct tag_record *record,
                        uint32_t n_removals)
{
    if (record->mirrored != TAG_MIRRORED || !tag_name_is_valid(k))
        return;
    struct tag_write *w = xcalloc(1, sizeof(*w));
    w->repo = xmemdup0(k->repo.ptr, k->repo.len);
    w->tag = xmemdup0(k->tag.ptr, k->tag.len);
    w->record = *record;
    w->n_removals = n_removals;
    pthread_mutex_lock(&ts->lock);
    bool was_idle = !ts->first;
    *(ts->last ? &ts->last->next : &ts->first) = w;
    ts->last = w;
    if (was_idle)
        errand_submit(ts->errands, &ts->writing, do_write, NULL);
    pthread_mutex_unlock(&ts->lock);
}

/* What one of them said is known to all. */
static void tell_others(struct tags *ts, const struct tag_key *k, const struct tag_record *record)
{
    if (!record->is_heard)
        tag_share_put(ts, k, record);
}

void tags_put(struct tags *ts, struct slice repo, struct slice tag, const struct tag_record *record)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    uint32_t n_removals = doubts_now(&ts->removals, k.hash);

    tag_front_note(ts->front, &k, record);
    tell_others(ts, &k, record);
    queue_write(ts, &k, record, n_removals);
}

uint32_t tags_removals(struct tags *ts, struct slice repo, struct slice tag)
{
    return doubts_now(&ts->removals, tag_front_key(ts->front, repo, tag).hash);
}

void tags_settle(struct tags *ts, struct slice repo, struct slice tag,
                 const struct tag_record *record, uint32_t n_removals)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    struct tag_record latest = *record;

    CHECK(record->mirrored == TAG_MIRRORED);
    if (n_removals != doubts_now(&ts->removals, k.hash))
        return;
    if (!tag_front_mirrored(ts->front, &k, &latest) && record->is_heard)
        return;
    if (latest.mirrored == TAG_MIRRORED && digest_equal(&latest.digest, &record->digest)) {
        tell_others(ts, &k, record);
        queue_write(ts, &k, record, n_removals);
    }
}

/* --- what clients do -------------------------------------------------------------------------- */

/* The tag as storage and memory together say, to be changed and stored. */
static int load_locked(struct tags *ts, const struct tag_key *k, struct tag_record *out,
                       struct error *err)
{
    int rc = tag_file_load(ts->layout, k->repo, k->tag, out);

    if (rc < 0 && rc != -ENOENT)
        return error_sys(err, rc, "read tag %.*s of %.*s", SLICE_ARG(k->tag), SLICE_ARG(k->repo));
    tag_front_mirrored(ts->front, k, out);
    if (out->mirrored == TAG_ABSENT)
        out->mirrored = TAG_UNASKED;
    return rc;
}

static int refuse_name(const struct tag_key *k, struct error *err)
{
    return error_set(err, -EINVAL, "tag %.*s of %.*s: no usable name", SLICE_ARG(k->tag),
                     SLICE_ARG(k->repo));
}

int tags_push_now(struct tags *ts, struct slice repo, struct slice tag, const struct digest *d,
                  struct error *err)
{
    static const struct tag_record ABSENT = {.mirrored = TAG_ABSENT};
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    struct tag_record record = {0};

    if (!tag_name_is_valid(&k))
        return refuse_name(&k, err);
    tag_begin_change(ts, &k);
    int rc = load_locked(ts, &k, &record, err);
    if (rc == 0 || rc == -ENOENT) {
        record.is_pushed = true;
        record.pushed = *d;
        record.pushed_at_s = clock_wall_s();
        rc = tag_file_store(ts->layout, repo, tag, &record, err);
        if (rc == 0) {
            tag_tell_ledger(ts, &k, &record);
            if (record.mirrored == TAG_MIRRORED)
                tag_front_note_written(ts->front, &k, &record);
            tag_front_drop_mirrored(ts->front, &k, &ABSENT);
            tag_front_join(ts->front, &k, &record);
        } else {
            /* How far it came is in the storage. */
            tag_front_remove(ts->front, &k);
        }
    }
    tag_end_change(ts, &k);
    if (rc == 0)
        news_tell(ts->share.news, NEWS_TAG, repo, tag);
    return rc;
}

/* Writes of this tag that wait must not bring it back. digest NULL: any. */
static void drop_queued(struct tags *ts, const struct tag_key *k, const struct digest *d)
{
    pthread_mutex_lock(&ts->lock);
    for (struct tag_write *w = ts->first; w; w = w->next) {
        if (slice_equal(slice_of(w->repo), k->repo) && slice_equal(slice_of(w->tag), k->tag) &&
            (!d || digest_equal(&w->record.digest, d)))
            w->is_dropped = true;
    }
    pthread_mutex_unlock(&ts->lock);
}

/* Both halves. d: what it points to, as far as is known. */
static int remove_locked(struct tags *ts, const struct tag_key *k, const struct digest *d,
                         enum disk_care care, struct error *err)
{
    struct tag_record known = {0};
    /* Perhaps not in the storage yet. */
    bool is_known = tag_front_mirrored(ts->front, k, &known) && known.mirrored == TAG_MIRRORED;

    drop_queued(ts, k, NULL);
    int rc = tag_file_remove(ts->layout, k, d, care, err);
    if (rc == 0 || rc == -ENOENT)
        tag_tell_ledger(ts, k, NULL);
    tag_front_remove(ts->front, k);
    tag_share_remove(ts, k);
    return rc == -ENOENT && is_known ? 0 : rc;
}

int tags_remove_now(struct tags *ts, struct slice repo, struct slice tag, struct error *err)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);

    if (!tag_name_is_valid(&k))
        return refuse_name(&k, err);
    tag_begin_change(ts, &k);
    doubts_raise(&ts->removals, k.hash);
    int rc = remove_locked(ts, &k, NULL, DISK_DURABLE, err);
    tag_end_change(ts, &k);
    return rc;
}

/* Of a tag that was pushed with another digest. */
static int drop_mirrored_locked(struct tags *ts, const struct tag_key *k, struct tag_record *record,
                                struct error *err)
{
    CHECK(record->is_pushed);
    drop_queued(ts, k, &record->digest);
    tag_front_drop_mirrored(ts->front, k, record);
    record->mirrored = TAG_UNASKED;
    int rc = tag_file_store(ts->layout, k->repo, k->tag, record, err);
    if (rc == 0)
        tag_tell_ledger(ts, k, record);
    tag_share_remove(ts, k);
    return rc;
}

/* Only what points to this digest. */
static int remove_pointing(struct tags *ts, const struct tag_key *k, const struct digest *d,
                           struct error *err)
{
    struct tag_record record = {0};

    tag_begin_change(ts, k);
    int rc = load_locked(ts, k, &record, err);
    bool is_theirs = record.mirrored == TAG_MIRRORED && digest_equal(&record.digest, d);
    bool is_ours = record.is_pushed && digest_equal(&record.pushed, d);
    if (is_ours || (is_theirs && !record.is_pushed)) {
        doubts_raise(&ts->removals, k->hash);
        rc = remove_locked(ts, k, d, DISK_DURABLE, err);
    } else if (is_theirs) {
        rc = drop_mirrored_locked(ts, k, &record, err);
    }
    tag_end_change(ts, k);
    return rc == -ENOENT ? 0 : rc;
}

int tags_drop_mirrored_now(struct tags *ts, struct slice repo, struct slice tag,
                           const struct digest *d, struct error *err)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    struct tag_record record = {0};

    if (!tag_name_is_valid(&k))
        return refuse_name(&k, err);
    tag_lock_stripe(ts, &k);
    int rc = load_locked(ts, &k, &record, err);
    if (record.mirrored == TAG_MIRRORED && digest_equal(&record.digest, d))
        rc = record.is_pushed ? drop_mirrored_locked(ts, &k, &record, err)
                              : remove_locked(ts, &k, d, DISK_WHOLE, err);
    tag_unlock_stripe(ts, &k);
    return rc == -ENOENT ? 0 : rc;
}

/* What is there is what another process, or a write before the damage, has left. */
static int mend_locked(struct tags *ts, const struct tag_key *k, struct tag_record *record,
                       struct error *err)
{
    int rc = tag_file_store(ts->layout, k->repo, k->tag, record, err);

    if (rc == 0) {
        tag_tell_ledger(ts, k, record);
        tag_front_join(ts->front, k, record);
    }
    return rc;
}

int tags_mend_now(struct tags *ts, struct slice repo, struct slice tag, struct tag_finding *found,
                  struct error *err)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    int rc = 0;

    if (!tag_name_is_valid(&k))
        return refuse_name(&k, err);
    tag_begin_change(ts, &k);
    tag_check(ts->layout, repo, tag, found);
    if (found->health == TAG_MENDABLE)
        rc = mend_locked(ts, &k, &found->record, err);
    else if (found->health == TAG_WORTHLESS)
        rc = remove_locked(ts, &k, NULL, DISK_DURABLE, err);
    tag_end_change(ts, &k);
    return rc;
}

/* The tag of a queued write of this repository and digest, which is dropped; false: none is left.
 * One that is being written stays in the queue so long. */
static bool take_queued(struct tags *ts, struct slice repo, const struct digest *d, char **tag_out)
{
    struct tag_write *w;

    pthread_mutex_lock(&ts->lock);
    for (w = ts->first; w; w = w->next) {
        if (!w->is_dropped && slice_equal(slice_of(w->repo), repo) &&
            digest_equal(&w->record.digest, d))
            break;
    }
    if (w) {
        w->is_dropped = true;
        *tag_out = xstrdup(w->tag);
    }
    pthread_mutex_unlock(&ts->lock);
    return w != NULL;
}

int tags_remove_digest_now(struct tags *ts, struct slice repo, const struct digest *d,
                           struct error *err)
{
    const struct dirent *entry;
    char *tag;
    int rc = 0;

    if (!layout_repo_is_valid(repo))
        return error_set(err, -EINVAL, "%.*s: no usable name", SLICE_ARG(repo));
    /* Those that are not in the storage yet, then those that are. */
    while (rc == 0 && take_queued(ts, repo, d, &tag)) {
        struct tag_key k = tag_front_key(ts->front, repo, slice_of(tag));
        rc = remove_pointing(ts, &k, d, err);
        free(tag);
    }
    char *path = layout_tags(ts->layout, repo);
    DIR *folder = opendir(path);
    if (!folder && errno != ENOENT && rc == 0)
        rc = error_sys(err, -errno, "open folder %s", path);
    while (rc == 0 && folder && (entry = readdir(folder))) {
        struct tag_key k = tag_front_key(ts->front, repo, slice_of(entry->d_name));
        if (layout_tag_is_valid(k.tag))
            rc = remove_pointing(ts, &k, d, err);
    }
    if (folder)
        closedir(folder);
    free(path);
    return rc;
}
