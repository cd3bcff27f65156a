/*
 * A walk through all links of all repositories (cache/link.h), one at a time, so that it can be
 * paused between two. What exists from the beginning of the walk to its end is met for certain;
 * what comes or goes meanwhile, perhaps.
 * One owner, one thread at a time; each step blocks. Memory is bounded by the depth of names.
 */
#ifndef CACHE_LINK_WALK_H
#define CACHE_LINK_WALK_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/error.h"
#include "cache/layout.h"
#include "cache/link.h"

struct link_walk;

struct link_walk_item {
    enum link_kind kind;
    const char *repo; /* valid until the next call */
    struct digest digest;
};

/* Revisions and layers, or only layers. */
struct link_walk *link_walk_new(const struct layout *l, bool want_revisions);
void link_walk_free(struct link_walk **w);
/* 1 with the folder of a link (the link file itself may be missing); 2 when there was only work
 * between two; 0 at the end; a negative errno when a part of the storage cannot be read, or when
 * revisions have digests of an algorithm that is not known here. */
int link_walk_next(struct link_walk *w, struct link_walk_item *out, struct error *err);
/* How many repositories had one so far. */
uint64_t link_walk_repositories(const struct link_walk *w);

#endif
