#include "config.h"

#include "mirrord/range_body.h"

#include <stdio.h>
#include <string.h>

#include "mirrord/txn.h"
#include "tests/unit/unit.h"

/* An object whose byte at offset n is the letter n modulo 26, read at most `step` at a time. */
struct letters {
    uint64_t step;
    uint64_t sought_off, sought_end;
    unsigned n_seeks, n_closes;
    bool is_dry; /* next says: not yet */
    char text[64];
};

static int do_next(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    struct letters *l = source;
    uint64_t n = want < l->step ? want : l->step;

    assert_true(off >= l->sought_off && off + want <= l->sought_end);
    if (l->is_dry)
        return 0;
    for (uint64_t i = 0; i < n; i++)
        l->text[i] = (char)('a' + (off + i) % 26);
    *out = (struct body_part){.ptr = l->text, .fd = -1, .len = n};
    return 1;
}

static void do_close(void *source)
{
    ((struct letters *)source)->n_closes++;
}

static void do_seek(void *source, uint64_t off, uint64_t end)
{
    struct letters *l = source;

    l->sought_off = off;
    l->sought_end = end;
    l->n_seeks++;
}

static const struct object_source OPS = {{do_next, do_close}, do_seek};

/* Reads the whole body, `want` at a time. */
static size_t read_all(struct range_body *b, uint64_t want, char *out)
{
    uint64_t length = range_body_length(b), off = 0;

    while (off < length) {
        struct body_part part;
        uint64_t left = length - off;
        assert_int_equal(RANGE_BODY_OPS.next(b, off, left < want ? left : want, &part), 1);
        assert_true(part.len > 0 && part.len <= want);
        memcpy(out + off, part.ptr, part.len);
        off += part.len;
    }
    out[off] = '\0';
    return (size_t)off;
}

static void test_one_range(void **state)
{
    struct letters l = {.step = 3};
    struct byte_range range = {2, 12};
    char out[64];

    (void)state;
    struct range_body *b = range_body_new(&range, 1, 26, &OPS, &l);
    assert_int_equal(range_body_length(b), 10);
    read_all(b, 7, out);
    assert_string_equal(out, "cdefghijkl");
    assert_int_equal(l.n_seeks, 1);
    RANGE_BODY_OPS.close(b);
    assert_int_equal(l.n_closes, 1);
}

/* Without the boundary, which is random. */
static void check_parts(const char *body)
{
    static const char *const pieces[] = {
        "Content-Type: application/octet-stream\r\nContent-Range: bytes 0-2/26\r\n\r\nabc\r\n--",
        "Content-Type: application/octet-stream\r\nContent-Range: bytes 25-25/26\r\n\r\nz\r\n--",
        "Content-Type: application/octet-stream\r\nContent-Range: bytes 3-4/26\r\n\r\nde\r\n--",
    };
    char boundary[64];
    const char *at = body;

    assert_int_equal(sscanf(body, "--%60[0-9a-f]\r\n", boundary), 1);
    at += 2 + strlen(boundary) + 2;
    for (size_t i = 0; i < N_ROWS(pieces); i++) {
        assert_memory_equal(at, pieces[i], strlen(pieces[i]));
        at += strlen(pieces[i]);
        assert_memory_equal(at, boundary, strlen(boundary));
        at += strlen(boundary) + 2;
    }
    assert_string_equal(at - 2, "--\r\n");
}

static void test_several_ranges(void **state)
{
    static const struct byte_range ranges[] = {{0, 3}, {25, 26}, {3, 5}};
    char out[1024];

    (void)state;
    for (uint64_t want = 1; want < 200; want += 13) {
        struct letters l = {.step = 2};
        struct range_body *b = range_body_new(ranges, 3, 26, &OPS, &l);
        assert_int_equal(read_all(b, want, out), range_body_length(b));
        check_parts(out);
        assert_int_equal(l.n_seeks, 3);
        RANGE_BODY_OPS.close(b);
        assert_int_equal(l.n_closes, 1);
    }
}

static void test_waiting(void **state)
{
    struct letters l = {.step = 2, .is_dry = true};
    struct byte_range range = {0, 4};
    struct body_part part;

    (void)state;
    struct range_body *b = range_body_new(&range, 1, 26, &OPS, &l);
    assert_int_equal(RANGE_BODY_OPS.next(b, 0, 10, &part), 0);
    l.is_dry = false;
    assert_int_equal(RANGE_BODY_OPS.next(b, 0, 10, &part), 1);
    assert_int_equal(l.n_seeks, 1);
    RANGE_BODY_OPS.close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_range),
        cmocka_unit_test(test_several_ranges),
        cmocka_unit_test(test_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
