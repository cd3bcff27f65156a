/* Content-Range of a 206 (RFC 9110 section 14.4): "bytes <first>-<last>/<size or *>". Pure. */
#ifndef UPSTREAM_CONTENT_RANGE_H
#define UPSTREAM_CONTENT_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct content_range {
    uint64_t first;
    uint64_t last; /* inclusive, at least `first` */
    uint64_t size; /* of the whole; UINT64_MAX when the server does not know */
};

bool content_range_parse(struct slice value, struct content_range *out);

#endif
