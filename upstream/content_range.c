#include "config.h"

#include "upstream/content_range.h"

#include "base/check.h"

bool content_range_parse(struct slice value, struct content_range *out)
{
    struct content_range r;
    struct slice rest = value;

    if (!slice_equal_case(slice_cut(&rest, ' '), SLICE("bytes")) || !rest.ptr)
        return false;
    rest = slice_trim(rest);
    struct slice first = slice_cut(&rest, '-');
    struct slice last = slice_cut(&rest, '/');
    if (!rest.ptr || !slice_to_u64(first, &r.first) || !slice_to_u64(last, &r.last))
        return false;
    if (slice_equal(rest, SLICE("*")))
        r.size = UINT64_MAX;
    else if (!slice_to_u64(rest, &r.size) || r.size == UINT64_MAX)
        return false;
    if (r.last < r.first || r.last >= r.size)
        return false;
    CHECK(r.first <= r.last && r.last < r.size);
    *out = r;
    return true;
}
