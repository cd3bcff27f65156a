#include "config.h"

#include "base/arena.h"

#include <string.h>

#include "tests/unit/unit.h"

static void test_pieces_are_aligned_and_apart(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 100, 4096);
    char *pieces[20];
    for (size_t i = 0; i < N_ROWS(pieces); i++) {
        pieces[i] = arena_alloc(&a, i + 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)i, i + 1);
    }
    for (size_t i = 0; i < N_ROWS(pieces); i++)
        for (size_t k = 0; k <= i; k++)
            assert_int_equal(pieces[i][k], i);
    arena_fini(&a);
}

static void test_limit_holds(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 64, 1024);
    assert_null(arena_alloc(&a, 1025));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_copy(&a, (struct slice){"", SIZE_MAX}));
    assert_non_null(arena_alloc(&a, 900));
    assert_null(arena_alloc(&a, 200));
    /* What is small still fits, and nothing was spoilt by the refusals. */
    assert_non_null(arena_alloc(&a, 16));
    assert_true(a.n_bytes <= a.max_bytes);
    arena_fini(&a);
}

static void test_reset_keeps_the_first_block(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 128, 65536);
    void *first = arena_alloc(&a, 64);
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&a, 200));
    assert_true(a.n_bytes > 20000);
    arena_reset(&a);
    assert_int_equal(a.n_bytes, 128);
    assert_ptr_equal(arena_alloc(&a, 64), first);
    arena_fini(&a);
}

static void test_texts(void **state)
{
    struct arena a;
    char longer[300];

    (void)state;
    arena_init(&a, 32, 4096);
    assert_string_equal(arena_copy(&a, SLICE("abc")), "abc");
    assert_string_equal(arena_copy(&a, SLICE_NONE), "");
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_string_equal(arena_printf(&a, "%s", longer), longer);
    assert_string_equal(arena_printf(&a, "%d-%s", 5, "z"), "5-z");
    assert_null(arena_printf(&a, "%5000d", 1));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_apart),
        cmocka_unit_test(test_limit_holds),
        cmocka_unit_test(test_reset_keeps_the_first_block),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
