#include "config.h"

#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/metric.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

struct opened {
    struct place *place;
    struct digest digest;
    struct moment over;
    int rc;
    struct blob *blob;
    bool is_home;
};

static void on_opened(void *arg, int rc, struct blob *blob)
{
    struct opened *o = arg;

    o->rc = rc;
    o->blob = blob;
    o->is_home = worker_is_current(o->place->workers[1]);
    moment_come(&o->over);
}

static void do_open(void *arg)
{
    struct opened *o = arg;

    store_open_blob(cache_store(o->place->cache), &o->digest, on_opened, o);
}

static int open_through_worker(struct place *p, const struct digest *d, struct blob **out)
{
    struct opened o = {.place = p, .digest = *d};

    moment_init(&o.over);
    place_run(p, 1, do_open, &o);
    assert_true(moment_wait(&o.over));
    moment_fini(&o.over);
    assert_true(o.is_home);
    *out = o.blob;
    return o.rc;
}

static void put_content(struct place *p, size_t n, unsigned seed, struct digest *d)
{
    struct error err;
    uint8_t *content = place_content(n, seed, d);

    assert_int_equal(store_put_now(cache_store(p->cache), d, content, n, &err), 0);
    free(content);
}

static void expect_content(struct blob *b, size_t n, unsigned seed)
{
    struct digest d;
    uint8_t *content = place_content(n, seed, &d);
    uint8_t *found = malloc(n + 1);

    assert_int_equal(blob_size(b), n);
    assert_true(digest_equal(blob_digest(b), &d));
    assert_int_equal(pread(blob_fd(b), found, n + 1, 0), n);
    assert_memory_equal(found, content, n);
    free(found);
    free(content);
}

static void test_put_and_open(void **state)
{
    struct place p;
    struct digest d, other;
    struct blob *b = NULL, *again = NULL;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct store *s = cache_store(p.cache);
    put_content(&p, 5000, 1, &d);
    free(place_content(3, 2, &other));
    assert_true(place_has(&p, place_blob(&p, &d)));
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 0);
    assert_null(store_find(s, &d));
    assert_int_equal(open_through_worker(&p, &d, &b), 0);
    expect_content(b, 5000, 1);
    again = store_find(s, &d);
    assert_ptr_equal(again, b);
    blob_unref(&again);
    assert_int_equal(open_through_worker(&p, &other, &again), -ENOENT);
    assert_null(again);
    put_content(&p, 5000, 1, &d);
    blob_unref(&b);
    put_content(&p, 0, 3, &d);
    assert_int_equal(store_open_now(s, &d, &b), 0);
    assert_int_equal(blob_size(b), 0);
    blob_unref(&b);
    place_close(&p);
    place_fini(&p);
}

static void test_bound(void **state)
{
    struct place p;
    struct digest d[10];
    struct blob *b, *first = NULL;

    (void)state;
    place_init(&p);
    p.config.open_files_max = 4;
    place_open(&p);
    struct store *s = cache_store(p.cache);
    for (unsigned i = 0; i < 10; i++) {
        put_content(&p, 100 + i, i, &d[i]);
        assert_int_equal(store_open_now(s, &d[i], &b), 0);
        if (i == 0)
            first = blob_ref(b);
        blob_unref(&b);
    }
    unsigned n_open = 0;
    for (unsigned i = 0; i < 10; i++) {
        b = store_find(s, &d[i]);
        n_open += b != NULL;
        blob_unref(&b);
    }
    assert_int_equal(n_open, 4);
    /* What was driven out stays usable for those that have it. */
    expect_content(first, 100, 0);
    blob_unref(&first);
    place_close(&p);
    place_fini(&p);
}

static void test_vanished(void **state)
{
    struct place p;
    struct digest d;
    struct blob *b = NULL, *held;

    (void)state;
    place_init(&p);
    p.config.open_files_valid_s = 0; /* looked up on disk each time */
    place_open(&p);
    struct store *s = cache_store(p.cache);
    put_content(&p, 3000, 7, &d);
    assert_int_equal(store_open_now(s, &d, &held), 0);
    assert_null(store_find(s, &d));
    assert_int_equal(store_open_now(s, &d, &b), 0);
    assert_ptr_equal(b, held);
    blob_unref(&b);

    int64_t before = metric_get(METRIC_STORE_VANISHED);
    assert_int_equal(unlink(place_blob(&p, &d)), 0);
    assert_int_equal(open_through_worker(&p, &d, &b), -ENOENT);
    assert_int_equal(metric_get(METRIC_STORE_VANISHED), before + 1);
    expect_content(held, 3000, 7);
    blob_unref(&held);

    /* Put anew, it is another file. */
    put_content(&p, 3000, 7, &d);
    assert_int_equal(store_open_now(s, &d, &b), 0);
    expect_content(b, 3000, 7);
    store_forget(s, &d);
    blob_unref(&b);
    place_close(&p);
    place_fini(&p);
}

static void test_not_a_file(void **state)
{
    struct place p;
    struct digest d;
    struct blob *b = NULL;
    char path[512];

    (void)state;
    place_init(&p);
    place_open(&p);
    free(place_content(10, 1, &d));
    snprintf(path, sizeof(path), "%s/x", place_blob(&p, &d));
    place_write(&p, path, "x", 1);
    assert_int_equal(store_open_now(cache_store(p.cache), &d, &b), -ENOENT);
    place_close(&p);
    place_fini(&p);
}

static void test_storage_not_usable(void **state)
{
    struct place p;
    struct cache *c = NULL;
    struct error err;
    char path[512];

    (void)state;
    place_init(&p);
    place_open(&p);
    struct cache_config config = p.config;
    snprintf(path, sizeof(path), "%s", place_path(&p, "file"));
    place_write(&p, path, "x", 1);
    config.storage_path = path;
    assert_int_equal(cache_open(&config, &c, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, path));
    assert_null(c);
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_open),       cmocka_unit_test(test_bound),
        cmocka_unit_test(test_vanished),           cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_storage_not_usable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
