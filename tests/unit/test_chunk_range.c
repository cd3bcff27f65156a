#include "config.h"

#include "mirrord/chunk_range.h"

#include <errno.h>

#include "tests/unit/unit.h"

static const struct {
    const char *text;
    uint64_t first, n; /* n 0: refused */
} rows[] = {
    {"0-0", 0, 1},
    {"0-9", 0, 10},
    {" 10-19 ", 10, 10},
    {"bytes 10-19", 10, 10},
    {"Bytes 10-19/20", 10, 10},
    {"bytes 10-19/*", 10, 10},
    {"bytes=10-19", 10, 10},
    {"10-19/100", 10, 10},
    {"007-9", 7, 3},
    {"0-9223372036854775806", 0, 9223372036854775807u},
    {"", 0, 0},
    {"-", 0, 0},
    {"5", 0, 0},
    {"5-", 0, 0},
    {"-5", 0, 0},
    {"9-5", 0, 0},
    {"0--1", 0, 0},
    {"+0-5", 0, 0},
    {"0-5x", 0, 0},
    {"0 -5", 0, 0},
    {"0x0-5", 0, 0},
    {"0-5/", 0, 0},
    {"0-5/5", 0, 0},
    {"0-5/-1", 0, 0},
    {"0-5/6/7", 0, 0},
    {"0-5,6-7", 0, 0},
    {"bytes", 0, 0},
    {"bytes */5", 0, 0},
    {"bytes0-5", 0, 0},
    {"lines 0-5", 0, 0},
    {"0-9223372036854775807", 0, 0},
    {"0-18446744073709551615", 0, 0},
    {"0-18446744073709551616", 0, 0},
    {"18446744073709551616-18446744073709551617", 0, 0},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct chunk_range range = {77, 77};
        int rc = chunk_range_parse(slice_of(rows[i].text), &range);
        if (rc != (rows[i].n ? 0 : -EINVAL))
            fail_msg("%s: %d", rows[i].text, rc);
        if (range.first != (rc ? 77 : rows[i].first) || range.n != (rc ? 77 : rows[i].n))
            fail_msg("%s: %llu, %llu", rows[i].text, (unsigned long long)range.first,
                     (unsigned long long)range.n);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
