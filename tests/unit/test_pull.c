/*
 * Pulls, with real fills and an upstream of our own in place of upstream/fetch.h: what is asked
 * for, what becomes of the bytes, and what becomes of a fill that nobody reads any more.
 */
#include "config.h"

#include "mirrord/pull.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/fill.h"
#include "cache/link.h"
#include "cache/store.h"
#include "mirrord/api.h"
#include "mirrord/api_error.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"
#include "mirrord/registries.h"
#include "upstream/fetch.h"
#include "upstream/upstream.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define SIZE (6 * MIB)
#define END UINT64_MAX
#define LOG_MAX 64

/* --- the upstream ----------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock; /* guards the log and n_sent */
    const uint8_t *content;
    uint64_t size;
    bool no_ranges; /* answers 200 to everything */
    bool no_size;   /* tells no length */
    bool is_low;    /* little is left of its limit */
    enum fetch_outcome outcome;
    uint64_t hold_at; /* sends nothing behind this until hold_at is moved */
    char log[LOG_MAX][48];
    unsigned n_log;
    uint64_t n_sent;
} site = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct fetch {
    struct mail mail; /* first */
    struct worker *home;
    const struct fetch_ops *ops;
    void *arg;
    uint64_t pos, end;
    bool is_range, has_head, is_paused, is_cancelled;
};

struct upstream *upstream_ref(struct upstream *u)
{
    return u;
}

void upstream_unref(struct upstream **u)
{
    *u = NULL;
}

bool upstream_is_low(struct upstream *u)
{
    assert_ptr_equal(u, &site);
    return site.is_low;
}

static void finish(struct fetch *f, enum fetch_outcome outcome)
{
    struct fetch_result result = {.outcome = outcome, .status = 200, .retry_after_s = 7};

    f->ops->done(f->arg, &result);
    free(f);
}

/* The head, or the next piece. */
static int go_on(struct fetch *f)
{
    if (!f->has_head) {
        struct fetch_head head = {.status = f->is_range ? 206 : 200,
                                  .size = site.no_size ? UINT64_MAX : site.size,
                                  .is_range = f->is_range};
        f->has_head = true;
        return f->ops->head(f->arg, &head);
    }
    uint64_t n = f->end - f->pos < 100 * KIB ? f->end - f->pos : 100 * KIB;
    int rc = f->ops->data(f->arg, site.content + f->pos, (size_t)n);
    if (rc == 0) {
        pthread_mutex_lock(&site.lock);
        site.n_sent += n;
        pthread_mutex_unlock(&site.lock);
        f->pos += n;
    }
    return rc;
}

static void on_turn(struct mail *m)
{
    struct fetch *f = (struct fetch *)m;

    if (f->is_cancelled) {
        free(f);
        return;
    }
    if (f->is_paused)
        return;
    if (site.outcome != FETCH_OK) {
        finish(f, site.outcome);
        return;
    }
    if (f->has_head && f->pos == f->end) {
        finish(f, FETCH_OK);
        return;
    }
    int rc =
        f->has_head && f->pos >= __atomic_load_n(&site.hold_at, __ATOMIC_ACQUIRE) ? 0 : go_on(f);
    f->is_paused = rc == FETCH_PAUSE;
    if (rc < 0)
        finish(f, FETCH_REFUSED);
    else
        worker_post(f->home, &f->mail);
}

struct fetch *fetch_start(struct upstream *u, const struct fetch_spec *spec,
                          const struct fetch_ops *ops, void *arg)
{
    struct fetch *f = xcalloc(1, sizeof(*f));

    (void)u;
    CHECK(spec->kind == FETCH_BLOB && !spec->is_head);
    f->mail.fn = on_turn;
    f->home = worker_current();
    f->ops = ops;
    f->arg = arg;
    f->is_range = !site.no_ranges && (spec->off > 0 || spec->end != UINT64_MAX);
    f->pos = f->is_range ? spec->off : 0;
    f->end = f->is_range && spec->end < site.size ? spec->end : site.size;
    pthread_mutex_lock(&site.lock);
    CHECK(site.n_log < LOG_MAX);
    if (spec->end == UINT64_MAX)
        snprintf(site.log[site.n_log++], 48, "%llu-", (unsigned long long)spec->off);
    else
        snprintf(site.log[site.n_log++], 48, "%llu-%llu", (unsigned long long)spec->off,
                 (unsigned long long)spec->end);
    pthread_mutex_unlock(&site.lock);
    worker_post(f->home, &f->mail);
    return f;
}

void fetch_resume(struct fetch *f)
{
    f->is_paused = false;
    worker_post(f->home, &f->mail);
}

void fetch_cancel(struct fetch **ff)
{
    struct fetch *f = *ff;

    *ff = NULL;
    f->is_cancelled = true;
    worker_post(f->home, &f->mail);
}

static bool was_asked(const char *range)
{
    bool is_there = false;

    pthread_mutex_lock(&site.lock);
    for (unsigned i = 0; i < site.n_log; i++)
        is_there = is_there || strcmp(site.log[i], range) == 0;
    pthread_mutex_unlock(&site.lock);
    return is_there;
}

/* --- the clients ------------------------------------------------------------------------------ */

static struct place place;
static struct digest digest;
static uint8_t *content;
static struct api_settings settings;

struct client {
    uint64_t off, end;
    uint64_t leave_at; /* closes there; 0: reads to its end */
    struct fill *fill;
    struct fill_reader *reader;
    uint64_t pos;
    bool is_wrong, is_over;
    int rc;
    struct moment over;
};

static void leave(struct client *c, int rc)
{
    if (c->is_over)
        return;
    c->is_over = true;
    c->rc = rc;
    fill_reader_close(&c->reader);
    fill_unref(&c->fill);
    moment_come(&c->over);
}

static void read_on(void *arg)
{
    struct client *c = arg;
    static _Thread_local uint8_t buf[64 * KIB];
    struct fill_bytes bytes;
    int rc = fill_failure(c->fill, NULL);
    uint64_t size;

    if (rc == 0 && !fill_reader_want_size(c->reader))
        return;
    if (rc == 0 && fill_size(c->fill, &size) && c->end > size)
        c->end = size;
    while (rc == 0 && c->pos < c->end) {
        if (c->leave_at && c->pos >= c->leave_at)
            break;
        rc = fill_reader_next(c->reader, c->pos, sizeof(buf), &bytes);
        if (rc == 0)
            return;
        if (rc < 0)
            break;
        CHECK(pread(bytes.fd, buf, bytes.len, (off_t)bytes.off) == (ssize_t)bytes.len);
        c->is_wrong = c->is_wrong || memcmp(buf, content + c->pos, bytes.len) != 0;
        c->pos += bytes.len;
        rc = 0;
    }
    leave(c, rc);
}

static void begin(void *arg)
{
    struct client *c = arg;
    static const struct registry registry = {.host = {"site", 4},
                                             .prefix = {"", 0},
                                             .upstream = (struct upstream *)&site,
                                             .origin = "site"};
    struct pull_tools tools = {
        .registry = &registry, .links = cache_links(place.cache), .settings = &settings};
    bool is_new;

    c->fill = fills_join(cache_fills(place.cache), &digest, &is_new);
    c->reader = fill_reader_open(c->fill, c->off, c->end, read_on, c);
    if (is_new) {
        links_note_pending(tools.links, SLICE("library/x"), &digest);
        pull_start(&tools, c->fill, SLICE("library/x"), c->off, c->end);
    }
    c->pos = c->off;
    read_on(c);
}

static void client_start(struct client *c, unsigned worker, uint64_t off, uint64_t end)
{
    c->off = off;
    c->end = end;
    moment_init(&c->over);
    place_run(&place, worker, begin, c);
}

static void expect(struct client *c, int rc)
{
    assert_true(moment_wait(&c->over));
    moment_fini(&c->over);
    assert_int_equal(c->rc, rc);
    assert_false(c->is_wrong);
    if (rc == 0 && !c->leave_at)
        assert_int_equal(c->pos, c->end);
}

/* One client after another. */
static void read_part(unsigned worker, uint64_t off, uint64_t end)
{
    struct client c = {0};

    client_start(&c, worker, off, end);
    expect(&c, 0);
}

/* Until the fill has ended. */
static void wait_ended(void)
{
    struct fill *f;

    while ((f = fills_find(cache_fills(place.cache), &digest))) {
        fill_unref(&f);
        place_settle(&place);
    }
    place_settle(&place);
}

static bool is_kept(void)
{
    return place_has(&place, place_blob(&place, &digest));
}

static int set_up(void **state)
{
    (void)state;
    content = place_content(SIZE, 1, &digest);
    settings = API_SETTINGS_DEFAULT;
    site.content = content;
    site.size = SIZE;
    site.no_ranges = site.no_size = site.is_low = false;
    site.outcome = FETCH_OK;
    site.hold_at = UINT64_MAX;
    site.n_log = 0;
    site.n_sent = 0;
    place_init(&place);
    place_open(&place);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_close(&place);
    place_fini(&place);
    free(content);
    return 0;
}

/* --- the tests -------------------------------------------------------------------------------- */

static void test_whole(void **state)
{
    struct origin origin;

    (void)state;
    read_part(0, 0, END);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_log, 1);
    assert_string_equal(site.log[0], "0-");
    assert_int_equal(site.n_sent, SIZE);
    assert_int_equal(
        links_load_now(cache_links(place.cache), LINK_LAYER, SLICE("library/x"), &digest, &origin),
        0);
    assert_false(origin.is_pushed);
    assert_string_equal(origin.upstream, "site");
}

static void test_many_clients_one_request(void **state)
{
    static struct client clients[100];

    (void)state;
    memset(clients, 0, sizeof(clients));
    for (unsigned i = 0; i < N_ROWS(clients); i++)
        client_start(&clients[i], i % PLACE_WORKERS, 0, END);
    for (unsigned i = 0; i < N_ROWS(clients); i++)
        expect(&clients[i], 0);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_log, 1);
    assert_int_equal(site.n_sent, SIZE);
}

static void test_length_not_told(void **state)
{
    (void)state;
    site.no_size = true;
    read_part(0, 0, END);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_log, 1);
}

/* "Content-Range: bytes 0-65535/\*": without the length a range cannot be answered. */
static void test_length_not_told_with_a_range(void **state)
{
    (void)state;
    site.no_size = true;
    read_part(0, MIB, MIB + 10);
    wait_ended();
    assert_true(is_kept());
    assert_true(site.n_log <= 3);
}

/* Only what is asked for, aligned, and nothing twice; a whole reader brings the rest. */
static void test_ranges_only(void **state)
{
    (void)state;
    read_part(0, 3 * MIB + 5, 3 * MIB + 100);
    wait_ended();
    assert_false(is_kept());
    assert_string_equal(site.log[0], "3145728-3211264");
    assert_int_equal(site.n_sent, 64 * KIB);
    read_part(1, 3 * MIB + 50, 3 * MIB + 60);
    read_part(1, SIZE - 10, SIZE);
    wait_ended();
    assert_true(was_asked("6225920-"));
    assert_false(is_kept());
    assert_int_equal(site.n_log, 2);
    read_part(2, 0, END);
    wait_ended();
    assert_true(is_kept());
    /* Over the short segments in one request. */
    assert_int_equal(site.n_log, 3);
    assert_string_equal(site.log[2], "0-6225920");
}

static void test_long_segment_is_not_fetched_again(void **state)
{
    (void)state;
    read_part(0, 2 * MIB, 4 * MIB);
    wait_ended();
    assert_int_equal(site.n_sent, 2 * MIB);
    read_part(0, 0, END);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_sent, SIZE);
    assert_true(was_asked("0-2097152"));
    assert_true(was_asked("4194304-"));
}

static void test_range_far_ahead_of_a_running_request(void **state)
{
    struct client whole = {0};

    (void)state;
    site.hold_at = MIB;
    client_start(&whole, 0, 0, END);
    /* The side request begins behind what is held. */
    __atomic_store_n(&site.hold_at, UINT64_MAX, __ATOMIC_RELEASE);
    read_part(1, 5 * MIB, 5 * MIB + 10);
    expect(&whole, 0);
    wait_ended();
    assert_true(is_kept());
    assert_true(site.n_sent <= SIZE + MIB);
}

static void test_upstream_without_ranges(void **state)
{
    (void)state;
    site.no_ranges = true;
    read_part(0, 4 * MIB, 4 * MIB + 10);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_log, 1);
    assert_int_equal(site.n_sent, SIZE);
}

static void test_failures(void **state)
{
    static const struct {
        enum fetch_outcome outcome;
        enum api_error want;
    } rows[] = {
        {FETCH_NOT_FOUND, API_ERROR_BLOB_UNKNOWN},  {FETCH_THROTTLED, API_ERROR_THROTTLED},
        {FETCH_UNAVAILABLE, API_ERROR_UNAVAILABLE}, {FETCH_BAD_ANSWER, API_ERROR_BAD_UPSTREAM},
        {FETCH_DENIED, API_ERROR_DENIED},
    };
    int told;

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct client c = {0};
        site.outcome = rows[i].outcome;
        client_start(&c, 0, 0, END);
        assert_true(moment_wait(&c.over));
        moment_fini(&c.over);
        assert_int_equal(api_error_unpack(c.rc, &told), rows[i].want);
        assert_int_equal(told, 7);
        wait_ended();
    }
    site.outcome = FETCH_OK;
    read_part(0, 0, END);
    wait_ended();
    assert_true(is_kept());
}

/* An answer without a length ends before the size that is known, and brings nothing. */
static void test_ends_too_early(void **state)
{
    struct client c = {0};
    int told;

    (void)state;
    read_part(0, MIB, MIB + 10);
    wait_ended();
    site.no_ranges = site.no_size = true;
    site.size = 0;
    client_start(&c, 0, 0, END);
    assert_true(moment_wait(&c.over));
    moment_fini(&c.over);
    assert_int_equal(api_error_unpack(c.rc, &told), API_ERROR_BAD_UPSTREAM);
    wait_ended();
    site.no_ranges = site.no_size = false;
    site.size = SIZE;
    read_part(0, 0, END);
    wait_ended();
    assert_true(is_kept());
}

static void test_goes_on_without_clients(void **state)
{
    struct client c = {.leave_at = 1};

    (void)state;
    client_start(&c, 0, 0, END);
    expect(&c, 0);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_log, 1);
}

static void test_stops_below_its_share_and_resumes(void **state)
{
    struct client c = {.leave_at = 1};

    (void)state;
    settings.fill_continue_percent = 90;
    settings.fill_complete_percent = 100;
    site.hold_at = MIB;
    client_start(&c, 0, 0, END);
    expect(&c, 0);
    wait_ended();
    assert_false(is_kept());
    assert_true(site.n_sent < 2 * MIB);
    site.hold_at = UINT64_MAX;
    read_part(0, 0, END);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_log, 2);
    assert_int_equal(site.n_sent, SIZE);
}

/* Little is left of the limit: nothing is fetched that no client waits for. */
static void test_saves(void **state)
{
    struct client c = {.leave_at = 1};

    (void)state;
    site.is_low = true;
    read_part(0, 0, 4 * MIB);
    wait_ended();
    assert_false(is_kept());
    assert_int_equal(site.n_sent, 4 * MIB);
    site.hold_at = 5 * MIB;
    client_start(&c, 0, 4 * MIB, END);
    expect(&c, 0);
    wait_ended();
    assert_false(is_kept());
    assert_true(site.n_sent <= 5 * MIB);
    site.hold_at = UINT64_MAX;
    site.is_low = false;
    read_part(0, 0, MIB);
    wait_ended();
    assert_true(is_kept());
    assert_int_equal(site.n_sent, SIZE);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_whole),
        TEST(test_many_clients_one_request),
        TEST(test_length_not_told),
        TEST(test_length_not_told_with_a_range),
        TEST(test_ranges_only),
        TEST(test_long_segment_is_not_fetched_again),
        TEST(test_range_far_ahead_of_a_running_request),
        TEST(test_upstream_without_ranges),
        TEST(test_failures),
        TEST(test_ends_too_early),
        TEST(test_goes_on_without_clients),
        TEST(test_stops_below_its_share_and_resumes),
        TEST(test_saves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
