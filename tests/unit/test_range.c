#include "config.h"

#include "mirrord/range.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

#define ROOM 8

/* The result as text: "0-5,7-9" with ends behind the last byte; "-" when the header is ignored;
 * "none" when nothing of it exists. */
static void describe(const char *value, uint64_t size, char *out, size_t out_size)
{
    struct range_spec specs[ROOM];
    struct byte_range ranges[ROOM];
    size_t used = 0;
    size_t n = range_parse(slice_of(value), specs, ROOM);

    snprintf(out, out_size, "%s", n ? "none" : "-");
    if (n == 0)
        return;
    n = range_resolve(specs, n, size, ranges);
    for (size_t i = 0; i < n; i++)
        used +=
            (size_t)snprintf(out + used, out_size - used, "%s%llu-%llu", i ? "," : "",
                             (unsigned long long)ranges[i].off, (unsigned long long)ranges[i].end);
}

static const struct {
    const char *value;
    uint64_t size;
    const char *want;
} rows[] = {
    {"bytes=0-0", 10, "0-1"},
    {"bytes=0-4", 10, "0-5"},
    {"BYTES=0-4", 10, "0-5"},
    {"bytes=5-", 10, "5-10"},
    {"bytes=5-100", 10, "5-10"},
    {"bytes=-3", 10, "7-10"},
    {"bytes=-30", 10, "0-10"},
    {"bytes=9-", 10, "9-10"},
    {"bytes=10-", 10, "none"},
    {"bytes=10-20", 10, "none"},
    {"bytes=-0", 10, "none"},
    {"bytes=0-", 0, "none"},
    {"bytes=-1", 0, "none"},
    {"bytes=99999999999999999999-", 10, "none"},
    {"bytes=1-99999999999999999999", 10, "1-10"},
    {"bytes=-99999999999999999999", 10, "0-10"},
    {"bytes=18446744073709551615-18446744073709551615", 10, "none"},
    /* Several. */
    {"bytes=0-1,4-5", 10, "0-2,4-6"},
    {"bytes=0-1, 4-5", 10, "0-2,4-6"},
    {"bytes= 0-1 ,, 4-5 ,", 10, "0-2,4-6"},
    {"bytes=4-5,0-1", 10, "4-6,0-2"},
    {"bytes=0-1,2-3", 10, "0-2,2-4"},
    {"bytes=2-3,0-1", 10, "2-4,0-2"},
    {"bytes=0-5,3-8", 10, "0-9"},
    {"bytes=5-8,0-2,1-3", 10, "0-4,5-9"},
    {"bytes=0-0,0-0,0-0", 10, "0-1"},
    {"bytes=0-,0-,0-,0-", 10, "0-10"},
    {"bytes=0-1,50-60", 10, "0-2"},
    {"bytes=-2,0-1", 10, "8-10,0-2"},
    {"bytes=50-60,70-", 10, "none"},
    /* Ignored. */
    {"bytes=", 10, "-"},
    {"bytes", 10, "-"},
    {"", 10, "-"},
    {"items=0-1", 10, "-"},
    {"bytes=a-b", 10, "-"},
    {"bytes=5-1", 10, "none"},
    {"bytes=5-1,2-3", 10, "2-4"},
    {"bytes=-", 10, "-"},
    {"bytes=1", 10, "-"},
    {"bytes=1-2-3", 10, "-"},
    {"bytes=0-1;2-3", 10, "-"},
    {"bytes=+0-1", 10, "-"},
    {"bytes=0 - 1", 10, "-"},
    {"bytes=0-1,x", 10, "-"},
    {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7", 10, "0-1,1-2,2-3,3-4,4-5,5-6,6-7,7-8"},
    {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8", 10, "-"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        char text[256];
        describe(rows[i].value, rows[i].size, text, sizeof(text));
        if (strcmp(text, rows[i].want) != 0)
            fail_msg("%s of %llu: %s", rows[i].value, (unsigned long long)rows[i].size, text);
    }
}

static void test_count_is_enough(void **state)
{
    (void)state;
    assert_int_equal(range_count(SLICE("bytes=0-1")), 1);
    assert_int_equal(range_count(SLICE("bytes=0-1,2-3,,")), 4);
    assert_int_equal(range_count(SLICE_NONE), 1);
}

static void test_etags(void **state)
{
    static const struct {
        const char *list;
        bool matches;
    } lists[] = {
        {"\"x\"", true},         {"W/\"x\"", true}, {"\"a\", \"x\"", true}, {"*", true},
        {"\"a\",W/\"x\"", true}, {"\"y\"", false},  {"x", false},           {"", false},
        {"w/\"x\"", false},      {"\"x", false},    {"\"xx\"", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(lists); i++) {
        if (range_etag_matches(slice_of(lists[i].list), SLICE("\"x\"")) != lists[i].matches)
            fail_msg("%s", lists[i].list);
    }
}

static void test_if_range(void **state)
{
    (void)state;
    assert_true(range_may_apply(SLICE_NONE, SLICE("\"x\"")));
    assert_true(range_may_apply(SLICE("\"x\""), SLICE("\"x\"")));
    assert_false(range_may_apply(SLICE("\"y\""), SLICE("\"x\"")));
    assert_false(range_may_apply(SLICE("W/\"x\""), SLICE("\"x\"")));
    assert_false(range_may_apply(SLICE(""), SLICE("\"x\"")));
    assert_false(range_may_apply(SLICE("Sun, 06 Nov 1994 08:49:37 GMT"), SLICE("\"x\"")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_count_is_enough),
        cmocka_unit_test(test_etags),
        cmocka_unit_test(test_if_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
