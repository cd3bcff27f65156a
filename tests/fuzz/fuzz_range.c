/*
 * A Range header and the size of an object (the first two bytes): the ranges lie within it, do not
 * overlap, and their sum is not larger than it.
 */
#include "config.h"

#include <stdlib.h>

#include "mirrord/range.h"

#define ROOM 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct range_spec specs[ROOM];
    struct byte_range ranges[ROOM];
    uint64_t object, sum = 0;

    if (size < 2)
        return 0;
    object = (uint64_t)data[0] << 8 | data[1];
    struct slice value = {(const char *)data + 2, size - 2};
    size_t n = range_parse(value, specs, ROOM);
    if (n > ROOM || n > range_count(value))
        abort();
    n = n ? range_resolve(specs, n, object, ranges) : 0;
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].off >= ranges[i].end || ranges[i].end > object)
            abort();
        sum += ranges[i].end - ranges[i].off;
    }
    if (sum > object)
        abort();
    range_etag_matches(value, SLICE("\"x\""));
    return 0;
}
