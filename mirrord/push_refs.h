/*
 * What a manifest that is being pushed references, and whether it may and can be: readable through
 * the repository, here, and of the size that the manifest tells. What is here already and was only
 * mirrored so far becomes pushed with it, down to the layers of the images of an index.
 *
 * Blocking (pool threads), but for push_refs_add and push_refs_fini. One owner; it may move between
 * threads. Memory: one small entry per reference. What the manifest itself references is bounded by
 * its size; what mirrored manifests below it reference, by n_max, and the work for that by
 * below_max_bytes. What is beyond stays mirrored.
 */
#ifndef MIRRORD_PUSH_REFS_H
#define MIRRORD_PUSH_REFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/link.h"
#include "cache/manifest_scan.h"

#define PUSH_REFS_TOLD_MAX 20 /* missing ones that are told by name */

struct cache;
struct manifest;

enum push_ref_state {
    PUSH_REF_UNSEEN,
    PUSH_REF_READY,    /* readable and here */
    PUSH_REF_UNLINKED, /* here, but not readable through this repository */
    PUSH_REF_GONE,     /* readable, but not here */
    PUSH_REF_UNKNOWN,  /* neither */
    PUSH_REF_LIES,     /* of another size than told */
    PUSH_REF_STATE_MAX
};

struct push_ref {
    struct manifest_ref told;
    enum push_ref_state state;
    bool is_below;     /* referenced by a manifest that the pushed one references */
    bool is_confirmed; /* the upstream says that this repository has it */
    enum link_kind kind;
    bool is_pushed;            /* its link is a pushed one already */
    bool is_again;             /* taking: the same one stands further back, too */
    uint64_t size;             /* the real one */
    struct manifest *manifest; /* of a child that the upstream told; or NULL */
    bool has_upstream_size;
    uint64_t upstream_size;
};

struct push_refs {
    struct cache *cache;
    struct slice repo;
    size_t manifest_max_bytes; /* of children */
    size_t n_max;              /* of all, those below included */
    size_t below_max_bytes;    /* of all children read to find those below */
    struct push_ref *items;
    size_t n, n_room;
    size_t n_checked;  /* looked at in the check that is under way */
    size_t below_left; /* of below_max_bytes, in that check */
};

void push_refs_fini(struct push_refs *rs);
/* A manifest_ref_fn; arg is the struct. The subject is left out: it may be missing for ever. */
int push_refs_add(void *rs, const struct manifest_ref *ref);
/* Forgets all. */
void push_refs_clear(struct push_refs *rs);

/* Looks at all of them (again), a few in one call, so that nobody keeps a thread of the pool to
 * himself. The collector keeps off what was found, see vouch_hold. 0: that was the last; 1: there
 * are more, call it again; or a negative errno: the storage failed. */
int push_refs_check(struct push_refs *rs, struct error *err);
/* Whether the push cannot be without it: foreign layers may lie elsewhere for good. */
bool push_ref_is_missing(const struct push_ref *ref);
/* The first that lies, or NULL. */
const struct push_ref *push_refs_find_lie(const struct push_refs *rs);
/* How many are missing; *list (may be NULL) gets their digests, joined by ", ", a few of them. */
size_t push_refs_missing(const struct push_refs *rs, struct strbuf *list);
/* Makes the links of all that are ready pushed ones, durably, what is referenced before what
 * references it. */
int push_refs_take(struct push_refs *rs, int64_t now_s, struct error *err);

#endif
