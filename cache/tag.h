/*
 * Tags: which digest a tag of a repository has. A tag has two halves that know nothing of each
 * other: what was pushed here (or put into the storage by another program), and what an upstream
 * said and when. Which of them is served is for others to decide (docs/design/provenance.md); a
 * mirrored half never touches a pushed one.
 *
 * The memory front (sharded, LRU, bounded) answers the hot path; behind it stand slower tiers, the
 * last of which is the storage: _manifests/tags/<tag>/current/link as registry:2 writes it, with
 * the pushed digest if there is one, and beside it a file of ours that registry:2 ignores, with
 * both halves. Beside the storage stands what other processes have learned from the upstream, in
 * a shared Redis: mirrored halves and absences only, and nothing that the storage would not do
 * without (docs/design/redis.md).
 */
#ifndef CACHE_TAG_H
#define CACHE_TAG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "cache/origin.h"

struct tags;
struct tag_finding;

enum tag_mirrored {
    TAG_UNASKED,  /* no upstream has said anything about it */
    TAG_MIRRORED, /* it said so */
    TAG_ABSENT,   /* it said that there is none; memory only, short-lived */
    TAG_MIRRORED_MAX
};

struct tag_record {
    bool is_pushed;
    struct digest pushed;
    int64_t pushed_at_s; /* wall clock */
    /* The upstream's half. */
    enum tag_mirrored mirrored;
    struct digest digest; /* of TAG_MIRRORED */
    int64_t fetched_at_s; /* wall clock: when this digest was first seen under the tag */
    int64_t checked_at_s; /* wall clock: when it, or the absence, was last confirmed */
    const char *upstream; /* from origin_upstream(); NULL when not known */
    /* When it is put: another process said so, which need not be told, and when that was. What is
     * heard is dropped when the tag changes anywhere before it is stored. */
    bool is_heard;
    uint32_t heard_at;
};

/* Any thread, one short lock; the memory front only: false also when only one half is in memory.
 * hot */
bool tags_find(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out);

/* The mirrored half alone, whole record or not, as it was last noted here; the rest of *out is not
 * touched. */
bool tags_find_mirrored(struct tags *ts, struct slice repo, struct slice tag,
                        struct tag_record *out);

/* rc 0 with a record, -ENOENT, or another negative errno; on the worker that asked. heard: not
 * NULL when another process has a mirrored half that is younger and has another digest, whose
 * manifest need not be here: a caller that uses it puts it when it has that. */
typedef void (*tag_load_fn)(void *arg, int rc, const struct tag_record *record,
                            const struct tag_record *heard);
/* Memory, then the slower tiers, off the loop. A worker's thread only. */
void tags_load(struct tags *ts, struct slice repo, struct slice tag, tag_load_fn done, void *arg);

/* The first half of tags_put: in memory only, until tags_settle follows, or for ever if what the
 * tag points to cannot be kept. */
void tags_note(struct tags *ts, struct slice repo, struct slice tag,
               const struct tag_record *record);
/* How often a client has removed this tag; now and then that of another is counted, too. */
uint32_t tags_removals(struct tags *ts, struct slice repo, struct slice tag);
/* The second half: what the tag points to is kept now, and the record goes to the storage. Nothing
 * happens when the upstream has named another digest since, whose own turn comes; or when a client
 * has removed the tag since: tags_removals before tags_note was n_removals. Any worker. */
void tags_settle(struct tags *ts, struct slice repo, struct slice tag,
                 const struct tag_record *record, uint32_t n_removals);
/* What an upstream said: the mirrored half of the record, at once in memory and (but for
 * TAG_ABSENT) off the loop in the storage. The pushed half stays as it is, in both. Any worker. */
void tags_put(struct tags *ts, struct slice repo, struct slice tag,
              const struct tag_record *record);

/* For how long, from when it was confirmed, other processes may know what the upstream said about
 * this tag (TAG_MIRRORED or TAG_ABSENT), in seconds; 0: not at all. */
typedef int64_t (*tags_life_fn)(void *arg, struct slice repo, struct slice tag,
                                enum tag_mirrored mirrored);
/* Asked at each put, on any worker. Set before the first; without it nothing is told. */
void tags_on_share(struct tags *ts, tags_life_fn life, void *arg);
/* Another process has changed this tag, or may have changed any; what is in the shared cache since
 * then or before may have been removed. Any thread. */
void tags_doubt(struct tags *ts, struct slice repo, struct slice tag);
void tags_doubt_all(struct tags *ts);
void tags_distrust(struct tags *ts, int64_t until_s);

/* Pool threads: the same as tags_load, but for what others say. */
int tags_load_now(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out);
/* Pool threads: the same, for those who look at many: what is in memory is not displaced. */
int tags_read_now(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out);

/* Pool threads. A push: the tag points to this digest from now on, durably, for every worker. What
 * is mirrored under the same name never overwrites it. */
int tags_push_now(struct tags *ts, struct slice repo, struct slice tag, const struct digest *d,
                  struct error *err);
/* Pool threads. Removes both halves of the tag, durably. -ENOENT when there is none. What the
 * upstream says later brings a mirrored half again, never a pushed one. */
int tags_remove_now(struct tags *ts, struct slice repo, struct slice tag, struct error *err);
/* Pool threads. The same for all tags of the repository that point to this digest; of a tag that
 * was pushed with another one, only the mirrored half goes. 0 also when there is none. */
int tags_remove_digest_now(struct tags *ts, struct slice repo, const struct digest *d,
                           struct error *err);
/* Pool threads, for who has found damage (cache/tag_check.h): looks again under the tag's lock, and
 * mends or removes what is found then, which is told. */
int tags_mend_now(struct tags *ts, struct slice repo, struct slice tag, struct tag_finding *found,
                  struct error *err);
/* Pool threads. The mirrored half only, if it is this digest, because its image is evicted; not
 * durable, 0 also when there is none. */
int tags_drop_mirrored_now(struct tags *ts, struct slice repo, struct slice tag,
                           const struct digest *d, struct error *err);

#endif
