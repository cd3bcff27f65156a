#include "config.h"

#include "cache/evict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cache/cache.h"
#include "cache/fill.h"
#include "cache/ledger.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/pin.h"
#include "cache/store.h"
#include "cache/tag.h"
#include "cache/vouch.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/cache_scene.h"
#include "tests/unit/unit.h"

#define MIB (1024 * 1024)
#define LIST(...) ((const struct digest *[]){__VA_ARGS__, NULL})

static int64_t ahead_s;

int64_t __real_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void);

int64_t __wrap_clock_wall_s(void)
{
    return __real_clock_wall_s() + ahead_s;
}

static void open_place(struct place *p)
{
    struct error err;

    ahead_s = 0;
    place_init(p);
    place_open(p);
    assert_int_equal(ledger_walk_now(cache_ledger(p->cache), false, &err), 0);
}

static void close_place(struct place *p)
{
    place_close(p);
    place_fini(p);
}

static bool has_blob(struct place *p, const struct digest *d)
{
    return place_has(p, place_blob(p, d));
}

static int take(struct place *p, const char *repo, const char *reference,
                struct evict_result *result)
{
    struct error err = {0};

    memset(result, 0, sizeof(*result));
    return evict_image_now(cache_evict(p->cache), slice_of(repo), slice_of(reference), result,
                           &err);
}

/* What the ledger says is what lies there. */
static void check_ledger(struct place *p)
{
    struct ledger_report r;
    struct error err;
    uint64_t n;

    assert_int_equal(ledger_walk_now(cache_ledger(p->cache), false, &err), 0);
    ledger_read_report(cache_ledger(p->cache), &r);
    assert_int_equal(r.n_mended, 0);
    assert_int_equal(r.bytes.blobs, scene_stored_bytes(p, &n));
    assert_int_equal(r.bytes.n_blobs, n);
}

/* --- one image -------------------------------------------------------------------------------- */

static void test_image(void **state)
{
    struct place p;
    struct digest base, own, manifest;
    struct evict_result r;
    struct tag_record record;

    (void)state;
    open_place(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_blob(&p, "own", 500, &own);
    scene_image(&p, "a", "1", LIST(&base, &own), SCENE_MIRRORED, &manifest);
    scene_image(&p, "a", "2", LIST(&base), SCENE_MIRRORED, NULL);
    assert_int_equal(take(&p, "a", "none", &r), -ENOENT);
    assert_int_equal(take(&p, "b", "1", &r), -ENOENT);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_int_equal(r.n_blobs, 2);
    assert_int_equal(r.n_links, 2);
    assert_true(r.bytes > 500);
    /* The other tag shares the base, and keeps it. */
    assert_false(has_blob(&p, &own));
    assert_false(has_blob(&p, &manifest));
    assert_true(has_blob(&p, &base));
    assert_true(scene_has_link(&p, "a", LINK_LAYER, &base));
    assert_false(scene_has_link(&p, "a", LINK_LAYER, &own));
    assert_false(scene_has_link(&p, "a", LINK_REVISION, &manifest));
    assert_false(scene_has_tag(&p, "a", "1"));
    assert_true(scene_has_tag(&p, "a", "2"));
    /* Nor does memory know it any more. */
    assert_null(manifests_find(cache_manifests(p.cache), &manifest));
    assert_false(tags_find(cache_tags(p.cache), SLICE("a"), SLICE("1"), &record));
    assert_int_equal(links_find(cache_links(p.cache), LINK_REVISION, SLICE("a"), &manifest),
                     LINK_UNKNOWN);
    assert_int_equal(links_find(cache_links(p.cache), LINK_LAYER, SLICE("a"), &own), LINK_UNKNOWN);
    check_ledger(&p);
    assert_int_equal(take(&p, "a", "2", &r), 0);
    assert_false(has_blob(&p, &base));
    check_ledger(&p);
    close_place(&p);
}

/* The same layers through two repositories. */
static void test_shared(void **state)
{
    struct place p;
    struct digest base, manifest;
    struct evict_result r;

    (void)state;
    open_place(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_image(&p, "a", "1", LIST(&base), SCENE_MIRRORED, &manifest);
    scene_image(&p, "b", "1", LIST(&base), SCENE_MIRRORED, &manifest);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_blobs, 0);
    assert_int_equal(r.n_links, 2);
    assert_true(has_blob(&p, &base) && has_blob(&p, &manifest));
    assert_true(scene_has_link(&p, "b", LINK_LAYER, &base));
    check_ledger(&p);
    assert_int_equal(take(&p, "b", "", &r), 0);
    assert_int_equal(r.n_blobs, 2);
    check_ledger(&p);
    close_place(&p);
}

/* An index of which one child was never fetched, one has a tag of its own, and one is a part of
 * another index as well. */
static void test_index(void **state)
{
    struct place p;
    struct digest layers[3], plain, tagged, shared, absent, index, other;
    struct evict_result r;

    (void)state;
    open_place(&p);
    for (unsigned i = 0; i < 3; i++) {
        char text[8];
        snprintf(text, sizeof(text), "l%u", i);
        scene_blob(&p, text, 100, &layers[i]);
    }
    digest_of(DIGEST_SHA256, "absent", 6, &absent);
    scene_image(&p, "a", "", LIST(&layers[0]), SCENE_MIRRORED, &plain);
    scene_image(&p, "a", "amd64", LIST(&layers[1]), SCENE_MIRRORED, &tagged);
    scene_image(&p, "a", "", LIST(&layers[2]), SCENE_MIRRORED, &shared);
    scene_index(&p, "a", "1", LIST(&plain, &tagged, &shared, &absent), SCENE_MIRRORED, &index);
    scene_index(&p, "a", "2", LIST(&shared), SCENE_MIRRORED, &other);
    char *list = scene_list(&p);
    assert_non_null(strstr(list, "a:1 mirrored shared="));
    assert_non_null(strstr(list, "a:2 mirrored whole"));
    free(list);
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&plain, digest);
    assert_int_equal(take(&p, "a", digest, &r), 0);
    assert_int_equal(r.n_images, 0);
    assert_string_equal(r.why, "part of another image");
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_blobs, 3);
    assert_false(has_blob(&p, &plain) || has_blob(&p, &index) || has_blob(&p, &layers[0]));
    assert_true(has_blob(&p, &tagged) && has_blob(&p, &shared) && has_blob(&p, &layers[1]));
    check_ledger(&p);
    /* What was tagged stands for itself now. */
    assert_int_equal(take(&p, "a", "", &r), 0);
    assert_int_equal(r.n_images, 2);
    uint64_t n;
    assert_int_equal(scene_stored_bytes(&p, &n), 0);
    check_ledger(&p);
    close_place(&p);
}

/* --- what stays ------------------------------------------------------------------------------- */

static void test_pushed(void **state)
{
    struct place p;
    struct digest base, own, child_layer, child, pushed, d;
    struct evict_result r;

    (void)state;
    open_place(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_blob(&p, "child", 100, &child_layer);
    scene_blob(&p, "own", 100, &own);
    scene_image(&p, "a", "1", LIST(&base, &own), SCENE_MIRRORED, &d);
    scene_image(&p, "b", "1", LIST(&base), SCENE_PUSHED, &pushed);
    /* An index that was pushed elsewhere references a mirrored child, whose layer nobody pushed. */
    scene_image(&p, "a", "child", LIST(&child_layer), SCENE_MIRRORED, &child);
    scene_index(&p, "c", "1", LIST(&child), SCENE_PUSHED, NULL);
    assert_int_equal(take(&p, "b", "1", &r), 0);
    assert_string_equal(r.why, "pushed");
    assert_int_equal(r.n_images + r.n_links + r.n_blobs, 0);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_blobs, 2);
    assert_true(has_blob(&p, &base));
    assert_int_equal(take(&p, "a", "child", &r), 0);
    assert_int_equal(r.n_links, 2);
    assert_int_equal(r.n_blobs, 0);
    assert_true(has_blob(&p, &child) && has_blob(&p, &child_layer));
    check_ledger(&p);
    /* With a limit nothing else happens. */
    struct evict_limits limits = {.high_bytes = 1, .low_bytes = 1};
    struct error err;
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    struct evict_report report;
    evict_read_report(cache_evict(p.cache), &report);
    assert_true(report.is_complete && report.is_short);
    assert_int_equal(report.n_blobs, 0);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), 0);
    assert_true(has_blob(&p, &base) && has_blob(&p, &pushed) && has_blob(&p, &child));
    close_place(&p);
}

/* A tag of which both halves are known, with different digests. */
static void test_two_halves(void **state)
{
    struct place p;
    struct digest ours, theirs, a, b;
    struct evict_result r;
    struct tag_record record;

    (void)state;
    open_place(&p);
    scene_blob(&p, "a", 10, &a);
    scene_blob(&p, "b", 10, &b);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, &theirs);
    scene_image(&p, "a", "1", LIST(&b), SCENE_PUSHED, &ours);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_false(has_blob(&p, &theirs));
    assert_int_equal(tags_load_now(cache_tags(p.cache), SLICE("a"), SLICE("1"), &record), 0);
    assert_true(record.is_pushed && digest_equal(&record.pushed, &ours));
    assert_int_equal(record.mirrored, TAG_UNASKED);
    check_ledger(&p);
    close_place(&p);
}

static void test_pinned(void **state)
{
    struct place p;
    struct digest a, d, index;
    struct evict_result r;
    struct error err;
    char digest[DIGEST_TEXT_SIZE];

    (void)state;
    open_place(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "", LIST(&a), SCENE_MIRRORED, &d);
    scene_index(&p, "a", "1", LIST(&d), SCENE_MIRRORED, &index);
    struct pins *ps = cache_pins(p.cache);
    assert_int_equal(pins_add_now(ps, SLICE("a"), SLICE("1"), NULL, &err), 0);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_string_equal(r.why, "pinned");
    struct evict_limits limits = {.high_bytes = 1, .low_bytes = 1};
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_true(has_blob(&p, &a) && has_blob(&p, &d) && has_blob(&p, &index));
    /* A pin of the child by its digest keeps it, whatever becomes of the index. */
    digest_format(&d, digest);
    assert_int_equal(pins_add_now(ps, SLICE("a"), slice_of(digest), NULL, &err), 0);
    assert_int_equal(pins_remove_now(ps, SLICE("a"), SLICE("1"), &err), 0);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_true(has_blob(&p, &a) && has_blob(&p, &d));
    assert_false(has_blob(&p, &index));
    assert_int_equal(pins_remove_now(ps, SLICE("a"), slice_of(digest), &err), 0);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), 0);
    assert_false(has_blob(&p, &a) || has_blob(&p, &d));
    close_place(&p);
}

static void join_fill(void *arg)
{
    void **args = arg;
    bool is_new;

    args[2] = fills_join(cache_fills(((struct place *)args[0])->cache), args[1], &is_new);
}

static void leave_fill(void *arg)
{
    struct fill *f = arg;

    fill_unref(&f);
}

/* While somebody reads, fills or pushes a part of it the whole of it stays. */
static void test_busy(void **state)
{
    struct place p;
    struct digest a, missing, d;
    struct evict_result r;
    struct blob *blob;
    struct origin origin = {.upstream = origin_upstream(SLICE("up"))};
    struct error err;

    (void)state;
    open_place(&p);
    scene_blob(&p, "a", 1000, &a);
    digest_of(DIGEST_SHA256, "missing", 7, &missing);
    scene_image(&p, "a", "1", LIST(&a, &missing), SCENE_MIRRORED, &d);
    assert_int_equal(links_add_layer_now(cache_links(p.cache), SLICE("a"), &missing, &origin, &err),
                     0);
    assert_int_equal(store_open_now(cache_store(p.cache), &a, &blob), 0);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_string_equal(r.why, "busy");
    assert_true(has_blob(&p, &a) && scene_has_tag(&p, "a", "1"));
    blob_unref(&blob);
    /* A push that has looked and not linked yet. */
    unsigned hold = vouch_hold(cache_vouches(p.cache));
    assert_int_equal(vouch_present_now(cache_vouches(p.cache), &a, NULL), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(take(&p, "a", "1", &r), 0);
        assert_string_equal(r.why, "busy");
    }
    vouch_release(cache_vouches(p.cache), hold);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_false(has_blob(&p, &a));
    scene_image(&p, "a", "2", LIST(&missing), SCENE_MIRRORED, &d);
    void *args[] = {&p, &missing, NULL};
    place_run(&p, 0, join_fill, args);
    assert_int_equal(take(&p, "a", "2", &r), 0);
    assert_string_equal(r.why, "busy");
    assert_true(scene_has_tag(&p, "a", "2"));
    place_run(&p, 0, leave_fill, args[2]);
    close_place(&p);
}

/* A tag that is on its way to the storage, as after a pull of a moment ago. */
static void note_tag(void *arg)
{
    void **args = arg;
    struct tag_record record = {.mirrored = TAG_MIRRORED, .digest = *(struct digest *)args[1]};

    tags_note(cache_tags(((struct place *)args[0])->cache), SLICE("a"), SLICE("late"), &record);
}

static void test_pinned_late(void **state)
{
    struct place p;
    struct digest layer, d;
    struct tag_record none;
    struct evict_result r;
    struct error err;
    char digest[DIGEST_TEXT_SIZE];

    (void)state;
    open_place(&p);
    scene_blob(&p, "layer", 1000, &layer);
    scene_image(&p, "a", "", LIST(&layer), SCENE_MIRRORED, &d);
    digest[digest_format(&d, digest)] = '\0';
    assert_int_equal(pins_add_now(cache_pins(p.cache), SLICE("a"), SLICE("late"), NULL, &err), 0);
    assert_int_equal(tags_load_now(cache_tags(p.cache), SLICE("a"), SLICE("late"), &none), -ENOENT);
    void *args[] = {&p, &d};
    place_run(&p, 0, note_tag, args);
    assert_int_equal(take(&p, "a", digest, &r), 0);
    assert_string_equal(r.why, "busy");
    assert_true(has_blob(&p, &layer) && has_blob(&p, &d));
    assert_int_equal(pins_remove_now(cache_pins(p.cache), SLICE("a"), SLICE("late"), &err), 0);
    assert_int_equal(take(&p, "a", digest, &r), 0);
    assert_int_equal(r.n_images, 1);
    close_place(&p);
}

/* Who has it open reads it to its end. */
static void test_open(void **state)
{
    struct place p;
    struct digest a;
    struct evict_result r;
    struct blob *blob;
    char byte;

    (void)state;
    open_place(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, NULL);
    assert_int_equal(store_open_now(cache_store(p.cache), &a, &blob), 0);
    /* Displaced from among the open ones, its reader is not seen. */
    store_forget(cache_store(p.cache), &a);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_false(has_blob(&p, &a));
    assert_int_equal(pread(blob_fd(blob), &byte, 1, 0), 1);
    assert_int_equal(byte, 'a');
    blob_unref(&blob);
    close_place(&p);
}

/* --- limits ----------------------------------------------------------------------------------- */

/* n images of a layer of this size each, used in this order, an hour apart. */
static void make_row(struct place *p, unsigned n, size_t size, struct digest *layers,
                     struct digest *manifests)
{
    struct error err;

    for (unsigned i = 0; i < n; i++) {
        char text[16];
        snprintf(text, sizeof(text), "i%u", i);
        ahead_s = (int64_t)i * 3600;
        scene_blob(p, text, size, &layers[i]);
        scene_image(p, "a", text, LIST(&layers[i]), SCENE_MIRRORED, &manifests[i]);
        assert_int_equal(ledger_drain_now(cache_ledger(p->cache), &err), 0);
    }
}

enum { N_ROW = 100 };

static void test_limit(void **state)
{
    struct place p;
    struct digest layers[N_ROW], manifests[N_ROW];
    struct error err;
    struct evict_report report;
    struct evict_limits limits = {.high_bytes = 90 * 1000, .low_bytes = 60 * 1000};

    (void)state;
    open_place(&p);
    make_row(&p, N_ROW, 1000, layers, manifests);
    /* The first one is used again. */
    struct manifest *m = manifests_find(cache_manifests(p.cache), &manifests[0]);
    manifest_unref(&m);
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    uint64_t n, bytes = scene_stored_bytes(&p, &n);
    evict_read_report(cache_evict(p.cache), &report);
    assert_true(report.is_complete && !report.is_short);
    assert_true(bytes <= limits.low_bytes && bytes > limits.low_bytes - 3000);
    assert_int_equal(report.n_images * 2, report.n_blobs);
    /* Older ones have gone, younger ones stayed; near the border size may decide. */
    assert_true(has_blob(&p, &layers[0]));
    for (unsigned i = 1; i < N_ROW; i++) {
        if (i <= report.n_images - 16)
            assert_false(has_blob(&p, &layers[i]));
        if (i > report.n_images + 16)
            assert_true(has_blob(&p, &layers[i]));
    }
    check_ledger(&p);
    /* Below the high mark nothing happens; lowered at run time, it does. */
    evict_start(cache_evict(p.cache));
    cache_drain(p.cache);
    assert_int_equal(scene_stored_bytes(&p, &n), bytes);
    limits = (struct evict_limits){.high_bytes = 2000, .low_bytes = 0};
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_int_equal(scene_stored_bytes(&p, &n), 0);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), 0);
    check_ledger(&p);
    close_place(&p);
}

static void test_age(void **state)
{
    struct place p;
    struct digest layers[N_ROW], manifests[N_ROW];
    struct evict_limits limits = {.max_age_s = 10 * 3600 + 1800};

    (void)state;
    open_place(&p);
    make_row(&p, 40, 100, layers, manifests);
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(has_blob(&p, &layers[i]), i >= 29);
    /* A clock that is set back a day makes nothing older. */
    ahead_s -= 86400;
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    for (unsigned i = 29; i < 40; i++)
        assert_true(has_blob(&p, &layers[i]));
    close_place(&p);
}

/* Of two with nearly the same last use the one goes that is cheaper to fetch again, byte by byte.
 */
static void test_value(void **state)
{
    struct place p;
    struct digest large, small[8], d;
    struct evict_limits limits = {.high_bytes = 8 * MIB, .low_bytes = 8 * MIB};

    (void)state;
    open_place(&p);
    for (unsigned i = 0; i < 8; i++) {
        char text[8];
        snprintf(text, sizeof(text), "s%u", i);
        scene_blob(&p, text, 1000, &small[i]);
    }
    scene_image(&p, "a", "small",
                LIST(&small[0], &small[1], &small[2], &small[3], &small[4], &small[5]),
                SCENE_MIRRORED, NULL);
    ahead_s = 3600;
    scene_blob(&p, "large", 10 * MIB, &large);
    scene_image(&p, "a", "large", LIST(&large), SCENE_MIRRORED, &d);
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_false(has_blob(&p, &large));
    assert_true(scene_has_tag(&p, "a", "small"));
    /* A day's disuse is worth more than any size. */
    evict_set_limits(cache_evict(p.cache), &(struct evict_limits){0});
    ahead_s = 2 * 86400;
    scene_blob(&p, "large", 10 * MIB, &large);
    scene_image(&p, "a", "large", LIST(&large), SCENE_MIRRORED, &d);
    limits.high_bytes = limits.low_bytes = 10 * MIB + 1000 + 2 * 1000; /* two belong to no image */
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_true(has_blob(&p, &large));
    assert_false(scene_has_tag(&p, "a", "small"));
    close_place(&p);
}

static unsigned cost_by_name(void *arg, struct slice repo)
{
    (void)arg;
    return slice_starts(repo, SLICE("dear/")) ? 4 : 1;
}

/* What is dear to fetch again stays some days longer, and no longer; however much of it there is.
 */
static void test_cost(void **state)
{
    enum { DEAR = 150, CHEAP = 10 };
    struct place p;
    struct digest large, layer;
    struct evict_limits limits = {0};
    char text[16];

    (void)state;
    open_place(&p);
    evict_set_cost(cache_evict(p.cache), cost_by_name, NULL);
    for (unsigned i = 0; i < DEAR; i++) {
        snprintf(text, sizeof(text), "dear %u", i);
        scene_blob(&p, text, 20000, &layer);
        snprintf(text, sizeof(text), "t%u", i);
        scene_image(&p, "dear/a", text, LIST(&layer), SCENE_MIRRORED, NULL);
    }
    ahead_s = 2 * 86400;
    for (unsigned i = 0; i < CHEAP; i++) {
        snprintf(text, sizeof(text), "cheap %u", i);
        scene_blob(&p, text, 20000, &layer);
        snprintf(text, sizeof(text), "t%u", i);
        scene_image(&p, "cheap/a", text, LIST(&layer), SCENE_MIRRORED, NULL);
    }
    limits.high_bytes = limits.low_bytes = DEAR * 21000;
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_int_equal(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/dear/a/_manifests/tags")),
        DEAR);
    size_t n_cheap =
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/cheap/a/_manifests/tags"));
    assert_true(n_cheap < CHEAP);
    /* Four times as dear is worth six days of such small blobs, not nine. */
    evict_set_limits(cache_evict(p.cache), &(struct evict_limits){0});
    ahead_s = 9 * 86400;
    scene_blob(&p, "large", MIB, &large);
    scene_image(&p, "cheap/b", "large", LIST(&large), SCENE_MIRRORED, NULL);
    limits.high_bytes = limits.low_bytes = MIB + DEAR * 10000;
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_true(scene_has_tag(&p, "cheap/b", "large"));
    assert_true(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/dear/a/_manifests/tags")) <
        DEAR);
    close_place(&p);
}

/* A mirrored layer that no manifest of its repository references, and one whose manifest went. */
static void test_orphans(void **state)
{
    struct place p;
    struct digest orphan, layer, d;
    struct origin origin = {.upstream = origin_upstream(SLICE("up"))};
    struct error err;
    struct evict_limits limits = {.high_bytes = 1, .low_bytes = 1};
    uint64_t n;

    (void)state;
    open_place(&p);
    scene_blob(&p, "orphan", 1000, &orphan);
    assert_int_equal(links_add_layer_now(cache_links(p.cache), SLICE("a"), &orphan, &origin, &err),
                     0);
    scene_blob(&p, "layer", 1000, &layer);
    scene_image(&p, "b", "1", LIST(&layer), SCENE_MIRRORED, &d);
    place_settle(&p);
    assert_int_equal(ledger_drain_now(cache_ledger(p.cache), &err), 0);
    assert_int_equal(tags_remove_now(cache_tags(p.cache), SLICE("b"), SLICE("1"), &err), 0);
    assert_int_equal(links_remove_now(cache_links(p.cache), LINK_REVISION, SLICE("b"), &d, &err),
                     0);
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_false(has_blob(&p, &orphan) || has_blob(&p, &layer));
    assert_false(scene_has_link(&p, "a", LINK_LAYER, &orphan));
    /* The manifest's blob is nobody's: that is for the garbage collector. */
    assert_true(has_blob(&p, &d));
    scene_stored_bytes(&p, &n);
    assert_int_equal(n, 1);
    check_ledger(&p);
    close_place(&p);
}

/* Whenever it is cut off, the next one goes on from there. */
static void test_cut_off(void **state)
{
    struct place p;
    struct digest a, b, d;
    struct evict_result r;
    struct error err;
    uint64_t n;

    (void)state;
    for (unsigned cut = 0; cut < 4; cut++) {
        open_place(&p);
        scene_blob(&p, "a", 1000, &a);
        scene_blob(&p, "b", 1000, &b);
        scene_image(&p, "a", "1", LIST(&a, &b), SCENE_MIRRORED, &d);
        place_close(&p);
        /* As far as it had come. */
        scene_remove_tag(&p, "a", "1");
        if (cut >= 1)
            unlink(scene_link(&p, "a", LINK_REVISION, &d, "link"));
        if (cut >= 2)
            unlink(scene_link(&p, "a", LINK_LAYER, &a, "link"));
        if (cut >= 3)
            unlink(place_blob(&p, &d));
        place_open(&p);
        assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
        assert_int_equal(take(&p, "a", "", &r), 0);
        scene_stored_bytes(&p, &n);
        /* Blobs without any link are garbage. */
        assert_int_equal(n, cut == 0 ? 0 : cut == 1 ? 1 : cut == 2 ? 2 : 1);
        check_ledger(&p);
        close_place(&p);
    }
}

/* --- when it may not -------------------------------------------------------------------------- */

static void test_not_ready(void **state)
{
    struct place p;
    struct digest a;
    struct evict_result r;
    struct error err;

    (void)state;
    ahead_s = 0;
    place_init(&p);
    place_open(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, NULL);
    assert_int_equal(take(&p, "a", "1", &r), -EAGAIN);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), -EAGAIN);
    assert_true(has_blob(&p, &a));
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_false(has_blob(&p, &a));
    close_place(&p);
}

/* What the scrub does with a damaged one, and its way back. */
static void move_aside(struct place *p, const struct digest *d, bool is_back)
{
    char hex[DIGEST_TEXT_SIZE];
    const char *path = place_blob(p, d);

    digest_hex(d, hex);
    const char *aside = place_path(p, "_mirrord/damaged/%s-%s", digest_alg_name(d->alg), hex);
    mkdir(place_path(p, "_mirrord/damaged"), 0700);
    assert_int_equal(is_back ? rename(aside, path) : rename(path, aside), 0);
}

static int walk_without_ledger(struct place *p, bool is_lost, struct error *err)
{
    place_close(p);
    if (is_lost)
        unlink(place_path(p, "_mirrord/ledger.db"));
    place_open(p);
    return ledger_walk_now(cache_ledger(p->cache), false, err);
}

/* A manifest that counts as pushed and was moved aside keeps all that it may reference; what it
 * does reference is known as long as the ledger is. */
static void test_aside(void **state)
{
    struct place p;
    struct digest layer, child, index;
    struct evict_result r;
    struct error err = {0};

    (void)state;
    open_place(&p);
    scene_blob(&p, "layer", 1000, &layer);
    scene_image(&p, "a", "child", LIST(&layer), SCENE_MIRRORED, &child);
    scene_index(&p, "c", "1", LIST(&child), SCENE_PUSHED, &index);
    const struct digest *all[] = {&index, &child};
    for (size_t i = 0; i < N_ROWS(all); i++) {
        /* Known from before. */
        assert_int_equal(walk_without_ledger(&p, true, &err), 0);
        move_aside(&p, all[i], false);
        assert_int_equal(walk_without_ledger(&p, false, &err), 0);
        /* Not known. */
        assert_true(walk_without_ledger(&p, true, &err) < 0);
        assert_non_null(strstr(err.text, "is damaged: restore or delete it"));
        assert_int_equal(take(&p, "a", "child", &r), -EAGAIN);
        assert_true(has_blob(&p, &layer));
        move_aside(&p, all[i], true);
    }
    /* The same when it lies damaged under its name. */
    char body[4096];
    long n = place_read(&p, place_blob(&p, &child), body, sizeof(body));
    assert_true(n > 0);
    place_write(&p, place_blob(&p, &child), "?", 1);
    assert_true(walk_without_ledger(&p, true, &err) < 0);
    place_write(&p, place_blob(&p, &child), body, (size_t)n);
    assert_int_equal(walk_without_ledger(&p, false, &err), 0);
    /* Aside, with a ledger that knows it: its layer counts as pushed all the same. */
    move_aside(&p, &index, false);
    assert_int_equal(walk_without_ledger(&p, false, &err), 0);
    assert_int_equal(take(&p, "a", "child", &r), 0);
    assert_int_equal(r.n_blobs, 0);
    assert_true(has_blob(&p, &layer) && has_blob(&p, &child));
    close_place(&p);
}

/* More than a batch, by several threads: of each repository one image stays, and what it shares. */
static void test_many(void **state)
{
    enum { REPOS = 3, IMAGES = 60, OWN = 5 };
    struct place p;
    struct digest base, own[OWN], kept = {0};
    struct evict_result r;
    struct error err;
    char repo[8], tag[8], text[32];
    uint64_t n;

    (void)state;
    open_place(&p);
    scene_blob(&p, "base", 1000, &base);
    for (unsigned i = 0; i < REPOS * IMAGES; i++) {
        snprintf(repo, sizeof(repo), "r%u", i % REPOS);
        snprintf(tag, sizeof(tag), "t%u", i);
        for (unsigned k = 0; k < OWN; k++) {
            snprintf(text, sizeof(text), "own %u %u", i, k);
            scene_blob(&p, text, 100, &own[k]);
        }
        kept = own[0];
        scene_image(&p, repo, tag, LIST(&base, &own[0], &own[1], &own[2], &own[3], &own[4]),
                    SCENE_MIRRORED, NULL);
    }
    /* The last image of the last repository. */
    assert_int_equal(pins_add_now(cache_pins(p.cache), slice_of(repo), slice_of(tag), NULL, &err),
                     0);
    uint64_t n_blobs = 0;
    for (unsigned i = 0; i < REPOS; i++) {
        snprintf(text, sizeof(text), "r%u", i);
        assert_int_equal(take(&p, text, "", &r), 0);
        assert_int_equal(r.n_images, IMAGES - (i == REPOS - 1));
        assert_int_equal(r.n_kept, i == REPOS - 1);
        n_blobs += r.n_blobs;
    }
    assert_int_equal(n_blobs, (REPOS * IMAGES - 1) * (OWN + 1));
    assert_true(has_blob(&p, &base) && has_blob(&p, &kept));
    assert_true(scene_has_tag(&p, repo, tag));
    scene_stored_bytes(&p, &n);
    assert_int_equal(n, OWN + 2);
    assert_int_equal(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/r0/_manifests/tags")), 0);
    assert_int_equal(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/r0/_layers/sha256")), 0);
    check_ledger(&p);
    close_place(&p);
}

/* The ledger does not know yet that one layer has been pushed, and one file cannot be removed: the
 * rows say afterwards what has gone, and nothing else. */
static void test_other(void **state)
{
    struct place p;
    struct digest layers[4], manifests[4];
    struct evict_result r;
    struct evict_report report;
    struct ledger_report ledger;
    struct error err;
    char text[8];

    (void)state;
    open_place(&p);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(text, sizeof(text), "l%u", i);
        scene_blob(&p, text, 1000, &layers[i]);
        snprintf(text, sizeof(text), "t%u", i);
        scene_image(&p, "a", text, LIST(&layers[i]), SCENE_MIRRORED, &manifests[i]);
    }
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    /* A layer's link without a record is a pushed one. */
    assert_int_equal(unlink(scene_link(&p, "a", LINK_LAYER, &layers[1], "mirrord.json")), 0);
    const char *stuck = place_blob(&p, &layers[2]);
    assert_int_equal(unlink(stuck), 0);
    assert_int_equal(mkdir(stuck, 0755), 0);
    assert_int_equal(take(&p, "a", "", &r), 0);
    assert_int_equal(r.n_images, 4);
    assert_int_equal(r.n_blobs, 6);
    assert_int_equal(r.n_links, 7);
    evict_read_report(cache_evict(p.cache), &report);
    assert_int_equal(report.n_errors, 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_false(has_blob(&p, &manifests[i]));
        assert_int_equal(scene_has_link(&p, "a", LINK_LAYER, &layers[i]), i == 1);
    }
    assert_true(has_blob(&p, &layers[1]));
    ledger_read_report(cache_ledger(p.cache), &ledger);
    assert_int_equal(ledger.bytes.n_blobs, 2);
    assert_int_equal(ledger.bytes.blobs, 2000);
    /* The walk learns of the push, and that the stuck one has gone. */
    assert_int_equal(rmdir(place_blob(&p, &layers[2])), 0);
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    ledger_read_report(cache_ledger(p.cache), &ledger);
    assert_int_equal(ledger.n_mended, 2);
    assert_int_equal(ledger.bytes.pushed, 1000);
    check_ledger(&p);
    close_place(&p);
}

/* Another process may have pushed what this one has not heard of. */
static void test_company(void **state)
{
    struct place p;
    struct cache_config config;
    struct cache *other;
    struct digest a;
    struct evict_result r;
    struct error err;

    (void)state;
    open_place(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, NULL);
    config = p.config;
    assert_int_equal(cache_open(&config, &other, &err), 0);
    assert_int_equal(take(&p, "a", "1", &r), -EBUSY);
    cache_close(&other);
    assert_int_equal(take(&p, "a", "1", &r), -EAGAIN);
    assert_int_equal(take(&p, "a", "1", &r), -EAGAIN);
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    assert_int_equal(take(&p, "a", "1", &r), 0);
    assert_false(has_blob(&p, &a));
    close_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image),       cmocka_unit_test(test_shared),
        cmocka_unit_test(test_index),       cmocka_unit_test(test_pushed),
        cmocka_unit_test(test_two_halves),  cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_pinned_late), cmocka_unit_test(test_busy),
        cmocka_unit_test(test_open),        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_age),         cmocka_unit_test(test_value),
        cmocka_unit_test(test_orphans),     cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_not_ready),   cmocka_unit_test(test_company),
        cmocka_unit_test(test_aside),       cmocka_unit_test(test_many),
        cmocka_unit_test(test_cost),        cmocka_unit_test(test_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
