#include "config.h"

#include "cache/segments.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

#define MODEL_BYTES 300

/* The model: one flag per byte. */
static void compare(const struct segments *s, const bool *model)
{
    uint64_t total = 0;

    for (uint64_t off = 0; off < MODEL_BYTES; off++) {
        uint64_t end = off, next = UINT64_MAX, at = off;
        while (end < MODEL_BYTES && model[end])
            end++;
        /* Behind the run that holds off, the next start. */
        at = end > off ? end : off;
        while (at < MODEL_BYTES && !model[at])
            at++;
        if (at < MODEL_BYTES)
            next = at;
        assert_int_equal(segments_run_end(s, off), end);
        assert_true(segments_next_start(s, off) == next);
        total += model[off];
    }
    assert_int_equal(s->total, total);
    for (size_t i = 1; i < s->n; i++)
        assert_true(s->runs[i - 1].end < s->runs[i].off);
}

static void test_random(void **state)
{
    (void)state;
    srandom(1);
    for (unsigned round = 0; round < 60; round++) {
        struct segments s, copy;
        bool model[MODEL_BYTES] = {false};
        segments_init(&s);
        segments_init(&copy);
        for (unsigned i = 0; i < 40; i++) {
            uint64_t off = (uint64_t)random() % MODEL_BYTES;
            uint64_t end = off + (uint64_t)random() % 20;
            end = end > MODEL_BYTES ? MODEL_BYTES : end;
            if (random() % 12 == 0) {
                segments_cut(&s, end);
                memset(model + end, 0, MODEL_BYTES - end);
            } else {
                segments_add(&s, off, end);
                memset(model + off, 1, end - off);
            }
            compare(&s, model);
        }
        segments_copy(&copy, &s);
        compare(&copy, model);
        segments_clear(&s);
        assert_int_equal(segments_last_end(&s), 0);
        segments_fini(&s);
        segments_fini(&copy);
    }
}

static void test_sequential_is_one_run(void **state)
{
    struct segments s;

    (void)state;
    segments_init(&s);
    for (uint64_t off = 0; off < 100000; off += 10)
        segments_add(&s, off, off + 10);
    assert_int_equal(s.n, 1);
    assert_int_equal(segments_run_end(&s, 0), 100000);
    assert_int_equal(segments_last_end(&s), 100000);
    segments_fini(&s);
}

static void test_merge(void **state)
{
    struct segments s;

    (void)state;
    segments_init(&s);
    for (uint64_t off = 100; off < 1100; off += 100)
        segments_add(&s, off, off + 50);
    assert_int_equal(s.n, 10);
    segments_add(&s, 5, 5);
    assert_int_equal(s.n, 10);
    segments_add(&s, 120, 1040);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.runs[0].off, 100);
    assert_int_equal(s.runs[0].end, 1050);
    segments_cut(&s, 100);
    assert_int_equal(s.n, 0);
    assert_int_equal(s.total, 0);
    segments_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_sequential_is_one_run),
        cmocka_unit_test(test_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
