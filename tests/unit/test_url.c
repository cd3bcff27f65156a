#include "config.h"

#include "base/url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

/* NULL as normal form: refused. */
static const struct {
    const char *text, *normal;
} parse_rows[] = {
    {"http://registry", "http://registry/"},
    {"HTTPS://Registry-1.Docker.IO/v2/", "https://registry-1.docker.io/v2/"},
    {"https://a:443/x", "https://a/x"},
    {"http://a:443/x", "http://a:443/x"},
    {"http://a:80", "http://a/"},
    {"http://[::1]:5000/x", "http://[::1]:5000/x"},
    {"http://127.0.0.1:5000", "http://127.0.0.1:5000/"},
    {"http://a?q=1", "http://a/?q=1"},
    {"http://a/x?", "http://a/x?"},
    {"http://a/x#part", "http://a/x"},
    {"http://a/x?a=http://b/#part", "http://a/x?a=http://b/"},
    {"http://a_b.c-d.e./", "http://a_b.c-d.e./"},
    {"http://a/%2e%2F", "http://a/%2e%2F"},
    {"", NULL},
    {"registry", NULL},
    {"//registry/x", NULL},
    {"/x", NULL},
    {"ftp://a/", NULL},
    {"file:///etc/passwd", NULL},
    {"http:a", NULL},
    {"http://", NULL},
    {"http:///x", NULL},
    {"http://user@a/", NULL},
    {"http://user:password@a/", NULL},
    {"http://a@b@c/", NULL},
    {"http://a:/", NULL},
    {"http://a:0/", NULL},
    {"http://a:65536/", NULL},
    {"http://a:-1/", NULL},
    {"http://a:80x/", NULL},
    {"http://a:80:81/", NULL},
    {"http://.a/", NULL},
    {"http://a..b/", NULL},
    {"http://a b/", NULL},
    {"http://a/x y", NULL},
    {"http://a/x\ty", NULL},
    {"http://a/x\r\nHost: b", NULL},
    {"http://a\\b/", NULL},
    {"http://a/\\b", NULL},
    {"http://a/\xc3\xa4", NULL},
    {"http://a/%", NULL},
    {"http://a/%2", NULL},
    {"http://a/%zz", NULL},
    {"http://[::1/", NULL},
    {"http://[::1]x/", NULL},
    {"http://[::g]/", NULL},
    {"http://[fe80::1%25eth0]/", NULL},
    {"http://[]/", NULL},
    {"http://a%2eb/", NULL},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(parse_rows); i++) {
        struct url u = URL_NONE;
        struct error err = {.code = 0};
        int rc = url_parse(slice_of(parse_rows[i].text), &u, &err);
        if (!parse_rows[i].normal) {
            if (rc != -EINVAL)
                fail_msg("%s is accepted", parse_rows[i].text);
            assert_null(u.text);
            assert_int_equal(err.code, -EINVAL);
            continue;
        }
        if (rc != 0)
            fail_msg("%s: %s", parse_rows[i].text, err.text);
        assert_string_equal(u.text, parse_rows[i].normal);
        url_fini(&u);
    }
}

static void test_parts(void **state)
{
    struct url u;

    (void)state;
    assert_int_equal(url_parse(SLICE("https://H:8443/a/b?c=d"), &u, NULL), 0);
    assert_true(u.is_https);
    assert_int_equal(u.port, 8443);
    assert_true(slice_equal(u.host, SLICE("h")));
    assert_true(slice_equal(u.origin, SLICE("https://h:8443")));
    assert_true(slice_equal(u.path, SLICE("/a/b")));
    assert_true(slice_equal(u.query, SLICE("c=d")));
    assert_true(slice_equal(url_authority(&u), SLICE("h:8443")));
    url_fini(&u);
    url_fini(&u);
}

static void test_too_long(void **state)
{
    static char text[URL_BYTES_MAX + 2];
    struct url u, out;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "http://h/", 9);
    assert_int_equal(url_parse((struct slice){text, sizeof(text)}, &u, NULL), -EINVAL);
    assert_int_equal(url_parse((struct slice){text, URL_BYTES_MAX - 64}, &u, NULL), 0);
    url_copy(&u, &out);
    assert_string_equal(u.text, out.text);
    url_fini(&out);
    /* Merging must not make it longer than allowed either. */
    text[9000] = '/';
    url_fini(&u);
    assert_int_equal(url_parse((struct slice){text, 9001}, &u, NULL), 0);
    assert_int_equal(url_resolve(&u, (struct slice){text + 9, 8900}, &out, NULL), -EINVAL);
    url_fini(&u);
}

/* RFC 3986 section 5.4, and what registries send. */
static const struct {
    const char *reference, *result;
} resolve_rows[] = {
    {"g", "http://a/b/c/g"},
    {"./g", "http://a/b/c/g"},
    {"g/", "http://a/b/c/g/"},
    {"/g", "http://a/g"},
    {"//g", "http://g/"},
    {"//g:81/x", "http://g:81/x"},
    {"?y", "http://a/b/c/d;p?y"},
    {"g?y", "http://a/b/c/g?y"},
    {"#s", "http://a/b/c/d;p?q"},
    {"g#s", "http://a/b/c/g"},
    {";x", "http://a/b/c/;x"},
    {"", "http://a/b/c/d;p?q"},
    {".", "http://a/b/c/"},
    {"./", "http://a/b/c/"},
    {"..", "http://a/b/"},
    {"../", "http://a/b/"},
    {"../g", "http://a/b/g"},
    {"../..", "http://a/"},
    {"../../g", "http://a/g"},
    {"../../../g", "http://a/g"},
    {"/./g", "http://a/g"},
    {"/../g", "http://a/g"},
    {"g.", "http://a/b/c/g."},
    {"..g", "http://a/b/c/..g"},
    {"./../g", "http://a/b/g"},
    {"./g/.", "http://a/b/c/g/"},
    {"g/./h", "http://a/b/c/g/h"},
    {"g/../h", "http://a/b/c/h"},
    {"g?y/../x", "http://a/b/c/g?y/../x"},
    {"https://cdn.example/x?sig=a%2Fb", "https://cdn.example/x?sig=a%2Fb"},
    {"http://b/x/../y", "http://b/y"},
    {"/artifacts-downloads/namespaces/x", "http://a/artifacts-downloads/namespaces/x"},
    {"ftp://g", NULL},
    {"g:h", NULL},
    {"http:g", NULL},
    {"//user@g", NULL},
    {"/x y", NULL},
    {"/x\r\ny", NULL},
};

static void test_resolve(void **state)
{
    struct url base;

    (void)state;
    assert_int_equal(url_parse(SLICE("http://a/b/c/d;p?q"), &base, NULL), 0);
    for (size_t i = 0; i < N_ROWS(resolve_rows); i++) {
        struct url u = URL_NONE;
        int rc = url_resolve(&base, slice_of(resolve_rows[i].reference), &u, NULL);
        if (!resolve_rows[i].result) {
            if (rc == 0)
                fail_msg("%s is accepted", resolve_rows[i].reference);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(u.text, resolve_rows[i].result);
        url_fini(&u);
    }
    url_fini(&base);
}

static const struct {
    const char *a, *b;
    bool same_origin, same_host;
} compare_rows[] = {
    {"http://a/x", "http://A:80/y", true, true},  {"http://a/", "https://a/", false, true},
    {"http://a/", "http://a:81/", false, true},   {"http://a/", "http://ab/", false, false},
    {"http://a:8/", "http://a:80/", false, true},
};

static void test_compare(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(compare_rows); i++) {
        struct url a, b;
        assert_int_equal(url_parse(slice_of(compare_rows[i].a), &a, NULL), 0);
        assert_int_equal(url_parse(slice_of(compare_rows[i].b), &b, NULL), 0);
        assert_int_equal(url_same_origin(&a, &b), compare_rows[i].same_origin);
        assert_int_equal(url_same_host(&a, &b), compare_rows[i].same_host);
        url_fini(&a);
        url_fini(&b);
    }
}

static const struct {
    const char *url;
    bool is_address;
} address_rows[] = {
    {"http://127.0.0.1/", true},    {"http://[::1]/", true},  {"http://2130706433/", true},
    {"http://0x7f.1/", true},       {"http://127.1./", true}, {"http://localhost/", false},
    {"http://1.2.example/", false}, {"http://a1/", false},
};

static void test_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(address_rows); i++) {
        struct url u;
        assert_int_equal(url_parse(slice_of(address_rows[i].url), &u, NULL), 0);
        assert_int_equal(url_host_is_address(&u), address_rows[i].is_address);
        url_fini(&u);
    }
}

static void test_encoding(void **state)
{
    struct strbuf b = STRBUF_INIT;

    (void)state;
    url_add_encoded(&b, SLICE("a b/c:\xc3~\0"), "/");
    assert_string_equal(b.ptr, "a%20b/c%3A%C3~%00");
    strbuf_clear(&b);
    assert_true(url_add_decoded(&b, SLICE("a%20b%2Fc+%7e")));
    assert_string_equal(b.ptr, "a b/c+~");
    assert_false(url_add_decoded(&b, SLICE("%")));
    assert_false(url_add_decoded(&b, SLICE("%4")));
    assert_false(url_add_decoded(&b, SLICE("%g0")));
    assert_false(url_add_decoded(&b, SLICE("%00")));
    strbuf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),    cmocka_unit_test(test_parts),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_compare),  cmocka_unit_test(test_address),
        cmocka_unit_test(test_encoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
