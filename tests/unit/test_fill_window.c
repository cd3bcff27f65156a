#include "config.h"

#include "cache/fill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/store.h"
#include "tests/unit/fill_feed.h"
#include "tests/unit/unit.h"

/* What fits is kept. */
static void expect_next_is_kept(struct place *p)
{
    struct digest digest;
    struct feed d;
    struct client a = {0};
    uint8_t *content = place_content(MIB, 10, &digest);

    feed_init(&d, p, content, MIB, &digest);
    client_start(&a, &d, 0, 0, NEVER);
    assert_int_equal(client_wait(&a), 0);
    assert_true(moment_wait(&d.ended));
    expect_kept(&d);
    feed_fini(&d);
    free(content);
}

/* The disk is full, or cannot be written at all: clients get everything, nothing is kept, memory
 * stays bounded, and the next request works. */
static void check_full(bool want_mount, bool want_ranges)
{
    enum { SIZE = 6 * MIB };
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {0}, b = {.want_slow = true}, c = {0}, e = {.leave_at = 10};

    uint8_t *content = place_content(SIZE, 9, &digest);

    place_init(&p);
    if (want_mount && !place_mount(&p, 2 * MIB)) {
        place_fini(&p);
        free(content);
        print_message("no file system of its own allowed here, left out\n");
        return;
    }
    place_open(&p);
    const char *fills = place_path(&p, "_mirrord/fills");
    if (!want_mount) {
        assert_int_equal(rmdir(fills), 0);
        place_write(&p, fills, "x", 1);
    }
    feed_init(&d, &p, content, SIZE, &digest);
    d.pause_at = want_mount ? MIB : 0;
    client_start(&a, &d, 0, 0, NEVER);
    b.want_same = c.want_same = e.want_same = !want_mount;
    client_start(&b, &d, 1, 0, NEVER);
    client_start(&e, &d, 1, 0, NEVER);
    if (want_ranges)
        client_start(&c, &d, 2, 5 * MIB, 5 * MIB + 70000);
    assert_true(moment_wait(&d.paused));
    place_run(&p, 0, feed_go_on, &d);
    assert_int_equal(client_wait(&a), 0);
    assert_int_equal(client_wait(&b), 0);
    assert_int_equal(client_wait(&e), 0);
    if (want_ranges)
        assert_int_equal(client_wait(&c), 0);
    assert_true(moment_wait(&d.ended));
    assert_int_equal(d.rc, 0);
    assert_int_equal(a.pos, SIZE);
    assert_true(d.n_rooms > 0);
    assert_null(store_find(cache_store(p.cache), &digest));
    assert_false(place_has(&p, place_blob(&p, &digest)));
    assert_true(a.max_held <= 2 * MIB + 256 * 1024);
    if (!want_mount) {
        assert_int_equal(unlink(fills), 0);
        assert_int_equal(mkdir(fills, 0755), 0);
        assert_true(a.max_held <= 512 * 1024);
    }
    expect_no_partial(&p);
    feed_fini(&d);
    free(content);
    expect_next_is_kept(&p);
    place_close(&p);
    place_fini(&p);
}

static void test_disk_full(void **state)
{
    (void)state;
    check_full(true, false);
    check_full(true, true);
}

static void test_disk_not_writable(void **state)
{
    (void)state;
    check_full(false, false);
    check_full(false, true);
}

/* Nobody reads what the disk cannot keep: it ends, and its file goes. */
static void test_disk_full_alone(void **state)
{
    struct place p;
    struct digest digest;
    struct feed d;
    struct client a = {.leave_at = 1000};
    uint8_t *content = place_content(4 * MIB, 12, &digest);

    (void)state;
    place_init(&p);
    if (place_mount(&p, 2 * MIB)) {
        place_open(&p);
        feed_init(&d, &p, content, 4 * MIB, &digest);
        d.pause_at = MIB;
        client_start(&a, &d, 0, 0, NEVER);
        assert_int_equal(client_wait(&a), 0);
        assert_true(moment_wait(&d.paused));
        place_run(&p, 0, feed_go_on, &d);
        assert_true(moment_wait(&d.ended));
        assert_int_equal(d.rc, -ENOSPC);
        expect_no_partial(&p);
        feed_fini(&d);
        place_close(&p);
    }
    place_fini(&p);
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_not_writable),
        cmocka_unit_test(test_disk_full_alone),
        cmocka_unit_test(test_disk_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
