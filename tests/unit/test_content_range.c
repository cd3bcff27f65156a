#include "config.h"

#include "upstream/content_range.h"

#include "tests/unit/unit.h"

static const struct {
    const char *value;
    bool is_ok;
    uint64_t first, last, size;
} rows[] = {
    {"bytes 0-0/1", true, 0, 0, 1},
    {"bytes 5-9/10", true, 5, 9, 10},
    {"Bytes 5-9/*", true, 5, 9, UINT64_MAX},
    {"bytes  5-9/10", true, 5, 9, 10},
    {"bytes 5-9", false, 0, 0, 0},
    {"bytes 9-5/10", false, 0, 0, 0},
    {"bytes 5-10/10", false, 0, 0, 0},
    {"bytes */10", false, 0, 0, 0},
    {"bytes 5-/10", false, 0, 0, 0},
    {"bytes -5/10", false, 0, 0, 0},
    {"bytes=5-9/10", false, 0, 0, 0},
    {"5-9/10", false, 0, 0, 0},
    {"items 5-9/10", false, 0, 0, 0},
    {"bytes 5-9/10x", false, 0, 0, 0},
    {"bytes 5-9/", false, 0, 0, 0},
    {"bytes 18446744073709551616-18446744073709551617/*", false, 0, 0, 0},
    {"bytes 0-18446744073709551615/*", false, 0, 0, 0},
    {"bytes", false, 0, 0, 0},
    {"", false, 0, 0, 0},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct content_range r;
        if (content_range_parse(slice_of(rows[i].value), &r) != rows[i].is_ok)
            fail_msg("%s", rows[i].value);
        if (rows[i].is_ok) {
            assert_int_equal(r.first, rows[i].first);
            assert_int_equal(r.last, rows[i].last);
            assert_int_equal(r.size, rows[i].size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
