/* Who waits for the end of a fill and not for its bytes. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/fill.h"
#include "cache/store.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/fill_feed.h"
#include "tests/unit/unit.h"

struct waiter {
    struct fill *fill;
    struct fill_reader *reader;
    bool is_kept;
    int failure;
    struct moment over;
};

static void on_wake(void *arg)
{
    struct waiter *w = arg;

    if (!fill_reader_want_end(w->reader))
        return;
    struct blob *b = fill_blob(w->fill);
    w->is_kept = b != NULL;
    w->failure = fill_failure(w->fill, NULL);
    blob_unref(&b);
    fill_reader_close(&w->reader);
    fill_unref(&w->fill);
    moment_come(&w->over);
}

static void do_wait(void *arg)
{
    struct waiter *w = arg;

    w->reader = fill_reader_open(w->fill, 0, FILL_SIZE_UNKNOWN, on_wake, w);
    on_wake(w);
}

static struct place place;

/* A client that wants a piece from the middle, and one that waits for the whole on another worker;
 * the feed fails at fail_at. */
static void run(struct feed *d, struct waiter *w, uint64_t off, uint64_t end)
{
    struct client c = {0};

    moment_init(&w->over);
    client_start(&c, d, 0, off, end);
    w->fill = fills_find(cache_fills(place.cache), &d->digest);
    assert_non_null(w->fill);
    place_run(&place, 1, do_wait, w);
    place_run(&place, 0, feed_go_on, d);
    client_wait(&c);
    assert_true(moment_wait(&w->over));
    assert_true(moment_wait(&d->ended));
    moment_fini(&w->over);
}

static void test_end(void **state)
{
    static const struct {
        uint64_t off, end, fail_at;
    } ROWS[] = {
        {0, NEVER, NEVER},
        {MIB, MIB + 10, NEVER},
        {0, MIB, MIB / 2},
    };
    struct digest digest;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        uint8_t *content = place_content(3 * MIB, 70 + (unsigned)i, &digest);
        struct waiter w = {0};
        struct feed d;
        place_init(&place);
        place_open(&place);
        feed_init(&d, &place, content, 3 * MIB, &digest);
        d.pause_at = 0;
        d.fail_at = ROWS[i].fail_at;
        run(&d, &w, ROWS[i].off, ROWS[i].end);
        bool is_good = ROWS[i].fail_at == NEVER;
        assert_int_equal(w.is_kept, is_good);
        assert_int_equal(w.failure == 0, is_good);
        if (is_good)
            expect_kept(&d);
        feed_fini(&d);
        place_close(&place);
        place_fini(&place);
        free(content);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_end)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
