#include "config.h"

#include "cache/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/metric.h"
#include "tests/unit/unit.h"
#include "tests/unit/upload_desk.h"

#define MIB (1024 * 1024)

static const char NOBODY[] = "00000000-1111-4222-8333-444444444444";

static void start(struct place *p, struct desk *d)
{
    place_init(p);
    place_open(p);
    desk_init(d, p, 0, "team/app");
}

static void finish(struct place *p, struct desk *d)
{
    desk_fini(d);
    place_settle(p);
    assert_int_equal(place_count(p, place_path(p, "_mirrord/tmp")), 0);
    place_close(p);
    assert_int_equal(metric_get(METRIC_UPLOADS_OPEN), 0);
    place_fini(p);
}

static void test_ids(void **state)
{
    static const struct {
        const char *id;
        bool is_valid;
    } rows[] = {
        {"00000000-1111-4222-8333-444444444444", true},
        {"abcdef01-2345-6789-abcd-ef0123456789", true},
        {"", false},
        {"abcdef01-2345-6789-abcd-ef012345678", false},
        {"abcdef01-2345-6789-abcd-ef01234567890", false},
        {"ABCDEF01-2345-6789-ABCD-EF0123456789", false},
        {"abcdef01+2345-6789-abcd-ef0123456789", false},
        {"abcdef01-23456789-abcd-ef0123-456789", false},
        {"../../..-1111-4222-8333-444444444444", false},
        {"abcdef01-2345-6789-abcd-ef01234567g9", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++)
        assert_int_equal(upload_id_is_valid(slice_of(rows[i].id)), rows[i].is_valid);
    assert_false(upload_id_is_valid((struct slice){"abcdef01-2345\0006789-abcd-ef0123456789", 36}));
}

/* Several requests on several workers, each with its part. */
static void test_parts(void **state)
{
    enum { SIZE = 3 * MIB + 17 };
    struct place p;
    struct desk a, b;
    struct digest digest;
    char startedat[32], id[UPLOAD_ID_SIZE];
    struct tm tm;
    uint8_t *content = place_content(SIZE, 1, &digest);

    (void)state;
    start(&p, &a);
    desk_init(&b, &p, 2, "team/app");
    int64_t n_committed = metric_get(METRIC_UPLOADS_COMMITTED);
    int64_t n_bytes = metric_get(METRIC_UPLOAD_BYTES);
    assert_int_equal(desk_create(&a, false, DIGEST_SHA256), 0);
    assert_true(upload_id_is_valid(slice_of(a.id)));
    assert_int_equal(a.size, 0);
    strcpy(id, a.id);
    memset(startedat, 0, sizeof(startedat));
    assert_int_equal(place_read(&p, desk_file(&a, id, "startedat"), startedat, 31), 20);
    assert_non_null(strptime(startedat, "%Y-%m-%dT%H:%M:%SZ", &tm));
    assert_int_equal(desk_write(&a, content, 1000), 0);
    assert_int_equal(desk_ask_size(&b, id), 0);
    assert_int_equal(b.size, 1000);
    assert_int_equal(desk_open(&b, id), -EBUSY);
    assert_null(b.upload);
    desk_release(&a);
    for (size_t off = 1000; off < SIZE; off += MIB) {
        size_t n = SIZE - off < MIB ? SIZE - off : MIB;
        assert_int_equal(desk_open(&b, id), 0);
        assert_int_equal(b.size, off);
        assert_int_equal(desk_write(&b, content + off, n), 0);
        desk_release(&b);
    }
    assert_int_equal(desk_open(&a, id), 0);
    assert_int_equal(a.size, SIZE);
    assert_int_equal(desk_commit(&a, &digest), 0);
    assert_true(digest_equal(&a.found, &digest));
    assert_true(desk_has_blob(&a, &digest, content, SIZE));
    assert_false(place_has(&p, desk_folder(&a, id)));
    assert_int_equal(desk_open(&a, id), -ENOENT);
    assert_int_equal(desk_ask_size(&a, id), -ENOENT);
    assert_int_equal(metric_get(METRIC_UPLOADS_COMMITTED), n_committed + 1);
    assert_int_equal(metric_get(METRIC_UPLOAD_BYTES), n_bytes + SIZE);
    desk_fini(&b);
    finish(&p, &a);
    free(content);
}

/* One request brings all of it: no folder, not to be found. */
static void test_single(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest;
    uint8_t *content = place_content(64 * 1024, 2, &digest);

    (void)state;
    start(&p, &d);
    assert_int_equal(desk_create(&d, true, DIGEST_SHA256), 0);
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 1);
    assert_int_equal(desk_ask_size(&d, d.id), -ENOENT);
    assert_int_equal(desk_write(&d, content, 64 * 1024), 0);
    assert_int_equal(desk_commit(&d, &digest), 0);
    assert_true(desk_has_blob(&d, &digest, content, 64 * 1024));
    assert_false(place_has(&p, desk_folder(&d, "")));
    /* Given up in the middle. */
    assert_int_equal(desk_create(&d, true, DIGEST_SHA256), 0);
    assert_int_equal(desk_write(&d, content, 100), 0);
    desk_release(&d);
    finish(&p, &d);
    free(content);
}

static void test_wrong_digest(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest, other;
    char id[UPLOAD_ID_SIZE];
    uint8_t *content = place_content(MIB, 3, &digest);

    (void)state;
    free(place_content(7, 4, &other));
    start(&p, &d);
    for (int is_single = 0; is_single < 2; is_single++) {
        assert_int_equal(desk_create(&d, is_single, DIGEST_SHA256), 0);
        strcpy(id, d.id);
        assert_int_equal(desk_write(&d, content, MIB), 0);
        assert_int_equal(desk_commit(&d, &other), -EBADMSG);
        assert_true(digest_equal(&d.found, &digest));
        assert_non_null(strstr(d.why, "digest"));
        assert_int_equal(desk_open(&d, id), -ENOENT);
        assert_false(place_has(&p, desk_folder(&d, id)));
        assert_false(place_has(&p, place_blob(&p, &other)));
        assert_false(place_has(&p, place_blob(&p, &digest)));
        assert_false(place_has(&p, desk_link(&d, &other)));
    }
    finish(&p, &d);
    free(content);
}

/* What was expected at the beginning decides which hash runs along, not which digest may come. */
static void test_algorithms(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest;

    (void)state;
    start(&p, &d);
    for (int expected = 0; expected < DIGEST_ALG_MAX; expected++) {
        for (int alg = 0; alg < DIGEST_ALG_MAX; alg++) {
            size_t n = 9 * MIB + (size_t)(expected * 2 + alg);
            uint8_t *content = place_content(n, (unsigned)(10 + expected * 2 + alg), &digest);
            digest_of(alg, content, n, &digest);
            assert_int_equal(desk_create(&d, false, expected), 0);
            assert_int_equal(desk_write(&d, content, n), 0);
            assert_int_equal(desk_commit(&d, &digest), 0);
            assert_true(desk_has_blob(&d, &digest, content, n));
            free(content);
        }
    }
    finish(&p, &d);
}

static void test_empty(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest;

    (void)state;
    start(&p, &d);
    digest_of(DIGEST_SHA256, "", 0, &digest);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    assert_int_equal(desk_commit(&d, &digest), 0);
    assert_true(desk_has_blob(&d, &digest, "", 0));
    finish(&p, &d);
}

/* As after a restart of the daemon; the rest comes, and another algorithm, too. */
static void test_reload(void **state)
{
    enum { SIZE = 20 * MIB, FIRST = 18 * MIB };
    struct place p;
    struct desk d;
    struct digest digest;
    char ids[2][UPLOAD_ID_SIZE];
    uint8_t *content = place_content(SIZE, 20, &digest);

    (void)state;
    start(&p, &d);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
        strcpy(ids[i], d.id);
        assert_true(desk_write(&d, content, FIRST) >= 0);
        desk_release(&d);
    }
    place_reopen(&p);
    for (int i = 0; i < 2; i++) {
        digest_of(i == 0 ? DIGEST_SHA256 : DIGEST_SHA512, content, SIZE, &digest);
        assert_int_equal(desk_ask_size(&d, ids[i]), 0);
        assert_int_equal(d.size, FIRST);
        assert_int_equal(desk_open(&d, ids[i]), 0);
        assert_int_equal(d.size, FIRST);
        /* It is far behind, but not because of this writer. */
        assert_int_equal(desk_write(&d, content + FIRST, SIZE - FIRST), 0);
        assert_int_equal(desk_commit(&d, &digest), 0);
        assert_true(desk_has_blob(&d, &digest, content, SIZE));
    }
    finish(&p, &d);
    free(content);
}

/* Held when the daemon ends: its files stay. */
static void test_shutdown(void **state)
{
    struct place p;
    struct desk d, single;
    char id[UPLOAD_ID_SIZE];

    (void)state;
    start(&p, &d);
    desk_init(&single, &p, 1, "x");
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    assert_int_equal(desk_create(&single, true, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    assert_int_equal(desk_write(&d, "abc", 3), 0);
    place_reopen(&p);
    assert_int_equal(metric_get(METRIC_UPLOADS_OPEN), 0);
    assert_int_equal(desk_open(&d, id), 0);
    assert_int_equal(d.size, 3);
    desk_cancel(&d);
    desk_fini(&single);
    finish(&p, &d);
}

static void test_cancel(void **state)
{
    struct place p;
    struct desk d;
    char id[UPLOAD_ID_SIZE];

    (void)state;
    start(&p, &d);
    int64_t n_cancelled = metric_get(METRIC_UPLOADS_CANCELLED);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    assert_int_equal(desk_write(&d, "abc", 3), 0);
    /* registry:2 leaves such things. */
    place_write(&p, desk_file(&d, id, "hashstates/sha256/0"), "x", 1);
    place_write(&p, desk_file(&d, id, "hashstates/sha256/3"), "y", 1);
    desk_cancel(&d);
    assert_false(place_has(&p, desk_folder(&d, id)));
    assert_int_equal(desk_open(&d, id), -ENOENT);
    assert_int_equal(metric_get(METRIC_UPLOADS_CANCELLED), n_cancelled + 1);
    finish(&p, &d);
}

static void test_not_there(void **state)
{
    static const char *const repos[] = {"team/app", "other", "../team/app", "", "a//b", "_x"};
    static const char *const ids[] = {"", "x", "../../../../etc/passwd", NOBODY};
    struct place p;
    struct desk d, other;
    char id[UPLOAD_ID_SIZE];

    (void)state;
    start(&p, &d);
    for (size_t i = 0; i < N_ROWS(repos); i++) {
        desk_init(&other, &p, 1, repos[i]);
        for (size_t k = 0; k < N_ROWS(ids); k++) {
            assert_int_equal(desk_open(&other, ids[k]), -ENOENT);
            assert_int_equal(desk_ask_size(&other, ids[k]), -ENOENT);
        }
        desk_fini(&other);
    }
    desk_init(&other, &p, 1, "../x");
    assert_int_equal(desk_create(&other, false, DIGEST_SHA256), -ENOENT);
    desk_fini(&other);
    /* The id of another repository. */
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    desk_init(&other, &p, 1, "team/app2");
    assert_int_equal(desk_open(&other, id), -ENOENT);
    assert_int_equal(desk_ask_size(&other, id), -ENOENT);
    desk_fini(&other);
    /* A folder without bytes, and one where the bytes are a folder, are no uploads. */
    place_write(&p, desk_file(&d, NOBODY, "startedat"), "2020-01-01T00:00:00Z", 20);
    desk_cancel(&d);
    assert_int_equal(desk_open(&d, NOBODY), -ENOENT);
    place_write(&p, desk_file(&d, NOBODY, "data/x"), "", 0);
    assert_int_equal(desk_open(&d, NOBODY), -ENOENT);
    assert_int_equal(desk_ask_size(&d, NOBODY), -ENOENT);
    finish(&p, &d);
}

/* Too many idle ones are closed, the one that waits longest first, and go on where they were. */
static void test_idle_max(void **state)
{
    enum { N = 5 };
    struct place p;
    struct desk d;
    struct digest digest;
    char ids[N][UPLOAD_ID_SIZE];
    uint8_t *content = place_content(MIB, 30, &digest);

    (void)state;
    place_init(&p);
    p.config.uploads_open_max = 2;
    place_open(&p);
    desk_init(&d, &p, 0, "team/app");
    for (int i = 0; i < N; i++) {
        assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
        strcpy(ids[i], d.id);
        assert_int_equal(desk_write(&d, content, MIB / 2), 0);
        desk_release(&d);
    }
    place_settle(&p);
    assert_int_equal(metric_get(METRIC_UPLOADS_OPEN), 2);
    for (int i = 0; i < N; i++) {
        assert_int_equal(desk_ask_size(&d, ids[i]), 0);
        assert_int_equal(d.size, MIB / 2);
        assert_int_equal(desk_open(&d, ids[i]), 0);
        assert_int_equal(desk_write(&d, content + MIB / 2, MIB / 2), 0);
        assert_int_equal(desk_commit(&d, &digest), 0);
    }
    assert_true(desk_has_blob(&d, &digest, content, MIB));
    finish(&p, &d);
    free(content);
}

/* The pool does not run: the hash falls behind. */
struct stopper {
    struct pool_job job; /* first */
    struct moment *until;
};

static void wait_until(struct pool_job *job)
{
    assert_true(moment_wait(((struct stopper *)job)->until));
}

static void test_room(void **state)
{
    enum { N_THREADS = 3 };
    struct place p;
    struct desk d, e;
    struct digest digest;
    struct moment until;
    struct stopper stoppers[N_THREADS] = {0};
    char id[UPLOAD_ID_SIZE];
    unsigned n = 0;
    int rc = 0;
    uint8_t *content = place_content(MIB, 31, &digest);

    (void)state;
    start(&p, &d);
    desk_init(&e, &p, 1, "team/app");
    moment_init(&until);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    for (int i = 0; i < N_THREADS; i++) {
        stoppers[i].job.work = wait_until;
        stoppers[i].until = &until;
        pool_submit(p.pool, &stoppers[i].job, NULL);
    }
    while (rc == 0 && n < 100) {
        rc = desk_write(&d, content, MIB);
        n++;
    }
    assert_int_equal(rc, 1);
    assert_int_equal(n, 17);
    /* The first one leaves; the next one waits on another worker. */
    desk_release(&d);
    assert_int_equal(desk_open(&e, id), 0);
    assert_int_equal(desk_write(&e, content, MIB), 1);
    assert_int_equal(e.size, 18 * MIB);
    for (int i = 0; i < N_THREADS; i++)
        moment_come(&until);
    assert_true(moment_wait(&e.room));
    assert_int_equal(desk_write(&e, content, MIB), 0);
    desk_cancel(&e);
    moment_fini(&until);
    desk_fini(&e);
    finish(&p, &d);
    free(content);
}

/* The bytes are dropped, the link is made. */
static void test_here_already(void **state)
{
    struct place p;
    struct desk a, b;
    struct digest digest;
    uint8_t *content = place_content(100000, 40, &digest);
    char shorter[] = "not this";

    (void)state;
    start(&p, &a);
    desk_init(&b, &p, 1, "other");
    for (int i = 0; i < 2; i++) {
        struct desk *d = i == 0 ? &a : &b;
        assert_int_equal(desk_create(d, i == 1, DIGEST_SHA256), 0);
        assert_int_equal(desk_write(d, content, 100000), 0);
        assert_int_equal(desk_commit(d, &digest), 0);
        assert_true(desk_has_blob(d, &digest, content, 100000));
    }
    /* What lies there cannot be it: it is replaced. */
    place_write(&p, place_blob(&p, &digest), shorter, sizeof(shorter));
    assert_int_equal(desk_create(&a, false, DIGEST_SHA256), 0);
    assert_int_equal(desk_write(&a, content, 100000), 0);
    assert_int_equal(desk_commit(&a, &digest), 0);
    assert_true(desk_has_blob(&a, &digest, content, 100000));
    desk_fini(&b);
    finish(&p, &a);
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),          cmocka_unit_test(test_parts),
        cmocka_unit_test(test_single),       cmocka_unit_test(test_wrong_digest),
        cmocka_unit_test(test_algorithms),   cmocka_unit_test(test_empty),
        cmocka_unit_test(test_reload),       cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_cancel),       cmocka_unit_test(test_not_there),
        cmocka_unit_test(test_idle_max),     cmocka_unit_test(test_room),
        cmocka_unit_test(test_here_already),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
