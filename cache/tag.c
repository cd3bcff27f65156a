#include "config.h"

#include "cache/tag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/cache_private.h"
#include "cache/meta.h"
#include "cache/storage_lock.h"
#include "cache/tag_file.h"
#include "cache/tag_private.h"

_Static_assert(STORAGE_TAGS + TAG_STRIPES == STORAGE_LINKS, "a place for each stripe");

/* One load under way: of the storage, and of what other processes say. */
struct story {
    struct errand errand; /* first */
    struct tags *tags;
    char *repo;
    char *tag;
    unsigned n_waiting; /* of the two */
    uint32_t doubts;    /* when it began */
    struct tag_record record, heard;
    bool has_heard;
    int rc;
    tag_load_fn loaded;
    void *arg;
};

struct tags *tags_new(struct layout *l, struct errands *errands, size_t memory_bytes,
                      struct storage_lock *lock, struct meta *meta, struct news *news)
{
    struct tags *ts = xcalloc(1, sizeof(*ts));

    ts->share.meta = meta && meta_is_shared(meta) ? meta : NULL;
    ts->share.news = news;
    ts->lock_file = lock;
    ts->layout = l;
    ts->errands = errands;
    ts->front = tag_front_new(memory_bytes);
    pthread_mutex_init(&ts->lock, NULL);
    for (size_t i = 0; i < TAG_STRIPES; i++)
        pthread_mutex_init(&ts->stripes[i], NULL);
    return ts;
}

void tags_free(struct tags **tts)
{
    struct tags *ts = *tts;

    if (!ts)
        return;
    CHECK(!ts->first);
    tag_front_free(&ts->front);
    pthread_mutex_destroy(&ts->lock);
    for (size_t i = 0; i < TAG_STRIPES; i++)
        pthread_mutex_destroy(&ts->stripes[i]);
    free(ts);
    *tts = NULL;
}

bool tag_name_is_valid(const struct tag_key *k)
{
    return layout_repo_is_valid(k->repo) && layout_tag_is_valid(k->tag);
}

/* By the names and not by their hash, which is another one in each process: the stripe is also the
 * place in the storage's lock. */
static unsigned stripe_of(const struct tag_key *k)
{
    unsigned sum = 0;

    for (size_t i = 0; i < k->repo.len; i++)
        sum = sum * 31 + (unsigned char)k->repo.ptr[i];
    for (size_t i = 0; i < k->tag.len; i++)
        sum = sum * 31 + (unsigned char)k->tag.ptr[i];
    return sum % TAG_STRIPES;
}

void tag_lock_stripe(struct tags *ts, const struct tag_key *k)
{
    CHECK(!worker_current());
    pthread_mutex_lock(&ts->stripes[stripe_of(k)]);
}

void tag_unlock_stripe(struct tags *ts, const struct tag_key *k)
{
    pthread_mutex_unlock(&ts->stripes[stripe_of(k)]);
}

void tag_begin_change(struct tags *ts, const struct tag_key *k)
{
    tag_lock_stripe(ts, k);
    storage_lock_hold(ts->lock_file, STORAGE_TAGS + stripe_of(k));
}

void tag_end_change(struct tags *ts, const struct tag_key *k)
{
    storage_lock_release(ts->lock_file, STORAGE_TAGS + stripe_of(k));
    tag_unlock_stripe(ts, k);
}

bool tags_find(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);

    return tag_front_find(ts->front, &k, out);
}

bool tags_find_mirrored(struct tags *ts, struct slice repo, struct slice tag,
                        struct tag_record *out)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);

    return tag_front_last(ts->front, &k, out);
}

int tags_load_now(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    struct tag_record record = {0};
    int rc = -ENOENT;

    if (tag_front_find(ts->front, &k, out))
        return 0;
    tag_lock_stripe(ts, &k);
    if (tag_name_is_valid(&k))
        rc = tag_file_load(ts->layout, repo, tag, &record);
    if (rc == 0 || rc == -ENOENT)
        tag_front_join(ts->front, &k, &record);
    tag_unlock_stripe(ts, &k);
    if (rc == -ENOENT && record.mirrored != TAG_UNASKED)
        rc = 0;
    if (rc == 0)
        *out = record;
    return rc;
}

int tags_read_now(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);
    struct tag_record record = {0};
    int rc = -ENOENT;

    tag_lock_stripe(ts, &k);
    if (tag_name_is_valid(&k))
        rc = tag_file_load(ts->layout, repo, tag, &record);
    if ((rc == 0 || rc == -ENOENT) && tag_front_mirrored(ts->front, &k, &record))
        rc = 0;
    tag_unlock_stripe(ts, &k);
    if (rc == 0)
        *out = record;
    return rc;
}

static void do_load(struct errand *e)
{
    struct story *s = (struct story *)e;

    s->rc = tags_load_now(s->tags, slice_of(s->repo), slice_of(s->tag), &s->record);
}

static struct tag_key key_of(const struct story *s)
{
    return tag_front_key(s->tags->front, slice_of(s->repo), slice_of(s->tag));
}

/* Both are there. */
static void tell(struct story *s)
{
    struct tag_key k = key_of(s);
    bool is_younger = s->has_heard && (s->rc == 0 || s->rc == -ENOENT) &&
                      tag_share_join(s->tags, &k, &s->rc, &s->record, &s->heard);

    CHECK(s->rc < 0 || s->record.is_pushed || s->record.mirrored != TAG_UNASKED);
    s->loaded(s->arg, s->rc, s->rc == 0 ? &s->record : NULL, is_younger ? &s->heard : NULL);
    free(s->repo);
    free(s->tag);
    free(s);
}

static void on_loaded(struct errand *e)
{
    struct story *s = (struct story *)e;

    if (--s->n_waiting == 0)
        tell(s);
}

static void on_heard(void *arg, int rc, struct slice value)
{
    struct story *s = arg;
    struct tag_key k = key_of(s);

    s->has_heard = tag_share_read(s->tags, &k, rc, value, &s->heard);
    s->heard.is_heard = true;
    s->heard.heard_at = s->doubts;
    if (--s->n_waiting == 0)
        tell(s);
}

void tags_load(struct tags *ts, struct slice repo, struct slice tag, tag_load_fn done, void *arg)
{
    struct story *s = xcalloc(1, sizeof(*s));
    struct tag_key k = tag_front_key(ts->front, repo, tag);

    s->tags = ts;
    s->repo = xmemdup0(repo.ptr, repo.len);
    s->tag = xmemdup0(tag.ptr, tag.len);
    s->loaded = done;
    s->arg = arg;
    s->n_waiting = 1;
    s->doubts = k.doubts;
    if (tag_share_get(ts, &k, on_heard, s) == 0)
        s->n_waiting++;
    errand_submit(ts->errands, &s->errand, do_load, on_loaded);
}
