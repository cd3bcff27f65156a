#include "config.h"

#include "tests/unit/fill_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/metric.h"
#include "cache/store.h"
#include "tests/unit/unit.h"

static void feed_post(struct feed *d)
{
    worker_post(d->home, &d->mail);
}

static void close_writers(struct feed *d)
{
    for (unsigned i = 0; i < FEED_WRITERS; i++)
        fill_writer_close(&d->writers[i]);
}

static bool open_writer(struct feed *d, uint64_t off, uint64_t end)
{
    for (unsigned i = 0; i < FEED_WRITERS; i++) {
        if (!d->writers[i]) {
            d->writers[i] = fill_writer_open(d->fill, off, end);
            return d->writers[i] != NULL;
        }
    }
    return false;
}

/* One piece of one writer. False when it is through. */
static bool give(struct feed *d, struct fill_writer *w)
{
    uint8_t piece[70000];
    uint64_t off = fill_writer_off(w);
    uint64_t end = fill_writer_end(w) < d->size ? fill_writer_end(w) : d->size;
    size_t n = d->piece ? d->piece : 1 + (size_t)rand_r(&d->seed) % 65536;

    if (off >= end)
        return false;
    n = n < end - off ? n : (size_t)(end - off);
    memcpy(piece, d->content + off, n);
    if (d->wrong_at >= off && d->wrong_at < off + n)
        piece[d->wrong_at - off] ^= 1;
    int rc = fill_write(w, piece, n);
    if (rc == -EAGAIN) {
        d->is_stopped = true;
        return true;
    }
    if (rc < 0)
        return false;
    d->n_given += n;
    return fill_writer_off(w) < end;
}

static void feed_step(struct mail *m)
{
    struct feed *d = (struct feed *)m;
    uint64_t off, end;
    bool is_working = false;

    if (d->n_ended > 0)
        return;
    if (d->n_given >= d->pause_at && !d->is_paused) {
        d->is_paused = true;
        moment_come(&d->paused);
    }
    if (d->is_paused || d->is_stopped)
        return;
    if (d->n_given >= d->fail_at) {
        struct error err;
        error_set(&err, -ECONNRESET, "upstream broke off");
        fill_fail(d->fill, -ECONNRESET, d->keep, &err);
        return;
    }
    for (unsigned i = 0; i < FEED_WRITERS; i++) {
        if (d->writers[i] && !give(d, d->writers[i]))
            fill_writer_close(&d->writers[i]);
        is_working |= d->writers[i] != NULL;
    }
    if (!is_working && fill_missing(d->fill, 0, &off, &end) && off < d->size)
        is_working = open_writer(d, off, end);
    if (is_working && !d->is_stopped)
        feed_post(d);
    else if (!is_working && d->want_late_size)
        CHECK(fill_set_size(d->fill, d->size) == 0);
}

static void on_begin(void *arg, struct fill *f)
{
    struct feed *d = arg;
    uint64_t off, end;

    d->n_begun++;
    d->n_present_at_begin = fill_present(f);
    if (!d->want_late_size && fill_set_size(f, d->size) < 0) {
        fill_fail(f, -EPROTO, true, NULL);
        return;
    }
    if (fill_missing(f, 0, &off, &end))
        open_writer(d, off, end);
    feed_post(d);
}

static void on_demand(void *arg, struct fill *f, uint64_t off, uint64_t end)
{
    struct feed *d = arg;

    (void)f;
    d->n_demands++;
    open_writer(d, off, end < off + 100000 ? end : off + 100000);
    feed_post(d);
}

static void on_idle(void *arg, struct fill *f)
{
    struct feed *d = arg;

    d->n_idle++;
    if (d->want_suspend)
        d->was_suspended = fill_suspend(f);
}

static void on_room(void *arg, struct fill_writer *w)
{
    struct feed *d = arg;

    (void)w;
    d->n_rooms++;
    d->is_stopped = false;
    feed_post(d);
}

static void on_ended(void *arg, struct fill *f, int rc)
{
    struct feed *d = arg;

    d->n_ended++;
    d->rc = rc;
    close_writers(d);
    fill_unref(&f);
    moment_come(&d->ended);
}

static const struct fill_driver DRIVER = {
    .begin = on_begin,
    .demand = on_demand,
    .idle = on_idle,
    .room = on_room,
    .ended = on_ended,
};

void feed_init(struct feed *d, struct place *p, const uint8_t *content, uint64_t size,
               const struct digest *digest)
{
    memset(d, 0, sizeof(*d));
    d->mail.fn = feed_step;
    d->place = p;
    d->content = content;
    d->size = size;
    d->digest = *digest;
    d->fail_at = d->wrong_at = d->pause_at = d->pause_next = NEVER;
    d->seed = 5;
    moment_init(&d->paused);
    moment_init(&d->ended);
}

void feed_fini(struct feed *d)
{
    place_settle(d->place);
    assert_int_equal(d->n_ended <= 1, true);
    moment_fini(&d->paused);
    moment_fini(&d->ended);
}

static void client_end(struct client *c, int rc)
{
    c->rc = rc;
    c->is_over = true;
    fill_reader_close(&c->reader);
    fill_unref(&c->fill);
    moment_come(&c->over);
}

static void look_at(struct client *c, const struct fill_bytes *bytes)
{
    uint8_t piece[65536];
    struct stat st;
    size_t n = bytes->len < sizeof(piece) ? (size_t)bytes->len : sizeof(piece);

    if (bytes->off != c->pos || pread(bytes->fd, piece, n, (off_t)bytes->off) != (ssize_t)n ||
        memcmp(piece, c->feed->content + c->pos, n) != 0)
        c->is_wrong = true;
    if (fstat(bytes->fd, &st) == 0 && (uint64_t)st.st_blocks * 512 > c->max_held)
        c->max_held = (uint64_t)st.st_blocks * 512;
    c->pos += n;
}

static void client_run(struct client *c)
{
    struct fill_bytes bytes;
    uint64_t size;

    if (c->end == NEVER && fill_size(c->fill, &size)) {
        c->end = size;
        fill_reader_limit(c->reader, c->off, size);
    }
    if (c->end == NEVER && !fill_reader_want_size(c->reader))
        return;
    while (c->pos < c->end && c->pos < c->leave_at) {
        uint64_t want = 1 + (uint64_t)rand_r(&c->seed) % c->max_want;
        int rc = fill_reader_next(c->reader, c->pos, want, &bytes);
        if (rc < 0)
            client_end(c, rc);
        if (rc <= 0)
            return;
        look_at(c, &bytes);
        if (c->want_slow && c->pos < c->end) {
            worker_post(worker_current(), &c->mail);
            return;
        }
    }
    client_end(c, 0);
}

static void on_turn(struct mail *m)
{
    struct client *c = (struct client *)((char *)m - offsetof(struct client, mail));

    if (!c->is_over)
        client_run(c);
}

static void on_wake(void *arg)
{
    struct client *c = arg;

    client_run(c);
}

/* The whole range at once. */
static void read_blob(struct client *c, struct blob *b)
{
    if (c->end == NEVER)
        c->end = blob_size(b);
    while (c->pos < c->end && c->pos < c->leave_at) {
        struct fill_bytes bytes = {blob_fd(b), c->pos, c->end - c->pos};
        look_at(c, &bytes);
    }
    blob_unref(&b);
    client_end(c, 0);
}

static void do_start(void *arg)
{
    struct client *c = arg;
    struct feed *d = c->feed;
    struct blob *b = store_find(cache_store(d->place->cache), &d->digest);

    if (b) {
        read_blob(c, b);
        return;
    }
    c->fill = c->want_same ? fill_ref(d->fill)
                           : fills_join(cache_fills(d->place->cache), &d->digest, &c->is_new);
    if (c->is_new) {
        d->home = worker_current();
        d->fill = fill_ref(c->fill);
        fill_drive(c->fill, &DRIVER, d);
    }
    c->reader = fill_reader_open(c->fill, c->off, c->end, on_wake, c);
    client_run(c);
}

void client_start(struct client *c, struct feed *d, unsigned worker, uint64_t off, uint64_t end)
{
    bool want_slow = c->want_slow, want_same = c->want_same;
    uint64_t leave_at = c->leave_at;

    memset(c, 0, sizeof(*c));
    c->feed = d;
    c->worker = worker;
    c->off = c->pos = off;
    c->end = end;
    c->max_want = 200000;
    c->want_slow = want_slow;
    c->want_same = want_same;
    c->leave_at = leave_at ? leave_at : NEVER;
    c->seed = worker + 1;
    c->mail.fn = on_turn;
    moment_init(&c->over);
    place_run(d->place, worker, do_start, c);
}

int client_wait(struct client *c)
{
    assert_true(moment_wait(&c->over));
    moment_fini(&c->over);
    assert_false(c->is_wrong);
    return c->rc;
}

void expect_no_partial(struct place *p)
{
    place_settle(p);
    assert_int_equal(place_count(p, place_path(p, "_mirrord/fills")), 0);
    assert_int_equal(place_count(p, place_path(p, "_mirrord/tmp")), 0);
    assert_int_equal(metric_get(METRIC_FILLS_RUNNING), 0);
    assert_int_equal(metric_get(METRIC_FILL_READERS), 0);
}

void expect_kept(struct feed *d)
{
    struct place *p = d->place;
    struct blob *b = store_find(cache_store(p->cache), &d->digest);
    struct digest found;
    uint8_t *all = malloc(d->size + 1);

    assert_non_null(b);
    blob_unref(&b);
    assert_int_equal(place_read(p, place_blob(p, &d->digest), all, d->size + 1), d->size);
    digest_of(d->digest.alg, all, d->size, &found);
    assert_true(digest_equal(&found, &d->digest));
    free(all);
    assert_null(fills_find(cache_fills(p->cache), &d->digest));
    expect_no_partial(p);
}

void feed_go_on(void *arg)
{
    struct feed *d = arg;

    d->is_paused = false;
    d->pause_at = d->pause_next;
    d->pause_next = NEVER;
    feed_post(d);
}
