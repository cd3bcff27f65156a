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

bool quota_floor_parse(struct slice text, struct quota_floor *out)
{
    struct slice digits = slice_trim(text);
    bool is_percent = slice_ends(digits, SLICE("%"));
    uint64_t n;

    digits.len -= is_percent;
    if (!slice_to_u64(digits, &n) || n > (is_percent ? 100 : INT64_MAX))
        return false;
    *out = (struct quota_floor){(int64_t)n, is_percent};
    return true;
}

bool quota_is_low(const struct quota *q, const struct quota_floor *floor, uint64_t age_ms)
{
    bool is_over = q->window_s >= 0 && age_ms / 1000 >= (uint64_t)q->window_s;

    if (q->limit < 0 || q->remaining < 0 || is_over)
        return false;
    if (floor->is_percent)
        return (double)q->remaining * 100 < (double)q->limit * (double)floor->number;
    return q->remaining < floor->number;
}
