#include "config.h"

#include "cache/gc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "cache/link.h"
#include "cache/storage_lock.h"
#include "cache/store.h"
#include "cache/vouch.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPOSITORIES "docker/registry/v2/repositories/"
#define GRACE_S 3600
#define OLD_S (2 * GRACE_S)

/* Both clocks are put forward: the grace period of a start is over, or a grace period passes. */
static _Atomic uint64_t ahead_ms;

uint64_t __real_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void)
{
    return __real_clock_mono_ms() + ahead_ms;
}

/* Somebody who looks without the lock, like HEAD, between the collector's look and its rename, and
 * just after it. NULL: nobody. */
static struct {
    struct vouches *vouches;
    const struct digest *digest;
    const char *path;
    bool was_here, is_here_after;
} passer_by;

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    struct vouches *vs = passer_by.vouches;

    if (!vs || strcmp(from, passer_by.path) != 0)
        return __real_rename(from, to);
    passer_by.vouches = NULL;
    vouch_for(vs, passer_by.digest);
    passer_by.was_here = access(from, F_OK) == 0;
    int rc = __real_rename(from, to);
    passer_by.is_here_after = access(from, F_OK) == 0;
    return rc;
}

/* A place on which a run may remove things. */
static void open_place(struct place *p, unsigned n_batch)
{
    place_init(p);
    p->config.gc_grace_s = GRACE_S;
    p->config.gc_batch = n_batch;
    place_open(p);
    ahead_ms += GRACE_S * 1000;
}

static void close_place(struct place *p)
{
    place_close(p);
    place_fini(p);
}

static void make_older(const char *path, int64_t seconds)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - seconds}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A blob as another program would have written it, so long ago. */
static void put_blob(struct place *p, const void *content, size_t n, int64_t age_s,
                     struct digest *out)
{
    digest_of(DIGEST_SHA256, content, n, out);
    const char *path = place_blob(p, out);
    place_write(p, path, content, n);
    make_older(path, age_s);
}

static void put_text(struct place *p, const char *text, int64_t age_s, struct digest *out)
{
    put_blob(p, text, strlen(text), age_s, out);
}

static bool has(struct place *p, const struct digest *d)
{
    return place_has(p, place_blob(p, d));
}

/* folder: _layers, _manifests/revisions */
static const char *link_path(struct place *p, const char *repo, const char *folder,
                             const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, REPOSITORIES "%s/%s/%s/%s/link", repo, folder, digest_alg_name(d->alg),
                      hex);
}

static void put_link(struct place *p, const char *repo, const char *folder, const struct digest *d,
                     int64_t age_s)
{
    char text[DIGEST_TEXT_SIZE];
    const char *path = link_path(p, repo, folder, d);
    size_t n = digest_format(d, text);

    place_write(p, path, text, n);
    make_older(path, age_s);
}

static void put_record(struct place *p, const char *repo, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];
    const char *record = "{\"origin\":\"mirrored\",\"upstream\":\"u\",\"fetched_at\":1}";

    digest_hex(d, hex);
    place_write(p, place_path(p, REPOSITORIES "%s/_layers/sha256/%s/mirrord.json", repo, hex),
                record, strlen(record));
}

/* A manifest that references what the list names, with its revision link. */
static void put_manifest(struct place *p, const char *repo, const struct digest *const *refs,
                         size_t n, struct digest *out)
{
    struct strbuf text = STRBUF_INIT;
    char digest[DIGEST_TEXT_SIZE];

    strbuf_addf(&text, "{\"schemaVersion\":2,\"repo\":\"%s\",\"layers\":[", repo);
    for (size_t i = 0; i < n; i++) {
        digest_format(refs[i], digest);
        strbuf_addf(&text, "%s{\"digest\":\"%s\",\"size\":1}", i > 0 ? "," : "", digest);
    }
    strbuf_add_str(&text, "]}");
    put_blob(p, text.ptr, text.len, OLD_S, out);
    put_link(p, repo, "_manifests/revisions", out, OLD_S);
    strbuf_fini(&text);
}

static struct gc_report run(struct place *p)
{
    struct gc_report r;

    gc_start(cache_gc(p->cache));
    cache_drain(p->cache);
    gc_read_report(cache_gc(p->cache), &r);
    assert_false(r.is_running);
    return r;
}

struct told {
    struct digest digests[100];
    size_t n;
    uint64_t n_bytes;
};

static void note(void *arg, const struct digest *d, uint64_t size)
{
    struct told *t = arg;

    assert_true(t->n < N_ROWS(t->digests));
    t->digests[t->n++] = *d;
    t->n_bytes += size;
}

/* One of each kind. */
struct scene {
    struct digest manifest, layer, foreign_layer; /* referenced */
    struct digest mirrored, young_link, young;    /* not referenced, kept */
    struct digest vouched, opened;                /* kept for a while */
    struct digest garbage[30], pushed_layer;
};

static void make_scene(struct place *p, struct scene *s)
{
    const struct digest *refs[] = {&s->layer, &s->foreign_layer};
    char text[32];

    put_text(p, "layer", OLD_S, &s->layer);
    digest_of(DIGEST_SHA512, "elsewhere", 9, &s->foreign_layer);
    put_manifest(p, "a/b", refs, 2, &s->manifest);
    put_link(p, "a/b", "_layers", &s->layer, OLD_S);
    put_text(p, "mirrored", OLD_S, &s->mirrored);
    put_link(p, "a", "_layers", &s->mirrored, OLD_S);
    put_record(p, "a", &s->mirrored);
    put_text(p, "young link", OLD_S, &s->young_link);
    put_link(p, "c", "_layers", &s->young_link, GRACE_S / 2);
    put_text(p, "young", GRACE_S / 2, &s->young);
    put_text(p, "vouched", OLD_S, &s->vouched);
    put_text(p, "pushed layer", OLD_S, &s->pushed_layer);
    put_link(p, "c", "_layers", &s->pushed_layer, OLD_S);
    for (unsigned i = 0; i < N_ROWS(s->garbage); i++) {
        snprintf(text, sizeof(text), "garbage %u", i);
        put_text(p, text, OLD_S, &s->garbage[i]);
    }
    vouch_for(cache_vouches(p->cache), &s->vouched);
}

static void check_scene(struct place *p, const struct scene *s, bool is_swept)
{
    assert_true(has(p, &s->manifest) && has(p, &s->layer) && has(p, &s->mirrored));
    assert_true(has(p, &s->young_link) && has(p, &s->young) && has(p, &s->vouched));
    assert_true(has(p, &s->pushed_layer) == !is_swept);
    assert_true(place_has(p, link_path(p, "c", "_layers", &s->pushed_layer)) == !is_swept);
    assert_true(place_has(p, link_path(p, "c", "_layers", &s->young_link)));
    assert_true(place_has(p, link_path(p, "a/b", "_layers", &s->layer)));
    for (unsigned i = 0; i < N_ROWS(s->garbage); i++)
        assert_true(has(p, &s->garbage[i]) == !is_swept);
}

static void test_run(void **state)
{
    static const unsigned BATCHES[] = {1, 7, 100000};
    struct place p;
    struct scene s;

    (void)state;
    for (size_t i = 0; i < N_ROWS(BATCHES); i++) {
        open_place(&p, BATCHES[i]);
        make_scene(&p, &s);
        struct gc_report r = run(&p);
        check_scene(&p, &s, true);
        assert_true(r.is_complete);
        assert_int_equal(r.n_errors, 0);
        assert_int_equal(r.n_removed, 31);
        assert_int_equal(r.n_blobs, 31 + 6);
        assert_int_equal(r.n_links_removed, 1);
        assert_int_equal(r.n_manifests, 1);
        assert_int_equal(r.n_repositories, 3);
        assert_int_equal(r.n_young, 2);
        assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 0);
        /* The folders of what went are gone, too. */
        char *folder = strdup(place_blob(&p, &s.garbage[0]));
        *strrchr(folder, '/') = '\0';
        assert_false(place_has(&p, folder));
        free(folder);
        r = run(&p);
        assert_int_equal(r.n_removed + r.n_links_removed, 0);
        close_place(&p);
    }
}

/* What a dry run tells is what a run then removes; it changes nothing itself. */
static void test_dry_run(void **state)
{
    struct place p;
    struct scene s;
    struct told told = {.n = 0};
    struct gc_report dry;
    struct error err;

    (void)state;
    open_place(&p, 16);
    make_scene(&p, &s);
    assert_int_equal(gc_dry_run(p.root, GRACE_S, note, &told, &dry, &err), 0);
    check_scene(&p, &s, false);
    /* It does not know what this process has vouched for. */
    assert_int_equal(told.n, 32);
    struct gc_report r = run(&p);
    assert_int_equal(r.n_removed, 31);
    assert_int_equal(dry.n_removed, told.n);
    assert_int_equal(dry.bytes_removed, told.n_bytes);
    assert_int_equal(dry.bytes_removed, r.bytes_removed + strlen("vouched"));
    for (size_t i = 0; i < told.n; i++)
        assert_true(has(&p, &told.digests[i]) == digest_equal(&told.digests[i], &s.vouched));
    close_place(&p);
}

/* Without a daemon, vouches of no one count. */
static void test_offline(void **state)
{
    struct place p;
    struct scene s;
    struct told told = {.n = 0};
    struct gc_report r;
    struct error err;

    (void)state;
    open_place(&p, 16);
    make_scene(&p, &s);
    struct layout *l = layout_new(p.root);
    struct storage_lock *other = storage_lock_new(l, NULL);
    assert_int_equal(gc_run_offline(cache_gc(p.cache), note, &told, &r, &err), -EBUSY);
    check_scene(&p, &s, false);
    r = run(&p);
    assert_false(r.is_complete);
    assert_non_null(strstr(r.problem, "another process"));
    check_scene(&p, &s, false);
    storage_lock_free(&other);
    layout_free(&l);
    assert_int_equal(gc_run_offline(cache_gc(p.cache), note, &told, &r, &err), 0);
    assert_int_equal(r.n_removed, 32);
    assert_int_equal(told.n, 32);
    assert_false(has(&p, &s.vouched));
    assert_true(has(&p, &s.young));
    close_place(&p);
}

/* --- grace ------------------------------------------------------------------------------------ */

static void pass_grace(void)
{
    ahead_ms += GRACE_S * 1000 + 1;
}

static void test_grace(void **state)
{
    struct place p;
    struct digest d;

    (void)state;
    place_init(&p);
    p.config.gc_grace_s = GRACE_S;
    place_open(&p);
    put_text(&p, "garbage", OLD_S, &d);
    run(&p);
    assert_true(has(&p, &d)); /* the start was not long ago */
    pass_grace();
    vouch_for(cache_vouches(p.cache), &d);
    run(&p);
    assert_true(has(&p, &d));
    pass_grace();
    assert_int_equal(vouch_present_now(cache_vouches(p.cache), &d, NULL), 0);
    run(&p);
    assert_true(has(&p, &d));
    unsigned hold = vouch_hold(cache_vouches(p.cache));
    for (unsigned i = 0; i < 4; i++) {
        pass_grace();
        run(&p);
        assert_true(has(&p, &d));
    }
    vouch_release(cache_vouches(p.cache), hold);
    run(&p);
    pass_grace();
    run(&p);
    assert_false(has(&p, &d));
    assert_int_equal(vouch_present_now(cache_vouches(p.cache), &d, NULL), -ENOENT);
    close_place(&p);
}

/* Who was told that it is here at the last moment finds it when he references it. */
static void test_told_at_the_last_moment(void **state)
{
    struct place p;
    struct digest d, other;
    char text[8];

    (void)state;
    open_place(&p, 16);
    put_text(&p, "garbage", OLD_S, &d);
    put_text(&p, "another", OLD_S, &other);
    char *path = strdup(place_blob(&p, &d));
    passer_by.digest = &d;
    passer_by.path = path;
    passer_by.vouches = cache_vouches(p.cache);
    struct gc_report r = run(&p);
    assert_null(passer_by.vouches);
    assert_true(passer_by.was_here && !passer_by.is_here_after);
    assert_int_equal(r.n_errors, 0);
    assert_int_equal(r.n_removed, 1);
    assert_false(has(&p, &other));
    assert_int_equal(vouch_present_now(cache_vouches(p.cache), &d, NULL), 0);
    assert_int_equal(place_read(&p, path, text, sizeof(text)), 7);
    assert_memory_equal(text, "garbage", 7);
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 0);
    free(path);
    close_place(&p);
}

/* Whoever has it open goes on reading; nobody else finds it. */
static void test_open_blob(void **state)
{
    struct place p;
    struct digest d;
    struct blob *b = NULL;
    char text[8];

    (void)state;
    open_place(&p, 16);
    put_text(&p, "garbage", OLD_S, &d);
    assert_int_equal(store_open_now(cache_store(p.cache), &d, &b), 0);
    assert_int_equal(run(&p).n_removed, 1);
    assert_null(store_find(cache_store(p.cache), &d));
    assert_int_equal(pread(blob_fd(b), text, 8, 0), 7);
    blob_unref(&b);
    close_place(&p);
}

/* --- what stops a run --------------------------------------------------------------------------
 */

static void break_with_loop(struct place *p)
{
    assert_int_equal(mkdir(place_path(p, REPOSITORIES "x"), 0755), 0);
    assert_int_equal(mkdir(place_path(p, REPOSITORIES "x/_manifests"), 0755), 0);
    assert_int_equal(symlink("revisions", place_path(p, REPOSITORIES "x/_manifests/revisions")), 0);
}

static void break_with_repo_link(struct place *p)
{
    assert_int_equal(symlink("a", place_path(p, REPOSITORIES "x")), 0);
}

static void break_with_algorithm(struct place *p)
{
    place_write(p, place_path(p, REPOSITORIES "x/_manifests/revisions/sha384/ab/link"), "", 0);
}

static void break_with_damage(struct place *p)
{
    struct digest d;

    put_text(p, "{}", OLD_S, &d);
    put_link(p, "x", "_manifests/revisions", &d, OLD_S);
    place_write(p, place_blob(p, &d), "{}\n", 3);
}

static void break_with_folder(struct place *p)
{
    struct digest d;

    digest_of(DIGEST_SHA256, "x", 1, &d);
    put_link(p, "x", "_manifests/revisions", &d, OLD_S);
    place_write(p, place_path(p, "%s/x", place_blob(p, &d) + strlen(p->root) + 1), "", 0);
}

static void break_with_nothing(struct place *p)
{
    assert_int_equal(
        rename(place_path(p, REPOSITORIES), place_path(p, "docker/registry/v2/elsewhere")), 0);
}

/* What cannot be seen may reference anything: nothing is removed, the links neither. */
static void test_stops(void **state)
{
    static const struct {
        void (*make)(struct place *p);
        const char *want;
        bool is_gone; /* the repositories */
    } ROWS[] = {
        {break_with_loop, "revisions", false},        {break_with_repo_link, "/x", false},
        {break_with_algorithm, "sha384", false},      {break_with_damage, "damaged", false},
        {break_with_folder, "Is a directory", false}, {break_with_nothing, "repositories", true},
    };
    struct place p;
    struct scene s;
    struct told told = {.n = 0};
    struct gc_report r;
    struct error err;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        open_place(&p, 16);
        make_scene(&p, &s);
        ROWS[i].make(&p);
        r = run(&p);
        assert_false(r.is_complete);
        assert_int_equal(r.n_removed + r.n_links_removed, 0);
        assert_int_equal(r.n_errors, 1);
        if (!strstr(r.problem, ROWS[i].want))
            fail_msg("%s", r.problem);
        assert_true(gc_dry_run(p.root, GRACE_S, note, &told, &r, &err) < 0);
        assert_int_equal(told.n, 0);
        if (ROWS[i].is_gone)
            assert_true(has(&p, &s.garbage[0]));
        else
            check_scene(&p, &s, false);
        close_place(&p);
    }
}

/* --- marks -------------------------------------------------------------------------------------
 */

/* References in manifests of other programs: escaped, far behind, in no good JSON. */
static void test_references(void **state)
{
    static const struct {
        const char *before, *after;
        size_t n_blanks;
    } ROWS[] = {
        {"{\"layers\":[{\"digest\":\"sha256:", "\"}]}", 0},
        {"{\"layers\":[{\"digest\":\"sha256\\u003a", "\"}]}", 0},
        {"no JSON at all sha256:", "", 0},
        {"{\"layers\":[{\"digest\":\"sha256:", "\"}]}", 65536 - 60},
        {"{\"layers\":[{\"digest\":\"sha256:", "\"}]}", 200000},
    };
    struct place p;
    struct digest layer, manifest;
    char hex[DIGEST_TEXT_SIZE], content[32];

    (void)state;
    open_place(&p, 16);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct strbuf text = STRBUF_INIT;
        snprintf(content, sizeof(content), "layer %zu", i);
        put_text(&p, content, OLD_S, &layer);
        digest_hex(&layer, hex);
        for (size_t n = 0; n < ROWS[i].n_blanks; n++)
            strbuf_add_char(&text, ' ');
        strbuf_addf(&text, "%s%s%s", ROWS[i].before, hex, ROWS[i].after);
        put_blob(&p, text.ptr, text.len, OLD_S, &manifest);
        put_link(&p, "r", "_manifests/revisions", &manifest, OLD_S);
        strbuf_fini(&text);
        struct gc_report r = run(&p);
        assert_true(r.is_complete);
        assert_int_equal(r.n_removed, 0);
        assert_true(has(&p, &layer));
        /* The manifest is deleted: both go. */
        unlink(link_path(&p, "r", "_manifests/revisions", &manifest));
        assert_int_equal(run(&p).n_removed, 2);
        assert_false(has(&p, &layer));
    }
    close_place(&p);
}

/* --- links -------------------------------------------------------------------------------------
 */

static void test_links(void **state)
{
    static const struct {
        const char *name;
        bool is_mirrored, is_young, is_vouched, has_blob;
        bool want_link;
    } ROWS[] = {
        {"dangling", false, false, false, false, false},
        {"dangling, mirrored", true, false, false, false, true},
        {"dangling, young", false, true, false, false, true},
        {"dangling, on its way", false, false, true, false, true},
        {"with a blob that stays", false, false, true, true, true},
    };
    struct place p;
    struct digest d, manifest;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        open_place(&p, 3);
        put_manifest(&p, "m", NULL, 0, &manifest);
        digest_of(DIGEST_SHA256, "layer", 5, &d);
        put_link(&p, "r", "_layers", &d, ROWS[i].is_young ? GRACE_S / 2 : OLD_S);
        if (ROWS[i].is_mirrored)
            put_record(&p, "r", &d);
        if (ROWS[i].has_blob)
            put_text(&p, "layer", OLD_S, &d);
        if (ROWS[i].is_vouched)
            vouch_for(cache_vouches(p.cache), &d);
        assert_int_equal(links_load_now(cache_links(p.cache), LINK_LAYER, SLICE("r"), &d, NULL), 0);
        struct gc_report r = run(&p);
        if (!r.is_complete || place_has(&p, link_path(&p, "r", "_layers", &d)) != ROWS[i].want_link)
            fail_msg("%s", ROWS[i].name);
        assert_int_equal(r.n_links_removed, !ROWS[i].want_link);
        /* Memory says the same. */
        assert_int_equal(links_load_now(cache_links(p.cache), LINK_LAYER, SLICE("r"), &d, NULL),
                         ROWS[i].want_link ? 0 : -ENOENT);
        close_place(&p);
    }
}

/* Without a single blob, the folder of blobs is more likely lost than empty. */
static void test_lost_blobs(void **state)
{
    struct place p;
    struct digest d;

    (void)state;
    open_place(&p, 3);
    digest_of(DIGEST_SHA256, "layer", 5, &d);
    put_link(&p, "r", "_layers", &d, OLD_S);
    assert_true(run(&p).is_complete);
    assert_true(place_has(&p, link_path(&p, "r", "_layers", &d)));
    close_place(&p);
}

static void test_odd_files(void **state)
{
    struct place p;
    struct digest d, manifest;
    char hex[DIGEST_TEXT_SIZE];

    (void)state;
    open_place(&p, 3);
    put_manifest(&p, "m", NULL, 0, &manifest);
    digest_of(DIGEST_SHA256, "empty", 5, &d);
    digest_hex(&d, hex);
    const char *blobs = "docker/registry/v2/blobs/sha256";
    /* A publication that was cut off, one with something else inside, and what is no digest. */
    place_write(&p, place_path(&p, "%s/%.2s/%s/data", blobs, hex, hex), "", 0);
    unlink(place_blob(&p, &d));
    place_write(&p, place_path(&p, "%s/ff/%s/data", blobs, hex), "", 0);
    place_write(&p, place_path(&p, "%s/00/0011/data", blobs), "", 0);
    place_write(&p, place_path(&p, "%s/readme", blobs), "", 0);
    place_write(&p, place_path(&p, REPOSITORIES "m/_manifests/revisions/sha256/zz/link"), "", 0);
    place_write(&p, place_path(&p, REPOSITORIES "m/_manifests/revisions/sha256/%s/x", hex), "", 0);
    struct gc_report r = run(&p);
    assert_true(r.is_complete);
    assert_int_equal(r.n_errors, 0);
    assert_int_equal(r.n_removed, 0);
    assert_false(place_has(&p, place_path(&p, "%s/%.2s/%s", blobs, hex, hex)));
    assert_true(place_has(&p, place_path(&p, "%s/ff/%s/data", blobs, hex)));
    assert_true(place_has(&p, place_path(&p, "%s/00/0011/data", blobs)));
    close_place(&p);
}

static void test_json(void **state)
{
    struct place p;
    struct strbuf text = STRBUF_INIT;
    struct digest d;

    (void)state;
    open_place(&p, 3);
    gc_print_json(cache_gc(p.cache), &text);
    assert_non_null(strstr(text.ptr, "{\"running\":false,\"complete\":false,\"started_at\":0"));
    strbuf_clear(&text);
    put_text(&p, "garbage", OLD_S, &d);
    run(&p);
    gc_print_json(cache_gc(p.cache), &text);
    assert_non_null(strstr(text.ptr, "\"complete\":true"));
    assert_non_null(strstr(text.ptr, "\"removed\":1,\"bytes_removed\":7,"));
    assert_non_null(strstr(text.ptr, "\"problem\":\"\"}"));
    strbuf_fini(&text);
    /* Nothing begins any more. */
    gc_stop(cache_gc(p.cache));
    put_text(&p, "garbage", OLD_S, &d);
    run(&p);
    assert_true(has(&p, &d));
    close_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_offline),    cmocka_unit_test(test_grace),
        cmocka_unit_test(test_open_blob),  cmocka_unit_test(test_stops),
        cmocka_unit_test(test_references), cmocka_unit_test(test_links),
        cmocka_unit_test(test_lost_blobs), cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_json),       cmocka_unit_test(test_told_at_the_last_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
