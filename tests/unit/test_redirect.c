#include "config.h"

#include "upstream/redirect.h"

#include <errno.h>
#include <stdio.h>

#include "tests/unit/unit.h"

static const struct {
    const char *from, *location;
    int rc;
    const char *target;
} rows[] = {
    {"https://r.example/v2/x", "https://cdn.example/y?sig=1", 0, "https://cdn.example/y?sig=1"},
    {"https://r.example/v2/x", "/y", 0, "https://r.example/y"},
    {"https://r.example/v2/x", "//cdn.example/y", 0, "https://cdn.example/y"},
    {"https://r.example/v2/x", "z", 0, "https://r.example/v2/z"},
    {"http://r.example/x", "https://r.example/x", 0, "https://r.example/x"},
    {"http://r.example/x", "http://cdn.example/x", 0, "http://cdn.example/x"},
    {"https://r.example/x", "http://r.example/y", -EPERM, NULL},
    {"https://r.example/x", "http://cdn.example/y", -EPERM, NULL},
    {"https://r.example/x", "", -ELOOP, NULL},
    {"https://r.example/x", "/x", -ELOOP, NULL},
    {"https://r.example/x", "HTTPS://R.EXAMPLE:443/x#y", -ELOOP, NULL},
    {"https://r.example/x", "ftp://r.example/y", -EINVAL, NULL},
    {"https://r.example/x", "file:///etc/passwd", -EINVAL, NULL},
    {"https://r.example/x", "https://user:password@r.example/y", -EINVAL, NULL},
    {"https://r.example/x", "/a b", -EINVAL, NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct redirect_chain chain;
        struct url from, target;
        assert_int_equal(url_parse(slice_of(rows[i].from), &from, NULL), 0);
        redirect_begin(&chain, &from);
        int rc = redirect_follow(&chain, &from, slice_of(rows[i].location), &target, NULL);
        if (rc != rows[i].rc)
            fail_msg("%s from %s: %d", rows[i].location, rows[i].from, rc);
        if (rc == 0) {
            assert_string_equal(target.text, rows[i].target);
            url_fini(&target);
        }
        url_fini(&from);
    }
}

static void test_length(void **state)
{
    struct redirect_chain chain;
    struct url at, next;
    char location[16];

    (void)state;
    assert_int_equal(url_parse(SLICE("http://r.example/"), &at, NULL), 0);
    redirect_begin(&chain, &at);
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        snprintf(location, sizeof(location), "/%d", i);
        int rc = redirect_follow(&chain, &at, slice_of(location), &next, NULL);
        assert_int_equal(rc, i < REDIRECTS_MAX ? 0 : -ELOOP);
        if (rc == 0) {
            url_fini(&at);
            at = next;
        }
    }
    url_fini(&at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
