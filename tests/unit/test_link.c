#include "config.h"

#include "cache/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO SLICE("library/busybox")
#define OTHER SLICE("library/other")
#define BELOW "docker/registry/v2/repositories/library/busybox/"

static struct place place;
static struct links *links;
static struct digest digest;
static char hub[] = "hub";
static char text[DIGEST_TEXT_SIZE], hex[DIGEST_TEXT_SIZE];

static int set_up(void **state)
{
    (void)state;
    place_init(&place);
    place_open(&place);
    links = cache_links(place.cache);
    digest_of(DIGEST_SHA256, "x", 1, &digest);
    digest_format(&digest, text);
    digest_hex(&digest, hex);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_close(&place);
    place_fini(&place);
    return 0;
}

static void start_anew(void)
{
    place_reopen(&place);
    links = cache_links(place.cache);
}

/* "link" or "mirrord.json" of the one digest. */
static const char *path_of(enum link_kind kind, const char *file)
{
    const char *folder = kind == LINK_LAYER ? "_layers" : "_manifests/revisions";

    return place_path(&place, BELOW "%s/sha256/%s/%s", folder, hex, file);
}

static void assert_content(enum link_kind kind, const char *file, const char *want)
{
    char found[300] = {0};

    assert_true(place_read(&place, path_of(kind, file), found, sizeof(found) - 1) >= 0);
    assert_string_equal(found, want);
}

static void put(enum link_kind kind, const char *file, const char *content)
{
    place_write(&place, path_of(kind, file), content, strlen(content));
}

static int load(enum link_kind kind, struct origin *out)
{
    return links_load_now(links, kind, REPO, &digest, out);
}

static int add(enum link_kind kind, const struct origin *origin)
{
    struct error err;

    return kind == LINK_LAYER
               ? links_add_layer_now(links, REPO, &digest, origin, &err)
               : links_add_revision_now(links, REPO, &digest, origin, SLICE("a/\"b"), &err);
}

static struct origin mirrored(void)
{
    return (struct origin){.upstream = origin_upstream(SLICE("hub")), .at_s = 77};
}

static struct origin pushed(void)
{
    return (struct origin){.is_pushed = true, .at_s = 88};
}

static void test_mirrored(void **state)
{
    struct origin from, origin = mirrored();

    (void)state;
    for (enum link_kind kind = 0; kind < LINK_KIND_MAX; kind++) {
        assert_int_equal(load(kind, NULL), -ENOENT);
        assert_int_equal(add(kind, &origin), 0);
        assert_int_equal(links_find(links, kind, REPO, &digest), LINK_YES);
        assert_int_equal(links_find(links, kind, OTHER, &digest), LINK_UNKNOWN);
        assert_content(kind, "link", text);
        assert_content(kind, "mirrord.json",
                       kind == LINK_LAYER
                           ? "{\"origin\":\"mirrored\",\"fetched_at\":77,\"upstream\":\"hub\"}\n"
                           : "{\"origin\":\"mirrored\",\"fetched_at\":77,\"upstream\":\"hub\","
                             "\"media_type\":\"a/\\\"b\"}\n");
        start_anew();
        assert_int_equal(links_find(links, kind, REPO, &digest), LINK_UNKNOWN);
        assert_int_equal(load(kind, &from), 0);
        assert_false(from.is_pushed);
        assert_ptr_equal(from.upstream, origin.upstream);
        assert_int_equal(from.at_s, 77);
        assert_true(links_find_origin(links, kind, REPO, &digest, &from));
    }
}

static void test_pushed(void **state)
{
    struct origin from, origin = pushed();
    struct strbuf type = STRBUF_INIT;

    (void)state;
    assert_int_equal(add(LINK_LAYER, &origin), 0);
    assert_content(LINK_LAYER, "link", text);
    assert_false(place_has(&place, path_of(LINK_LAYER, "mirrord.json")));
    assert_int_equal(add(LINK_REVISION, &origin), 0);
    assert_content(LINK_REVISION, "link", text);
    assert_content(LINK_REVISION, "mirrord.json",
                   "{\"origin\":\"pushed\",\"pushed_at\":88,\"media_type\":\"a/\\\"b\"}\n");
    start_anew();
    for (enum link_kind kind = 0; kind < LINK_KIND_MAX; kind++) {
        assert_int_equal(load(kind, &from), 0);
        assert_true(from.is_pushed);
        assert_null(from.upstream);
    }
    assert_int_equal(from.at_s, 88);
    links_media_type_now(links, REPO, &digest, &type);
    assert_string_equal(type.ptr, "a/\"b");
    strbuf_fini(&type);
}

/* What is found on the disk, and what it says. */
static void test_forms(void **state)
{
    static const struct {
        const char *name;
        const char *layer, *revision; /* records; NULL: none */
        bool is_pushed, is_pushed_revision;
        const char *upstream;
    } ROWS[] = {
        {"another program", NULL, NULL, true, true, NULL},
        {"an earlier version", NULL, "{\"media_type\":\"a/b\"}\n", true, false, NULL},
        {"mirrored", "{\"origin\":\"mirrored\",\"upstream\":\"u\",\"fetched_at\":5}",
         "{\"origin\":\"mirrored\",\"upstream\":\"u\",\"fetched_at\":5}", false, false, "u"},
        {"pushed", "{\"origin\":\"pushed\",\"pushed_at\":5}",
         "{\"origin\":\"pushed\",\"pushed_at\":5}", true, true, NULL},
        {"no upstream", "{\"origin\":\"mirrored\"}", "{\"origin\":\"mirrored\"}", false, false,
         NULL},
        {"a hostile upstream", "{\"origin\":\"mirrored\",\"upstream\":\"a\\r\\nb\"}",
         "{\"origin\":\"mirrored\",\"upstream\":\"a\\r\\nb\"}", false, false, NULL},
        {"empty", "", "", true, true, NULL},
        {"cut off", "{\"origin\":\"mirro", "{\"media_type\":\"a", true, true, NULL},
        {"no object", "[]", "\"mirrored\"", true, true, NULL},
        {"wrong types", "{\"origin\":1}", "{\"origin\":[],\"media_type\":2}", true, true, NULL},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        for (enum link_kind kind = 0; kind < LINK_KIND_MAX; kind++) {
            const char *record = kind == LINK_LAYER ? ROWS[i].layer : ROWS[i].revision;
            struct origin from = {.upstream = "?"};
            unlink(path_of(kind, "mirrord.json"));
            put(kind, "link", text);
            if (record)
                put(kind, "mirrord.json", record);
            start_anew();
            print_message("%s\n", ROWS[i].name);
            assert_int_equal(load(kind, &from), 0);
            assert_int_equal(from.is_pushed,
                             kind == LINK_LAYER ? ROWS[i].is_pushed : ROWS[i].is_pushed_revision);
            assert_ptr_equal(from.upstream,
                             origin_upstream(slice_of(ROWS[i].upstream ? ROWS[i].upstream : "")));
            assert_true(from.at_s == 5 || from.at_s >= clock_wall_s() - 600);
        }
    }
}

static void test_damaged_links(void **state)
{
    static const char *const CONTENTS[] = {"", "\n", "sha256:12", "no digest",
                                           "sha256:"
                                           "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991"
                                           "b7852b855"};
    struct origin from, origin = mirrored();
    char padded[DIGEST_TEXT_SIZE + 2];

    (void)state;
    for (size_t i = 0; i < N_ROWS(CONTENTS); i++) {
        put(LINK_LAYER, "link", CONTENTS[i]);
        assert_int_equal(load(LINK_LAYER, NULL), -ENOENT);
    }
    /* It is none, so it does not stand in the way of one. */
    assert_int_equal(add(LINK_LAYER, &origin), 0);
    assert_content(LINK_LAYER, "link", text);
    snprintf(padded, sizeof(padded), "%s\r\n", text);
    put(LINK_LAYER, "link", padded);
    start_anew();
    assert_int_equal(load(LINK_LAYER, &from), 0);
    assert_int_equal(links_load_now(links, LINK_LAYER, SLICE("../evil"), &digest, NULL), -ENOENT);
}

static void test_take_over(void **state)
{
    struct origin from, theirs = mirrored(), ours = pushed();

    (void)state;
    for (enum link_kind kind = 0; kind < LINK_KIND_MAX; kind++) {
        assert_int_equal(add(kind, &theirs), 0);
        assert_int_equal(add(kind, &ours), 0);
        assert_true(links_find_origin(links, kind, REPO, &digest, &from) && from.is_pushed);
        start_anew();
        /* From then on what is mirrored changes nothing, whether memory knows the link or not. */
        for (unsigned turn = 0; turn < 2; turn++) {
            assert_int_equal(add(kind, &theirs), 0);
            assert_true(links_find_origin(links, kind, REPO, &digest, &from) && from.is_pushed);
            assert_int_equal(place_has(&place, path_of(kind, "mirrord.json")),
                             kind == LINK_REVISION);
        }
        start_anew();
        assert_int_equal(load(kind, &from), 0);
        assert_true(from.is_pushed);
    }
    /* A record that lost its link does not turn a pushed one into a mirrored one. */
    unlink(path_of(LINK_LAYER, "link"));
    put(LINK_LAYER, "mirrord.json", "{\"origin\":\"mirrored\"}");
    start_anew();
    assert_int_equal(load(LINK_LAYER, NULL), -ENOENT);
    assert_int_equal(add(LINK_LAYER, &ours), 0);
    assert_false(place_has(&place, path_of(LINK_LAYER, "mirrord.json")));
}

static void test_remove(void **state)
{
    struct origin origins[] = {mirrored(), pushed()};
    struct error err;

    (void)state;
    for (size_t i = 0; i < N_ROWS(origins); i++) {
        for (enum link_kind kind = 0; kind < LINK_KIND_MAX; kind++) {
            assert_int_equal(links_remove_now(links, kind, REPO, &digest, &err), -ENOENT);
            assert_int_equal(add(kind, &origins[i]), 0);
            assert_int_equal(links_remove_now(links, kind, REPO, &digest, &err), 0);
            assert_int_equal(links_find(links, kind, REPO, &digest), LINK_UNKNOWN);
            assert_int_equal(load(kind, NULL), -ENOENT);
            assert_false(place_has(&place, path_of(kind, "")));
        }
    }
    /* What others keep in the folder stays. */
    assert_int_equal(add(LINK_REVISION, &origins[1]), 0);
    put(LINK_REVISION, "signatures", "x");
    assert_int_equal(links_remove_now(links, LINK_REVISION, REPO, &digest, &err), 0);
    assert_true(place_has(&place, path_of(LINK_REVISION, "signatures")));
    assert_false(place_has(&place, path_of(LINK_REVISION, "mirrord.json")));
    assert_int_equal(links_remove_now(links, LINK_LAYER, SLICE("../evil"), &digest, &err), -ENOENT);
}

/* Eviction takes what is mirrored, and nothing that has become pushed since it looked. */
static void test_drop(void **state)
{
    struct origin origins[] = {mirrored(), pushed()};
    struct error err;

    (void)state;
    for (enum link_kind kind = 0; kind < LINK_KIND_MAX; kind++) {
        assert_int_equal(links_drop_mirrored_now(links, kind, REPO, &digest, &err), -ENOENT);
        assert_int_equal(add(kind, &origins[0]), 0);
        assert_int_equal(links_drop_mirrored_now(links, kind, REPO, &digest, &err), 0);
        assert_int_equal(links_find(links, kind, REPO, &digest), LINK_UNKNOWN);
        assert_false(place_has(&place, path_of(kind, "")));
        for (size_t i = 0; i < N_ROWS(origins); i++)
            assert_int_equal(add(kind, &origins[i]), 0);
        assert_int_equal(links_drop_mirrored_now(links, kind, REPO, &digest, &err), -EEXIST);
        assert_int_equal(links_find(links, kind, REPO, &digest), LINK_YES);
        assert_content(kind, "link", text);
    }
}

static void test_pending(void **state)
{
    struct origin origin = mirrored();

    (void)state;
    links_note_pending(links, REPO, &digest);
    links_note_pending(links, REPO, &digest);
    assert_int_equal(links_find(links, LINK_LAYER, REPO, &digest), LINK_PENDING);
    assert_int_equal(links_find(links, LINK_LAYER, OTHER, &digest), LINK_UNKNOWN);
    assert_int_equal(links_find(links, LINK_REVISION, REPO, &digest), LINK_UNKNOWN);
    links_drop_pending(links, REPO, &digest);
    assert_int_equal(links_find(links, LINK_LAYER, REPO, &digest), LINK_PENDING);
    assert_int_equal(add(LINK_LAYER, &origin), 0);
    assert_int_equal(links_find(links, LINK_LAYER, REPO, &digest), LINK_YES);
    links_drop_pending(links, REPO, &digest);
    assert_int_equal(links_find(links, LINK_LAYER, REPO, &digest), LINK_YES);
    links_note_pending(links, OTHER, &digest);
    links_drop_pending(links, OTHER, &digest);
    assert_int_equal(links_find(links, LINK_LAYER, OTHER, &digest), LINK_UNKNOWN);
}

struct question {
    struct moment over;
    int rc;
};

static void on_loaded(void *arg, int rc)
{
    struct question *q = arg;

    q->rc = rc;
    moment_come(&q->over);
}

static void do_load(void *arg)
{
    links_load(links, LINK_LAYER, REPO, &digest, on_loaded, arg);
}

static int load_on_worker(void)
{
    struct question q = {.rc = 1};

    moment_init(&q.over);
    place_run(&place, 1, do_load, &q);
    assert_true(moment_wait(&q.over));
    moment_fini(&q.over);
    return q.rc;
}

static void do_add(void *arg)
{
    links_add(links, REPO, &digest, arg);
    links_add(links, SLICE("../evil"), &digest, arg);
    /* At once in memory. */
    if (links_find(links, LINK_LAYER, REPO, &digest) != LINK_YES)
        links = NULL;
}

static void test_workers(void **state)
{
    struct origin from, ours = pushed();

    (void)state;
    assert_int_equal(load_on_worker(), -ENOENT);
    place_run(&place, 0, do_add, hub);
    assert_non_null(links);
    start_anew();
    assert_int_equal(load_on_worker(), 0);
    assert_int_equal(load(LINK_LAYER, &from), 0);
    assert_string_equal(from.upstream, "hub");
    /* One that is in the storage already, pushed, and not in memory. */
    assert_int_equal(add(LINK_LAYER, &ours), 0);
    start_anew();
    place_run(&place, 2, do_add, NULL);
    place_settle(&place);
    assert_true(links_find_origin(links, LINK_LAYER, REPO, &digest, &from));
    assert_true(from.is_pushed);
    assert_false(place_has(&place, path_of(LINK_LAYER, "mirrord.json")));
}

static void test_not_writable(void **state)
{
    struct origin theirs = mirrored(), ours = pushed();
    struct error err = {0};

    (void)state;
    assert_int_equal(links_add_layer_now(links, SLICE("../evil"), &digest, &ours, &err), -EINVAL);
    place_write(&place, place_path(&place, BELOW "_layers"), "x", 1);
    assert_int_equal(links_add_layer_now(links, REPO, &digest, &ours, &err), -ENOTDIR);
    assert_true(err.text[0] != '\0');
    assert_int_equal(links_add_layer_now(links, REPO, &digest, &theirs, &err), -ENOTDIR);
    assert_int_equal(load(LINK_LAYER, NULL), -ENOENT);
    assert_int_equal(links_remove_now(links, LINK_LAYER, REPO, &digest, &err), -ENOENT);
    assert_int_equal(place_count(&place, place_path(&place, "_mirrord/tmp")), 0);
}

enum { N_THREADS = 4, N_TURNS = 60 };

static void *add_and_remove(void *arg)
{
    struct origin theirs = mirrored(), ours = pushed();
    unsigned seed = (unsigned)(size_t)arg;
    struct origin from;
    struct error err;

    for (unsigned turn = 0; turn < N_TURNS; turn++) {
        switch (rand_r(&seed) % 4) {
        case 0:
            CHECK(links_add_layer_now(links, REPO, &digest, &ours, &err) == 0);
            break;
        case 1:
            CHECK(links_add_layer_now(links, REPO, &digest, &theirs, &err) == 0);
            break;
        case 2:
            links_remove_now(links, LINK_LAYER, REPO, &digest, &err);
            break;
        default:
            if (links_load_now(links, LINK_LAYER, REPO, &digest, &from) == 0)
                CHECK(from.is_pushed || from.upstream == theirs.upstream);
        }
    }
    return NULL;
}

static void on_whatever(void *arg, int rc)
{
    (void)arg;
    CHECK(rc == 0 || rc == -ENOENT);
}

static void do_load_and_add(void *arg)
{
    links_load(links, LINK_LAYER, REPO, &digest, on_whatever, NULL);
    links_add(links, REPO, &digest, arg);
}

/* Whatever the order was, memory and storage say the same in the end. */
static void test_races(void **state)
{
    pthread_t threads[N_THREADS];
    struct origin remembered, stored;

    (void)state;
    for (size_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_remove, (void *)(i + 1)), 0);
    for (unsigned turn = 0; turn < N_TURNS; turn++)
        place_run(&place, turn % PLACE_WORKERS, do_load_and_add, hub);
    for (size_t i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    place_settle(&place);
    bool is_remembered = links_find_origin(links, LINK_LAYER, REPO, &digest, &remembered);
    start_anew();
    int rc = load(LINK_LAYER, &stored);
    /* What is not remembered is looked for; what is remembered is there. */
    assert_true(rc == 0 || rc == -ENOENT);
    if (is_remembered) {
        assert_int_equal(rc, 0);
        assert_int_equal(remembered.is_pushed, stored.is_pushed);
    }
    assert_int_equal(place_count(&place, place_path(&place, "_mirrord/tmp")), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mirrored),  TEST(test_pushed),       TEST(test_forms), TEST(test_damaged_links),
        TEST(test_take_over), TEST(test_remove),       TEST(test_drop),  TEST(test_pending),
        TEST(test_workers),   TEST(test_not_writable), TEST(test_races),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
