#include "config.h"

#include "base/glob.h"

#include "tests/unit/unit.h"

static const struct {
    const char *pattern, *text;
    bool is_match;
} rows[] = {
    {"", "", true},
    {"", "a", false},
    {"*", "", true},
    {"*", "a/b", true},
    {"a", "a", true},
    {"a", "b", false},
    {"a?c", "abc", true},
    {"a?c", "ac", false},
    {"library/*", "library/nginx", true},
    {"library/*", "x", false},
    {"*/app", "a/b/app", true},
    {"*/app", "a/app/b", false},
    {"a*b*c", "aXbYbZc", true},
    {"a*b*c", "aXcYb", false},
    {"**", "a", true},
    {"?", "", false},
    {"a*", "a", true},
    {"*a*a*a", "aa", false},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        if (glob_match(slice_of(rows[i].pattern), slice_of(rows[i].text)) != rows[i].is_match)
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
