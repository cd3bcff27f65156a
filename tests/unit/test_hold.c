#include "config.h"

#include "mirrord/hold.h"

#include <stdio.h>

#include "tests/unit/unit.h"

static const struct slice REPO = {"a/b", 3};
static const struct slice TAG = {"latest", 6};

static void test_kinds(void **state)
{
    struct holds *hs = holds_new(4096);

    (void)state;
    assert_false(holds_has(hs, HOLD_FAILED, REPO, TAG));
    holds_set(hs, HOLD_FAILED, REPO, TAG, 60);
    assert_true(holds_has(hs, HOLD_FAILED, REPO, TAG));
    assert_true(holds_age_ms(hs, HOLD_FAILED, REPO, TAG) < 60000);
    /* Another kind, another name, and the same letters cut elsewhere are others. */
    assert_false(holds_has(hs, HOLD_DOUBT, REPO, TAG));
    assert_false(holds_has(hs, HOLD_FAILED, SLICE("a/bl"), SLICE("atest")));
    assert_false(holds_has(hs, HOLD_FAILED, REPO, SLICE("")));
    holds_set(hs, HOLD_DOUBT, REPO, TAG, 0); /* ends nothing else */
    assert_true(holds_has(hs, HOLD_FAILED, REPO, TAG));
    holds_set(hs, HOLD_FAILED, REPO, TAG, 0);
    assert_int_equal(holds_age_ms(hs, HOLD_FAILED, REPO, TAG), -1);
    holds_free(&hs);
    assert_null(hs);
}

/* Whatever is put in, the newest is there, and no more than there is room for. */
static void test_bound(void **state)
{
    enum { N = 16, N_NAMES = 1000 };
    struct holds *hs = holds_new(N);
    char name[16];
    int n_held = 0;

    (void)state;
    for (int i = 0; i < N_NAMES; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        holds_set(hs, HOLD_ABSENT_BLOB, REPO, slice_of(name), 60);
        assert_true(holds_has(hs, HOLD_ABSENT_BLOB, REPO, slice_of(name)));
    }
    for (int i = 0; i < N_NAMES; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        n_held += holds_has(hs, HOLD_ABSENT_BLOB, REPO, slice_of(name));
    }
    assert_in_range(n_held, 1, N);
    holds_free(&hs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
