#include "config.h"

#include "cache/fill_map.h"

#include <string.h>

#include "cache/fill.h"
#include "tests/unit/unit.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        bool is_good;
    } ROWS[] = {
        {"mirrord-map 1\nsize 10\n0 10\nend\n", true},
        {"mirrord-map 1\nsize unknown\nend\n", true},
        {"mirrord-map 1\nsize unknown\n5 6\n7 9\nend\n", true},
        {"mirrord-map 1\nsize 0\nend\n", true},
        {"", false},
        {"end\n", false},
        {"mirrord-map 1", false},
        {"mirrord-map 1\n", false},
        {"mirrord-map 2\nsize 10\n0 10\nend\n", false},
        {"mirrord-map 1\nsize 10\n0 10\nend", false},
        {"mirrord-map 1\nsize 10\n0 10\nend\nend\n", false},
        {"mirrord-map 1\nsize 10\n0 10\n", false},
        {"mirrord-map 1\nsize 10\n0 11\nend\n", false},
        {"mirrord-map 1\nsize 10\n5 5\nend\n", false},
        {"mirrord-map 1\nsize 10\n5 4\nend\n", false},
        {"mirrord-map 1\nsize 10\n-1 4\nend\n", false},
        {"mirrord-map 1\nsize 10\n0 4 5\nend\n", false},
        {"mirrord-map 1\nsize 10\n0 4\n4 6\nend\n", false},
        {"mirrord-map 1\nsize 10\n5 6\n0 4\nend\n", false},
        {"mirrord-map 1\nsize\n0 4\nend\n", false},
        {"mirrord-map 1\nsize x\n0 4\nend\n", false},
        {"mirrord-map 1\nsize 10\n\nend\n", false},
        {"mirrord-map 1\nsize 18446744073709551615\n0 4\nend\n", false},
        {"mirrord-map 1\nsize unknown\n0 9223372036854775808\nend\n", false},
        {"mirrord-map 1\nsize unknown\n0 99999999999999999999\nend\n", false},
    };
    struct segments present;
    uint64_t size;

    (void)state;
    segments_init(&present);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(fill_map_parse(slice_of(ROWS[i].text), &present, &size), ROWS[i].is_good);
        if (!ROWS[i].is_good)
            assert_int_equal(present.n, 0);
    }
    segments_fini(&present);
}

static void test_round_trip(void **state)
{
    struct segments present, found;
    struct strbuf text = STRBUF_INIT;
    uint64_t size;

    (void)state;
    segments_init(&present);
    segments_init(&found);
    for (uint64_t off = 1; off < 30000; off += 10)
        segments_add(&present, off, off + 3);
    fill_map_print(&present, FILL_SIZE_UNKNOWN, &text);
    assert_true(fill_map_parse((struct slice){text.ptr, text.len}, &found, &size));
    assert_true(size == FILL_SIZE_UNKNOWN);
    assert_int_equal(found.n, present.n);
    assert_memory_equal(found.runs, present.runs, present.n * sizeof(present.runs[0]));
    /* Cut anywhere, it is refused. */
    for (size_t len = 0; len < text.len; len += 97)
        assert_false(fill_map_parse((struct slice){text.ptr, len}, &found, &size));
    strbuf_fini(&text);
    segments_fini(&present);
    segments_fini(&found);
}

/* Too many runs for a map: the first ones are written, and can be read. */
static void test_bound(void **state)
{
    struct segments present, found;
    struct strbuf text = STRBUF_INIT;
    uint64_t size;

    (void)state;
    segments_init(&present);
    segments_init(&found);
    for (uint64_t i = 0; i < FILL_MAP_RUNS_MAX + 10; i++)
        segments_add(&present, (uint64_t)1 << 40 | i * 2, ((uint64_t)1 << 40 | i * 2) + 1);
    fill_map_print(&present, (uint64_t)1 << 62, &text);
    assert_true(text.len <= FILL_MAP_MAX_BYTES);
    assert_true(fill_map_parse((struct slice){text.ptr, text.len}, &found, &size));
    assert_int_equal(found.n, FILL_MAP_RUNS_MAX);
    strbuf_fini(&text);
    segments_fini(&present);
    segments_fini(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
