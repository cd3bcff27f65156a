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
    evict_scene_open(&p);
    evict_set_cost(cache_evict(p.cache), cost_by_name, NULL);
    for (unsigned i = 0; i < DEAR; i++) {
        snprintf(text, sizeof(text), "dear %u", i);
        scene_blob(&p, text, 20000, &layer);
        snprintf(text, sizeof(text), "t%u", i);
        scene_image(&p, "dear/a", text, LIST(&layer), SCENE_MIRRORED, NULL);
    }
    evict_scene_ahead_s = 2 * 86400;
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
    evict_scene_ahead_s = 9 * 86400;
    scene_blob(&p, "large", MIB, &large);
    scene_image(&p, "cheap/b", "large", LIST(&large), SCENE_MIRRORED, NULL);
    limits.high_bytes = limits.low_bytes = MIB + DEAR * 10000;
    evict_set_limits(cache_evict(p.cache), &limits);
    cache_drain(p.cache);
    assert_true(scene_has_tag(&p, "cheap/b", "large"));
    assert_true(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/dear/a/_manifests/tags")) <
        DEAR);
    evict_scene_close(&p);
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
    evict_scene_open(&p);
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
        assert_int_equal(evict_scene_take(&p, text, "", &r), 0);
        assert_int_equal(r.n_images, IMAGES - (i == REPOS - 1));
        assert_int_equal(r.n_kept, i == REPOS - 1);
        n_blobs += r.n_blobs;
    }
    assert_int_equal(n_blobs, (REPOS * IMAGES - 1) * (OWN + 1));
    assert_true(evict_scene_has(&p, &base) && evict_scene_has(&p, &kept));
    assert_true(scene_has_tag(&p, repo, tag));
    scene_stored_bytes(&p, &n);
    assert_int_equal(n, OWN + 2);
    assert_int_equal(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/r0/_manifests/tags")), 0);
    assert_int_equal(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/r0/_layers/sha256")), 0);
    evict_scene_check(&p);
    evict_scene_close(&p);
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
    evict_scene_open(&p);
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
    assert_int_equal(evict_scene_take(&p, "a", "", &r), 0);
    assert_int_equal(r.n_images, 4);
    assert_int_equal(r.n_blobs, 6);
    assert_int_equal(r.n_links, 7);
    evict_read_report(cache_evict(p.cache), &report);
    assert_int_equal(report.n_errors, 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_false(evict_scene_has(&p, &manifests[i]));
        assert_int_equal(scene_has_link(&p, "a", LINK_LAYER, &layers[i]), i == 1);
    }
    assert_true(evict_scene_has(&p, &layers[1]));
    ledger_read_report(cache_ledger(p.cache), &ledger);
    assert_int_equal(ledger.bytes.n_blobs, 2);
    assert_int_equal(ledger.bytes.blobs, 2000);
    /* The walk learns of the push, and that the stuck one has gone. */
    assert_int_equal(rmdir(place_blob(&p, &layers[2])), 0);
    assert_int_equal(ledger_walk_now(cache_ledger(p.cache), false, &err), 0);
    ledger_read_report(cache_ledger(p.cache), &ledger);
    assert_int_equal(ledger.n_mended, 2);
    assert_int_equal(ledger.bytes.pushed, 1000);
    evict_scene_check(&p);
    evict_scene_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
