#include "config.h"

#include "cache/lru.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "tests/unit/unit.h"

struct thing {
    struct lru_item item;
    unsigned key;
    unsigned value;
};

static atomic_int n_alive;

static bool thing_has_key(const struct lru_item *it, const void *key)
{
    return ((const struct thing *)it)->key == *(const unsigned *)key;
}

static bool thing_take(struct lru_item *it, void *out)
{
    *(unsigned *)out = ((struct thing *)it)->value;
    return true;
}

static void thing_drop(struct lru_item *it)
{
    atomic_fetch_sub(&n_alive, 1);
    free(it);
}

static const struct lru_kind THINGS = {thing_has_key, thing_take, thing_drop};

static struct thing *thing_new(unsigned key, unsigned value)
{
    struct thing *t = xcalloc(1, sizeof(*t));

    atomic_fetch_add(&n_alive, 1);
    t->key = key;
    t->value = value;
    return t;
}

static uint64_t hash_of(unsigned key)
{
    return lru_hash(&key, sizeof(key), 7);
}

static void put(struct lru *l, unsigned key, unsigned value, size_t cost)
{
    lru_put(l, &thing_new(key, value)->item, hash_of(key), &key, cost);
}

static bool find(struct lru *l, unsigned key, unsigned *value)
{
    return lru_find(l, hash_of(key), &key, value);
}

static void test_order(void **state)
{
    struct lru *l = lru_new(&THINGS, 3, 1);
    unsigned v;

    (void)state;
    for (unsigned key = 0; key < 3; key++)
        put(l, key, key, 1);
    assert_true(find(l, 0, &v));
    put(l, 3, 3, 1);
    assert_true(find(l, 0, &v));
    assert_false(find(l, 1, &v));
    assert_true(find(l, 3, &v));
    put(l, 0, 77, 1);
    assert_true(find(l, 0, &v));
    assert_int_equal(v, 77);
    assert_int_equal(lru_cost(l), 3);
    unsigned key = 0;
    assert_true(lru_remove(l, hash_of(0), &key));
    assert_false(lru_remove(l, hash_of(0), &key));
    assert_int_equal(lru_cost(l), 2);
    lru_free(&l);
    assert_int_equal(n_alive, 0);
}

static void test_put_new(void **state)
{
    struct lru *l = lru_new(&THINGS, 10, 1);
    unsigned key = 5, v;

    (void)state;
    assert_true(lru_put_new(l, &thing_new(5, 1)->item, hash_of(5), &key, 1));
    assert_false(lru_put_new(l, &thing_new(5, 2)->item, hash_of(5), &key, 1));
    assert_true(find(l, 5, &v));
    assert_int_equal(v, 1);
    lru_free(&l);
    assert_int_equal(n_alive, 0);
}

static void test_cost(void **state)
{
    struct lru *l = lru_new(&THINGS, 100, 1);
    unsigned v;

    (void)state;
    put(l, 1, 1, 101);
    assert_false(find(l, 1, &v));
    put(l, 2, 2, 60);
    put(l, 3, 3, 40);
    assert_int_equal(lru_cost(l), 100);
    put(l, 4, 4, 1);
    assert_false(find(l, 2, &v));
    assert_int_equal(lru_cost(l), 41);
    /* What is too large drives out its older self, but nobody else. */
    put(l, 3, 9, 200);
    assert_false(find(l, 3, &v));
    assert_true(find(l, 4, &v));
    lru_free(&l);
    assert_int_equal(n_alive, 0);
}

static void test_many(void **state)
{
    struct lru *l = lru_new(&THINGS, 16 * 1000, 16);
    unsigned v, n_found = 0;

    (void)state;
    for (unsigned key = 0; key < 50000; key++)
        put(l, key, key + 1, 1);
    assert_true(lru_cost(l) <= 16000);
    for (unsigned key = 0; key < 50000; key++) {
        if (find(l, key, &v)) {
            assert_int_equal(v, key + 1);
            n_found++;
        }
    }
    assert_int_equal(n_found, lru_cost(l));
    assert_true(n_found > 15000);
    lru_free(&l);
    assert_int_equal(n_alive, 0);
}

static void *hammer(void *arg)
{
    struct lru *l = arg;
    unsigned v, seed = (unsigned)(uintptr_t)&v;

    for (unsigned i = 0; i < 20000; i++) {
        unsigned key = (unsigned)rand_r(&seed) % 200;
        if (i % 5 == 0)
            put(l, key, key, 1);
        else if (i % 37 == 0)
            lru_remove(l, hash_of(key), &key);
        else if (find(l, key, &v) && v != key)
            return (void *)1;
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct lru *l = lru_new(&THINGS, 64, 4);
    pthread_t threads[4];
    void *wrong;

    (void)state;
    for (size_t i = 0; i < N_ROWS(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, l), 0);
    for (size_t i = 0; i < N_ROWS(threads); i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    lru_free(&l);
    assert_int_equal(n_alive, 0);
}

static void do_add(struct lru_item *it, void *arg)
{
    ((struct thing *)it)->value += *(unsigned *)arg;
}

/* A change finds what is there, and makes it no younger. */
static void test_change(void **state)
{
    struct lru *l = lru_new(&THINGS, 2, 1);
    unsigned key = 0, more = 40, v;

    (void)state;
    assert_false(lru_change(l, hash_of(key), &key, do_add, &more));
    put(l, 0, 2, 1);
    put(l, 1, 1, 1);
    assert_true(lru_change(l, hash_of(key), &key, do_add, &more));
    put(l, 2, 2, 1);
    assert_false(find(l, 0, &v));
    key = 1;
    assert_true(lru_change(l, hash_of(key), &key, do_add, &more));
    assert_true(find(l, 1, &v));
    assert_int_equal(v, 41);
    lru_free(&l);
    assert_int_equal(n_alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_put_new), cmocka_unit_test(test_cost),
        cmocka_unit_test(test_many),  cmocka_unit_test(test_threads), cmocka_unit_test(test_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
