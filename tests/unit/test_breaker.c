#include "config.h"

#include "upstream/breaker.h"

#include "tests/unit/unit.h"

#define FAILURES_MAX 3
#define COOLDOWN_MS 1000

/* What happens, and what the next asker is told. */
enum act { ASK, SUCCEED, FAIL, GIVE_UP };

static const struct {
    enum act act;
    uint64_t now_ms;
    enum breaker_pass pass;   /* of ASK */
    enum breaker_state state; /* behind it */
} script[] = {
    {ASK, 0, BREAKER_PASS_YES, BREAKER_CLOSED},
    {FAIL, 0, 0, BREAKER_CLOSED},
    {FAIL, 0, 0, BREAKER_CLOSED},
    {SUCCEED, 0, 0, BREAKER_CLOSED}, /* only failures in a row count */
    {FAIL, 0, 0, BREAKER_CLOSED},
    {FAIL, 0, 0, BREAKER_CLOSED},
    {FAIL, 100, 0, BREAKER_OPEN},
    {ASK, 100, BREAKER_PASS_NO, BREAKER_OPEN},
    {FAIL, 900, 0, BREAKER_OPEN}, /* of a request from before; the cooldown stays */
    {ASK, 1099, BREAKER_PASS_NO, BREAKER_OPEN},
    {ASK, 1100, BREAKER_PASS_PROBE, BREAKER_HALF_OPEN},
    {ASK, 1100, BREAKER_PASS_NO, BREAKER_HALF_OPEN}, /* one probe at a time */
    {FAIL, 1200, 0, BREAKER_OPEN},
    {ASK, 2199, BREAKER_PASS_NO, BREAKER_OPEN},
    {ASK, 2200, BREAKER_PASS_PROBE, BREAKER_HALF_OPEN},
    {GIVE_UP, 2200, 0, BREAKER_HALF_OPEN},
    {ASK, 2201, BREAKER_PASS_PROBE, BREAKER_HALF_OPEN},
    {SUCCEED, 2300, 0, BREAKER_CLOSED},
    {ASK, 2300, BREAKER_PASS_YES, BREAKER_CLOSED},
    {FAIL, 2300, 0, BREAKER_CLOSED},
};

static void test_script(void **state)
{
    struct breaker b;

    (void)state;
    breaker_init(&b, FAILURES_MAX, COOLDOWN_MS);
    for (size_t i = 0; i < N_ROWS(script); i++) {
        switch (script[i].act) {
        case ASK:
            assert_int_equal(breaker_ask(&b, script[i].now_ms), script[i].pass);
            break;
        case SUCCEED:
            breaker_success(&b);
            break;
        case FAIL:
            breaker_failure(&b, script[i].now_ms);
            break;
        case GIVE_UP:
            breaker_give_up_probe(&b);
            break;
        }
        if (b.state != script[i].state)
            fail_msg("line %zu: %s", i, breaker_state_name(b.state));
    }
}

static void test_never_opens(void **state)
{
    struct breaker b;

    (void)state;
    breaker_init(&b, 0, COOLDOWN_MS);
    for (int i = 0; i < 100; i++)
        breaker_failure(&b, 0);
    assert_int_equal(breaker_ask(&b, 0), BREAKER_PASS_YES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_never_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
