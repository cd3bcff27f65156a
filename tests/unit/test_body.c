#include "config.h"

#include "mirrord/body.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strbuf.h"
#include "mirrord/head.h"
#include "tests/unit/unit.h"

static const struct head CHUNKED = {.is_chunked = true};

/* Decodes `text` in pieces of n_piece bytes. The payload is added to *out; the rest that was not
 * taken comes back in *n_rest. 1: complete; 0: more is needed; -400. */
static int decode(const struct head *head, struct slice text, size_t n_piece, struct strbuf *out,
                  size_t *n_rest)
{
    struct body b;

    body_init(&b, head);
    *n_rest = text.len;
    while (text.len && !body_is_complete(&b)) {
        size_t n = text.len < n_piece ? text.len : n_piece, n_used, n_payload;
        char *copy = xmemdup0(text.ptr, n);
        int rc = body_decode(&b, copy, n, &n_used, &n_payload);
        if (rc == 0)
            strbuf_add(out, copy, n_payload);
        free(copy);
        if (rc < 0)
            return rc;
        text.ptr += n_used;
        text.len -= n_used;
        *n_rest = text.len;
    }
    return body_is_complete(&b);
}

static const struct {
    const char *text;
    int rc;
    const char *payload;
    size_t n_rest;
} ROWS[] = {
    {"5\r\nhello\r\n0\r\n\r\n", 1, "hello", 0},
    {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", 1, "hello world", 5},
    {"0\r\n\r\n", 1, "", 0},
    {"0000000000000A\r\n0123456789\r\n00\r\n\r\n", 1, "0123456789", 0},
    {"a\r\n0123456789\r\n0\r\n\r\n", 1, "0123456789", 0},
    {"5;ext=1\r\nhello\r\n0;last\r\n\r\n", 1, "hello", 0},
    {"5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", 1, "hello", 0},
    {"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", 1, "\r\n", 0},
    {"5\r\nhello\r\n0\r\nDigest: sha-256=x\r\nA:\r\n\r\nrest", 1, "hello", 4},
    {"5\r\nhello\r\n0\r\n", 0, "hello", 0},
    {"5\r\nhel", 0, "hel", 0},
    {"", 0, "", 0},
    {"+5\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"-1\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"0x5\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5 junk\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5 ;a\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5 \r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {" 5\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {";a\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"\r\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5;a\nhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5\rhello\r\n0\r\n\r\n", -400, NULL, 0},
    {"5\r\nhello0\r\n\r\n", -400, NULL, 0},
    {"5\r\nhelloXX0\r\n\r\n", -400, NULL, 0},
    {"5\r\nhello\n0\r\n\r\n", -400, NULL, 0},
    {"5\r\nhello\r0\r\n\r\n", -400, NULL, 0},
    {"g\r\n", -400, NULL, 0},
    {"1111111111111111\r\n", -400, NULL, 0},
    {"0000000000000001\r\n", -400, NULL, 0},
    {"0\r\n\n", -400, NULL, 0},
    {"0\r\n\r0", -400, NULL, 0},
    {"0\r\nA b: c\r\n\r\n", -400, NULL, 0},
    {"0\r\n: c\r\n\r\n", -400, NULL, 0},
    {"0\r\n folded\r\n\r\n", -400, NULL, 0},
    {"0\r\nA: b\n\r\n", -400, NULL, 0},
    {"0\r\nA: \x01\r\n\r\n", -400, NULL, 0},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        for (size_t n_piece = 1; n_piece < 40; n_piece++) {
            struct strbuf out = STRBUF_INIT;
            size_t n_rest;
            int rc = decode(&CHUNKED, slice_of(ROWS[i].text), n_piece, &out, &n_rest);
            if (rc != ROWS[i].rc)
                fail_msg("%s in pieces of %zu: %d", ROWS[i].text, n_piece, rc);
            if (rc >= 0) {
                assert_int_equal(out.len, strlen(ROWS[i].payload));
                assert_memory_equal(out.len ? out.ptr : "", ROWS[i].payload, out.len);
                assert_int_equal(n_rest, ROWS[i].n_rest);
            }
            strbuf_fini(&out);
        }
    }
}

static void test_length(void **state)
{
    static const struct head FIVE = {.has_length = true, .length = 5};
    static const struct head ZERO = {.has_length = true};
    static const struct head NONE = {.has_length = false};
    struct strbuf out = STRBUF_INIT;
    struct body b;
    size_t n_rest;

    (void)state;
    assert_int_equal(decode(&FIVE, SLICE("helloGET /"), 3, &out, &n_rest), 1);
    assert_int_equal(out.len, 5);
    assert_int_equal(n_rest, 5);
    strbuf_clear(&out);
    assert_int_equal(decode(&FIVE, SLICE("hell"), 9, &out, &n_rest), 0);
    body_init(&b, &ZERO);
    assert_true(body_is_complete(&b));
    body_init(&b, &NONE);
    assert_true(body_is_complete(&b));
    body_init(&b, &FIVE);
    assert_false(body_is_chunked(&b));
    assert_int_equal(body_left_min(&b), 5);
    strbuf_fini(&out);
}

/* A chunk of more than 4 GiB is only a number. */
static void test_huge_chunk(void **state)
{
    struct body b;
    char size[] = "100000001\r\n";
    size_t n_used, n_payload;
    uint64_t n_left = 0x100000001;

    (void)state;
    body_init(&b, &CHUNKED);
    assert_int_equal(body_decode(&b, size, sizeof(size) - 1, &n_used, &n_payload), 0);
    char *piece = xcalloc(1, 1 << 20);
    while (n_left > 0) {
        size_t n = n_left < 1 << 20 ? (size_t)n_left : 1 << 20;
        assert_int_equal(body_left_min(&b), n_left);
        assert_int_equal(body_decode(&b, piece, n, &n_used, &n_payload), 0);
        assert_int_equal(n_used, n);
        assert_int_equal(n_payload, n);
        n_left -= n;
    }
    char end[] = "\r\n0\r\n\r\n";
    assert_int_equal(body_decode(&b, end, sizeof(end) - 1, &n_used, &n_payload), 0);
    assert_true(body_is_complete(&b));
    free(piece);
}

/* Nobody makes us read extensions or trailer fields for ever. */
static void test_overhead_is_bounded(void **state)
{
    (void)state;
    for (int is_trailer = 0; is_trailer < 2; is_trailer++) {
        struct strbuf text = STRBUF_INIT, out = STRBUF_INIT;
        size_t n_rest;
        strbuf_add_str(&text, is_trailer ? "0\r\n" : "5;");
        for (int i = 0; i < 10000; i++)
            strbuf_add_str(&text, is_trailer ? "A: b\r\n" : "a");
        assert_int_equal(decode(&CHUNKED, (struct slice){text.ptr, text.len}, 100, &out, &n_rest),
                         -400);
        strbuf_fini(&text);
        strbuf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_huge_chunk),
        cmocka_unit_test(test_overhead_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
