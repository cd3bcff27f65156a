#include "config.h"

#include "mirrord/chunk_range.h"

#include <errno.h>

#include "base/check.h"

/* Takes "bytes" and what parts it from the range off the front; false when it stands alone. */
static bool skip_unit(struct slice *value)
{
    static const struct slice UNIT = {"bytes", 5};

    if (value->len < UNIT.len || !slice_equal_case((struct slice){value->ptr, UNIT.len}, UNIT))
        return true;
    value->ptr += UNIT.len;
    value->len -= UNIT.len;
    if (value->len == 0 || (value->ptr[0] != ' ' && value->ptr[0] != '='))
        return false;
    value->ptr++;
    value->len--;
    *value = slice_trim(*value);
    return true;
}

/* The whole size behind the slash: not known yet, or larger than the last offset. */
static bool is_size(struct slice size, uint64_t last)
{
    uint64_t n;

    return slice_equal(size, SLICE("*")) || (slice_to_u64(size, &n) && n > last);
}

int chunk_range_parse(struct slice value, struct chunk_range *out)
{
    uint64_t first, last;

    value = slice_trim(value);
    if (!skip_unit(&value))
        return -EINVAL;
    struct slice size = value;
    struct slice last_text = slice_cut(&size, '/');
    struct slice first_text = slice_cut(&last_text, '-');
    if (!last_text.ptr || !slice_to_u64(first_text, &first) || !slice_to_u64(last_text, &last))
        return -EINVAL;
    if (first > last || last >= INT64_MAX || (size.ptr && !is_size(size, last)))
        return -EINVAL;
    CHECK(last - first < INT64_MAX);
    *out = (struct chunk_range){first, last - first + 1};
    return 0;
}
