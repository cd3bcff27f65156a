#include "config.h"

#include "mirrord/address.h"

#include <errno.h>
#include <string.h>

#include "base/strbuf.h"
#include "tests/unit/unit.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int kind; /* -1: refused */
        const char *host;
        uint16_t port;
    } ROWS[] = {
        {"off", ADDRESS_OFF, "", 0},
        {"OFF", ADDRESS_OFF, "", 0},
        {"127.0.0.1:5001", ADDRESS_TCP, "127.0.0.1", 5001},
        {"mirror.example:80", ADDRESS_TCP, "mirror.example", 80},
        {" a:1 ", ADDRESS_TCP, "a", 1},
        {"[::1]:5000", ADDRESS_TCP, "::1", 5000},
        {"[fe80::1%eth0]:5000", ADDRESS_TCP, "fe80::1%eth0", 5000},
        {":5000", ADDRESS_TCP, "", 5000},
        {"a:0", ADDRESS_TCP, "a", 0},
        {"unix:/run/x.sock", ADDRESS_UNIX, "/run/x.sock", 0},
        {"", -1, NULL, 0},
        {"a", -1, NULL, 0},
        {"5000", -1, NULL, 0},
        {"a:", -1, NULL, 0},
        {"a:x", -1, NULL, 0},
        {"a:65536", -1, NULL, 0},
        {"::1:5000", -1, NULL, 0},
        {"[]:1", -1, NULL, 0},
        {"[::1:1", -1, NULL, 0},
        {"[::1]1", -1, NULL, 0},
        {"a b:1", -1, NULL, 0},
        {"http://a:1", -1, NULL, 0},
        {"unix:", -1, NULL, 0},
        {"unix:x", -1, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct address address = {.kind = ADDRESS_KIND_MAX};
        struct error err = {0};
        int rc = address_parse(slice_of(ROWS[i].text), &address, &err);
        if ((rc < 0) != (ROWS[i].kind < 0))
            fail_msg("%s: %d %s", ROWS[i].text, rc, err.text);
        if (rc < 0) {
            assert_int_equal(rc, -EINVAL);
            assert_int_equal(address.kind, ADDRESS_KIND_MAX);
            assert_true(err.text[0]);
            continue;
        }
        assert_int_equal(address.kind, ROWS[i].kind);
        assert_int_equal(address.port, ROWS[i].port);
        assert_string_equal(address.kind == ADDRESS_UNIX ? address.path : address.host,
                            ROWS[i].host);
    }
}

/* What does not fit is refused, not cut. */
static void test_long(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct address address;

    (void)state;
    strbuf_add_str(&text, "unix:/");
    while (text.len < 5 + 107)
        strbuf_add_char(&text, 'x');
    assert_int_equal(address_parse((struct slice){text.ptr, text.len}, &address, NULL), 0);
    strbuf_add_char(&text, 'x');
    assert_int_equal(address_parse((struct slice){text.ptr, text.len}, &address, NULL), -EINVAL);
    strbuf_clear(&text);
    while (text.len < 256)
        strbuf_add_char(&text, 'x');
    strbuf_add_str(&text, ":1");
    assert_int_equal(address_parse((struct slice){text.ptr, text.len}, &address, NULL), -EINVAL);
    strbuf_fini(&text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
