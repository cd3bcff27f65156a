/*
 * Where something in a repository came from: pushed here (or put here by another program that
 * writes this storage), or mirrored from an upstream. Tags, revisions and layer links each know it.
 * A value. Names of upstreams are kept once for the whole process, in a small table that only
 * grows: there are as many as upstreams were ever configured.
 */
#ifndef CACHE_ORIGIN_H
#define CACHE_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct origin {
    bool is_pushed;
    const char *upstream; /* of what is mirrored: from origin_upstream(); NULL when not known */
    int64_t at_s;         /* wall clock: when it was pushed, or first fetched */
};

/* The one copy of this name, valid for ever. NULL for an empty name, and when the table is full
 * (names then come from a damaged or hostile storage); nor for one that cannot stand in a header.
 * Any thread. */
const char *origin_upstream(struct slice name);

#endif
