#include "config.h"

#include "mirrord/memory_share.h"

#include "tests/unit/unit.h"

static void test_bound(void **state)
{
    struct memory_share s = {0};

    (void)state;
    assert_true(memory_share_take(&s, 0, 60, 100));
    assert_false(memory_share_take(&s, 0, 41, 100));
    assert_true(memory_share_take(&s, 0, 40, 100));
    assert_false(memory_share_take(&s, 60, 1, 100));
    memory_share_give(&s, 40);
    assert_true(memory_share_take(&s, 60, 1, 100));
    memory_share_give(&s, 61);
    assert_int_equal(atomic_load(&s.n_bytes), 0);
}

static void test_one_alone(void **state)
{
    struct memory_share s = {0};

    (void)state;
    assert_true(memory_share_take(&s, 0, 1000, 100));
    assert_true(memory_share_take(&s, 1000, 1000, 100));
    assert_false(memory_share_take(&s, 0, 1, 100));
    memory_share_give(&s, 2000);
    assert_true(memory_share_take(&s, 0, 1, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_one_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
