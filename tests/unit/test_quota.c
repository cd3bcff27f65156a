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

static void test_floor(void **state)
{
    static const struct {
        const char *text;
        bool is_good;
        struct quota_floor want;
    } TEXTS[] = {
        {"0", true, {0, false}},     {"20", true, {20, false}},   {"10%", true, {10, true}},
        {" 5% ", true, {5, true}},   {"100%", true, {100, true}}, {"101%", false, {0, false}},
        {"", false, {0, false}},     {"%", false, {0, false}},    {"-1", false, {0, false}},
        {"1.5%", false, {0, false}}, {"a", false, {0, false}},
    };
    struct quota_floor floor;

    (void)state;
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        print_message("%s\n", TEXTS[i].text);
        assert_int_equal(quota_floor_parse(slice_of(TEXTS[i].text), &floor), TEXTS[i].is_good);
        if (!TEXTS[i].is_good)
            continue;
        assert_int_equal(floor.number, TEXTS[i].want.number);
        assert_int_equal(floor.is_percent, TEXTS[i].want.is_percent);
    }
}

static void test_low(void **state)
{
    static const struct {
        int64_t limit, remaining, window_s;
        struct quota_floor floor;
        uint64_t age_ms;
        bool is_low;
    } CASES[] = {
        {-1, -1, -1, {10, true}, 0, false}, /* never told */
        {100, -1, 60, {10, true}, 0, false},     {100, 10, 60, {10, true}, 0, false},
        {100, 9, 60, {10, true}, 0, true},       {100, 0, 60, {10, true}, 59999, true},
        {100, 0, 60, {10, true}, 60000, false},  /* a window ago */
        {100, 0, -1, {10, true}, 1 << 30, true}, /* of no known window */
        {5000, 19, 60, {20, false}, 0, true},    {5000, 20, 60, {20, false}, 0, false},
        {100, 0, 60, {0, false}, 0, false}, /* switched off */
        {100, 0, 60, {0, true}, 0, false},       {INT64_MAX, INT64_MAX, 60, {100, true}, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct quota q = {.limit = CASES[i].limit,
                          .remaining = CASES[i].remaining,
                          .window_s = CASES[i].window_s};
        print_message("case %zu\n", i);
        assert_int_equal(quota_is_low(&q, &CASES[i].floor, CASES[i].age_ms), CASES[i].is_low);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_note),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_low),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
