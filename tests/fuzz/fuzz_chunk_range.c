/* A Content-Range: what is understood is a range, and printed plainly it is the same one. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mirrord/chunk_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chunk_range range, again;
    char text[64];

    if (chunk_range_parse((struct slice){(const char *)data, size}, &range) < 0)
        return 0;
    if (range.n == 0 || range.first > INT64_MAX - range.n)
        abort();
    snprintf(text, sizeof(text), "%" PRIu64 "-%" PRIu64, range.first, range.first + range.n - 1);
    if (chunk_range_parse(slice_of(text), &again) < 0 || again.first != range.first ||
        again.n != range.n)
        abort();
    return 0;
}
