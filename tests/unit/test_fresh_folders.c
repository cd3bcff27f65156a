#include "config.h"

#include "cache/fresh_folders.h"

#include "tests/unit/unit.h"

/* Two may make the same one: it is fresh until both are done with it. */
static void test_two_owners(void **state)
{
    struct fresh_folder *mine = NULL, *yours = NULL;

    (void)state;
    assert_false(fresh_folders_have("a"));
    fresh_folders_add(&mine, "a");
    fresh_folders_add(&mine, "a/b");
    fresh_folders_add(&yours, "a");
    assert_true(fresh_folders_have("a"));
    assert_true(fresh_folders_have("a/b"));
    assert_false(fresh_folders_have("a/"));
    fresh_folders_forget(&mine);
    assert_null(mine);
    assert_true(fresh_folders_have("a"));
    assert_false(fresh_folders_have("a/b"));
    fresh_folders_drop(&yours);
    assert_null(yours);
    assert_false(fresh_folders_have("a"));
}

/* What was not made is taken back, the rest stays. */
static void test_drop(void **state)
{
    struct fresh_folder *mine = NULL;

    (void)state;
    fresh_folders_add(&mine, "x");
    fresh_folders_add(&mine, "x/y");
    fresh_folders_drop(&mine);
    assert_true(fresh_folders_have("x"));
    assert_false(fresh_folders_have("x/y"));
    fresh_folders_forget(&mine);
    fresh_folders_forget(&mine);
    assert_false(fresh_folders_have("x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_owners),
        cmocka_unit_test(test_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
