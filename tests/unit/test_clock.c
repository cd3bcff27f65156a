#include "config.h"

#include "base/clock.h"

#include <string.h>

#include "tests/unit/unit.h"

static void test_http_date(void **state)
{
    char text[CLOCK_HTTP_DATE_SIZE];

    (void)state;
    clock_http_date(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    clock_http_date(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
}

static void test_retry_after(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } ROWS[] = {
        {"0", 0},
        {" 120 ", 120},
        {"99999999999", INT32_MAX},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 37},
        {"Sun, 06 Nov 1994 08:48:37 GMT", 0},
        {"", -1},
        {"-5", -1},
        {"soon", -1},
        {"Sun, 06 Foo 1994 08:49:37 GMT", -1},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++)
        assert_int_equal(clock_parse_retry_after(ROWS[i].text, strlen(ROWS[i].text), 784111740),
                         ROWS[i].seconds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_date),
        cmocka_unit_test(test_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
