#include "config.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static void test_set_and_wrap(void **state)
{
    struct error err;

    (void)state;
    assert_int_equal(error_sys(&err, -ENOENT, "open %s", "x"), -ENOENT);
    assert_string_equal(err.text, "open x: No such file or directory");
    assert_int_equal(error_wrap(&err, "start %d", 1), -ENOENT);
    assert_string_equal(err.text, "start 1: open x: No such file or directory");
    assert_int_equal(error_set(NULL, -EINVAL, "nobody listens"), -EINVAL);
}

static void test_long_text_is_cut(void **state)
{
    char text[400];
    struct error err;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    error_sys(&err, -EIO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_wrap(&err, "front");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_memory_equal(err.text, "front: xxx", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_wrap),
        cmocka_unit_test(test_long_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
