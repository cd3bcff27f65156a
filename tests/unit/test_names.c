#include "config.h"

#include "cache/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

static void test_smallest(void **state)
{
    struct names n;
    char name[10];

    (void)state;
    for (size_t n_max = 0; n_max < 70; n_max += 3) {
        names_init(&n, "0010", n_max);
        /* 37 and 101 have no common factor: each of 0 … 100 once, twice over. */
        for (unsigned i = 0; i < 202; i++) {
            snprintf(name, sizeof(name), "%04u", i * 37 % 101);
            names_offer(&n, name);
        }
        struct repo_names *list = names_take(&n);
        assert_int_equal(list->n, n_max);
        assert_true(list->has_more);
        for (size_t i = 0; i < list->n; i++) {
            snprintf(name, sizeof(name), "%04zu", i + 11);
            assert_string_equal(list->names[i], name);
        }
        repo_names_free(&list);
        assert_null(list);
    }
}

static void test_prefix(void **state)
{
    struct names n;

    (void)state;
    names_init(&n, "b/c", 2);
    assert_true(names_refuses_prefix(&n, "a/"));
    assert_false(names_refuses_prefix(&n, "b/"));
    assert_false(names_refuses_prefix(&n, "b/c/"));
    assert_true(names_refuses_prefix(&n, "b/a/"));
    assert_false(names_refuses_prefix(&n, "z/"));
    names_offer(&n, "d");
    names_offer(&n, "e");
    /* Whether there is more is not known yet. */
    assert_false(names_refuses_prefix(&n, "z/"));
    names_offer(&n, "f");
    assert_true(names_refuses_prefix(&n, "z/"));
    assert_false(names_refuses_prefix(&n, "d/"));
    struct repo_names *list = names_take(&n);
    repo_names_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest),
        cmocka_unit_test(test_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
