#include "config.h"

#include "base/slice.h"

#include "tests/unit/unit.h"

static void test_cut(void **state)
{
    struct slice rest = SLICE("a:b::c");
    static const char *const PARTS[] = {"a", "b", "", "c"};

    (void)state;
    for (size_t i = 0; i < N_ROWS(PARTS); i++)
        assert_true(slice_equal(slice_cut(&rest, ':'), slice_of(PARTS[i])));
    assert_null(rest.ptr);
    rest = SLICE("a:");
    slice_cut(&rest, ':');
    assert_non_null(rest.ptr);
    assert_int_equal(rest.len, 0);
}

static void test_compare(void **state)
{
    (void)state;
    assert_true(slice_equal(SLICE_NONE, SLICE("")));
    assert_false(slice_equal(SLICE("a"), SLICE("A")));
    assert_true(slice_equal_case(SLICE("Content-Length"), SLICE("content-LENGTH")));
    assert_false(slice_equal_case(SLICE("a"), SLICE("ab")));
    assert_true(slice_starts(SLICE("sha256:x"), SLICE("sha256:")));
    assert_false(slice_starts(SLICE("sha"), SLICE("sha256:")));
    assert_true(slice_ends(SLICE("a.part"), SLICE(".part")));
    assert_false(slice_ends(SLICE("part"), SLICE(".part")));
    assert_true(slice_equal(slice_trim(SLICE(" \t x y\t ")), SLICE("x y")));
    assert_int_equal(slice_trim(SLICE(" \t ")).len, 0);
}

static void test_to_u64(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } ROWS[] = {
        {"0", true, 0},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"007", true, 7},
        {"", false, 0},
        {"+5", false, 0},
        {"-5", false, 0},
        {" 5", false, 0},
        {"5 ", false, 0},
        {"0x5", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        uint64_t value = 42;
        assert_int_equal(slice_to_u64(slice_of(ROWS[i].text), &value), ROWS[i].ok);
        assert_int_equal(value, ROWS[i].ok ? ROWS[i].value : 42);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_to_u64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
