#include "config.h"

#include "cache/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cache/cache.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/pin.h"
#include "cache/store.h"
#include "cache/tag.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/cache_scene.h"
#include "tests/unit/unit.h"

#define DB "_mirrord/ledger.db"

static struct ledger_report report_of(struct place *p)
{
    struct ledger_report r;

    ledger_read_report(cache_ledger(p->cache), &r);
    return r;
}

static void walk(struct place *p)
{
    struct error err = {0};

    int rc = ledger_walk_now(cache_ledger(p->cache), false, &err);
    if (rc < 0)
        fail_msg("%s", err.text);
    assert_int_equal(report_of(p).state, LEDGER_READY);
}

/* A cache whose ledger knows all there is. */
static void begin(struct place *p)
{
    place_init(p);
    place_open(p);
    walk(p);
}

static void end(struct place *p)
{
    place_close(p);
    place_fini(p);
}

/* --- what it says ----------------------------------------------------------------------------- */

/* A mirrored image, a pushed one that shares a layer, and an index of which a part is here. */
static void make_images(struct place *p, struct digest *mirrored)
{
    struct digest base, own, other, child, index;

    scene_blob(p, "base", 1000, &base);
    scene_blob(p, "own", 500, &own);
    scene_blob(p, "other", 200, &other);
    scene_image(p, "a", "1", (const struct digest *[]){&base, &own, NULL}, SCENE_MIRRORED,
                mirrored);
    scene_image(p, "b", "1", (const struct digest *[]){&base, NULL}, SCENE_PUSHED, NULL);
    scene_image(p, "a", "", (const struct digest *[]){&other, NULL}, SCENE_MIRRORED, &child);
    scene_index(p, "a", "multi", (const struct digest *[]){&child, NULL}, SCENE_MIRRORED, &index);
}

static void check_images(struct place *p)
{
    char *list = scene_list(p);

    /* Sizes: layers and manifests; shared is the base only. */
    assert_non_null(strstr(list, "a:1 mirrored whole shared=1000 "));
    assert_non_null(strstr(list, "a:multi mirrored whole shared=0 "));
    assert_non_null(strstr(list, "b:1 pushed whole shared=1000 "));
    /* The child is a part of its index, no image of its own. */
    assert_int_equal(scene_lines(list), 3);
    free(list);
}

static void check_numbers(struct place *p)
{
    struct ledger_bytes bytes;
    uint64_t n, total = scene_stored_bytes(p, &n);

    ledger_read_bytes(cache_ledger(p->cache), &bytes);
    assert_int_equal(bytes.blobs, total);
    assert_int_equal(bytes.n_blobs, n);
    /* The base and the manifest that was pushed. */
    assert_true(bytes.pushed > 1000 && bytes.pushed < 1500);
}

static void test_notes(void **state)
{
    struct place p;
    struct digest d;

    (void)state;
    begin(&p);
    make_images(&p, &d);
    place_settle(&p);
    check_images(&p);
    check_numbers(&p);
    assert_int_equal(report_of(&p).n_mended, 0);
    /* What was noted is what the storage says: there is nothing to be mended. */
    walk(&p);
    assert_int_equal(report_of(&p).n_mended, 0);
    check_images(&p);
    check_numbers(&p);
    end(&p);
}

static void test_restart(void **state)
{
    struct place p;
    struct digest d;

    (void)state;
    begin(&p);
    make_images(&p, &d);
    place_reopen(&p);
    /* Known before anything was walked, and not good enough to evict by. */
    assert_int_equal(report_of(&p).n_mended, 0);
    walk(&p);
    assert_int_equal(report_of(&p).n_mended, 0);
    check_images(&p);
    end(&p);
}

/* --- the walk --------------------------------------------------------------------------------- */

static void lose_file(struct place *p)
{
    (void)p;
    assert_int_equal(unlink(place_path(p, DB)), 0);
}

static void truncate_to_nothing(struct place *p)
{
    assert_int_equal(truncate(place_path(p, DB), 0), 0);
}

static void truncate_some(struct place *p)
{
    struct stat st;

    assert_int_equal(stat(place_path(p, DB), &st), 0);
    assert_int_equal(truncate(place_path(p, DB), st.st_size / 2), 0);
}

static void write_noise(struct place *p, long from)
{
    FILE *f = fopen(place_path(p, DB), "r+");
    uint64_t x = 88172645463325252u;

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    fseek(f, from, SEEK_SET);
    for (long i = from; i < size; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        fputc((int)(x & 0xff), f);
    }
    fclose(f);
}

static void write_noise_all(struct place *p)
{
    write_noise(p, 0);
}

static void write_noise_inside(struct place *p)
{
    write_noise(p, 4096);
}

static void make_text(struct place *p)
{
    char text[2000];

    memset(text, 'x', sizeof(text));
    place_write(p, place_path(p, DB), text, sizeof(text));
}

static void make_folder(struct place *p)
{
    lose_file(p);
    assert_int_equal(mkdir(place_path(p, DB), 0755), 0);
}

/* SQL that another program may have run. */
static void run_sql(struct place *p, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(place_path(p, DB), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void make_newer(struct place *p)
{
    run_sql(p, "PRAGMA user_version = 99; CREATE TABLE better(id)");
}

static void drop_table(struct place *p)
{
    run_sql(p, "DROP TABLE ref");
}

static void make_other(struct place *p)
{
    lose_file(p);
    run_sql(p, "CREATE TABLE blob(colour)");
}

static const struct {
    const char *name;
    void (*spoil)(struct place *p);
    bool is_rebuilt; /* an old one was thrown away */
} DAMAGES[] = {
    {"lost", lose_file, false},
    {"empty", truncate_to_nothing, false},
    {"cut", truncate_some, true},
    {"noise", write_noise_all, true},
    {"noise inside", write_noise_inside, true},
    {"text", make_text, true},
    {"folder", make_folder, true},
    {"newer", make_newer, true},
    {"without a table", drop_table, true},
    {"another program's", make_other, true},
};

static void test_damage(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(DAMAGES); i++) {
        struct place p;
        struct digest d;
        struct error err;

        place_init(&p);
        place_open(&p);
        walk(&p);
        make_images(&p, &d);
        place_close(&p);
        DAMAGES[i].spoil(&p);
        place_open(&p);
        /* Damage that is met in the midst of the work closes it; then it is made anew. */
        for (unsigned n = 0; n < 4; n++)
            if (ledger_walk_now(cache_ledger(p.cache), false, &err) == 0)
                break;
        if (report_of(&p).state != LEDGER_READY)
            fail_msg("%s: %s", DAMAGES[i].name, err.text);
        if ((report_of(&p).n_rebuilt > 0) != DAMAGES[i].is_rebuilt)
            fail_msg("%s: rebuilt %d times", DAMAGES[i].name, (int)report_of(&p).n_rebuilt);
        check_images(&p);
        check_numbers(&p);
        place_close(&p);
        place_fini(&p);
    }
}

/* The same under a ledger that is open. */
static void test_damage_in_use(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(DAMAGES); i++) {
        struct place p;
        struct digest d, late;
        struct error err;

        if (DAMAGES[i].spoil == make_newer || DAMAGES[i].spoil == drop_table ||
            DAMAGES[i].spoil == make_other)
            continue;
        place_init(&p);
        place_open(&p);
        walk(&p);
        make_images(&p, &d);
        assert_int_equal(ledger_drain_now(cache_ledger(p.cache), &err), 0);
        DAMAGES[i].spoil(&p);
        scene_blob(&p, "late", 77, &late);
        for (unsigned n = 0; n < 4; n++) {
            scene_tend(&p);
            if (ledger_walk_now(cache_ledger(p.cache), false, &err) == 0)
                break;
        }
        if (report_of(&p).state != LEDGER_READY)
            fail_msg("%s: %s", DAMAGES[i].name, err.text);
        check_images(&p);
        check_numbers(&p);
        place_close(&p);
        place_fini(&p);
    }
}

/* What another program does while nobody looks. */
static void test_mends(void **state)
{
    struct place p;
    struct digest d, blob;
    char path[512];

    (void)state;
    begin(&p);
    make_images(&p, &d);
    scene_blob(&p, "layer of b", 40, &blob);
    place_close(&p);
    /* A mirrored link becomes a pushed one, a tag goes, and a blob. */
    snprintf(path, sizeof(path), "%s", scene_link(&p, "a", LINK_REVISION, &d, "mirrord.json"));
    assert_int_equal(unlink(path), 0);
    scene_remove_tag(&p, "a", "multi");
    assert_int_equal(unlink(place_blob(&p, &blob)), 0);
    place_open(&p);
    walk(&p);
    assert_true(report_of(&p).n_mended >= 3);
    char *list = scene_list(&p);
    assert_null(strstr(list, "multi"));
    free(list);
    struct ledger_bytes bytes;
    uint64_t n;
    ledger_read_bytes(cache_ledger(p.cache), &bytes);
    assert_int_equal(bytes.blobs, scene_stored_bytes(&p, &n));
    assert_true(bytes.pushed > 1500);
    end(&p);
}

/* As many files as before, and not the same ones: one blob went and one came; then a link goes. */
static void test_as_many(void **state)
{
    struct place p;
    struct digest d, blob, layer, base;
    struct ledger_bytes bytes;
    uint64_t n, n_before;

    (void)state;
    begin(&p);
    make_images(&p, &d);
    scene_blob(&p, "goes", 40, &blob);
    scene_stored_bytes(&p, &n_before);
    place_close(&p);
    digest_of(DIGEST_SHA256, "comes", 5, &layer);
    place_write(&p, place_blob(&p, &layer), "comes", 5);
    assert_int_equal(unlink(place_blob(&p, &blob)), 0);
    place_open(&p);
    walk(&p);
    ledger_read_bytes(cache_ledger(p.cache), &bytes);
    assert_int_equal(bytes.blobs, scene_stored_bytes(&p, &n));
    assert_int_equal(n, n_before);
    assert_int_equal(bytes.n_blobs, n);
    assert_int_equal(report_of(&p).n_mended, 2);
    scene_blob(&p, "base", 1000, &base);
    place_close(&p);
    assert_int_equal(unlink(scene_link(&p, "a", LINK_LAYER, &base, "link")), 0);
    place_open(&p);
    walk(&p);
    assert_int_equal(report_of(&p).n_mended, 1);
    /* Where nothing differs nothing is mended. */
    walk(&p);
    assert_int_equal(report_of(&p).n_mended, 0);
    end(&p);
}

/* A pushed manifest that cannot be read may keep anything: nobody evicts by such a ledger. */
static void test_unknown(void **state)
{
    struct place p;
    struct digest base, d;
    struct error err;

    (void)state;
    place_init(&p);
    place_open(&p);
    scene_blob(&p, "base", 1000, &base);
    scene_image(&p, "b", "1", (const struct digest *[]){&base, NULL}, SCENE_PUSHED, &d);
    place_close(&p);
    assert_int_equal(truncate(place_blob(&p, &d), 10), 0);
    unlink(place_path(&p, DB));
    place_open(&p);
    assert_true(ledger_walk_now(cache_ledger(p.cache), false, &err) < 0);
    assert_non_null(strstr(err.text, "is damaged: restore or delete it"));
    assert_int_equal(report_of(&p).state, LEDGER_WALKING);
    end(&p);
}

/* --- last use --------------------------------------------------------------------------------- */

static int64_t ahead_s;

int64_t __real_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void);

int64_t __wrap_clock_wall_s(void)
{
    return __real_clock_wall_s() + ahead_s;
}

static void test_use(void **state)
{
    struct place p;
    struct digest d;
    struct error err;

    (void)state;
    ahead_s = 0;
    begin(&p);
    make_images(&p, &d);
    place_settle(&p);
    assert_int_equal(ledger_drain_now(cache_ledger(p.cache), &err), 0);
    int64_t before = scene_last_use(&p, "a:1");
    ahead_s = 1000;
    struct manifest *m = manifests_find(cache_manifests(p.cache), &d);
    assert_non_null(m);
    manifest_unref(&m);
    assert_true(scene_last_use(&p, "a:1") >= before + 1000);
    assert_true(scene_last_use(&p, "a:multi") < before + 1000);
    /* Once in a period; the next one begins when the notes were written. */
    ahead_s = 2000;
    m = manifests_find(cache_manifests(p.cache), &d);
    manifest_unref(&m);
    ahead_s = 3000;
    m = manifests_find(cache_manifests(p.cache), &d);
    manifest_unref(&m);
    int64_t last = scene_last_use(&p, "a:1");
    assert_true(last >= before + 2000 && last < before + 3000);
    /* A clock that is set back takes nothing away, and a restart neither. */
    ahead_s = -86400;
    m = manifests_find(cache_manifests(p.cache), &d);
    manifest_unref(&m);
    assert_int_equal(scene_last_use(&p, "a:1"), last);
    place_reopen(&p);
    walk(&p);
    assert_int_equal(scene_last_use(&p, "a:1"), last);
    ahead_s = 0;
    end(&p);
}

/* --- the queue -------------------------------------------------------------------------------- */

static void test_full_queue(void **state)
{
    struct place p;
    struct digest d;
    struct error err;

    (void)state;
    begin(&p);
    digest_of(DIGEST_SHA256, "x", 1, &d);
    for (unsigned i = 0; i < LEDGER_QUEUE_MAX + 10; i++)
        ledger_note_blob_gone(cache_ledger(p.cache), &d);
    make_images(&p, &d);
    place_settle(&p);
    assert_true(report_of(&p).n_lost >= 10);
    assert_int_equal(ledger_drain_now(cache_ledger(p.cache), &err), 0);
    assert_int_equal(report_of(&p).state, LEDGER_WALKING);
    walk(&p);
    check_images(&p);
    check_numbers(&p);
    end(&p);
}

/* --- pins ------------------------------------------------------------------------------------- */

static bool count_pin(void *arg, struct slice repo, struct slice reference)
{
    (void)repo;
    (void)reference;
    ++*(unsigned *)arg;
    return true;
}

static void test_pins(void **state)
{
    struct place p;
    struct digest d;
    struct error err;
    struct ledger_bytes bytes;
    char digest[DIGEST_TEXT_SIZE];
    unsigned n = 0;
    bool is_new;

    (void)state;
    begin(&p);
    make_images(&p, &d);
    digest_format(&d, digest);
    struct pins *ps = cache_pins(p.cache);
    assert_int_equal(pins_add_now(ps, SLICE("a"), SLICE("1"), &is_new, &err), 0);
    assert_true(is_new);
    assert_int_equal(pins_add_now(ps, SLICE("a"), SLICE("1"), &is_new, &err), 0);
    assert_false(is_new);
    assert_int_equal(pins_add_now(ps, SLICE("a"), slice_of(digest), NULL, &err), 0);
    assert_int_equal(pins_add_now(ps, SLICE("not:here/yet"), SLICE("x"), NULL, &err), 0);
    assert_int_equal(pins_add_now(ps, SLICE("../a"), SLICE("1"), NULL, &err), -EINVAL);
    assert_int_equal(pins_add_now(ps, SLICE("a"), SLICE("sha256:12"), NULL, &err), -EINVAL);
    assert_true(pins_have_now(ps, SLICE("not:here/yet"), SLICE("x")));
    place_write(&p, place_path(&p, "_mirrord/pins/odd"), "no pin", 6);
    place_reopen(&p);
    unlink(place_path(&p, DB));
    ps = cache_pins(p.cache);
    walk(&p);
    assert_int_equal(pins_list_now(ps, count_pin, &n, &err), 0);
    assert_int_equal(n, 3);
    char *list = scene_list(&p);
    assert_non_null(strstr(list, "a:1 mirrored whole shared=1000 pinned"));
    free(list);
    ledger_read_bytes(cache_ledger(p.cache), &bytes);
    assert_true(bytes.pinned > 500 && bytes.pinned < 1500);
    assert_int_equal(pins_remove_now(ps, SLICE("a"), SLICE("1"), &err), 0);
    assert_int_equal(pins_remove_now(ps, SLICE("a"), SLICE("1"), &err), -ENOENT);
    assert_int_equal(pins_remove_now(ps, SLICE("a"), slice_of(digest), &err), 0);
    list = scene_list(&p);
    assert_null(strstr(list, "pinned"));
    free(list);
    ledger_read_bytes(cache_ledger(p.cache), &bytes);
    assert_int_equal(bytes.pinned, 0);
    end(&p);
}

static void test_pin_text(void **state)
{
    static const struct {
        const char *text, *repo, *reference;
    } ROWS[] = {
        {"a:1\n", "a", "1"},
        {"a:1", "a", "1"},
        {"host:5000/a/b:latest\n", "host:5000/a/b", "latest"},
        {"a@sha256:0000000000000000000000000000000000000000000000000000000000000000\n", "a",
         "sha256:0000000000000000000000000000000000000000000000000000000000000000"},
        {"", NULL, NULL},
        {"\n", NULL, NULL},
        {"a", NULL, NULL},
        {":1", NULL, NULL},
        {"a:", NULL, NULL},
        {"a@1", NULL, NULL},
        {"../a:1", NULL, NULL},
        {"a:1\n\n", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct slice repo, reference;
        bool is_pin = pin_parse(slice_of(ROWS[i].text), &repo, &reference);
        if (is_pin != (ROWS[i].repo != NULL))
            fail_msg("row %zu: %s", i, ROWS[i].text);
        if (is_pin) {
            assert_true(slice_equal(repo, slice_of(ROWS[i].repo)));
            assert_true(slice_equal(reference, slice_of(ROWS[i].reference)));
        }
    }
}

/* --- lists ------------------------------------------------------------------------------------ */

static void test_pages(void **state)
{
    struct place p;
    struct digest base;
    char name[16];

    (void)state;
    begin(&p);
    scene_blob(&p, "base", 10, &base);
    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "r%u", i % 3);
        char tag[16];
        snprintf(tag, sizeof(tag), "t%u", i);
        scene_image(&p, name, i == 6 ? "" : tag, (const struct digest *[]){&base, NULL},
                    SCENE_MIRRORED, NULL);
        char layer[16];
        snprintf(layer, sizeof(layer), "l%u", i);
        scene_blob(&p, layer, 10, &base);
    }
    place_settle(&p);
    char *all = scene_list(&p);
    assert_int_equal(scene_lines(all), 7);
    for (size_t n = 1; n < 9; n++) {
        char *pages = scene_list_pages(&p, n);
        assert_string_equal(pages, all);
        free(pages);
    }
    free(all);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notes),      cmocka_unit_test(test_restart),
        cmocka_unit_test(test_damage),     cmocka_unit_test(test_damage_in_use),
        cmocka_unit_test(test_mends),      cmocka_unit_test(test_as_many),
        cmocka_unit_test(test_unknown),    cmocka_unit_test(test_use),
        cmocka_unit_test(test_full_queue), cmocka_unit_test(test_pins),
        cmocka_unit_test(test_pin_text),   cmocka_unit_test(test_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
