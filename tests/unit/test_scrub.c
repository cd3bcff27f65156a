#include "config.h"

#include "cache/scrub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cache/ledger.h"
#include "cache/manifest.h"
#include "cache/quiet_file.h"
#include "cache/scrub_check.h"
#include "cache/scrub_list.h"
#include "cache/scrub_private.h"
#include "cache/scrub_state.h"
#include "cache/store.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPOSITORIES "docker/registry/v2/repositories/"
#define RATE 1000000

/* --- a disk that cannot give its bytes -------------------------------------------------------- */

static unsigned n_to_fail; /* so many reads */

ssize_t __real_quiet_file_read(struct quiet_file *f, void *buffer);
ssize_t __wrap_quiet_file_read(struct quiet_file *f, void *buffer);
ssize_t __wrap_quiet_file_read(struct quiet_file *f, void *buffer)
{
    if (n_to_fail > 0) {
        n_to_fail--;
        return -EIO;
    }
    return __real_quiet_file_read(f, buffer);
}

/* --- what lies in the storage ----------------------------------------------------------------- */

static void put_as(struct place *p, const char *content, const struct digest *d)
{
    place_write(p, place_blob(p, d), content, strlen(content));
}

static void put(struct place *p, const char *content, struct digest *out)
{
    digest_of(DIGEST_SHA256, content, strlen(content), out);
    put_as(p, content, out);
}

static void damage(struct place *p, const struct digest *d)
{
    put_as(p, "what the disk made of it", d);
}

static bool has(struct place *p, const struct digest *d)
{
    return place_has(p, place_blob(p, d));
}

static const char *aside(struct place *p, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, "_mirrord/damaged/%s-%s", digest_alg_name(d->alg), hex);
}

static const char *link_file(struct place *p, const char *folder, const struct digest *d,
                             const char *file)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, REPOSITORIES "%s/%s/%s/%s", folder, digest_alg_name(d->alg), hex, file);
}

/* folder: of the repository, with _layers or _manifests/revisions */
static void link_pushed(struct place *p, const char *folder, const struct digest *d)
{
    char text[DIGEST_TEXT_SIZE];

    place_write(p, link_file(p, folder, d, "link"), text, digest_format(d, text));
}

static void link_mirrored(struct place *p, const char *folder, const struct digest *d)
{
    static const char RECORD[] = "{\"origin\":\"mirrored\",\"upstream\":\"u\",\"fetched_at\":1}";

    link_pushed(p, folder, d);
    place_write(p, link_file(p, folder, d, "mirrord.json"), RECORD, strlen(RECORD));
}

static void put_manifest(struct place *p, const char *repo, const struct digest *ref,
                         struct digest *out)
{
    char text[DIGEST_TEXT_SIZE], body[512], folder[128];

    digest_format(ref, text);
    snprintf(body, sizeof(body),
             "{\"schemaVersion\":2,\"note\":\"%s\",\"layers\":[{\"digest\":\"%s\"}]}", repo, text);
    put(p, body, out);
    snprintf(folder, sizeof(folder), "%s/_manifests/revisions", repo);
    link_pushed(p, folder, out);
}

/* --- a scrub, driven by hand ------------------------------------------------------------------ */

struct asked {
    enum link_kind kind;
    char repo[64];
    struct digest digest;
};

struct bench {
    struct place place;
    struct scrub *scrub;
    struct asked asked[2000];
    size_t n_asked;
};

static bool on_refetch(void *arg, enum link_kind kind, const char *repo, const struct digest *d)
{
    struct bench *b = arg;
    struct asked *a = &b->asked[b->n_asked++];

    assert_true(b->n_asked <= N_ROWS(b->asked));
    a->kind = kind;
    a->digest = *d;
    snprintf(a->repo, sizeof(a->repo), "%s", repo);
    return true;
}

static void connect_scrub(struct bench *b, int64_t interval_s)
{
    struct scrub_settings settings = {.rate_bytes = RATE, .interval_s = interval_s};

    b->scrub = cache_scrub(b->place.cache);
    scrub_set_refetch(b->scrub, on_refetch, b);
    scrub_set_settings(b->scrub, &settings);
}

static struct bench *bench_open(void)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    n_to_fail = 0;
    place_init(&b->place);
    place_open(&b->place);
    connect_scrub(b, 0);
    return b;
}

static void bench_close(struct bench *b)
{
    place_close(&b->place);
    place_fini(&b->place);
    free(b);
}

static struct scrub_report finish(struct bench *b)
{
    struct scrub_report r;

    while (scrub_turn(b->scrub) != UINT64_MAX)
        continue;
    scrub_read_report(b->scrub, &r);
    assert_false(r.is_running);
    return r;
}

static struct scrub_report pass(struct bench *b)
{
    assert_true(scrub_start(b->scrub));
    struct scrub_report r = finish(b);
    assert_true(r.is_complete);
    return r;
}

/* From the asking on: whoever reads the report behind it does not see the one of before. */
static void test_running_once_asked(void **state)
{
    struct bench *b = bench_open();
    struct scrub_report r;
    struct digest d;

    (void)state;
    put(&b->place, "blob", &d);
    pass(b);
    assert_true(scrub_start(b->scrub));
    scrub_read_report(b->scrub, &r);
    assert_true(r.is_running);
    finish(b);
    assert_true(scrub_ask(b->scrub, &d));
    scrub_read_report(b->scrub, &r);
    assert_true(r.is_running);
    finish(b);
    /* What is switched off is not asked. */
    scrub_set_settings(b->scrub, &(struct scrub_settings){0});
    assert_false(scrub_start(b->scrub));
    scrub_read_report(b->scrub, &r);
    assert_false(r.is_running);
    bench_close(b);
}

/* --- whose it is ------------------------------------------------------------------------------ */

static void test_whose(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest mirrored, both, pushed, referenced, nobodys, whole, manifest;

    (void)state;
    put(p, "mirrored", &mirrored);
    link_mirrored(p, "a/_layers", &mirrored);
    put(p, "both", &both);
    link_pushed(p, "b/_layers", &both);
    link_mirrored(p, "c/_layers", &both);
    put(p, "pushed", &pushed);
    link_pushed(p, "b/_layers", &pushed);
    put(p, "referenced", &referenced);
    link_mirrored(p, "a/_layers", &referenced);
    put_manifest(p, "d", &referenced, &manifest);
    put(p, "nobody's", &nobodys);
    put(p, "whole", &whole);
    struct scrub_report r = pass(b);
    assert_int_equal(r.n_blobs, 7);
    assert_int_equal(r.n_damaged + r.n_missing + r.n_unreadable + r.n_links_repaired, 0);

    const struct digest *all[] = {&mirrored, &both, &pushed, &referenced, &nobodys};
    for (size_t i = 0; i < N_ROWS(all); i++)
        damage(p, all[i]);
    r = pass(b);
    assert_int_equal(r.n_damaged, 5);
    assert_int_equal(r.n_removed, 2);
    assert_int_equal(r.n_bad_pushed, 3);
    assert_int_equal(r.n_refetched, 3);
    for (size_t i = 0; i < N_ROWS(all); i++)
        assert_false(has(p, all[i]));
    assert_true(has(p, &whole) && has(p, &manifest));
    assert_true(place_has(p, aside(p, &both)) && place_has(p, aside(p, &pushed)));
    assert_true(place_has(p, aside(p, &referenced)));
    assert_false(place_has(p, aside(p, &mirrored)) || place_has(p, aside(p, &nobodys)));
    for (size_t i = 0; i < b->n_asked; i++) {
        assert_int_equal(b->asked[i].kind, LINK_LAYER);
        assert_string_equal(b->asked[i].repo, digest_equal(&b->asked[i].digest, &both) ? "c" : "a");
    }
    /* What comes back ends its alarm, and what was put beside gets its name. */
    put(p, "both", &both);
    place_write(p, aside(p, &pushed), "pushed", 6);
    r = pass(b);
    assert_int_equal(r.n_bad_pushed, 1);
    assert_int_equal(r.n_healed, 2);
    assert_true(has(p, &pushed));
    assert_int_equal(place_count(p, place_path(p, "_mirrord/damaged")), 1);
    bench_close(b);
}

/* Without a walk of its own the ledger says what is here, whatever the scrub does. */
static void check_ledger(struct bench *b, uint64_t n_blobs)
{
    struct ledger *l = cache_ledger(b->place.cache);
    struct ledger_bytes bytes;
    struct ledger_report r;
    struct error err;

    assert_int_equal(ledger_drain_now(l, &err), 0);
    ledger_read_bytes(l, &bytes);
    assert_int_equal(bytes.n_blobs, n_blobs);
    assert_int_equal(ledger_walk_now(l, false, &err), 0);
    ledger_read_report(l, &r);
    assert_int_equal(r.n_mended, 0);
    assert_int_equal(r.bytes.blobs, bytes.blobs);
}

static void test_ledger(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest mirrored, pushed, nobodys, whole;
    struct error err;

    (void)state;
    put(p, "mirrored", &mirrored);
    link_mirrored(p, "a/_layers", &mirrored);
    put(p, "pushed", &pushed);
    link_pushed(p, "b/_layers", &pushed);
    put(p, "nobody's", &nobodys);
    put(p, "whole", &whole);
    assert_int_equal(ledger_walk_now(cache_ledger(p->cache), false, &err), 0);
    check_ledger(b, 4);
    damage(p, &mirrored);
    damage(p, &pushed);
    damage(p, &nobodys);
    assert_int_equal(pass(b).n_damaged, 3);
    check_ledger(b, 1);
    /* What an operator has put beside is here again. */
    place_write(p, aside(p, &pushed), "pushed", 6);
    assert_int_equal(pass(b).n_healed, 1);
    check_ledger(b, 2);
    bench_close(b);
}

/* A pushed manifest that is damaged itself may have referenced anything. */
static void test_unknown(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest layer, other, manifest;

    (void)state;
    put(p, "layer", &layer);
    put(p, "other", &other);
    link_mirrored(p, "a/_layers", &layer);
    put_manifest(p, "d", &other, &manifest);
    damage(p, &layer);
    damage(p, &manifest);
    struct scrub_report r = pass(b);
    assert_int_equal(r.n_damaged, 2);
    assert_int_equal(r.n_removed, 0);
    assert_int_equal(r.n_bad_pushed, 2);
    assert_int_equal(r.n_refetched, 1);
    /* A manifest that is linked and lies aside is not called missing. */
    assert_int_equal(r.n_missing, 0);
    bench_close(b);
}

/* A mirrored manifest is asked for as a manifest. */
static void test_mirrored_manifest(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest d;

    (void)state;
    put(p, "{\"schemaVersion\":2}", &d);
    link_mirrored(p, "a/_layers", &d);
    link_mirrored(p, "b/_manifests/revisions", &d);
    damage(p, &d);
    struct scrub_report r = pass(b);
    assert_int_equal(r.n_removed, 1);
    assert_int_equal(b->n_asked, 1);
    assert_int_equal(b->asked[0].kind, LINK_REVISION);
    assert_string_equal(b->asked[0].repo, "b");
    /* It did not come back; its link is there. */
    assert_int_equal(pass(b).n_missing, 1);
    bench_close(b);
}

/* More than are judged at once. */
static void test_many(void **state)
{
    const unsigned n = SCRUB_SUSPECTS_MAX + 100;
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest d;
    char text[32];

    (void)state;
    for (unsigned i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "blob %u", i);
        digest_of(DIGEST_SHA256, text, strlen(text), &d);
        place_write(p, aside(p, &d), "x", 1);
        if (i % 2)
            link_pushed(p, "b/_layers", &d);
        else
            link_mirrored(p, "a/_layers", &d);
    }
    struct scrub_report r = finish(b);
    assert_int_equal(r.n_removed, n / 2);
    assert_int_equal(r.n_refetched, n / 2);
    assert_int_equal(r.n_bad_pushed, n / 2);
    assert_int_equal(place_count(p, place_path(p, "_mirrord/damaged")), n / 2);
    r = pass(b);
    assert_int_equal(r.n_bad_pushed, n / 2);
    bench_close(b);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void test_unreadable(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest d[5];
    char text[32];
    unsigned n_left = 0;

    (void)state;
    for (unsigned i = 0; i < N_ROWS(d); i++) {
        snprintf(text, sizeof(text), "blob %u", i);
        put(p, text, &d[i]);
        link_mirrored(p, "a/_layers", &d[i]);
    }
    finish(b);
    /* Once is not enough. */
    n_to_fail = 1;
    struct scrub_report r = pass(b);
    assert_int_equal(r.n_damaged + r.n_unreadable, 0);
    /* Twice is; but it is looked at once more where it was moved to. */
    n_to_fail = 2;
    r = pass(b);
    assert_int_equal(r.n_damaged, 1);
    assert_int_equal(r.n_healed, 1);
    assert_int_equal(r.n_removed, 0);
    /* All of them: it is the disk. */
    n_to_fail = 1000;
    r = pass(b);
    n_to_fail = 0;
    assert_int_equal(r.n_damaged, 2);
    assert_int_equal(r.n_removed, 2);
    assert_int_equal(r.n_unreadable, 3);
    assert_non_null(strstr(r.problem, "Input/output error"));
    for (unsigned i = 0; i < N_ROWS(d); i++)
        n_left += has(p, &d[i]);
    assert_int_equal(n_left, 3);
    r = pass(b);
    assert_int_equal(r.n_damaged + r.n_unreadable, 0);
    assert_int_equal(r.n_blobs, 3);
    bench_close(b);
}

/* A folder under the name of a blob is told and left alone. */
static void test_odd_files(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest d;

    (void)state;
    digest_of(DIGEST_SHA256, "x", 1, &d);
    place_write(p, place_path(p, "%s/inside", place_blob(p, &d) + strlen(p->root) + 1), "x", 1);
    place_write(p, place_path(p, "docker/registry/v2/blobs/sha256/zz/odd/data"), "x", 1);
    place_write(p, place_path(p, "docker/registry/v2/blobs/sha256/aa/odd"), "x", 1);
    place_write(p, place_path(p, "_mirrord/damaged/odd"), "x", 1);
    struct scrub_report r = pass(b);
    assert_int_equal(r.n_blobs, 0);
    assert_int_equal(r.n_unreadable, 1);
    assert_true(place_has(p, place_path(p, "_mirrord/damaged/odd")));
    bench_close(b);
}

/* What is said about the time between turns makes the rate, whatever it is spent on. */
static void test_rate(void **state)
{
    static const uint64_t RATES[] = {10000, 300000, 50000000};
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest d;

    (void)state;
    uint8_t *content = place_content(3000000, 1, &d);
    place_write(p, place_blob(p, &d), content, 3000000);
    free(content);
    finish(b);
    for (size_t i = 0; i < N_ROWS(RATES); i++) {
        struct scrub_settings settings = {.rate_bytes = RATES[i]};
        struct scrub_report r;
        uint64_t ms = 0, total_ms = 0, before = 0;
        scrub_set_settings(b->scrub, &settings);
        assert_true(scrub_start(b->scrub));
        while ((ms = scrub_turn(b->scrub)) != UINT64_MAX) {
            scrub_read_report(b->scrub, &r);
            if (r.bytes < before)
                before = 0;
            /* No turn takes more at once than a piece beyond its share. */
            assert_true(r.bytes - before <= RATES[i] / 10 + QUIET_FILE_PIECE);
            assert_true(r.bytes - before <= 1024 * 1024 + QUIET_FILE_PIECE);
            assert_true(ms + 1 >= (r.bytes - before) * 1000 / RATES[i]);
            before = r.bytes;
            total_ms += ms;
        }
        assert_int_equal(before, 3000000);
        assert_true(total_ms + 100 >= before * 1000 / RATES[i]);
    }
    struct scrub_settings off = {.rate_bytes = 0};
    scrub_set_settings(b->scrub, &off);
    assert_false(scrub_start(b->scrub));
    assert_false(scrub_ask(b->scrub, &d));
    assert_true(scrub_turn(b->scrub) == UINT64_MAX);
    bench_close(b);
}

static void test_asked(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct digest d, other;
    unsigned n = 0;

    (void)state;
    put(p, "asked", &d);
    put(p, "other", &other);
    link_mirrored(p, "a/_layers", &d);
    link_mirrored(p, "a/_layers", &other);
    damage(p, &d);
    damage(p, &other);
    assert_true(scrub_ask(b->scrub, &d));
    struct scrub_report r = finish(b);
    assert_int_equal(r.n_damaged, 1);
    assert_int_equal(r.n_removed, 1);
    assert_true(has(p, &other) && !has(p, &d));
    while (scrub_ask(b->scrub, &d))
        assert_true(++n < 1000);
    finish(b);
    assert_true(scrub_ask(b->scrub, &d));
    bench_close(b);
}

/* --- moving away ------------------------------------------------------------------------------ */

/* Somebody has stored the right bytes since it was read. */
static void test_replaced(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct scrub_desk desk = {0};
    struct digest d;
    struct stat st;
    struct error err;
    struct blob *blob = NULL;

    (void)state;
    put(p, "right", &d);
    damage(p, &d);
    assert_int_equal(store_open_now(cache_store(p->cache), &d, &blob), 0);
    blob_unref(&blob);
    assert_int_equal(stat(place_blob(p, &d), &st), 0);
    assert_int_equal(store_put_now(cache_store(p->cache), &d, "right", 5, &err), 0);
    const struct scrub_place *place = scrub_place_of(b->scrub);
    assert_int_equal(scrub_damage_move(place, &d, &st, &desk, &err), 0);
    assert_true(has(p, &d));
    assert_false(place_has(p, aside(p, &d)));
    /* Now it is that file, and it is forgotten as an open one. */
    assert_int_equal(store_open_now(cache_store(p->cache), &d, &blob), 0);
    blob_unref(&blob);
    assert_int_equal(stat(place_blob(p, &d), &st), 0);
    assert_int_equal(scrub_damage_move(place, &d, &st, &desk, &err), 1);
    assert_null(store_find(cache_store(p->cache), &d));
    assert_int_equal(store_open_now(cache_store(p->cache), &d, &blob), -ENOENT);
    assert_int_equal(scrub_damage_move(place, &d, &st, &desk, &err), 0);
    bench_close(b);
}

/* What is in memory was verified. */
static void test_healed_from_memory(void **state)
{
    static const char BODY[] = "{\"schemaVersion\":2}";
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct origin origin = {.is_pushed = true, .at_s = 1};
    struct digest d;
    struct error err;

    (void)state;
    digest_of(DIGEST_SHA256, BODY, strlen(BODY), &d);
    struct manifest *m = manifest_new(&d, SLICE_NONE, slice_of(BODY));
    assert_int_equal(manifests_put_now(cache_manifests(p->cache), SLICE("a"), m, &origin, &err), 0);
    manifest_unref(&m);
    damage(p, &d);
    struct scrub_report r = pass(b);
    assert_int_equal(r.n_damaged, 1);
    assert_int_equal(r.n_healed, 1);
    assert_int_equal(r.n_bad_pushed, 0);
    char text[64];
    assert_int_equal(place_read(p, place_blob(p, &d), text, sizeof(text)), (long)strlen(BODY));
    assert_memory_equal(text, BODY, strlen(BODY));
    bench_close(b);
}

/* --- walking and going on --------------------------------------------------------------------- */

static void test_list(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct layout *layout = layout_new(p->root);
    struct digest d[300], found, last = {0};
    struct error err;
    char text[32];
    unsigned n = 0;

    (void)state;
    for (unsigned i = 0; i < N_ROWS(d); i++) {
        snprintf(text, sizeof(text), "blob %u", i);
        digest_of(i % 3 ? DIGEST_SHA256 : DIGEST_SHA512, text, strlen(text), &d[i]);
        put_as(p, text, &d[i]);
    }
    /* From behind each one that is told, a new walk goes on. */
    struct scrub_list *l = scrub_list_new(layout, NULL);
    unsigned permille = 0;
    while (scrub_list_next(l, &found, &err) == 1) {
        assert_true(n == 0 || found.alg > last.alg ||
                    (found.alg == last.alg && memcmp(found.bytes, last.bytes, 64) > 0));
        assert_true(scrub_list_permille(l) >= permille);
        permille = scrub_list_permille(l);
        last = found;
        n++;
        if (n % 10 == 0) {
            scrub_list_free(&l);
            l = scrub_list_new(layout, &last);
        }
    }
    assert_int_equal(n, N_ROWS(d));
    assert_int_equal(scrub_list_permille(l), 1000);
    scrub_list_free(&l);
    layout_free(&layout);
    bench_close(b);
}

static void test_goes_on(void **state)
{
    struct bench *b = bench_open();
    struct place *p = &b->place;
    struct scrub_report r;
    struct digest d;
    char text[32];

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "blob %u", i);
        put(p, text, &d);
    }
    finish(b);
    assert_true(scrub_start(b->scrub));
    do {
        scrub_turn(b->scrub);
        scrub_read_report(b->scrub, &r);
    } while (r.n_blobs < 30);
    assert_true(r.is_running && r.n_blobs < 100);
    scrub_save(b->scrub);
    place_reopen(p);
    connect_scrub(b, 0);
    struct scrub_report after = finish(b);
    assert_true(after.is_complete);
    assert_int_equal(after.n_blobs, 100);
    assert_int_equal(after.started_at_s, r.started_at_s);
    scrub_save(b->scrub);
    /* It is over: the next process has nothing to go on with. */
    place_reopen(p);
    connect_scrub(b, 0);
    assert_int_equal(finish(b).n_blobs, 100);
    bench_close(b);
}

static void test_state(void **state)
{
    struct layout *layout;
    struct place p;
    struct error err;
    struct scrub_state a = {.next_at_s = 12345678901, .has_after = true}, b;

    (void)state;
    place_init(&p);
    layout = layout_new(p.root);
    scrub_state_load(layout, &b);
    assert_false(b.has_after);
    assert_int_equal(b.next_at_s, 0);
    digest_of(DIGEST_SHA512, "x", 1, &a.after);
    a.report = (struct scrub_report){.is_complete = true,
                                     .started_at_s = 1,
                                     .ended_at_s = 2,
                                     .n_blobs = 3,
                                     .bytes = (uint64_t)1 << 60,
                                     .n_bad_pushed = 5};
    assert_int_equal(scrub_state_save(layout, &a, &err), 0);
    scrub_state_load(layout, &b);
    assert_true(b.has_after && digest_equal(&a.after, &b.after));
    assert_int_equal(b.next_at_s, a.next_at_s);
    assert_memory_equal(&a.report, &b.report, sizeof(a.report));
    layout_free(&layout);
    place_fini(&p);
}

/* The clock is set back: it does not wait for longer than the interval. */
static void test_interval(void **state)
{
    struct bench *b = bench_open();
    struct layout *layout = layout_new(b->place.root);
    struct scrub_state later = {.next_at_s = 99999999999};
    struct error err;

    (void)state;
    assert_int_equal(scrub_state_save(layout, &later, &err), 0);
    connect_scrub(b, 3600);
    uint64_t ms;
    do
        ms = scrub_turn(b->scrub);
    while (ms < 60000);
    assert_int_equal(ms, 60000);
    scrub_save(b->scrub);
    scrub_state_load(layout, &later);
    assert_true(later.next_at_s < 99999999999);
    assert_false(later.report.is_complete);
    layout_free(&layout);
    bench_close(b);
}

static void test_json(void **state)
{
    struct bench *b = bench_open();
    struct strbuf text = STRBUF_INIT;
    struct digest d;
    char digest[DIGEST_TEXT_SIZE];

    (void)state;
    scrub_print_json(b->scrub, &text);
    assert_non_null(strstr(text.ptr, "{\"running\":false,\"complete\":false,"));
    assert_non_null(strstr(text.ptr, "\"pushed\":[],"));
    put(&b->place, "pushed", &d);
    link_pushed(&b->place, "a/_layers", &d);
    damage(&b->place, &d);
    pass(b);
    strbuf_clear(&text);
    scrub_print_json(b->scrub, &text);
    digest_format(&d, digest);
    assert_non_null(strstr(text.ptr, "\"damaged\":1,\"removed\":0,"));
    char *list = strstr(text.ptr, "\"pushed\":[\"");
    assert_non_null(list);
    assert_memory_equal(list + strlen("\"pushed\":[\""), digest, strlen(digest));
    strbuf_fini(&text);
    bench_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running_once_asked),
        cmocka_unit_test(test_whose),
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_mirrored_manifest),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_asked),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_healed_from_memory),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_interval),
        cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
