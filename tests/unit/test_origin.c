#include "config.h"

#include "cache/origin.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

#define N_THREADS 4
#define N_ROUNDS 200

/* One copy per name, whoever asks; not the asker's bytes. */
static void test_one_copy(void **state)
{
    char text[] = "registry.example:5000";
    const char *first = origin_upstream(slice_of(text));

    (void)state;
    assert_non_null(first);
    assert_ptr_not_equal(first, text);
    memset(text, 'x', sizeof(text) - 1);
    assert_string_equal(first, "registry.example:5000");
    assert_ptr_equal(origin_upstream(SLICE("registry.example:5000")), first);
    assert_ptr_not_equal(origin_upstream(SLICE("registry.example")), first);
}

static void test_unfit(void **state)
{
    static const struct slice NAMES[] = {
        {"", 0},         {NULL, 0},       {"a b", 3}, {"a\r\nX: y", 7}, {"a\0b", 3},
        {"\xc3\xa4", 2}, {"a;pushed", 8}, {"a\"", 2}, {"a\\", 2},       {"a,b", 3},
    };
    char longer[300];

    (void)state;
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        assert_null(origin_upstream(NAMES[i]));
    memset(longer, 'a', sizeof(longer));
    assert_null(origin_upstream((struct slice){longer, 256}));
    assert_non_null(origin_upstream((struct slice){longer, 255}));
}

static void *ask_often(void *arg)
{
    const char **found = arg;
    char name[32];

    for (int i = 0; i < N_ROUNDS; i++) {
        snprintf(name, sizeof(name), "host%d.example", i);
        found[i] = origin_upstream(slice_of(name));
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[N_THREADS];
    static const char *found[N_THREADS][N_ROUNDS];

    (void)state;
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, found[i]), 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 1; i < N_THREADS; i++)
        assert_memory_equal(found[i], found[0], sizeof(found[0]));
}

/* The last test: it fills the table. What is in it stays. */
static void test_full(void **state)
{
    const char *first = origin_upstream(SLICE("first.example"));
    char name[32];

    (void)state;
    assert_non_null(first);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "hostile%d.example", i);
        origin_upstream(slice_of(name));
    }
    assert_null(origin_upstream(SLICE("late.example")));
    assert_ptr_equal(origin_upstream(SLICE("first.example")), first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_copy),
        cmocka_unit_test(test_unfit),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
