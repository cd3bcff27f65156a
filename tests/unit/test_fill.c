#include "config.h"

#include "cache/fill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/metric.h"
#include "cache/store.h"
#include "tests/unit/fill_feed.h"
#include "tests/unit/unit.h"

/* One blob, one reader on another worker than home, and one that comes after it has begun. */
static void check_simple(size_t size, enum digest_alg alg, bool want_late_size)
{
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {0}, b = {0};
    uint8_t *content = place_content(size, 1, &digest);

    if (alg != DIGEST_SHA256)
        digest_of(alg, content, size, &digest);
    place_init(&p);
    place_open(&p);
    feed_init(&d, &p, content, size, &digest);
    d.want_late_size = want_late_size;
    client_start(&a, &d, 0, 0, NEVER);
    client_start(&b, &d, 1, size / 2, NEVER);
    assert_true(a.is_new);
    assert_int_equal(client_wait(&a), 0);
    assert_int_equal(client_wait(&b), 0);
    assert_int_equal(a.pos, size);
    assert_true(moment_wait(&d.ended));
    assert_int_equal(d.rc, 0);
    assert_int_equal(d.n_begun, 1);
    assert_int_equal(d.n_given, size);
    expect_kept(&d);
    feed_fini(&d);
    place_close(&p);
    place_fini(&p);
    free(content);
}

static void test_simple(void **state)
{
    (void)state;
    check_simple(3 * MIB + 17, DIGEST_SHA256, false);
    check_simple(3 * MIB + 17, DIGEST_SHA512, true);
    check_simple(0, DIGEST_SHA256, false);
    check_simple(0, DIGEST_SHA256, true);
    check_simple(1, DIGEST_SHA256, false);
    check_simple(2, DIGEST_SHA256, true);
}

static void test_wrong_digest(void **state)
{
    static const uint64_t WRONG_AT[] = {0, 70000, 2 * MIB - 1};
    struct place p;
    struct digest digest;
    uint8_t *content = place_content(2 * MIB, 2, &digest);
    int64_t before = metric_get(METRIC_FILLS_WRONG);

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < N_ROWS(WRONG_AT); i++) {
        struct feed d;
        struct client a = {0}, b = {0};
        feed_init(&d, &p, content, 2 * MIB, &digest);
        d.wrong_at = WRONG_AT[i];
        d.pause_at = 0;
        client_start(&a, &d, 0, 0, 2 * MIB);
        client_start(&b, &d, 1, 0, NEVER);
        place_run(&p, 0, feed_go_on, &d);
        assert_true(moment_wait(&a.over));
        assert_true(moment_wait(&b.over));
        assert_int_equal(a.rc, -EBADMSG);
        assert_int_equal(b.rc, -EBADMSG);
        assert_true(a.pos < 2 * MIB && b.pos < 2 * MIB);
        assert_true(moment_wait(&d.ended));
        assert_int_equal(d.rc, -EBADMSG);
        moment_fini(&a.over);
        moment_fini(&b.over);
        expect_no_partial(&p);
        assert_false(place_has(&p, place_blob(&p, &digest)));
        feed_fini(&d);
    }
    assert_int_equal(metric_get(METRIC_FILLS_WRONG), before + 3);
    place_close(&p);
    place_fini(&p);
    free(content);
}

/* Many readers of random ranges on all workers, some that leave, with ranges fetched on demand. */
static void test_random(void **state)
{
    enum { N_CLIENTS = 60, SIZE = 5 * MIB + 4321 };
    struct digest digest;
    uint8_t *content = place_content(SIZE, 3, &digest);
    static struct client clients[N_CLIENTS];
    unsigned seed = 11, n_demands = 0;

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct place p;
        struct feed d;
        place_init(&p);
        place_open(&p);
        feed_init(&d, &p, content, SIZE, &digest);
        d.want_late_size = round == 5;
        d.seed = round;
        d.pause_at = round * MIB / 2;
        for (unsigned i = 0; i < N_CLIENTS; i++) {
            struct client *c = &clients[i];
            uint64_t off = (uint64_t)rand_r(&seed) % SIZE;
            uint64_t end = off + 1 + (uint64_t)rand_r(&seed) % (SIZE - off);
            memset(c, 0, sizeof(*c));
            c->want_slow = i % 7 == 0;
            if (i % 5 == 0)
                c->leave_at = off + (uint64_t)rand_r(&seed) % (end - off + 1);
            client_start(c, &d, i % PLACE_WORKERS, i % 3 ? off : 0, i % 4 ? end : NEVER);
            if (i == N_CLIENTS / 2)
                place_run(&p, 0, feed_go_on, &d);
        }
        for (unsigned i = 0; i < N_CLIENTS; i++)
            assert_int_equal(client_wait(&clients[i]), 0);
        assert_true(moment_wait(&d.ended));
        assert_int_equal(d.rc, 0);
        assert_int_equal(d.n_given, SIZE);
        expect_kept(&d);
        n_demands += d.n_demands;
        feed_fini(&d);
        place_close(&p);
        place_fini(&p);
    }
    assert_true(n_demands > 0);
    free(content);
}

/* The upstream breaks off; the next fill, in this process or the next, goes on from there. */
static void check_resume(bool want_restart)
{
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {0};
    uint8_t *content = place_content(4 * MIB, 4, &digest);

    place_init(&p);
    place_open(&p);
    feed_init(&d, &p, content, 4 * MIB, &digest);
    d.fail_at = 3 * MIB;
    d.keep = true;
    client_start(&a, &d, 0, 0, NEVER);
    assert_int_equal(client_wait(&a), -ECONNRESET);
    assert_true(moment_wait(&d.ended));
    assert_int_equal(d.rc, -ECONNRESET);
    feed_fini(&d);
    assert_true(place_has(&p, place_partial(&p, &digest, "part")));
    assert_true(place_has(&p, place_partial(&p, &digest, "map")));
    if (want_restart)
        place_reopen(&p);

    uint64_t n_before = d.n_given;
    feed_init(&d, &p, content, 4 * MIB, &digest);
    client_start(&a, &d, 2, 0, NEVER);
    assert_int_equal(client_wait(&a), 0);
    assert_true(moment_wait(&d.ended));
    assert_int_equal(d.rc, 0);
    assert_int_equal(d.n_present_at_begin, n_before);
    assert_int_equal(d.n_given, 4 * MIB - n_before);
    expect_kept(&d);
    feed_fini(&d);
    place_close(&p);
    place_fini(&p);
    free(content);
}

static void test_resume(void **state)
{
    (void)state;
    check_resume(false);
    check_resume(true);
}

/* What a killed process leaves: a file that is longer, shorter or other than its map says. */
static void test_found_partials(void **state)
{
    static const struct {
        const char *map;
        size_t n_file;
        bool is_damaged;
        uint64_t n_present;
        int rc;
    } ROWS[] = {
        {"mirrord-map 1\nsize 1000000\n0 400000\nend\n", 700000, false, 400000, 0},
        {"mirrord-map 1\nsize unknown\n0 1000\n5000 900000\nend\n", 500000, false, 496000, 0},
        {"mirrord-map 1\nsize 1000000\n0 1000000\nend\n", 1000000, false, 1000000, 0},
        {"mirrord-map 1\nsize 1000000\n0 400000\n", 700000, false, 0, 0},
        {"", 700000, false, 0, 0},
        {NULL, 700000, false, 0, 0},
        {"mirrord-map 1\nsize 1000000\n0 400000\nend\n", 0, false, 0, 0},
        {"mirrord-map 1\nsize 1000000\n0 400000\nend\n", 700000, true, 400000, -EBADMSG},
        {"mirrord-map 1\nsize 999999\n0 400000\nend\n", 700000, false, 400000, -EPROTO},
    };
    struct place p;
    struct digest digest;
    uint8_t *content = place_content(1000000, 5, &digest);

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct feed d;
        struct client a = {0};
        content[10] ^= ROWS[i].is_damaged;
        place_write(&p, place_partial(&p, &digest, "part"), content, ROWS[i].n_file);
        content[10] ^= ROWS[i].is_damaged;
        if (ROWS[i].map)
            place_write(&p, place_partial(&p, &digest, "map"), ROWS[i].map, strlen(ROWS[i].map));
        feed_init(&d, &p, content, 1000000, &digest);
        client_start(&a, &d, 0, 0, NEVER);
        assert_true(moment_wait(&a.over));
        moment_fini(&a.over);
        assert_int_equal(a.rc, ROWS[i].rc);
        assert_true(!a.is_wrong || ROWS[i].is_damaged);
        assert_true(moment_wait(&d.ended));
        assert_int_equal(d.rc, ROWS[i].rc);
        /* When nothing is missing the beginning may not be told. */
        assert_true(d.n_begun == 1 || ROWS[i].n_present == 1000000);
        assert_true(d.n_begun == 0 || d.n_present_at_begin == ROWS[i].n_present);
        expect_no_partial(&p);
        feed_fini(&d);
        store_forget(cache_store(p.cache), &digest);
        unlink(place_blob(&p, &digest));
    }
    place_close(&p);
    place_fini(&p);
    free(content);
}

/* All readers leave: the driver suspends it, or brings the rest all the same. */
static void check_idle(bool want_suspend)
{
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {.leave_at = 1000}, b = {.leave_at = 300000};
    uint8_t *content = place_content(2 * MIB, 6, &digest);

    place_init(&p);
    place_open(&p);
    feed_init(&d, &p, content, 2 * MIB, &digest);
    d.pause_at = 0;
    d.pause_next = MIB;
    d.want_suspend = want_suspend;
    client_start(&a, &d, 0, 0, NEVER);
    client_start(&b, &d, 1, 0, NEVER);
    assert_true(moment_wait(&d.paused));
    place_run(&p, 0, feed_go_on, &d);
    assert_int_equal(client_wait(&a), 0);
    assert_int_equal(client_wait(&b), 0);
    /* Suspended, it ends before the second pause, or after it. */
    assert_true(moment_wait(want_suspend ? &d.ended : &d.paused));
    place_settle(&p);
    assert_int_equal(d.was_suspended, want_suspend);
    if (!want_suspend) {
        place_run(&p, 0, feed_go_on, &d);
        assert_true(moment_wait(&d.ended));
    }
    assert_int_equal(d.n_idle, 1);
    assert_int_equal(d.rc, want_suspend ? -ECANCELED : 0);
    if (want_suspend) {
        place_settle(&p);
        assert_true(place_has(&p, place_partial(&p, &digest, "map")));
        assert_null(fills_find(cache_fills(p.cache), &digest));
    } else
        expect_kept(&d);
    feed_fini(&d);
    place_close(&p);
    place_fini(&p);
    free(content);
}

static void test_idle(void **state)
{
    (void)state;
    check_idle(true);
    check_idle(false);
}

/* A fill that fails and its successor must not get into each other's files. */
static void test_successor(void **state)
{
    struct place p;
    struct digest digest;
    uint8_t *content = place_content(8 * MIB, 7, &digest);
    struct feed d[8];
    struct client a[8];

    (void)state;
    place_init(&p);
    place_open(&p);
    memset(a, 0, sizeof(a));
    for (unsigned i = 0; i < 8; i++) {
        feed_init(&d[i], &p, content, 8 * MIB, &digest);
        d[i].fail_at = i < 7 ? 1 + i * 100000 : NEVER;
        d[i].keep = i % 2;
        client_start(&a[i], &d[i], i % PLACE_WORKERS, 0, NEVER);
        assert_int_equal(client_wait(&a[i]), i < 7 ? -ECONNRESET : 0);
        assert_true(a[i].is_new);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_true(moment_wait(&d[i].ended));
        assert_int_equal(d[i].n_begun, 1);
    }
    expect_kept(&d[7]);
    for (unsigned i = 0; i < 8; i++)
        feed_fini(&d[i]);
    place_close(&p);
    place_fini(&p);
    free(content);
}

static void test_already_stored(void **state)
{
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {0};
    struct error err;
    uint8_t *content = place_content(100000, 8, &digest);

    (void)state;
    place_init(&p);
    place_open(&p);
    assert_int_equal(store_put_now(cache_store(p.cache), &digest, content, 100000, &err), 0);
    feed_init(&d, &p, content, 100000, &digest);
    client_start(&a, &d, 0, 0, NEVER);
    assert_int_equal(client_wait(&a), 0);
    assert_true(moment_wait(&d.ended));
    assert_int_equal(d.rc, 0);
    assert_int_equal(d.n_begun, 0);
    expect_kept(&d);
    feed_fini(&d);
    place_close(&p);
    place_fini(&p);
    free(content);
}

struct rules {
    struct place *place;
    struct digest digest;
    struct fill *fill;
    struct moment begun, ended;
    int rc;
};

static void on_rules_begin(void *arg, struct fill *f)
{
    (void)f;
    moment_come(&((struct rules *)arg)->begun);
}

static void on_rules_demand(void *arg, struct fill *f, uint64_t off, uint64_t end)
{
    (void)arg;
    (void)f;
    (void)off;
    (void)end;
}

static void on_rules_room(void *arg, struct fill_writer *w)
{
    (void)arg;
    (void)w;
}

static void on_rules_idle(void *arg, struct fill *f)
{
    (void)arg;
    (void)f;
}

static void on_rules_ended(void *arg, struct fill *f, int rc)
{
    struct rules *r = arg;

    r->rc = rc;
    fill_unref(&f);
    moment_come(&r->ended);
}

static const struct fill_driver RULES = {
    on_rules_begin, on_rules_demand, on_rules_idle, on_rules_room, on_rules_ended,
};

static void do_rules_start(void *arg)
{
    struct rules *r = arg;
    bool is_new;

    r->fill = fills_join(cache_fills(r->place->cache), &r->digest, &is_new);
    fill_drive(r->fill, &RULES, r);
}

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "line %d: %s\n", __LINE__, #cond);                                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void do_rules(void *arg)
{
    struct rules *r = arg;
    struct fill *f = r->fill;
    uint64_t off, end;

    EXPECT(fill_missing(f, 0, &off, &end) && off == 0 && end == FILL_SIZE_UNKNOWN);
    struct fill_writer *a = fill_writer_open(f, 0, FILL_SIZE_UNKNOWN);
    EXPECT(a && !fill_missing(f, 0, &off, &end));
    EXPECT(fill_write(a, "0123456789", 10) == 0);
    EXPECT(fill_set_size(f, 9) == -EPROTO);
    EXPECT(fill_set_size(f, 1000) == 0);
    EXPECT(fill_set_size(f, 1000) == 0);
    EXPECT(fill_set_size(f, 1001) == -EPROTO);
    EXPECT(fill_writer_end(a) == 1000);

    /* A claim within another one ends the first. */
    struct fill_writer *b = fill_writer_open(f, 500, 600);
    EXPECT(b && fill_writer_end(a) == 500 && fill_writer_end(b) == 600);
    EXPECT(fill_missing(f, 0, &off, &end) && off == 600 && end == 1000);
    EXPECT(!fill_writer_open(f, 5, 9));
    EXPECT(!fill_writer_open(f, 1000, 1001));
    struct fill_writer *c = fill_writer_open(f, 550, 2000);
    EXPECT(c && fill_writer_end(b) == 550 && fill_writer_end(c) == 1000);
    EXPECT(!fill_missing(f, 0, &off, &end));
    EXPECT(fill_write(b, "01234567890123456789012345678901234567890123456789+", 51) == -EMSGSIZE);
    EXPECT(fill_writer_off(b) == 500);
    EXPECT(fill_write(b, "01234567890123456789012345678901234567890123456789", 50) == 0);
    fill_writer_close(&b);
    fill_writer_close(&c);
    EXPECT(fill_missing(f, 0, &off, &end) && off == 550 && end == 1000);
    fill_writer_close(&a);
    EXPECT(fill_missing(f, 0, &off, &end) && off == 10 && end == 500);
    EXPECT(fill_missing(f, 520, &off, &end) && off == 550 && end == 1000);
    EXPECT(fill_present(f) == 60);

    /* The claim ends where the next segment begins. */
    a = fill_writer_open(f, 10, 900);
    EXPECT(fill_writer_end(a) == 500);
    EXPECT(fill_suspend(f));
    EXPECT(fill_write(a, "x", 1) == -ECANCELED);
    fill_writer_close(&a);
}

static void on_nothing(void *arg)
{
    (void)arg;
}

/* Who asks for the end of a blob that has gaps gets it; who reads the whole waits for the digest.
 */
static void do_tail(void *arg)
{
    struct rules *r = arg;
    struct fill *f = r->fill;
    struct fill_bytes bytes;

    EXPECT(fill_set_size(f, 1000) == 0);
    struct fill_reader *tail = fill_reader_open(f, 990, 1000, on_nothing, NULL);
    struct fill_reader *whole = fill_reader_open(f, 0, 1000, on_nothing, NULL);
    EXPECT(fill_reader_next(tail, 990, 100, &bytes) == 0);
    struct fill_writer *w = fill_writer_open(f, 990, 1000);
    EXPECT(fill_write(w, "0123456789", 10) == 0);
    fill_writer_close(&w);
    EXPECT(fill_reader_next(tail, 990, 100, &bytes) == 1 && bytes.len == 10);
    EXPECT(fill_reader_next(whole, 990, 100, &bytes) == 1 && bytes.len == 9);
    EXPECT(fill_reader_next(whole, 999, 100, &bytes) == 0);
    EXPECT(fill_reader_next(tail, 1000, 1, &bytes) == -ERANGE);
    fill_reader_close(&tail);
    fill_reader_close(&whole);
    EXPECT(fill_suspend(f));
}

static void check_rules(worker_fn fn, const char *want_map)
{
    struct place p;
    struct rules r = {.place = &p};
    char map[200] = {0};

    free(place_content(1000, 13, &r.digest));
    place_init(&p);
    place_open(&p);
    moment_init(&r.begun);
    moment_init(&r.ended);
    place_run(&p, 0, do_rules_start, &r);
    assert_true(moment_wait(&r.begun));
    place_run(&p, 0, fn, &r);
    assert_true(moment_wait(&r.ended));
    assert_int_equal(r.rc, -ECANCELED);
    place_settle(&p);
    place_read(&p, place_partial(&p, &r.digest, "map"), map, sizeof(map) - 1);
    assert_string_equal(map, want_map);
    moment_fini(&r.begun);
    moment_fini(&r.ended);
    place_close(&p);
    place_fini(&p);
}

static void test_claims(void **state)
{
    (void)state;
    check_rules(do_rules, "mirrord-map 1\nsize 1000\n0 10\n500 550\nend\n");
}

static void test_tail(void **state)
{
    (void)state;
    check_rules(do_tail, "mirrord-map 1\nsize 1000\n990 1000\nend\n");
}

/* A cache that ends while a fill runs leaves its partial file for the next process. */
static void test_close_running(void **state)
{
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {0};
    uint8_t *content = place_content(2 * MIB, 14, &digest);
    struct strbuf json = STRBUF_INIT;

    (void)state;
    place_init(&p);
    place_open(&p);
    feed_init(&d, &p, content, 2 * MIB, &digest);
    d.pause_at = MIB;
    d.want_suspend = true;
    client_start(&a, &d, 0, 0, NEVER);
    assert_true(moment_wait(&d.paused));
    fills_print_json(cache_fills(p.cache), &json);
    assert_non_null(strstr(json.ptr, "\"state\":\"running\",\"size\":2097152"));
    strbuf_fini(&json);
    /* The sweep does not touch what is running, however old. */
    assert_true(place_has(&p, place_partial(&p, &digest, "part")));
    cache_sweep(p.cache);
    place_settle(&p);
    assert_true(place_has(&p, place_partial(&p, &digest, "part")));
    place_run(&p, 0, feed_go_on, &d);
    assert_int_equal(client_wait(&a), 0);
    assert_true(moment_wait(&d.ended));
    feed_fini(&d);
    place_close(&p);
    place_fini(&p);
    free(content);
}

static void test_sweep(void **state)
{
    struct place p;
    struct digest d;

    (void)state;
    free(place_content(10, 15, &d));
    place_init(&p);
    p.config.partial_max_age_s = 0;
    place_open(&p);
    place_write(&p, place_partial(&p, &d, "part"), "x", 1);
    place_write(&p, place_partial(&p, &d, "map"), "x", 1);
    place_write(&p, place_path(&p, "_mirrord/tmp/1-2"), "x", 1);
    cache_sweep(p.cache);
    place_settle(&p);
    /* Not older than this second: they stay until they are. */
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(0, place_partial(&p, &d, "part"), times, 0), 0);
    assert_int_equal(utimensat(0, place_partial(&p, &d, "map"), times, 0), 0);
    assert_int_equal(utimensat(0, place_path(&p, "_mirrord/tmp/1-2"), times, 0), 0);
    cache_sweep(p.cache);
    place_settle(&p);
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/fills")), 0);
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 0);
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),         cmocka_unit_test(test_wrong_digest),
        cmocka_unit_test(test_random),         cmocka_unit_test(test_resume),
        cmocka_unit_test(test_found_partials), cmocka_unit_test(test_idle),
        cmocka_unit_test(test_successor),      cmocka_unit_test(test_already_stored),
        cmocka_unit_test(test_claims),         cmocka_unit_test(test_tail),
        cmocka_unit_test(test_close_running),  cmocka_unit_test(test_sweep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
