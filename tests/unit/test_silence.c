#include "config.h"

#include "mirrord/silence.h"

#include "tests/unit/unit.h"

static void test_pauses(void **state)
{
    struct silence s = {0};

    (void)state;
    assert_true(silence_may_wait(&s, 1000, 50));
    silence_note(&s, 1000, 100);
    assert_false(silence_may_wait(&s, 1099, 50));
    silence_note(&s, 1050, 100); /* known: nothing grows */
    assert_true(silence_may_wait(&s, 1100, 50));
    assert_false(silence_may_wait(&s, 1149, 50)); /* one waits */
    silence_note(&s, 1150, 100);
    assert_false(silence_may_wait(&s, 1349, 50)); /* twice as long */
    assert_true(silence_may_wait(&s, 1350, 50));
    assert_true(silence_may_wait(&s, 1400, 50)); /* who waited has left without a word */
    silence_end(&s);
    assert_true(silence_may_wait(&s, 1401, 50));
    assert_true(silence_may_wait(&s, 1401, 50));
}

static void test_bounds(void **state)
{
    struct silence s = {0};
    uint64_t now_ms = 1;

    (void)state;
    for (int i = 0; i < 100; i++) {
        silence_note(&s, now_ms, 5000);
        assert_true(s.pause_ms <= SILENCE_PAUSE_MAX_MS);
        now_ms = s.until_ms;
        assert_true(silence_may_wait(&s, now_ms, 0));
    }
    assert_int_equal(s.pause_ms, SILENCE_PAUSE_MAX_MS);
    silence_end(&s);
    silence_note(&s, now_ms, 0); /* without pauses everybody waits */
    assert_true(silence_may_wait(&s, now_ms, 50));
    assert_true(silence_may_wait(&s, now_ms, 50));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
