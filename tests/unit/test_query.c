#include "config.h"

#include "mirrord/query.h"

#include <errno.h>

#include "tests/unit/unit.h"

static const struct {
    const char *query, *name;
    int rc; /* negative, or the length of value */
    const char *value;
} rows[] = {
    {"", "a", -ENOENT, NULL},
    {"a=b", "a", 1, "b"},
    {"x=y&a=b", "a", 1, "b"},
    {"a", "a", 0, ""},
    {"a=", "a", 0, ""},
    {"aa=b", "a", -ENOENT, NULL},
    {"a=%41%2fb", "a", 3, "A/b"},
    {"a=x+y", "a", 3, "x+y"},
    {"a=%4", "a", -EINVAL, NULL},
    {"a=%00", "a", -EINVAL, NULL},
    {"a=12345678", "a", -E2BIG, NULL},
    {"a=1&a=2", "a", 1, "1"},
};

static void test_find(void **state)
{
    char out[8];

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        int rc = query_find(slice_of(rows[i].query), rows[i].name, out, sizeof(out));
        if (rc != rows[i].rc)
            fail_msg("%s: %d", rows[i].query, rc);
        if (rc >= 0)
            assert_string_equal(out, rows[i].value);
    }
}

static void test_next(void **state)
{
    struct slice query = SLICE("tag=a&x=1&tag=b&tag");
    char out[8];

    (void)state;
    assert_int_equal(query_next(&query, "tag", out, sizeof(out)), 1);
    assert_string_equal(out, "a");
    assert_int_equal(query_next(&query, "tag", out, sizeof(out)), 1);
    assert_string_equal(out, "b");
    assert_int_equal(query_next(&query, "tag", out, sizeof(out)), 0);
    assert_int_equal(query_next(&query, "tag", out, sizeof(out)), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
