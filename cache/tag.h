/*
 * Tags: which digest a tag of a repository had, and when that was last confirmed. The memory front
 * (sharded, LRU, bounded) answers the hot path; behind it stand slower tiers, the last of which is
 * the storage: _manifests/tags/<tag>/current/link as registry:2 writes it, and beside it a file of
 * ours that registry:2 ignores, with origin and times. Another tier (a shared Redis) fits between
 * them without a change of this interface.
 */
#ifndef CACHE_TAG_H
#define CACHE_TAG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"

struct tags;

enum tag_origin {
    TAG_MIRRORED, /* an upstream said so */
    TAG_LOCAL,    /* found in storage without a record of ours: somebody put it there */
    TAG_ABSENT,   /* negative: the upstream said there is none; memory only, short-lived */
    TAG_ORIGIN_MAX
};

struct tag_record {
    enum tag_origin origin;
    struct digest digest; /* not for TAG_ABSENT */
    int64_t fetched_at_s; /* wall clock: when this digest was first seen under the tag */
    int64_t checked_at_s; /* wall clock: when it was last confirmed */
};

/* Any thread, one short lock; the memory front only. */
bool tags_find(struct tags *ts, struct slice repo, struct slice tag, struct tag_record *out);

/* rc 0 with a record, -ENOENT, or another negative errno; on the worker that asked. */
typedef void (*tag_load_fn)(void *arg, int rc, const struct tag_record *record);
/* Memory, then the slower tiers, off the loop. A worker's thread only. */
void tags_load(struct tags *ts, struct slice repo, struct slice tag, tag_load_fn done, void *arg);

/* Remembers at once in memory, and (but for TAG_ABSENT) off the loop in the storage. Any worker. */
void tags_put(struct tags *ts, struct slice repo, struct slice tag,
              const struct tag_record *record);

/* Pool threads. A push: the tag points to this digest from now on, durably. What is mirrored under
 * the same name never overwrites it. */
int tags_push_now(struct tags *ts, struct slice repo, struct slice tag, const struct digest *d,
                  struct error *err);
/* Pool threads. Removes the tag, pushed or mirrored, durably. -ENOENT when there is none. */
int tags_remove_now(struct tags *ts, struct slice repo, struct slice tag, struct error *err);
/* Pool threads. The same for all tags of the repository that point to this digest. */
int tags_remove_digest_now(struct tags *ts, struct slice repo, const struct digest *d,
                           struct error *err);

#endif
