#include "config.h"

#include "base/strbuf.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

static void test_add(void **state)
{
    struct strbuf b = STRBUF_INIT;

    (void)state;
    strbuf_add_str(&b, "n=");
    strbuf_add_u64(&b, UINT64_MAX);
    strbuf_add_char(&b, ' ');
    strbuf_add_u64(&b, 0);
    strbuf_addf(&b, " %s-%d", "x", 7);
    strbuf_add(&b, NULL, 0);
    assert_string_equal(b.ptr, "n=18446744073709551615 0 x-7");
    assert_int_equal(b.len, strlen(b.ptr));
    strbuf_clear(&b);
    assert_string_equal(b.ptr, "");
    for (int i = 0; i < 5000; i++)
        strbuf_add_str(&b, "abc");
    assert_int_equal(b.len, 15000);
    assert_int_equal(b.ptr[15000], '\0');
    strbuf_fini(&b);
    assert_null(b.ptr);
}

static void test_json(void **state)
{
    struct strbuf b = STRBUF_INIT;

    (void)state;
    strbuf_add_json(&b, (struct slice){"a\"b\\c\n\x01\x7f\xc3\xa9", 10});
    assert_string_equal(b.ptr, "a\\\"b\\\\c\\u000a\\u0001\\u007f\xc3\xa9");
    strbuf_fini(&b);
}

/* What is no UTF-8 must not make the whole text unreadable for who parses it. */
static void test_json_of_foreign_bytes(void **state)
{
    static const struct {
        const char *text;
        const char *wanted;
    } ROWS[] = {
        {"\x80", "\\u0080"},
        {"a\xff\xfe", "a\\u00ff\\u00fe"},
        {"\xc3", "\\u00c3"},
        {"\xc3z", "\\u00c3z"},
        {"\xc0\xaf", "\\u00c0\\u00af"},
        {"\xe0\x80\xaf", "\\u00e0\\u0080\\u00af"},
        {"\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"},
        {"\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80!", "\xf0\x9f\x98\x80!"},
        {"\xf0\x9f\x98", "\\u00f0\\u009f\\u0098"},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct strbuf b = STRBUF_INIT;
        strbuf_add_json(&b, slice_of(ROWS[i].text));
        strbuf_add_char(&b, '\0');
        assert_string_equal(b.ptr, ROWS[i].wanted);
        strbuf_fini(&b);
    }
}

static void test_take(void **state)
{
    struct strbuf b = STRBUF_INIT;
    char *text = strbuf_take(&b);

    (void)state;
    assert_string_equal(text, "");
    free(text);
    strbuf_add_str(&b, "x");
    text = strbuf_take(&b);
    assert_string_equal(text, "x");
    assert_int_equal(b.len, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_foreign_bytes),
        cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
