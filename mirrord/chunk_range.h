/*
 * Content-Range of a chunk of an upload (OCI distribution-spec, "Pushing a blob in chunks"):
 * "<first>-<last>", in bytes from the upload's beginning. What RFC 9110 section 14.4 would write is
 * understood, too: "bytes <first>-<last>/<size or *>". A pure function; any thread.
 */
#ifndef MIRRORD_CHUNK_RANGE_H
#define MIRRORD_CHUNK_RANGE_H

#include <stdint.h>

#include "base/slice.h"

struct chunk_range {
    uint64_t first;
    uint64_t n; /* at least 1 */
};

/* 0, or -EINVAL. */
int chunk_range_parse(struct slice value, struct chunk_range *out);

#endif
