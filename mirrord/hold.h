/*
 * What is remembered for a while about names of an upstream, so that it is not asked too soon
 * again: that it failed to answer, that it has none, that it said for the first time that something
 * is gone. Hints: any of them may be forgotten at any moment, which costs a question and no more.
 * By the monotonic clock, so that setting the other one changes nothing.
 *
 * A table of fixed size, each name in one place of it; which one nobody can arrange, since it comes
 * from a digest. Owned by the resolver; one short lock; any thread.
 */
#ifndef MIRRORD_HOLD_H
#define MIRRORD_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct holds;

enum hold_kind {
    HOLD_FAILED,          /* no answer */
    HOLD_DOUBT,           /* of a tag: "there is none", where there was one */
    HOLD_ABSENT_MANIFEST, /* by digest */
    HOLD_ABSENT_BLOB,
    HOLD_ABSENT_BLOB_HEAD, /* HEAD was answered so; some registries say that of what GET gets */
    HOLD_ABSENT_TAGS,      /* the list of a repository's tags */
    HOLD_KIND_MAX
};

struct holds *holds_new(size_t n_entries);
void holds_free(struct holds **hs);

/* For so long; 0 ends it. What is held already is held anew. */
void holds_set(struct holds *hs, enum hold_kind kind, struct slice repo, struct slice reference,
               int64_t seconds);
bool holds_has(struct holds *hs, enum hold_kind kind, struct slice repo, struct slice reference);
/* Since when it is held, in milliseconds; negative: it is not. */
int64_t holds_age_ms(struct holds *hs, enum hold_kind kind, struct slice repo,
                     struct slice reference);

#endif
