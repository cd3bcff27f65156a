/*
 * What processes share about tags: mirrored halves and absences in the metadata cache, and the news
 * that a tag has changed. What others say is believed like an answer of the upstream of that time,
 * and never about what was pushed.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "cache/meta.h"
#include "cache/meta_value.h"
#include "cache/news.h"
#include "cache/tag_private.h"

#define KEY_BYTES 512
#define LIFE_MAX_S (10 * 365 * 86400)

static struct slice make_key(const struct tag_key *k, char text[KEY_BYTES])
{
    int n = snprintf(text, KEY_BYTES, "tag:%.*s:%.*s", SLICE_ARG(k->repo), SLICE_ARG(k->tag));

    /* A name that is cut off could be another's. */
    return n > 0 && n < KEY_BYTES ? (struct slice){text, (size_t)n} : SLICE_NONE;
}

/* How long what was confirmed then may still be of use; 0: no longer. */
static unsigned remaining_s(const struct tags *ts, const struct tag_key *k,
                            const struct tag_record *record)
{
    int64_t age_s = clock_wall_s() - record->checked_at_s;
    int64_t life_s = 0;

    if (ts->share.life)
        life_s = ts->share.life(ts->share.life_arg, k->repo, k->tag, record->mirrored);
    CHECK(life_s >= 0);
    if (life_s > LIFE_MAX_S)
        life_s = LIFE_MAX_S;
    if (age_s < 0)
        age_s = 0;
    return age_s < life_s ? (unsigned)(life_s - age_s) : 0;
}

void tag_share_put(struct tags *ts, const struct tag_key *k, const struct tag_record *record)
{
    struct strbuf value = STRBUF_INIT;
    char text[KEY_BYTES];
    struct slice key = make_key(k, text);
    unsigned ttl_s = ts->share.meta && key.ptr ? remaining_s(ts, k, record) : 0;

    if (ttl_s > 0) {
        meta_value_print_tag(record, &value);
        meta_put(ts->share.meta, key, (struct slice){value.ptr, value.len}, ttl_s);
        strbuf_fini(&value);
    } else if (ts->share.meta && key.ptr) {
        meta_forget(ts->share.meta, key);
    }
    news_tell(ts->share.news, NEWS_TAG, k->repo, k->tag);
}

void tag_share_remove(struct tags *ts, const struct tag_key *k)
{
    char text[KEY_BYTES];
    struct slice key = make_key(k, text);

    if (ts->share.meta && key.ptr)
        meta_forget(ts->share.meta, key);
    news_tell(ts->share.news, NEWS_TAG, k->repo, k->tag);
}

int tag_share_get(struct tags *ts, const struct tag_key *k,
                  void (*done)(void *arg, int rc, struct slice value), void *arg)
{
    char text[KEY_BYTES];
    struct slice key = make_key(k, text);

    if (!ts->share.meta || !key.ptr)
        return -ENOENT;
    return meta_get(ts->share.meta, key, done, arg);
}

bool tag_share_read(struct tags *ts, const struct tag_key *k, int rc, struct slice value,
                    struct tag_record *out)
{
    char text[KEY_BYTES];

    if (rc < 0)
        return false;
    if (!meta_value_parse_tag(value, out)) {
        meta_refuse(ts->share.meta, make_key(k, text));
        return false;
    }
    return out->checked_at_s > atomic_load(&ts->share.distrust_s);
}

bool tag_share_join(struct tags *ts, const struct tag_key *k, int *rc, struct tag_record *record,
                    const struct tag_record *heard)
{
    struct tag_record same = *heard;
    bool has_half = *rc == 0 && record->mirrored != TAG_UNASKED;

    CHECK(heard->mirrored != TAG_UNASKED);
    if (has_half && heard->checked_at_s <= record->checked_at_s)
        return false;
    /* Who never had the tag believes one 404. We have it, and believe only what we are told. */
    if (heard->mirrored == TAG_ABSENT && has_half && record->mirrored == TAG_MIRRORED)
        return false;
    if (heard->mirrored == TAG_ABSENT) {
        tags_note(ts, k->repo, k->tag, heard);
    } else if (has_half && record->mirrored == TAG_MIRRORED &&
               digest_equal(&heard->digest, &record->digest)) {
        same.fetched_at_s = record->fetched_at_s;
        tag_front_confirm(ts->front, k, heard);
    } else {
        return true;
    }
    tag_front_copy_mirrored(record, &same);
    *rc = 0;
    return false;
}

void tags_on_share(struct tags *ts, tags_life_fn life, void *arg)
{
    ts->share.life = life;
    ts->share.life_arg = arg;
}

void tags_doubt(struct tags *ts, struct slice repo, struct slice tag)
{
    struct tag_key k = tag_front_key(ts->front, repo, tag);

    tag_front_doubt(ts->front, &k);
}

void tags_doubt_all(struct tags *ts)
{
    tag_front_doubt_all(ts->front);
}

void tags_distrust(struct tags *ts, int64_t until_s)
{
    int64_t before_s = atomic_load(&ts->share.distrust_s);

    while (before_s < until_s &&
           !atomic_compare_exchange_weak(&ts->share.distrust_s, &before_s, until_s))
        ;
}
