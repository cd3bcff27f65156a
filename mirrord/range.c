#include "config.h"

#include "mirrord/range.h"

#include <stdlib.h>

#include "base/check.h"

/* A position; one that is larger than any number we have is behind the end of everything. */
static bool parse_position(struct slice s, uint64_t *out)
{
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    }
    if (!slice_to_u64(s, out))
        *out = UINT64_MAX;
    return true;
}

/* One element of the list: a-b, a- or -n. */
static bool parse_one(struct slice s, struct range_spec *out)
{
    struct slice last = s;
    struct slice first = slice_cut(&last, '-');

    *out = (struct range_spec){.last = UINT64_MAX};
    if (!last.ptr)
        return false;
    if (first.len == 0) {
        out->is_suffix = true;
        return parse_position(last, &out->first);
    }
    if (!parse_position(first, &out->first))
        return false;
    if (last.len == 0)
        return true;
    return parse_position(last, &out->last);
}

size_t range_count(struct slice value)
{
    size_t n = 1;

    for (size_t i = 0; i < value.len; i++)
        n += value.ptr[i] == ',';
    return n;
}

size_t range_parse(struct slice value, struct range_spec *out, size_t n_max)
{
    struct slice rest = value;
    struct slice unit = slice_cut(&rest, '=');
    size_t n = 0;

    if (!rest.ptr || !slice_equal_case(unit, SLICE("bytes")))
        return 0;
    while (rest.ptr) {
        struct slice one = slice_trim(slice_cut(&rest, ','));
        if (one.len == 0)
            continue; /* RFC 9110 section 5.6.1: empty elements of a list are skipped */
        if (n == n_max || !parse_one(one, &out[n]))
            return 0;
        n++;
    }
    return n;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct byte_range *x = a, *y = b;

    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The bytes one spec means; false when there are none. */
static bool resolve_one(const struct range_spec *spec, uint64_t size, struct byte_range *out)
{
    if (spec->is_suffix) {
        uint64_t n = spec->first < size ? spec->first : size;
        *out = (struct byte_range){size - n, size};
        return n > 0;
    }
    if (spec->first >= size || spec->last < spec->first)
        return false;
    *out = (struct byte_range){spec->first, spec->last < size - 1 ? spec->last + 1 : size};
    return true;
}

/* Merges what overlaps among sorted ranges. */
static size_t merge_sorted(struct byte_range *ranges, size_t n)
{
    size_t kept = 0;

    CHECK(n > 0);
    for (size_t i = 1; i < n; i++) {
        if (ranges[i].off >= ranges[kept].end)
            ranges[++kept] = ranges[i];
        else if (ranges[i].end > ranges[kept].end)
            ranges[kept].end = ranges[i].end;
    }
    return kept + 1;
}

/* Resolves all specs in their order. */
static size_t resolve_all(const struct range_spec *specs, size_t n, uint64_t size,
                          struct byte_range *out)
{
    size_t n_out = 0;

    for (size_t i = 0; i < n; i++) {
        if (resolve_one(&specs[i], size, &out[n_out]))
            n_out++;
    }
    return n_out;
}

size_t range_resolve(const struct range_spec *specs, size_t n, uint64_t size,
                     struct byte_range *out)
{
    size_t n_out = resolve_all(specs, n, size, out);
    bool is_ascending = true;

    for (size_t i = 1; i < n_out; i++)
        is_ascending = is_ascending && out[i].off >= out[i - 1].end;
    if (n_out < 2 || is_ascending)
        return n_out;
    qsort(out, n_out, sizeof(out[0]), compare_ranges);
    size_t n_merged = merge_sorted(out, n_out);
    /* Nothing overlapped: back to the order asked for. */
    return n_merged < n_out ? n_merged : resolve_all(specs, n, size, out);
}

bool range_etag_matches(struct slice list, struct slice etag)
{
    static const struct slice WEAK = {"W/", 2};

    while (list.ptr) {
        struct slice one = slice_trim(slice_cut(&list, ','));
        if (slice_equal(one, SLICE("*")))
            return true;
        if (slice_starts(one, WEAK))
            one = (struct slice){one.ptr + WEAK.len, one.len - WEAK.len};
        if (slice_equal(one, etag))
            return true;
    }
    return false;
}

bool range_may_apply(struct slice if_range, struct slice etag)
{
    return !if_range.ptr || slice_equal(if_range, etag);
}
