#include "config.h"

#include "upstream/quota.h"

#include <string.h>

#include "tests/unit/unit.h"

static const struct {
    const char *value;
    bool is_ok;
    int64_t count, window_s;
} rows[] = {
    {"100;w=21600", true, 100, 21600},
    {"20 ; w=21600", true, 20, 21600},
    {"0", true, 0, -1},
    {"5;burst=1;w=60", true, 5, 60},
    {"5;w=x", true, 5, -1},
    {"5;", true, 5, -1},
    {"", false, 0, 0},
    {"-1", false, 0, 0},
    {"x;w=1", false, 0, 0},
    {"18446744073709551615", false, 0, 0},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        int64_t count = 0, window_s = 0;
        assert_int_equal(quota_parse(slice_of(rows[i].value), &count, &window_s), rows[i].is_ok);
        if (rows[i].is_ok) {
            assert_int_equal(count, rows[i].count);
            assert_int_equal(window_s, rows[i].window_s);
        }
    }
}

static void test_note(void **state)
{
    struct quota q;
    char longest[200];

    (void)state;
    quota_init(&q);
    assert_int_equal(q.limit, -1);
    quota_note(&q, SLICE("100;w=21600"), SLICE("99;w=21600"), SLICE("192.0.2.1"));
    assert_int_equal(q.limit, 100);
    assert_int_equal(q.remaining, 99);
    assert_int_equal(q.window_s, 21600);
    assert_string_equal(q.source, "192.0.2.1");
    quota_note(&q, SLICE_NONE, SLICE("98"), SLICE_NONE);
    assert_int_equal(q.limit, 100);
    assert_int_equal(q.remaining, 98);
    memset(longest, 'x', sizeof(longest));
    quota_note(&q, SLICE_NONE, SLICE_NONE, (struct slice){longest, sizeof(longest)});
    assert_int_equal(strlen(q.source), QUOTA_SOURCE_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_note),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
