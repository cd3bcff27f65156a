/*
 * What tag.c and tag_write.c share. Locks are taken in this order: stripe, queue, shard of the
 * front; the first by pool threads only, since it is held over I/O.
 */
#ifndef CACHE_TAG_PRIVATE_H
#define CACHE_TAG_PRIVATE_H

#include <pthread.h>

#include "cache/errand.h"
#include "cache/layout.h"
#include "cache/tag.h"
#include "cache/tag_front.h"

#define TAG_STRIPES 64

struct tag_write;

struct tags {
    struct layout *layout;
    struct errands *errands;
    struct tag_front *front;
    struct ledger *ledger; /* NULL: nobody wants to know. Told under the stripe, in order */
    /* One per group of tags: who holds it may read a tag's file, change it, and tell the front. */
    pthread_mutex_t stripes[TAG_STRIPES];
    /* Mirrored halves are written by one errand after the other, so that what is newer is not
     * overtaken by what is older, and no pool thread waits for another. */
    pthread_mutex_t lock; /* guards first, last, and is_dropped of what is between */
    struct tag_write *first, *last;
    struct errand writing; /* under way while there is a first */
};

bool tag_name_is_valid(const struct tag_key *k);
void tag_lock_stripe(struct tags *ts, const struct tag_key *k);
void tag_unlock_stripe(struct tags *ts, const struct tag_key *k);
/* The storage has this now; NULL: no such tag. Under the stripe. */
void tag_tell_ledger(struct tags *ts, const struct tag_key *k, const struct tag_record *record);

#endif
