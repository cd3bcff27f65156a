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
#include "tests/unit/evict_scene.h"
#include "tests/unit/unit.h"

#define MIB (1024 * 1024)
#define LIST(...) ((const struct digest *[]){__VA_ARGS__, NULL})

/* --- one image -------------------------------------------------------------------------------- */

static void test_image(void **state)
{
    struct place p;
    struct digest base, own, manifest;
    struct evict_result r;
    struct tag_record record;

    (void)state;
    evict_scene_open(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_blob(&p, "own", 500, &own);
    scene_image(&p, "a", "1", LIST(&base, &own), SCENE_MIRRORED, &manifest);
    scene_image(&p, "a", "2", LIST(&base), SCENE_MIRRORED, NULL);
    assert_int_equal(evict_scene_take(&p, "a", "none", &r), -ENOENT);
    assert_int_equal(evict_scene_take(&p, "b", "1", &r), -ENOENT);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_int_equal(r.n_blobs, 2);
    assert_int_equal(r.n_links, 2);
    assert_true(r.bytes > 500);
    /* The other tag shares the base, and keeps it. */
    assert_false(evict_scene_has(&p, &own));
    assert_false(evict_scene_has(&p, &manifest));
    assert_true(evict_scene_has(&p, &base));
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
    evict_scene_check(&p);
    assert_int_equal(evict_scene_take(&p, "a", "2", &r), 0);
    assert_false(evict_scene_has(&p, &base));
    evict_scene_check(&p);
    evict_scene_close(&p);
}

/* The same layers through two repositories. */
static void test_shared(void **state)
{
    struct place p;
    struct digest base, manifest;
    struct evict_result r;

    (void)state;
    evict_scene_open(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_image(&p, "a", "1", LIST(&base), SCENE_MIRRORED, &manifest);
    scene_image(&p, "b", "1", LIST(&base), SCENE_MIRRORED, &manifest);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_blobs, 0);
    assert_int_equal(r.n_links, 2);
    assert_true(evict_scene_has(&p, &base) && evict_scene_has(&p, &manifest));
    assert_true(scene_has_link(&p, "b", LINK_LAYER, &base));
    evict_scene_check(&p);
    assert_int_equal(evict_scene_take(&p, "b", "", &r), 0);
    assert_int_equal(r.n_blobs, 2);
    evict_scene_check(&p);
    evict_scene_close(&p);
}

/* An index of which one child was never fetched, one has a tag of its own, and one is a part of
 * another index as well. */
static void test_index(void **state)
{
    struct place p;
    struct digest layers[3], plain, tagged, shared, absent, index, other;
    struct evict_result r;

    (void)state;
    evict_scene_open(&p);
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
    assert_int_equal(evict_scene_take(&p, "a", digest, &r), 0);
    assert_int_equal(r.n_images, 0);
    assert_string_equal(r.why, "part of another image");
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_blobs, 3);
    assert_false(evict_scene_has(&p, &plain) || evict_scene_has(&p, &index) ||
                 evict_scene_has(&p, &layers[0]));
    assert_true(evict_scene_has(&p, &tagged) && evict_scene_has(&p, &shared) &&
                evict_scene_has(&p, &layers[1]));
    evict_scene_check(&p);
    /* What was tagged stands for itself now. */
    assert_int_equal(evict_scene_take(&p, "a", "", &r), 0);
    assert_int_equal(r.n_images, 2);
    uint64_t n;
    assert_int_equal(scene_stored_bytes(&p, &n), 0);
    evict_scene_check(&p);
    evict_scene_close(&p);
}

/* --- what stays ------------------------------------------------------------------------------- */

static void test_pushed(void **state)
{
    struct place p;
    struct digest base, own, child_layer, child, pushed, d;
    struct evict_result r;

    (void)state;
    evict_scene_open(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_blob(&p, "child", 100, &child_layer);
    scene_blob(&p, "own", 100, &own);
    scene_image(&p, "a", "1", LIST(&base, &own), SCENE_MIRRORED, &d);
    scene_image(&p, "b", "1", LIST(&base), SCENE_PUSHED, &pushed);
    /* An index that was pushed elsewhere references a mirrored child, whose layer nobody pushed. */
    scene_image(&p, "a", "child", LIST(&child_layer), SCENE_MIRRORED, &child);
    scene_index(&p, "c", "1", LIST(&child), SCENE_PUSHED, NULL);
    assert_int_equal(evict_scene_take(&p, "b", "1", &r), 0);
    assert_string_equal(r.why, "pushed");
    assert_int_equal(r.n_images + r.n_links + r.n_blobs, 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_blobs, 2);
    assert_true(evict_scene_has(&p, &base));
    assert_int_equal(evict_scene_take(&p, "a", "child", &r), 0);
    assert_int_equal(r.n_links, 2);
    assert_int_equal(r.n_blobs, 0);
    assert_true(evict_scene_has(&p, &child) && evict_scene_has(&p, &child_layer));
    evict_scene_check(&p);
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
    assert_true(evict_scene_has(&p, &base) && evict_scene_has(&p, &pushed) &&
                evict_scene_has(&p, &child));
    evict_scene_close(&p);
}

/* A tag of which both halves are known, with different digests. */
static void test_two_halves(void **state)
{
    struct place p;
    struct digest ours, theirs, a, b;
    struct evict_result r;
    struct tag_record record;

    (void)state;
    evict_scene_open(&p);
    scene_blob(&p, "a", 10, &a);
    scene_blob(&p, "b", 10, &b);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, &theirs);
    scene_image(&p, "a", "1", LIST(&b), SCENE_PUSHED, &ours);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_false(evict_scene_has(&p, &theirs));
    assert_int_equal(tags_load_now(cache_tags(p.cache), SLICE("a"), SLICE("1"), &record), 0);
    assert_true(record.is_pushed && digest_equal(&record.pushed, &ours));
    assert_int_equal(record.mirrored, TAG_UNASKED);
    evict_scene_check(&p);
    evict_scene_close(&p);
}

static void test_pinned(void **state)
{
    struct place p;
    struct digest a, d, index;
    struct evict_result r;
    struct error err;
    char digest[DIGEST_TEXT_SIZE];

    (void)state;
    evict_scene_open(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "", LIST(&a), SCENE_MIRRORED, &d);
    scene_index(&p, "a", "1", LIST(&d), SCENE_MIRRORED, &index);
    struct pins *ps = cache_pins(p.cache);
    assert_int_equal(pins_add_now(ps, SLICE("a"), SLICE("1"), NULL, &err), 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_string_equal(r.why, "pinned");
    struct evict_limits limits = {.high_bytes = 1, .low_bytes = 1};
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_true(evict_scene_has(&p, &a) && evict_scene_has(&p, &d) && evict_scene_has(&p, &index));
    /* A pin of the child by its digest keeps it, whatever becomes of the index. */
    digest_format(&d, digest);
    assert_int_equal(pins_add_now(ps, SLICE("a"), slice_of(digest), NULL, &err), 0);
    assert_int_equal(pins_remove_now(ps, SLICE("a"), SLICE("1"), &err), 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_true(evict_scene_has(&p, &a) && evict_scene_has(&p, &d));
    assert_false(evict_scene_has(&p, &index));
    assert_int_equal(pins_remove_now(ps, SLICE("a"), slice_of(digest), &err), 0);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), 0);
    assert_false(evict_scene_has(&p, &a) || evict_scene_has(&p, &d));
    evict_scene_close(&p);
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
    evict_scene_open(&p);
    scene_blob(&p, "a", 1000, &a);
    digest_of(DIGEST_SHA256, "missing", 7, &missing);
    scene_image(&p, "a", "1", LIST(&a, &missing), SCENE_MIRRORED, &d);
    assert_int_equal(links_add_layer_now(cache_links(p.cache), SLICE("a"), &missing, &origin, &err),
                     0);
    assert_int_equal(store_open_now(cache_store(p.cache), &a, &blob), 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_string_equal(r.why, "busy");
    assert_true(evict_scene_has(&p, &a) && scene_has_tag(&p, "a", "1"));
    blob_unref(&blob);
    /* A push that has looked and not linked yet. */
    unsigned hold = vouch_hold(cache_vouches(p.cache));
    assert_int_equal(vouch_present_now(cache_vouches(p.cache), &a, NULL), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
        assert_string_equal(r.why, "busy");
    }
    vouch_release(cache_vouches(p.cache), hold);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_false(evict_scene_has(&p, &a));
    scene_image(&p, "a", "2", LIST(&missing), SCENE_MIRRORED, &d);
    void *args[] = {&p, &missing, NULL};
    place_run(&p, 0, join_fill, args);
    assert_int_equal(evict_scene_take(&p, "a", "2", &r), 0);
    assert_string_equal(r.why, "busy");
    assert_true(scene_has_tag(&p, "a", "2"));
    place_run(&p, 0, leave_fill, args[2]);
    evict_scene_close(&p);
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
    evict_scene_open(&p);
    scene_blob(&p, "layer", 1000, &layer);
    scene_image(&p, "a", "", LIST(&layer), SCENE_MIRRORED, &d);
    digest[digest_format(&d, digest)] = '\0';
    assert_int_equal(pins_add_now(cache_pins(p.cache), SLICE("a"), SLICE("late"), NULL, &err), 0);
    assert_int_equal(tags_load_now(cache_tags(p.cache), SLICE("a"), SLICE("late"), &none), -ENOENT);
    void *args[] = {&p, &d};
    place_run(&p, 0, note_tag, args);
    assert_int_equal(evict_scene_take(&p, "a", digest, &r), 0);
    assert_string_equal(r.why, "busy");
    assert_true(evict_scene_has(&p, &layer) && evict_scene_has(&p, &d));
    assert_int_equal(pins_remove_now(cache_pins(p.cache), SLICE("a"), SLICE("late"), &err), 0);
    assert_int_equal(evict_scene_take(&p, "a", digest, &r), 0);
    assert_int_equal(r.n_images, 1);
    evict_scene_close(&p);
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
    evict_scene_open(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, NULL);
    assert_int_equal(store_open_now(cache_store(p.cache), &a, &blob), 0);
    /* Displaced from among the open ones, its reader is not seen. */
    store_forget(cache_store(p.cache), &a);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_int_equal(r.n_images, 1);
    assert_false(evict_scene_has(&p, &a));
    assert_int_equal(pread(blob_fd(blob), &byte, 1, 0), 1);
    assert_int_equal(byte, 'a');
    blob_unref(&blob);
    evict_scene_close(&p);
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
        evict_scene_ahead_s = (int64_t)i * 3600;
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
    evict_scene_open(&p);
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
    assert_true(evict_scene_has(&p, &layers[0]));
    for (unsigned i = 1; i < N_ROW; i++) {
        if (i <= report.n_images - 16)
            assert_false(evict_scene_has(&p, &layers[i]));
        if (i > report.n_images + 16)
            assert_true(evict_scene_has(&p, &layers[i]));
    }
    evict_scene_check(&p);
    /* Below the high mark nothing happens; lowered at run time, it does. */
    evict_start(cache_evict(p.cache));
    cache_drain(p.cache);
    assert_int_equal(scene_stored_bytes(&p, &n), bytes);
    limits = (struct evict_limits){.high_bytes = 2000, .low_bytes = 0};
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_int_equal(scene_stored_bytes(&p, &n), 0);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), 0);
    evict_scene_check(&p);
    evict_scene_close(&p);
}

static void test_age(void **state)
{
    struct place p;
    struct digest layers[N_ROW], manifests[N_ROW];
    struct evict_limits limits = {.max_age_s = 10 * 3600 + 1800};

    (void)state;
    evict_scene_open(&p);
    make_row(&p, 40, 100, layers, manifests);
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(evict_scene_has(&p, &layers[i]), i >= 29);
    /* A clock that is set back a day makes nothing older. */
    evict_scene_ahead_s -= 86400;
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    for (unsigned i = 29; i < 40; i++)
        assert_true(evict_scene_has(&p, &layers[i]));
    evict_scene_close(&p);
}

/* Of two with nearly the same last use the one goes that is cheaper to fetch again, byte by byte.
 */
static void test_value(void **state)
{
    struct place p;
    struct digest large, small[8], d;
    struct evict_limits limits = {.high_bytes = 8 * MIB, .low_bytes = 8 * MIB};

    (void)state;
    evict_scene_open(&p);
    for (unsigned i = 0; i < 8; i++) {
        char text[8];
        snprintf(text, sizeof(text), "s%u", i);
        scene_blob(&p, text, 1000, &small[i]);
    }
    scene_image(&p, "a", "small",
                LIST(&small[0], &small[1], &small[2], &small[3], &small[4], &small[5]),
                SCENE_MIRRORED, NULL);
    evict_scene_ahead_s = 3600;
    scene_blob(&p, "large", 10 * MIB, &large);
    scene_image(&p, "a", "large", LIST(&large), SCENE_MIRRORED, &d);
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_false(evict_scene_has(&p, &large));
    assert_true(scene_has_tag(&p, "a", "small"));
    /* A day's disuse is worth more than any size. */
    evict_set_limits(cache_evict(p.cache), &(struct evict_limits){0});
    evict_scene_ahead_s = 2 * 86400;
    scene_blob(&p, "large", 10 * MIB, &large);
    scene_image(&p, "a", "large", LIST(&large), SCENE_MIRRORED, &d);
    limits.high_bytes = limits.low_bytes = 10 * MIB + 1000 + 2 * 1000; /* two belong to no image */
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_true(evict_scene_has(&p, &large));
    assert_false(scene_has_tag(&p, "a", "small"));
    evict_scene_close(&p);
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
    evict_scene_open(&p);
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
    assert_false(evict_scene_has(&p, &orphan) || evict_scene_has(&p, &layer));
    assert_false(scene_has_link(&p, "a", LINK_LAYER, &orphan));
    /* The manifest's blob is nobody's: that is for the garbage collector. */
    assert_true(evict_scene_has(&p, &d));
    scene_stored_bytes(&p, &n);
    assert_int_equal(n, 1);
    evict_scene_check(&p);
    evict_scene_close(&p);
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
        evict_scene_open(&p);
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
        assert_int_equal(evict_scene_take(&p, "a", "", &r), 0);
        scene_stored_bytes(&p, &n);
        /* Blobs without any link are garbage. */
        assert_int_equal(n, cut == 0 ? 0 : cut == 1 ? 1 : cut == 2 ? 2 : 1);
        evict_scene_check(&p);
        evict_scene_close(&p);
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
    evict_scene_ahead_s = 0;
    place_init(&p);
    place_open(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, NULL);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), -EAGAIN);
    assert_int_equal(evict_run_now(cache_evict(p.cache), &err), -EAGAIN);
    assert_true(evict_scene_has(&p, &a));
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_false(evict_scene_has(&p, &a));
    evict_scene_close(&p);
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
    evict_scene_open(&p);
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
        assert_int_equal(evict_scene_take(&p, "a", "child", &r), -EAGAIN);
        assert_true(evict_scene_has(&p, &layer));
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
    assert_int_equal(evict_scene_take(&p, "a", "child", &r), 0);
    assert_int_equal(r.n_blobs, 0);
    assert_true(evict_scene_has(&p, &layer) && evict_scene_has(&p, &child));
    evict_scene_close(&p);
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
    evict_scene_open(&p);
    scene_blob(&p, "a", 1000, &a);
    scene_image(&p, "a", "1", LIST(&a), SCENE_MIRRORED, NULL);
    config = p.config;
    assert_int_equal(cache_open(&config, &other, &err), 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), -EBUSY);
    cache_close(&other);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), -EAGAIN);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), -EAGAIN);
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    assert_int_equal(evict_scene_take(&p, "a", "1", &r), 0);
    assert_false(evict_scene_has(&p, &a));
    evict_scene_close(&p);
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
        cmocka_unit_test(test_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
