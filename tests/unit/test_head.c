#include "config.h"

#include "mirrord/head.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "tests/unit/unit.h"

static const struct head_limits LIMITS = {
    .target_max_bytes = 8192, .head_max_bytes = 32768, .fields_max = 100};

#define LINE "GET /v2/ HTTP/1.1\r\n"
#define HOST "Host: mirror.test\r\n"
#define END "\r\n"

/* A literal with its length, so that NULs count. */
#define TEXT(literal) literal, sizeof(literal) - 1

struct row {
    const char *name;
    const char *text;
    size_t len;
    int rc; /* 0: accepted as a whole */
};

/* Parses a copy of exactly n bytes, so that a read beyond them is seen. */
static int parse(const char *text, size_t n, struct head *h)
{
    char *copy = xmalloc(n + 1);
    size_t scanned = 0;

    memcpy(copy, text, n);
    char *exact = realloc(copy, n ? n : 1);
    int rc = head_parse(exact, n, &LIMITS, &scanned, h);
    free(exact);
    return rc;
}

/* The same bytes, one more at each call. */
static int parse_in_pieces(const char *text, size_t n, struct head *h)
{
    size_t scanned = 0;
    int rc = 0;

    for (size_t i = 1; i <= n && rc == 0; i++)
        rc = head_parse(text, i, &LIMITS, &scanned, h);
    return rc;
}

static const struct row ROWS[] = {
    {"plain", TEXT(LINE HOST END), 0},
    {"no fields in HTTP/1.0", TEXT("GET / HTTP/1.0\r\n\r\n"), 0},
    {"a later minor", TEXT("GET / HTTP/1.2\r\n" HOST END), 0},
    {"blanks around a value", TEXT(LINE HOST "A: \t b \t\r\n" END), 0},
    {"empty value", TEXT(LINE HOST "A:\r\n" END), 0},
    {"empty host", TEXT(LINE "Host:\r\n" END), 0},
    {"high bytes in a value", TEXT(LINE HOST "A: \xc3\xa4\xff\r\n" END), 0},
    {"tab in a value", TEXT(LINE HOST "A: longer than eight\tb\r\n" END), 0},
    {"one empty line before", TEXT("\r\n" LINE HOST END), 0},
    {"host with port", TEXT(LINE "Host: a.b-c:5000\r\n" END), 0},
    {"host is an IPv6 address", TEXT(LINE "Host: [::1]:5000\r\n" END), 0},
    {"absolute form", TEXT("GET http://a/b HTTP/1.1\r\n" HOST END), 0},
    {"absolute form, other case", TEXT("GET HTTPS://a:1/b HTTP/1.1\r\n" HOST END), 0},
    {"all of the server", TEXT("OPTIONS * HTTP/1.1\r\n" HOST END), 0},
    {"length", TEXT(LINE HOST "Content-Length: 5\r\n" END), 0},
    {"length, blanks outside", TEXT(LINE HOST "Content-Length:  5 \r\n" END), 0},
    {"largest length", TEXT(LINE HOST "Content-Length: 9223372036854775807\r\n" END), 0},
    {"chunked", TEXT(LINE HOST "Transfer-Encoding: chunked\r\n" END), 0},
    {"chunked, other case", TEXT(LINE HOST "transfer-encoding: Chunked\r\n" END), 0},
    {"expect", TEXT(LINE HOST "Expect: 100-Continue\r\n" END), 0},

    {"two empty lines before", TEXT("\r\n\r\n" LINE HOST END), -400},
    {"no host", TEXT(LINE END), -400},
    {"two hosts", TEXT(LINE HOST HOST END), -400},
    {"two hosts in HTTP/1.0", TEXT("GET / HTTP/1.0\r\n" HOST HOST END), -400},
    {"host with blank", TEXT(LINE "Host: a b\r\n" END), -400},
    {"host with path", TEXT(LINE "Host: a/b\r\n" END), -400},
    {"host with user", TEXT(LINE "Host: u@a\r\n" END), -400},
    {"different lengths", TEXT(LINE HOST "Content-Length: 5\r\nContent-Length: 6\r\n" END), -400},
    {"equal lengths", TEXT(LINE HOST "Content-Length: 5\r\nContent-Length: 5\r\n" END), -400},
    {"length and chunked",
     TEXT(LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END), -400},
    {"chunked and length",
     TEXT(LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" END), -400},
    {"signed length", TEXT(LINE HOST "Content-Length: +5\r\n" END), -400},
    {"negative length", TEXT(LINE HOST "Content-Length: -5\r\n" END), -400},
    {"list of lengths", TEXT(LINE HOST "Content-Length: 5,5\r\n" END), -400},
    {"blank in a length", TEXT(LINE HOST "Content-Length: 5 5\r\n" END), -400},
    {"hexadecimal length", TEXT(LINE HOST "Content-Length: 0x5\r\n" END), -400},
    {"20 digits", TEXT(LINE HOST "Content-Length: 99999999999999999999\r\n" END), -400},
    {"one over 2^63", TEXT(LINE HOST "Content-Length: 9223372036854775808\r\n" END), -400},
    {"2^64", TEXT(LINE HOST "Content-Length: 18446744073709551616\r\n" END), -400},
    {"empty length", TEXT(LINE HOST "Content-Length:\r\n" END), -400},
    {"chunked twice",
     TEXT(LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END), -400},
    {"chunked in HTTP/1.0", TEXT("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END), -400},
    {"identity", TEXT(LINE HOST "Transfer-Encoding: identity\r\n" END), -400},
    {"nearly chunked", TEXT(LINE HOST "Transfer-Encoding: xchunked\r\n" END), -400},
    {"control before chunked",
     TEXT(LINE HOST "Transfer-Encoding: \x0b"
                    "chunked\r\n" END),
     -400},
    {"empty coding", TEXT(LINE HOST "Transfer-Encoding:\r\n" END), -400},
    {"chunked, then gzip", TEXT(LINE HOST "Transfer-Encoding: chunked, gzip\r\n" END), -400},
    {"gzip, then chunked", TEXT(LINE HOST "Transfer-Encoding: gzip, chunked\r\n" END), -501},
    {"unknown expectation", TEXT(LINE HOST "Expect: a-miracle\r\n" END), -417},

    {"bare LF everywhere", TEXT("GET / HTTP/1.1\nHost: a\n\n"), -400},
    {"bare LF behind the request line", TEXT("GET / HTTP/1.1\nHost: a\r\n\r\n"), -400},
    {"bare LF behind a field", TEXT(LINE "Host: a\n\r\n"), -400},
    {"bare LF at the end", TEXT(LINE HOST "\n"), -400},
    {"bare CR in a value", TEXT(LINE HOST "A: b\rc\r\n" END), -400},
    {"CR before CRLF", TEXT(LINE HOST "A: b\r\r\n" END), -400},
    {"NUL in a value", TEXT(LINE HOST "A: b\0c\r\n" END), -400},
    {"NUL in a long value", TEXT(LINE HOST "A: 0123456789ab\0cdefghijklmn\r\n" END), -400},
    {"control in a value",
     TEXT(LINE HOST "A: 01234567\x1f"
                    "89abcdef\r\n" END),
     -400},
    {"DEL in a value",
     TEXT(LINE HOST "A: 01234567\x7f"
                    "9abcdef\r\n" END),
     -400},
    {"control behind a tab",
     TEXT(LINE HOST "A: 0\t234567\x01"
                    "9abcdef\r\n" END),
     -400},
    {"tab and control in eight",
     TEXT(LINE HOST "A: 0\t2\x02"
                    "45678\r\n" END),
     -400},
    {"NUL in a name", TEXT(LINE HOST "A\0: b\r\n" END), -400},
    {"blank before the colon", TEXT(LINE HOST "A : b\r\n" END), -400},
    {"tab before the colon", TEXT(LINE HOST "A\t: b\r\n" END), -400},
    {"empty name", TEXT(LINE HOST ": b\r\n" END), -400},
    {"no colon", TEXT(LINE HOST "A b\r\n" END), -400},
    {"bracket in a name", TEXT(LINE HOST "A(: b\r\n" END), -400},
    {"folded by a blank", TEXT(LINE HOST "A: b\r\n c\r\n" END), -400},
    {"folded by a tab", TEXT(LINE HOST "A: b\r\n\tc\r\n" END), -400},
    {"first field folded", TEXT(LINE " Host: a\r\n" END), -400},

    {"two blanks behind the method", TEXT("GET  / HTTP/1.1\r\n" HOST END), -400},
    {"two blanks behind the target", TEXT("GET /  HTTP/1.1\r\n" HOST END), -400},
    {"blank behind the version", TEXT("GET / HTTP/1.1 \r\n" HOST END), -400},
    {"tab instead of a blank", TEXT("GET\t/ HTTP/1.1\r\n" HOST END), -400},
    {"no version", TEXT("GET /\r\n" HOST END), -400},
    {"no target", TEXT("GET HTTP/1.1\r\n" HOST END), -400},
    {"version with more digits", TEXT("GET / HTTP/1.11\r\n" HOST END), -400},
    {"version in small letters", TEXT("GET / http/1.1\r\n" HOST END), -400},
    {"another protocol", TEXT("GET / ICAP/1.1\r\n" HOST END), -400},
    {"version without point", TEXT("GET / HTTP/1-1\r\n" HOST END), -400},
    {"version 2.0", TEXT("GET / HTTP/2.0\r\n" HOST END), -505},
    {"version 0.9", TEXT("GET / HTTP/0.9\r\n" HOST END), -505},
    {"HTTP/2 preface", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), -400},
    {"TLS hello", TEXT("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n"), -400},
    {"bracket in the method", TEXT("G(T / HTTP/1.1\r\n" HOST END), -400},
    {"no slash", TEXT("GET v2/ HTTP/1.1\r\n" HOST END), -400},
    {"asterisk for GET", TEXT("GET * HTTP/1.1\r\n" HOST END), -400},
    {"authority form", TEXT("CONNECT a:443 HTTP/1.1\r\n" HOST END), -400},
    {"control in the target", TEXT("GET /\x01 HTTP/1.1\r\n" HOST END), -400},
    {"high byte in the target", TEXT("GET /\xc3\xa4 HTTP/1.1\r\n" HOST END), -400},
    {"fragment", TEXT("GET /a#b HTTP/1.1\r\n" HOST END), -400},
    {"other scheme", TEXT("GET ftp://a/b HTTP/1.1\r\n" HOST END), -400},
    {"scheme without host", TEXT("GET http:///b HTTP/1.1\r\n" HOST END), -400},
    {"scheme alone", TEXT("GET http:// HTTP/1.1\r\n" HOST END), -400},
    {"user in absolute form", TEXT("GET http://u@a/b HTTP/1.1\r\n" HOST END), -400},
};

static void test_rows(void **state)
{
    static struct head h;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        const struct row *r = &ROWS[i];
        int wanted = r->rc ? r->rc : (int)r->len;
        int rc = parse(r->text, r->len, &h);
        if (rc != wanted)
            fail_msg("%s: %d instead of %d", r->name, rc, wanted);
        rc = parse_in_pieces(r->text, r->len, &h);
        if (rc != wanted)
            fail_msg("%s, in pieces: %d instead of %d", r->name, rc, wanted);
    }
}

/* Every accepted head, cut anywhere, is incomplete and not refused. */
static void test_prefixes_are_incomplete(void **state)
{
    static struct head h;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS) && ROWS[i].rc == 0; i++)
        for (size_t n = 0; n < ROWS[i].len; n++)
            if (parse(ROWS[i].text, n, &h) != 0)
                fail_msg("%s: refused after %zu bytes", ROWS[i].name, n);
}

static void test_parts(void **state)
{
    static struct head h;
    static const char TWO[] = "PUT /v2/a/blobs/uploads/?digest=sha256:1&a?b HTTP/1.1\r\n"
                              "hOsT: mirror.test\r\n"
                              "A-b:  one two \r\n"
                              "a-B: later\r\n"
                              "Content-Length: 123\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    size_t scanned = 0;
    int rc = head_parse(TWO, sizeof(TWO) - 1, &LIMITS, &scanned, &h);

    (void)state;
    assert_int_equal(rc, sizeof(TWO) - 1 - 18);
    assert_int_equal(h.method, HTTP_PUT);
    assert_string_equal(http_method_name(h.method), "PUT");
    assert_true(slice_equal(h.path, SLICE("/v2/a/blobs/uploads/")));
    assert_true(slice_equal(h.query, SLICE("digest=sha256:1&a?b")));
    assert_true(slice_equal(h.host, SLICE("mirror.test")));
    assert_int_equal(h.n_fields, 4);
    assert_true(slice_equal(head_field_find(&h, "A-B"), SLICE("one two")));
    assert_null(head_field_find(&h, "absent").ptr);
    assert_true(h.has_length && !h.is_chunked && h.keep_alive && !h.expect_continue);
    assert_int_equal(h.length, 123);
    assert_int_equal(h.minor, 1);
}

static void test_absolute_form_wins_over_host(void **state)
{
    static struct head h;
    static const char TEXTS[][64] = {"GET http://other:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n",
                                     "GET http://other:1 HTTP/1.1\r\nHost: a\r\n\r\n",
                                     "GET http://other:1?q HTTP/1.1\r\nHost: a\r\n\r\n"};
    static const char *const PATHS[] = {"/p", "/", "/"}, *const QUERIES[] = {"q", "", "q"};

    (void)state;
    for (size_t i = 0; i < N_ROWS(TEXTS); i++) {
        size_t scanned = 0;
        assert_true(head_parse(TEXTS[i], strlen(TEXTS[i]), &LIMITS, &scanned, &h) > 0);
        assert_true(slice_equal(h.host, SLICE("other:1")));
        assert_true(slice_equal(h.path, slice_of(PATHS[i])));
        assert_true(slice_equal(h.query, slice_of(QUERIES[i])));
    }
}

static void test_connection(void **state)
{
    static const struct {
        const char *text;
        bool stays;
    } CASES[] = {
        {LINE HOST END, true},
        {LINE HOST "Connection: close\r\n" END, false},
        {LINE HOST "Connection: Close\r\n" END, false},
        {LINE HOST "Connection: keep-alive, close\r\n" END, false},
        {LINE HOST "Connection: keep-alive ,\tclose\r\n" END, false},
        {LINE HOST "Connection: a\r\nConnection: close\r\n" END, false},
        {LINE HOST "Connection: closed\r\n" END, true},
        {LINE HOST "Connection:\r\n" END, true},
        {"GET / HTTP/1.0\r\n" END, false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n" END, true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n" END, false},
    };
    static struct head h;

    (void)state;
    for (size_t i = 0; i < N_ROWS(CASES); i++) {
        assert_true(parse(CASES[i].text, strlen(CASES[i].text), &h) > 0);
        if (h.keep_alive != CASES[i].stays)
            fail_msg("%s", CASES[i].text);
    }
}

static void test_methods(void **state)
{
    static const char *const NAMES[] = {"GET",    "HEAD",    "POST",  "PUT", "PATCH",
                                        "DELETE", "OPTIONS", "TRACE", "get", "GETS"};
    static struct head h;

    (void)state;
    for (size_t i = 0; i < N_ROWS(NAMES); i++) {
        struct strbuf text = STRBUF_INIT;
        strbuf_addf(&text, "%s / HTTP/1.1\r\n" HOST END, NAMES[i]);
        size_t scanned = 0;
        assert_true(head_parse(text.ptr, text.len, &LIMITS, &scanned, &h) > 0);
        assert_int_equal(h.method, i < HTTP_OTHER ? i : HTTP_OTHER);
        assert_true(slice_equal(h.method_text, slice_of(NAMES[i])));
        strbuf_fini(&text);
    }
}

/* Limits hold before the head is complete, and whichever comes first decides. */
static void test_limits(void **state)
{
    static struct head h;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    strbuf_add_str(&text, "GET /");
    for (size_t i = 0; i < LIMITS.target_max_bytes - 1; i++)
        strbuf_add_char(&text, 'a');
    size_t n_longest = text.len;
    strbuf_add_str(&text, " HTTP/1.1\r\n" HOST END);
    assert_int_equal(parse(text.ptr, text.len, &h), text.len);
    memcpy(text.ptr + n_longest, "a HTTP/1.1\r\nHost: b\r\n\r\n", 23);
    assert_int_equal(parse(text.ptr, n_longest + 23, &h), -414);

    strbuf_clear(&text);
    strbuf_add_str(&text, "GET /");
    for (size_t i = 0; i < LIMITS.target_max_bytes + 64; i++)
        strbuf_add_char(&text, 'a');
    assert_int_equal(parse(text.ptr, text.len, &h), -414);

    strbuf_clear(&text);
    strbuf_add_str(&text, LINE HOST "A: ");
    while (text.len < LIMITS.head_max_bytes - 1)
        strbuf_add_char(&text, 'a');
    assert_int_equal(parse(text.ptr, text.len, &h), 0);
    strbuf_add_str(&text, "a");
    assert_int_equal(parse(text.ptr, text.len, &h), -431);
    strbuf_add_str(&text, "\r\n\r\n");
    assert_int_equal(parse(text.ptr, text.len, &h), -431);
    strbuf_fini(&text);
}

static void test_number_of_fields(void **state)
{
    static struct head h;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    strbuf_add_str(&text, LINE HOST);
    for (unsigned i = 1; i < LIMITS.fields_max; i++)
        strbuf_addf(&text, "A%u: b\r\n", i);
    strbuf_add_str(&text, END);
    assert_int_equal(parse(text.ptr, text.len, &h), text.len);
    assert_int_equal(h.n_fields, LIMITS.fields_max);
    text.len -= 2;
    strbuf_add_str(&text, "A: b\r\n" END);
    assert_int_equal(parse(text.ptr, text.len, &h), -431);
    strbuf_fini(&text);
}

/* Each control character, at each place of a value that spans more than a word. */
static void test_every_control(void **state)
{
    static struct head h;

    (void)state;
    for (int c = 0; c < 256; c++) {
        for (size_t at = 0; at < 19; at++) {
            char text[] = LINE HOST "A: [.................]\r\n" END;
            char *value = strchr(text, '[');
            value[at] = (char)c;
            bool is_bad = (c < 0x20 && c != '\t') || c == 0x7f;
            int rc = parse(text, sizeof(text) - 1, &h);
            if ((rc > 0) == is_bad)
                fail_msg("byte %d at %zu: %d", c, at, rc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),          cmocka_unit_test(test_prefixes_are_incomplete),
        cmocka_unit_test(test_parts),         cmocka_unit_test(test_absolute_form_wins_over_host),
        cmocka_unit_test(test_connection),    cmocka_unit_test(test_methods),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_number_of_fields),
        cmocka_unit_test(test_every_control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
