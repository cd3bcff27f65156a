#include "config.h"

#include "cache/tag.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO SLICE("library/busybox")
#define TAG SLICE("latest")
#define FOLDER "docker/registry/v2/repositories/library/busybox/_manifests/tags/latest/"

struct story {
    struct place *place;
    struct slice repo, tag;
    struct tag_record record;
    struct moment over;
    int rc;
};

static void do_put(void *arg)
{
    struct story *s = arg;

    tags_put(cache_tags(s->place->cache), s->repo, s->tag, &s->record);
}

static void put(struct place *p, struct slice repo, struct slice tag, const struct tag_record *r)
{
    struct story s = {.place = p, .repo = repo, .tag = tag, .record = *r};

    place_run(p, 0, do_put, &s);
}

static void on_loaded(void *arg, int rc, const struct tag_record *record)
{
    struct story *s = arg;

    s->rc = rc;
    if (record)
        s->record = *record;
    moment_come(&s->over);
}

static void do_load(void *arg)
{
    struct story *s = arg;

    tags_load(cache_tags(s->place->cache), s->repo, s->tag, on_loaded, s);
}

static int load(struct place *p, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct story s = {.place = p, .repo = repo, .tag = tag};

    moment_init(&s.over);
    place_run(p, 1, do_load, &s);
    assert_true(moment_wait(&s.over));
    moment_fini(&s.over);
    if (s.rc == 0)
        *out = s.record;
    return s.rc;
}

static struct tag_record mirrored(const char *content, int64_t fetched, int64_t checked)
{
    struct tag_record r = {
        .origin = TAG_MIRRORED, .fetched_at_s = fetched, .checked_at_s = checked};

    digest_of(DIGEST_SHA256, content, strlen(content), &r.digest);
    return r;
}

static void assert_record(const struct tag_record *found, const struct tag_record *want)
{
    assert_int_equal(found->origin, want->origin);
    assert_true(digest_equal(&found->digest, &want->digest));
    assert_int_equal(found->fetched_at_s, want->fetched_at_s);
    assert_int_equal(found->checked_at_s, want->checked_at_s);
}

static void test_put_and_load(void **state)
{
    struct place p;
    struct tag_record r = mirrored("one", 100, 200), found;
    char text[200] = {0}, digest[DIGEST_TEXT_SIZE], hex[DIGEST_TEXT_SIZE];

    (void)state;
    place_init(&p);
    place_open(&p);
    struct tags *ts = cache_tags(p.cache);
    assert_false(tags_find(ts, REPO, TAG, &found));
    assert_int_equal(load(&p, REPO, TAG, &found), -ENOENT);
    put(&p, REPO, TAG, &r);
    assert_true(tags_find(ts, REPO, TAG, &found));
    assert_record(&found, &r);
    assert_false(tags_find(ts, SLICE("library/busyboxlatest"), SLICE(""), &found));
    place_settle(&p);
    digest_format(&r.digest, digest);
    digest_hex(&r.digest, hex);
    place_read(&p, place_path(&p, FOLDER "current/link"), text, sizeof(text) - 1);
    assert_string_equal(text, digest);
    assert_true(place_has(&p, place_path(&p, FOLDER "index/sha256/%s/link", hex)));

    place_reopen(&p);
    ts = cache_tags(p.cache);
    assert_false(tags_find(ts, REPO, TAG, &found));
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_record(&found, &r);
    assert_true(tags_find(ts, REPO, TAG, &found));

    /* Confirmed later, and then changed. */
    r.checked_at_s = 300;
    put(&p, REPO, TAG, &r);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_record(&found, &r);
    r = mirrored("two", 400, 400);
    put(&p, REPO, TAG, &r);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_record(&found, &r);
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 0);
    place_close(&p);
    place_fini(&p);
}

static void test_absent(void **state)
{
    struct place p;
    struct tag_record r = {.origin = TAG_ABSENT, .checked_at_s = 7}, found;

    (void)state;
    place_init(&p);
    place_open(&p);
    put(&p, REPO, SLICE("none"), &r);
    assert_int_equal(load(&p, REPO, SLICE("none"), &found), 0);
    assert_int_equal(found.origin, TAG_ABSENT);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, SLICE("none"), &found), -ENOENT);
    assert_int_equal(place_count(&p, place_path(&p, "docker/registry/v2/repositories")), 0);
    place_close(&p);
    place_fini(&p);
}

/* What another program put there, and what it pushed over ours. */
static void test_local(void **state)
{
    struct place p;
    struct tag_record r = mirrored("mine", 1, 2), found, theirs = mirrored("theirs", 0, 0);
    char digest[DIGEST_TEXT_SIZE];

    (void)state;
    place_init(&p);
    place_open(&p);
    put(&p, REPO, TAG, &r);
    place_settle(&p);
    size_t n = digest_format(&theirs.digest, digest);
    place_write(&p, place_path(&p, FOLDER "current/link"), digest, n);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_int_equal(found.origin, TAG_LOCAL);
    assert_true(digest_equal(&found.digest, &theirs.digest));
    assert_true(found.checked_at_s > 1000000);

    place_write(&p, place_path(&p, FOLDER "current/link"), "sha256:12", 9);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), -ENOENT);
    place_close(&p);
    place_fini(&p);
}

static void test_bad_names(void **state)
{
    struct place p;
    struct tag_record r = mirrored("x", 1, 2), found;

    (void)state;
    place_init(&p);
    place_open(&p);
    put(&p, SLICE("../../x"), TAG, &r);
    put(&p, REPO, SLICE("../x"), &r);
    place_reopen(&p);
    assert_int_equal(load(&p, SLICE("../../x"), TAG, &found), -ENOENT);
    assert_int_equal(load(&p, REPO, SLICE("../x"), &found), -ENOENT);
    assert_int_equal(place_count(&p, place_path(&p, "docker/registry/v2/repositories")), 0);
    place_close(&p);
    place_fini(&p);
}

struct burst {
    struct place *place;
    unsigned worker;
};

static void do_burst(void *arg)
{
    struct burst *b = arg;
    struct tag_record r;
    char content[20];

    for (int i = 0; i < 50; i++) {
        snprintf(content, sizeof(content), "%u-%d", b->worker, i);
        r = mirrored(content, i, i);
        tags_put(cache_tags(b->place->cache), REPO, TAG, &r);
    }
}

/* However the writes are ordered, the storage ends with what memory ended with. */
static void test_order(void **state)
{
    struct place p;
    struct tag_record in_memory, on_disk;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct burst b[PLACE_WORKERS];
    for (unsigned i = 0; i < PLACE_WORKERS; i++) {
        b[i] = (struct burst){&p, i};
        worker_call(p.workers[i], do_burst, &b[i]);
    }
    place_settle(&p);
    assert_true(tags_find(cache_tags(p.cache), REPO, TAG, &in_memory));
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &on_disk), 0);
    assert_record(&on_disk, &in_memory);
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_load), cmocka_unit_test(test_absent),
        cmocka_unit_test(test_local),        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
