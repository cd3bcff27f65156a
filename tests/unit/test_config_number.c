#include "config.h"

#include "mirrord/config_number.h"

#include "tests/unit/unit.h"

/* -1: refused. */
static const struct {
    const char *text;
    int64_t bytes;
    int64_t ms;
} ROWS[] = {
    {"0", 0, 0},
    {"10", 10, 10000},
    {"1k", 1024, -1},
    {"1 KiB", 1024, -1},
    {"1kB", 1000, -1},
    {"2M", 2097152, 120000},
    {"1.5MiB", 1572864, -1},
    {"3g", 3221225472, -1},
    {"1TB", 1000000000000, -1},
    {"250ms", -1, 250},
    {"1.5h", -1, 5400000},
    {"0.1s", -1, 100},
    {"7d", -1, 604800000},
    {"2w", -1, 1209600000},
    {"5min", -1, 300000},
    {"", -1, -1},
    {"k", -1, -1},
    {"-1", -1, -1},
    {"1.", -1, -1},
    {".5h", -1, -1},
    {"1 2", -1, -1},
    {"1kk", -1, -1},
    {"1e3", -1, -1},
    {"99999999999999999999", -1, -1},
    {"9223372036854775807t", -1, -1},
    {"9223372036854775807", INT64_MAX, -1},
};

static void test_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        int64_t value = -1;
        assert_int_equal(config_number_bytes(slice_of(ROWS[i].text), &value), ROWS[i].bytes >= 0);
        assert_int_equal(value, ROWS[i].bytes);
        value = -1;
        assert_int_equal(config_number_ms(slice_of(ROWS[i].text), &value), ROWS[i].ms >= 0);
        assert_int_equal(value, ROWS[i].ms);
    }
}

static void test_print(void **state)
{
    struct strbuf out = STRBUF_INIT;

    (void)state;
    config_number_print_bytes(0, &out);
    strbuf_add_char(&out, ' ');
    config_number_print_bytes(1000, &out);
    strbuf_add_char(&out, ' ');
    config_number_print_bytes(1536, &out);
    strbuf_add_char(&out, ' ');
    config_number_print_bytes(4 << 20, &out);
    strbuf_add_char(&out, ' ');
    config_number_print_ms(2000, &out);
    strbuf_add_char(&out, ' ');
    config_number_print_ms(1500, &out);
    assert_string_equal(out.ptr, "0 1000 1536 4MiB 2 1500ms");
    strbuf_fini(&out);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
