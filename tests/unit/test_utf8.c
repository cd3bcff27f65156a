#include "config.h"

#include "base/utf8.h"

#include "tests/unit/unit.h"

static const struct {
    const char *name, *text;
    bool is_valid;
} rows[] = {
    {"nothing", "", true},
    {"ASCII", "a\x7f\x01", true},
    {"two bytes", "\xc3\xa4", true},
    {"three bytes", "\xe2\x82\xac", true},
    {"four bytes", "\xf0\x9f\x90\xb3", true},
    {"the last character", "\xf4\x8f\xbf\xbf", true},
    {"behind the last character", "\xf4\x90\x80\x80", false},
    {"Latin-1", "a\xe4z", false},
    {"cut off", "a\xe2\x82", false},
    {"a continuation alone", "\x80", false},
    {"longer than needed", "\xc0\xaf", false},
    {"longer than needed, three", "\xe0\x80\xaf", false},
    {"longer than needed, four", "\xf0\x80\x80\xaf", false},
    {"a surrogate", "\xed\xa0\x80", false},
    {"no such byte", "\xff", false},
    {"a wrong third byte", "\xe2\x82\x28", false},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        if (utf8_is_valid(slice_of(rows[i].text)) != rows[i].is_valid)
            fail_msg("%s", rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
