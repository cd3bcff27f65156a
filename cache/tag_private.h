/*
 * What tag.c and tag_write.c share. Locks are taken in this order: stripe, queue, shard of the
 * front; the first by pool threads only, since it is held over I/O.
 */
#ifndef CACHE_TAG_PRIVATE_H
#define CACHE_TAG_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "cache/doubts.h"
#include "cache/errand.h"
#include "cache/layout.h"
#include "cache/tag.h"
#include "cache/tag_front.h"

#define TAG_STRIPES 64 /* they are places in the storage's lock, too */

struct meta;
struct news;
struct storage_lock;

struct tag_write;

/* What other processes are told, and tell (tag_share.c). */
struct tag_share {
    struct meta *meta; /* shared; NULL: none */
    struct news *news; /* NULL: none */
    tags_life_fn life; /* NULL: nothing is told */
    void *life_arg;
    /* Nothing that was confirmed by then is believed: it may have been removed here. */
    _Atomic int64_t distrust_s;
};

struct tags {
    struct layout *layout;
    struct errands *errands;
    struct storage_lock *lock_file; /* NULL: not to be had */
    struct tag_front *front;
    struct ledger *ledger; /* NULL: nobody wants to know. Told under the stripe, in order */
    struct tag_share share;
    /* One per group of tags: who holds it may read a tag's file, change it, and tell the front. */
    pthread_mutex_t stripes[TAG_STRIPES];
    struct doubts removals; /* counts those that clients removed; under the stripe */
    /* Mirrored halves are written by one errand after the other, so that what is newer is not
     * overtaken by what is older, and no pool thread waits for another. */
    pthread_mutex_t lock; /* guards first, last, and is_dropped of what is between */
    struct tag_write *first, *last;
    struct errand writing; /* under way while there is a first */
};

bool tag_name_is_valid(const struct tag_key *k);
void tag_lock_stripe(struct tags *ts, const struct tag_key *k);
void tag_unlock_stripe(struct tags *ts, const struct tag_key *k);
/* The same for who changes the files: other processes are kept out, too. */
void tag_begin_change(struct tags *ts, const struct tag_key *k);
void tag_end_change(struct tags *ts, const struct tag_key *k);
/* The storage has this now; NULL: no such tag. Under the stripe. */
void tag_tell_ledger(struct tags *ts, const struct tag_key *k, const struct tag_record *record);

/* --- tag_share.c ------------------------------------------------------------------------------ */

/* Any thread: the upstream said so; others need not ask. */
void tag_share_put(struct tags *ts, const struct tag_key *k, const struct tag_record *record);
/* Any thread: the mirrored half is gone here, and in the storage. */
void tag_share_remove(struct tags *ts, const struct tag_key *k);
/* rc of the look-up and its value as what others say: false when they say nothing that counts. */
bool tag_share_read(struct tags *ts, const struct tag_key *k, int rc, struct slice value,
                    struct tag_record *out);
/* Asks what others say; as meta_get. */
int tag_share_get(struct tags *ts, const struct tag_key *k,
                  void (*done)(void *arg, int rc, struct slice value), void *arg);
/* Brings together what the storage says (rc and *record) and what others say. True: *heard is
 * younger and another digest, for the caller to choose. */
bool tag_share_join(struct tags *ts, const struct tag_key *k, int *rc, struct tag_record *record,
                    const struct tag_record *heard);

#endif
