#include "config.h"

#include "cache/tag.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "cache/origin.h"
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

static void on_loaded(void *arg, int rc, const struct tag_record *record,
                      const struct tag_record *heard)
{
    struct story *s = arg;

    CHECK(!heard);
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
        .mirrored = TAG_MIRRORED, .fetched_at_s = fetched, .checked_at_s = checked};

    digest_of(DIGEST_SHA256, content, strlen(content), &r.digest);
    return r;
}

static void assert_record(const struct tag_record *found, const struct tag_record *want)
{
    assert_int_equal(found->is_pushed, want->is_pushed);
    assert_true(digest_equal(&found->pushed, &want->pushed));
    assert_int_equal(found->mirrored, want->mirrored);
    assert_true(digest_equal(&found->digest, &want->digest));
    assert_ptr_equal(found->upstream, want->upstream);
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
    struct tag_record r = {.mirrored = TAG_ABSENT, .checked_at_s = 7}, found;

    (void)state;
    place_init(&p);
    place_open(&p);
    put(&p, REPO, SLICE("none"), &r);
    assert_int_equal(load(&p, REPO, SLICE("none"), &found), 0);
    assert_false(found.is_pushed);
    assert_int_equal(found.mirrored, TAG_ABSENT);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, SLICE("none"), &found), -ENOENT);
    assert_int_equal(place_count(&p, place_path(&p, "docker/registry/v2/repositories")), 0);
    place_close(&p);
    place_fini(&p);
}

static void write_link(struct place *p, const struct digest *d)
{
    char digest[DIGEST_TEXT_SIZE];
    size_t n = digest_format(d, digest);

    place_write(p, place_path(p, FOLDER "current/link"), digest, n);
}

static void assert_link(struct place *p, const struct digest *d)
{
    char text[DIGEST_TEXT_SIZE] = {0}, digest[DIGEST_TEXT_SIZE];

    digest_format(d, digest);
    place_read(p, place_path(p, FOLDER "current/link"), text, sizeof(text) - 1);
    assert_string_equal(text, digest);
}

/* What another program put there, and what it pushed over ours. */
static void test_foreign(void **state)
{
    struct place p;
    struct tag_record r = mirrored("mine", 1, 2), found, theirs = mirrored("theirs", 0, 0);

    (void)state;
    place_init(&p);
    place_open(&p);
    put(&p, REPO, TAG, &r);
    place_settle(&p);
    write_link(&p, &theirs.digest);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_true(found.is_pushed);
    assert_true(digest_equal(&found.pushed, &theirs.digest));
    assert_true(found.pushed_at_s > 1000000);
    assert_int_equal(found.mirrored, TAG_MIRRORED);
    assert_true(digest_equal(&found.digest, &r.digest));

    /* Under a running daemon: what is mirrored afterwards does not overwrite it. */
    struct tag_record later = mirrored("later", 5, 5), again = mirrored("again", 0, 0);
    write_link(&p, &again.digest);
    put(&p, REPO, TAG, &later);
    place_settle(&p);
    assert_link(&p, &again.digest);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_true(found.is_pushed);
    assert_true(digest_equal(&found.pushed, &again.digest));

    /* Of a damaged link our record counts, if it is whole. */
    place_write(&p, place_path(&p, FOLDER "current/link"), "sha256:12", 9);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_true(found.is_pushed);
    assert_true(digest_equal(&found.pushed, &again.digest));
    struct tag_record last = mirrored("last", 6, 6);
    put(&p, REPO, TAG, &last);
    place_settle(&p);
    assert_link(&p, &again.digest);
    place_write(&p, place_path(&p, FOLDER "current/link"), "sha256:12", 9);
    place_write(&p, place_path(&p, FOLDER "mirrord.json"), "{\"version\":2,", 13);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), -ENOENT);
    place_close(&p);
    place_fini(&p);
}

#define ONE "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define TWO "sha256:2222222222222222222222222222222222222222222222222222222222222222"

static const struct {
    const char *name, *link, *record;
    const char *pushed; /* NULL: none */
    int64_t pushed_at;  /* 0: any */
    const char *mirrored, *upstream;
} RECORDS[] = {
    {"none", ONE, NULL, ONE, 0, NULL, NULL},
    {"of 0.1", ONE,
     "{\"origin\":\"mirrored\",\"digest\":\"" ONE "\",\"fetched_at\":7,\"checked_at\":8}", NULL, 0,
     ONE, NULL},
    {"of 0.1, about another", TWO,
     "{\"origin\":\"mirrored\",\"digest\":\"" ONE "\",\"fetched_at\":7,\"checked_at\":8}", TWO, 0,
     ONE, NULL},
    {"mirrored", ONE,
     "{\"version\":2,\"mirrored\":{\"digest\":\"" ONE "\",\"upstream\":\"hub.example\","
     "\"fetched_at\":7,\"checked_at\":8,\"later\":[1]},\"more\":{}}",
     NULL, 0, ONE, "hub.example"},
    {"cut off while it moved", ONE,
     "{\"version\":2,\"mirrored\":{\"digest\":\"" TWO "\",\"previous\":\"" ONE
     "\",\"fetched_at\":7,\"checked_at\":8}}",
     NULL, 0, TWO, NULL},
    {"pushed", ONE, "{\"version\":2,\"pushed\":{\"digest\":\"" ONE "\",\"at\":9}}", ONE, 9, NULL,
     NULL},
    {"both", ONE,
     "{\"version\":2,\"pushed\":{\"digest\":\"" ONE "\",\"at\":9},\"mirrored\":{\"digest\":\"" TWO
     "\",\"fetched_at\":7,\"checked_at\":8}}",
     ONE, 9, TWO, NULL},
    {"both, the mirrored one pushed by another program", TWO,
     "{\"version\":2,\"pushed\":{\"digest\":\"" ONE "\",\"at\":9},\"mirrored\":{\"digest\":\"" TWO
     "\",\"fetched_at\":7,\"checked_at\":8}}",
     TWO, 0, TWO, NULL},
    {"damaged", ONE, "{\"version\":2,\"mirrored\":{\"digest\":\"sha2", ONE, 0, NULL, NULL},
    {"of the wrong shape", ONE, "{\"mirrored\":[],\"pushed\":7}", ONE, 0, NULL, NULL},
    {"hostile", ONE,
     "{\"version\":2,\"mirrored\":{\"digest\":\"" ONE "\",\"upstream\":\"a\\r\\nX: y\","
     "\"fetched_at\":7,\"checked_at\":8}}",
     NULL, 0, ONE, NULL},
};

/* Records as they may lie beside a link, and what they make of it. */
static void test_records(void **state)
{
    struct place p;
    struct tag_record found;
    struct digest want;

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < sizeof(RECORDS) / sizeof(RECORDS[0]); i++) {
        print_message("%s\n", RECORDS[i].name);
        assert_true(digest_parse(slice_of(RECORDS[i].link), &want));
        write_link(&p, &want);
        const char *record = RECORDS[i].record ? RECORDS[i].record : "";
        place_write(&p, place_path(&p, FOLDER "mirrord.json"), record, strlen(record));
        place_reopen(&p);
        assert_int_equal(load(&p, REPO, TAG, &found), 0);
        assert_int_equal(found.is_pushed, RECORDS[i].pushed != NULL);
        if (RECORDS[i].pushed) {
            assert_true(digest_parse(slice_of(RECORDS[i].pushed), &want));
            assert_true(digest_equal(&found.pushed, &want));
            assert_true(RECORDS[i].pushed_at ? found.pushed_at_s == RECORDS[i].pushed_at
                                             : found.pushed_at_s > 1000000);
        }
        assert_int_equal(found.mirrored, RECORDS[i].mirrored ? TAG_MIRRORED : TAG_UNASKED);
        if (RECORDS[i].mirrored) {
            assert_true(digest_parse(slice_of(RECORDS[i].mirrored), &want));
            assert_true(digest_equal(&found.digest, &want));
            assert_int_equal(found.fetched_at_s, 7);
            assert_int_equal(found.checked_at_s, 8);
        }
        assert_ptr_equal(found.upstream, RECORDS[i].upstream
                                             ? origin_upstream(slice_of(RECORDS[i].upstream))
                                             : NULL);
    }
    place_close(&p);
    place_fini(&p);
}

/* What runs on pool threads in the daemon; the test's own is as good. */
static void push(struct place *p, const char *content, struct digest *out)
{
    struct error err;

    digest_of(DIGEST_SHA256, content, strlen(content), out);
    assert_int_equal(tags_push_now(cache_tags(p->cache), REPO, TAG, out, &err), 0);
}

static void test_push(void **state)
{
    struct place p;
    struct tag_record r = mirrored("theirs", 1, 2), found;
    struct digest d;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct tags *ts = cache_tags(p.cache);
    r.upstream = origin_upstream(SLICE("hub.example"));
    put(&p, REPO, TAG, &r);
    push(&p, "ours", &d);
    assert_true(tags_find(ts, REPO, TAG, &found));
    assert_true(found.is_pushed && digest_equal(&found.pushed, &d));
    r.is_pushed = true;
    r.pushed = d;
    r.pushed_at_s = found.pushed_at_s;
    assert_record(&found, &r);
    assert_link(&p, &d);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_record(&found, &r);

    /* The upstream's goes on beside it. */
    struct tag_record moved = mirrored("moved", 5, 5);
    put(&p, REPO, TAG, &moved);
    place_settle(&p);
    assert_link(&p, &d);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_true(found.is_pushed && digest_equal(&found.pushed, &d));
    assert_true(digest_equal(&found.digest, &moved.digest));

    /* The same digest as the upstream's is pushed all the same. */
    push(&p, "moved", &d);
    assert_link(&p, &moved.digest);
    put(&p, REPO, TAG, &r);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_true(found.is_pushed && digest_equal(&found.pushed, &moved.digest));
    assert_true(digest_equal(&found.digest, &r.digest));
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 0);
    place_close(&p);
    place_fini(&p);
}

/* A remembered absence ends with a push; one that is learned later does not hide it. */
static void test_push_over_absent(void **state)
{
    struct place p;
    struct tag_record none = {.mirrored = TAG_ABSENT, .checked_at_s = 7}, found;
    struct digest d;

    (void)state;
    place_init(&p);
    place_open(&p);
    put(&p, REPO, TAG, &none);
    push(&p, "ours", &d);
    assert_true(tags_find(cache_tags(p.cache), REPO, TAG, &found));
    assert_true(found.is_pushed);
    assert_int_equal(found.mirrored, TAG_UNASKED);
    put(&p, REPO, TAG, &none);
    assert_true(tags_find(cache_tags(p.cache), REPO, TAG, &found));
    assert_true(found.is_pushed && digest_equal(&found.pushed, &d));
    assert_int_equal(found.mirrored, TAG_ABSENT);
    place_close(&p);
    place_fini(&p);
}

static void test_remove(void **state)
{
    struct place p;
    struct tag_record r = mirrored("theirs", 1, 2), found;
    struct digest d;
    struct error err;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct tags *ts = cache_tags(p.cache);
    assert_int_equal(tags_remove_now(ts, REPO, TAG, &err), -ENOENT);
    put(&p, REPO, TAG, &r);
    push(&p, "ours", &d);
    assert_int_equal(tags_remove_now(ts, REPO, TAG, &err), 0);
    assert_false(tags_find(ts, REPO, TAG, &found));
    assert_int_equal(load(&p, REPO, TAG, &found), -ENOENT);
    place_settle(&p);
    assert_false(place_has(&p, place_path(&p, FOLDER)));
    assert_int_equal(tags_remove_now(ts, REPO, TAG, &err), -ENOENT);

    /* What a queued write had in mind does not come back. */
    put(&p, REPO, TAG, &r);
    assert_int_equal(tags_remove_now(ts, REPO, TAG, &err), 0);
    place_settle(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), -ENOENT);
    place_reopen(&p);
    ts = cache_tags(p.cache);
    assert_int_equal(load(&p, REPO, TAG, &found), -ENOENT);

    /* After that the upstream's word counts again. */
    put(&p, REPO, TAG, &r);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_record(&found, &r);
    place_close(&p);
    place_fini(&p);
}

static void test_remove_digest(void **state)
{
    struct place p;
    struct tag_record gone = mirrored("gone", 1, 1), kept = mirrored("kept", 2, 2), found;
    struct error err;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct tags *ts = cache_tags(p.cache);
    assert_int_equal(tags_remove_digest_now(ts, REPO, &gone.digest, &err), 0);
    put(&p, REPO, SLICE("mirrored"), &gone);
    put(&p, REPO, SLICE("other"), &kept);
    put(&p, REPO, SLICE("mirrored-below"), &gone);
    assert_int_equal(tags_push_now(ts, REPO, SLICE("mirrored-below"), &kept.digest, &err), 0);
    put(&p, REPO, SLICE("pushed"), &kept);
    assert_int_equal(tags_push_now(ts, REPO, SLICE("pushed"), &gone.digest, &err), 0);
    place_settle(&p);
    place_reopen(&p);
    ts = cache_tags(p.cache);
    /* One that is not in the storage yet. */
    put(&p, REPO, SLICE("new"), &gone);
    assert_int_equal(tags_remove_digest_now(ts, REPO, &gone.digest, &err), 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(load(&p, REPO, SLICE("mirrored"), &found), -ENOENT);
        assert_int_equal(load(&p, REPO, SLICE("pushed"), &found), -ENOENT);
        assert_int_equal(load(&p, REPO, SLICE("new"), &found), -ENOENT);
        assert_int_equal(load(&p, REPO, SLICE("other"), &found), 0);
        assert_record(&found, &kept);
        assert_int_equal(load(&p, REPO, SLICE("mirrored-below"), &found), 0);
        assert_true(found.is_pushed && digest_equal(&found.pushed, &kept.digest));
        assert_int_equal(found.mirrored, TAG_UNASKED);
        place_reopen(&p);
    }
    place_close(&p);
    place_fini(&p);
}

/* A mirrored half that came while the rest was not in memory is not taken for the whole. */
static void test_half(void **state)
{
    struct place p;
    struct tag_record r = mirrored("theirs", 1, 2), found;
    struct digest d;

    (void)state;
    place_init(&p);
    place_open(&p);
    push(&p, "ours", &d);
    place_reopen(&p);
    put(&p, REPO, TAG, &r);
    if (tags_find(cache_tags(p.cache), REPO, TAG, &found))
        assert_true(found.is_pushed);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_true(found.is_pushed && digest_equal(&found.pushed, &d));
    assert_true(digest_equal(&found.digest, &r.digest));
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
    assert_int_equal(tags_push_now(cache_tags(p.cache), SLICE("../../x"), TAG, &r.digest, NULL),
                     -EINVAL);
    assert_int_equal(tags_remove_now(cache_tags(p.cache), REPO, SLICE(".."), NULL), -EINVAL);
    assert_int_equal(tags_remove_digest_now(cache_tags(p.cache), SLICE(".."), &r.digest, NULL),
                     -EINVAL);
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

/* The manifest of where the tag was is kept later than that of where it is now. */
static void do_settle_late(void *arg)
{
    struct story *s = arg;
    struct tags *ts = cache_tags(s->place->cache);
    struct tag_record before = mirrored("before", 1, 1);

    tags_note(ts, s->repo, s->tag, &before);
    tags_note(ts, s->repo, s->tag, &s->record);
    tags_settle(ts, s->repo, s->tag, &s->record, 0);
    tags_settle(ts, s->repo, s->tag, &before, 0);
}

static void test_settle_late(void **state)
{
    struct place p;
    struct tag_record found;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct story s = {&p, REPO, TAG, .record = mirrored("now", 1, 1)};
    place_run(&p, 0, do_settle_late, &s);
    place_settle(&p);
    assert_true(tags_find(cache_tags(p.cache), REPO, TAG, &found));
    assert_record(&found, &s.record);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &found), 0);
    assert_record(&found, &s.record);
    place_close(&p);
    place_fini(&p);
}

#define N_PUSHES 40

struct pushes {
    struct place *place;
    struct digest last;
    atomic_bool is_over;
};

/* Beside what workers hear from an upstream: what was pushed is what is found, at once. */
static void *do_pushes(void *arg)
{
    struct pushes *ps = arg;
    struct tags *ts = cache_tags(ps->place->cache);
    struct tag_record found;
    char content[20];
    struct error err;

    for (int i = 0; i < N_PUSHES; i++) {
        snprintf(content, sizeof(content), "pushed-%d", i);
        digest_of(DIGEST_SHA256, content, strlen(content), &ps->last);
        CHECK(tags_push_now(ts, REPO, TAG, &ps->last, &err) == 0);
        CHECK(tags_load_now(ts, REPO, TAG, &found) == 0);
        CHECK(found.is_pushed && digest_equal(&found.pushed, &ps->last));
    }
    atomic_store(&ps->is_over, true);
    return NULL;
}

static void do_burst_until_over(void *arg)
{
    struct burst *b = arg;
    struct tag_record none = {.mirrored = TAG_ABSENT, .checked_at_s = 1};

    do_burst(b);
    tags_put(cache_tags(b->place->cache), REPO, TAG, &none);
}

static void test_race(void **state)
{
    struct place p;
    struct tag_record in_memory, on_disk;
    pthread_t thread;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct pushes ps = {.place = &p};
    struct burst b[PLACE_WORKERS];
    assert_int_equal(pthread_create(&thread, NULL, do_pushes, &ps), 0);
    do {
        for (unsigned i = 0; i < PLACE_WORKERS; i++) {
            b[i] = (struct burst){&p, i};
            worker_call(p.workers[i], do_burst_until_over, &b[i]);
        }
        place_settle(&p);
    } while (!atomic_load(&ps.is_over));
    assert_int_equal(pthread_join(thread, NULL), 0);
    struct tag_record last = mirrored("the last word", 9, 9);
    put(&p, REPO, TAG, &last);
    place_settle(&p);
    assert_int_equal(load(&p, REPO, TAG, &in_memory), 0);
    assert_true(in_memory.is_pushed && digest_equal(&in_memory.pushed, &ps.last));
    assert_true(digest_equal(&in_memory.digest, &last.digest));
    assert_link(&p, &ps.last);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, TAG, &on_disk), 0);
    assert_record(&on_disk, &in_memory);
    place_close(&p);
    place_fini(&p);
}

/* Another process on the same storage, for which another cache stands. */
struct rival {
    struct place *place;
    struct cache *cache;
    struct tag_record record;
    atomic_bool is_over;
    atomic_uint n_puts;
};

static void do_rival(void *arg)
{
    struct rival *r = arg;

    r->record.checked_at_s++;
    tags_put(cache_tags(r->cache), REPO, TAG, &r->record);
    r->n_puts++;
}

static void *run_rival(void *arg)
{
    struct rival *r = arg;

    while (!r->is_over) {
        place_run(r->place, 0, do_rival, r);
        cache_drain(r->cache);
    }
    return NULL;
}

/* What one process mirrors never takes away what the other one pushes at the same time. */
static void test_two_processes(void **state)
{
    struct place place, *p = &place;
    struct rival rival = {.place = p, .record = {.mirrored = TAG_MIRRORED, .fetched_at_s = 1}};
    struct tags *ts;
    struct tag_record found;
    struct digest d;
    struct error err;
    pthread_t thread;

    (void)state;
    place_init(p);
    place_open(p);
    ts = cache_tags(p->cache);
    digest_of(DIGEST_SHA256, "theirs", 6, &rival.record.digest);
    assert_int_equal(cache_open(&p->config, &rival.cache, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_rival, &rival), 0);
    for (unsigned n = 0; n < 100; n++) {
        digest_of(DIGEST_SHA256, &n, sizeof(n), &d);
        assert_int_equal(tags_push_now(ts, REPO, TAG, &d, &err), 0);
        /* What was on its way meanwhile has been written when the next but one begins. */
        for (unsigned seen = rival.n_puts; rival.n_puts < seen + 2;)
            sched_yield();
        /* As the other one's storage says. */
        tags_doubt_all(cache_tags(rival.cache));
        assert_int_equal(tags_load_now(cache_tags(rival.cache), REPO, TAG, &found), 0);
        assert_true(found.is_pushed);
        assert_true(digest_equal(&found.pushed, &d));
    }
    rival.is_over = true;
    pthread_join(thread, NULL);
    cache_close(&rival.cache);
    tags_doubt_all(ts);
    assert_int_equal(tags_load_now(ts, REPO, TAG, &found), 0);
    assert_true(found.is_pushed && digest_equal(&found.pushed, &d));
    assert_int_equal(found.mirrored, TAG_MIRRORED);
    place_close(p);
    place_fini(p);
}

/* After a doubt the storage counts, but for what is younger or not there yet. */
static void test_doubts(void **state)
{
    struct place place, *p = &place;
    struct tags *ts;
    struct rival other = {.place = p};
    struct tag_record found, mirrored = {.mirrored = TAG_MIRRORED, .checked_at_s = 5};
    struct tag_record absent = {.mirrored = TAG_ABSENT, .checked_at_s = 7};
    struct digest d, e;
    struct error err;

    (void)state;
    place_init(p);
    place_open(p);
    ts = cache_tags(p->cache);
    digest_of(DIGEST_SHA256, "d", 1, &d);
    digest_of(DIGEST_SHA256, "e", 1, &e);
    mirrored.digest = d;
    assert_int_equal(cache_open(&p->config, &other.cache, &err), 0);
    struct tags *theirs = cache_tags(other.cache);
    put(p, REPO, TAG, &mirrored);
    place_settle(p);
    assert_true(tags_find(ts, REPO, TAG, &found));
    /* The other one pushes, and nobody says so. */
    assert_int_equal(tags_push_now(theirs, REPO, TAG, &e, &err), 0);
    assert_true(tags_find(ts, REPO, TAG, &found));
    assert_false(found.is_pushed);
    tags_doubt(ts, REPO, SLICE("another"));
    tags_doubt(ts, REPO, TAG);
    assert_false(tags_find(ts, REPO, TAG, &found));
    assert_true(tags_find_mirrored(ts, REPO, TAG, &found));
    assert_int_equal(tags_load_now(ts, REPO, TAG, &found), 0);
    assert_true(found.is_pushed && digest_equal(&found.pushed, &e));
    assert_true(found.mirrored == TAG_MIRRORED && digest_equal(&found.digest, &d));
    assert_true(tags_find(ts, REPO, TAG, &found));
    /* It removes both halves. */
    assert_int_equal(tags_remove_now(theirs, REPO, TAG, &err), 0);
    tags_doubt_all(ts);
    assert_int_equal(tags_load_now(ts, REPO, TAG, &found), -ENOENT);
    /* Absence is in memory only, and outlives a doubt; what is stored since does not lose to it. */
    put(p, REPO, TAG, &absent);
    tags_doubt_all(ts);
    assert_int_equal(tags_load_now(ts, REPO, TAG, &found), 0);
    assert_int_equal(found.mirrored, TAG_ABSENT);
    assert_int_equal(tags_push_now(theirs, REPO, TAG, &e, &err), 0);
    tags_doubt_all(ts);
    assert_int_equal(tags_load_now(ts, REPO, TAG, &found), 0);
    assert_true(found.is_pushed);
    assert_int_equal(found.mirrored, TAG_ABSENT);
    cache_close(&other.cache);
    place_close(p);
    place_fini(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_load), cmocka_unit_test(test_absent),
        cmocka_unit_test(test_foreign),      cmocka_unit_test(test_records),
        cmocka_unit_test(test_push),         cmocka_unit_test(test_push_over_absent),
        cmocka_unit_test(test_remove),       cmocka_unit_test(test_remove_digest),
        cmocka_unit_test(test_half),         cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_order),        cmocka_unit_test(test_settle_late),
        cmocka_unit_test(test_race),         cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_doubts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
