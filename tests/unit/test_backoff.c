#include "config.h"

#include "upstream/backoff.h"

#include "tests/unit/unit.h"

/* With all bits set the delay is some number up to the ceiling; with the ceiling itself, it. */
static const struct {
    unsigned base_ms, max_ms, failures;
    uint64_t random;
    unsigned delay_ms;
} rows[] = {
    {100, 10000, 1, 0, 0},
    {100, 10000, 1, 100, 100},
    {100, 10000, 1, 101, 0},
    {100, 10000, 2, 200, 200},
    {100, 10000, 4, 800, 800},
    {100, 10000, 8, 10000, 10000},
    {100, 10000, 60, 10000, 10000},
    {100, 10000, 4000000000u, 10001, 0},
    {0, 1000, 5, 77, 0},
    {5000, 1000, 1, 1000, 1000},
};

static void test_delays(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++)
        assert_int_equal(
            backoff_delay_ms(rows[i].base_ms, rows[i].max_ms, rows[i].failures, rows[i].random),
            rows[i].delay_ms);
}

static void test_bounds(void **state)
{
    (void)state;
    for (unsigned failures = 1; failures < 40; failures++)
        for (int i = 0; i < 100; i++)
            assert_in_range(backoff_delay_ms(200, 5000, failures, backoff_random()), 0, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
