#include "config.h"

#include "upstream/quota.h"

#include <string.h>

#include "base/check.h"

void quota_init(struct quota *q)
{
    *q = (struct quota){.limit = -1, .remaining = -1, .window_s = -1};
}

bool quota_parse(struct slice value, int64_t *count, int64_t *window_s)
{
    struct slice rest = value;
    uint64_t n, window;

    if (!slice_to_u64(slice_trim(slice_cut(&rest, ';')), &n) || n > INT64_MAX)
        return false;
    *window_s = -1;
    *count = (int64_t)n;
    while (rest.ptr) {
        struct slice parameter = slice_trim(slice_cut(&rest, ';'));
        if (!slice_starts(parameter, SLICE("w=")))
            continue;
        parameter = (struct slice){parameter.ptr + 2, parameter.len - 2};
        if (slice_to_u64(parameter, &window) && window <= INT64_MAX)
            *window_s = (int64_t)window;
    }
    return true;
}

void quota_note(struct quota *q, struct slice limit, struct slice remaining, struct slice source)
{
    int64_t count, window_s;

    if (limit.len && quota_parse(limit, &count, &window_s)) {
        q->limit = count;
        q->window_s = window_s;
    }
    if (remaining.len && quota_parse(remaining, &count, &window_s))
        q->remaining = count;
    if (source.len) {
        size_t n = source.len < QUOTA_SOURCE_SIZE - 1 ? source.len : QUOTA_SOURCE_SIZE - 1;
        CHECK(n < sizeof(q->source));
        memcpy(q->source, source.ptr, n);
        q->source[n] = '\0';
    }
}
