#include "config.h"

#include "base/json_text.h"

#include <errno.h>

#include "tests/unit/unit.h"

static const struct {
    struct slice source, text;
} ROWS[] = {
    {{"", 0}, {"", 0}},
    {{"digest", 6}, {"digest", 6}},
    {{"\\u0064iges\\u0074", 16}, {"digest", 6}},
    {{"a\\/b\\\\\\\"", 8}, {"a/b\\\"", 5}},
    {{"\\b\\f\\n\\r\\t", 10}, {"\b\f\n\r\t", 5}},
    {{"\\u0000", 6}, {"\0", 1}},
    {{"\\u00e9\\u20AC", 12}, {"\xC3\xA9\xE2\x82\xAC", 5}},
    {{"\\ud83d\\ude00", 12}, {"\xF0\x9F\x98\x80", 4}},
    {{"\\ud83d", 6}, {"\xEF\xBF\xBD", 3}},
    {{"\\ud83dx", 7}, {"\xEF\xBF\xBDx", 4}},
    {{"\\ud83d\\u0041", 12}, {"\xEF\xBF\xBD\x41", 4}},
    {{"\\ude00\\ud83d", 12}, {"\xEF\xBF\xBD\xEF\xBF\xBD", 6}},
    {{"\xC3\xA9\xFF", 3}, {"\xC3\xA9\xFF", 3}},
};

static void test_undo(void **state)
{
    char room[32];

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        int n = json_text_undo(ROWS[i].source, room, ROWS[i].text.len);
        assert_int_equal(n, ROWS[i].text.len);
        assert_memory_equal(room, ROWS[i].text.ptr, ROWS[i].text.len);
        if (n > 0)
            assert_int_equal(json_text_undo(ROWS[i].source, room, (size_t)n - 1), -E2BIG);
    }
}

static void test_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct slice shorter = {ROWS[i].text.ptr, ROWS[i].text.len - 1};
        assert_true(json_text_is(ROWS[i].source, ROWS[i].text));
        if (ROWS[i].text.len > 0)
            assert_false(json_text_is(ROWS[i].source, shorter));
    }
    assert_false(json_text_is(SLICE("digest"), SLICE("digests")));
    assert_false(json_text_is(SLICE("Digest"), SLICE("digest")));
    assert_false(json_text_is(SLICE_NONE, SLICE("digest")));
    assert_true(json_text_is(SLICE_NONE, SLICE_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undo),
        cmocka_unit_test(test_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
