/*
 * Parameters of a request's query ("a=b&c=d"; RFC 3986 section 3.4), decoded one at a time.
 * Pure functions; any thread. '+' stands for itself: media types have it.
 */
#ifndef MIRRORD_QUERY_H
#define MIRRORD_QUERY_H

#include <stddef.h>

#include "base/slice.h"

/* The next parameter of this name: cuts *query behind it, decodes its value into out[out_size], NUL
 * behind it, and returns its length. -ENOENT: there is none (any more). -EINVAL: bad escapes.
 * -E2BIG: it does not fit. */
int query_next(struct slice *query, const char *name, char *out, size_t out_size);
/* The first one. */
int query_find(struct slice query, const char *name, char *out, size_t out_size);

#endif
