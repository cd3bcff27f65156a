#include "config.h"

#include "cache/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/metric.h"
#include "cache/link.h"
#include "cache/manifest_type.h"
#include "cache/store.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO SLICE("library/busybox")
#define BODY SLICE("{\"schemaVersion\":2,\"config\":{},\"layers\":[]}")
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"

struct story {
    struct place *place;
    struct slice repo;
    struct digest digest;
    struct manifest *manifest;
    struct moment over;
    size_t max_bytes;
    int rc;
};

static void on_kept(void *arg, int rc)
{
    struct story *s = arg;

    s->rc = rc;
    moment_come(&s->over);
}

static void do_keep(void *arg)
{
    struct story *s = arg;

    manifests_keep(cache_manifests(s->place->cache), s->repo, s->manifest, "hub", on_kept, s);
}

static int keep(struct place *p, struct slice repo, struct manifest *m)
{
    struct story s = {.place = p, .repo = repo, .manifest = m};

    moment_init(&s.over);
    place_run(p, 0, do_keep, &s);
    assert_true(moment_wait(&s.over));
    moment_fini(&s.over);
    return s.rc;
}

static void on_loaded(void *arg, int rc, struct manifest *m)
{
    struct story *s = arg;

    s->rc = rc;
    s->manifest = m;
    moment_come(&s->over);
}

static void do_load(void *arg)
{
    struct story *s = arg;

    manifests_load(cache_manifests(s->place->cache), s->repo, &s->digest, s->max_bytes, on_loaded,
                   s);
}

static int load(struct place *p, struct slice repo, const struct digest *d, struct manifest **out)
{
    struct story s = {.place = p, .repo = repo, .digest = *d, .max_bytes = 1000};

    moment_init(&s.over);
    place_run(p, 2, do_load, &s);
    assert_true(moment_wait(&s.over));
    moment_fini(&s.over);
    *out = s.manifest;
    return s.rc;
}

static void assert_slice(struct slice found, const char *want)
{
    assert_true(slice_equal(found, slice_of(want)));
}

static void test_new(void **state)
{
    struct digest d;

    (void)state;
    digest_of(DIGEST_SHA256, "", 0, &d);
    struct manifest *m = manifest_new(&d, SLICE("a/b"), SLICE(""));
    assert_slice(manifest_header_lines(m),
                 "Content-Type: a/b\r\nX-Content-Type-Options: nosniff\r\n"
                 "Docker-Content-Digest: sha256:"
                 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n"
                 "ETag: \"sha256:"
                 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\r\n");
    assert_slice(manifest_media_type(m), "a/b");
    assert_int_equal(manifest_body(m).len, 0);
    assert_true(digest_equal(manifest_digest(m), &d));
    manifest_unref(&m);
    m = manifest_new(&d, SLICE("a/b\r\nSet-Cookie: x=y"), BODY);
    assert_slice(manifest_media_type(m), OCI_MANIFEST);
    manifest_unref(&m);
}

static void test_types(void **state)
{
    static const struct {
        const char *body;
        const char *type;
    } ROWS[] = {
        {"{\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",\"layers\":[]}",
         "application/vnd.docker.distribution.manifest.v2+json"},
        {"{\"schemaVersion\":2,\"manifests\":[]}", "application/vnd.oci.image.index.v1+json"},
        {"{\"config\":{},\"layers\":[]}", OCI_MANIFEST},
        {"{\"schemaVersion\":1,\"fsLayers\":[],\"signatures\":[]}",
         "application/vnd.docker.distribution.manifest.v1+prettyjws"},
        {"{\"schemaVersion\":1,\"fsLayers\":[]}",
         "application/vnd.docker.distribution.manifest.v1+json"},
        {"{\"mediaType\":\"bad\\r\\nX: y/z\",\"manifests\":[]}",
         "application/vnd.oci.image.index.v1+json"},
        {"{\"mediaType\":7}", "application/octet-stream"},
        {"[]", "application/octet-stream"},
        {"<html>", "application/octet-stream"},
        {"", "application/octet-stream"},
    };
    char type[MANIFEST_TYPE_SIZE];

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        manifest_type_derive(slice_of(ROWS[i].body), type, NULL);
        assert_string_equal(type, ROWS[i].type);
    }
    assert_false(manifest_type_is_valid(SLICE("/x")));
    assert_false(manifest_type_is_valid(SLICE("x/")));
    assert_true(manifest_type_is_valid(SLICE("text/plain; charset=utf-8")));
}

static void test_keep_and_load(void **state)
{
    struct place p;
    struct digest d, other;
    struct manifest *found = NULL;
    char text[200] = {0}, want[DIGEST_TEXT_SIZE], hex[DIGEST_TEXT_SIZE];

    (void)state;
    place_init(&p);
    place_open(&p);
    digest_of(DIGEST_SHA256, BODY.ptr, BODY.len, &d);
    digest_of(DIGEST_SHA256, "other", 5, &other);
    struct manifest *m = manifest_new(&d, SLICE("x/special"), BODY);
    assert_int_equal(keep(&p, REPO, m), 0);
    found = manifests_find(cache_manifests(p.cache), &d);
    assert_ptr_equal(found, m);
    manifest_unref(&found);
    digest_format(&d, want);
    digest_hex(&d, hex);
    place_read(&p,
               place_path(&p,
                          "docker/registry/v2/repositories/library/busybox/_manifests/revisions/"
                          "sha256/%s/link",
                          hex),
               text, sizeof(text) - 1);
    assert_string_equal(text, want);
    assert_int_equal(keep(&p, SLICE("../evil"), m), -EINVAL);
    manifest_unref(&m);

    place_reopen(&p);
    assert_null(manifests_find(cache_manifests(p.cache), &d));
    assert_int_equal(load(&p, REPO, &d, &found), 0);
    assert_slice(manifest_media_type(found), "x/special");
    assert_true(slice_equal(manifest_body(found), BODY));
    manifest_unref(&found);
    found = manifests_find(cache_manifests(p.cache), &d);
    assert_non_null(found);
    manifest_unref(&found);
    assert_int_equal(load(&p, REPO, &other, &found), -ENOENT);

    /* Another repository's record is not this one's; nor is a name that is none. */
    place_reopen(&p);
    assert_int_equal(load(&p, SLICE("../evil"), &d, &found), 0);
    assert_slice(manifest_media_type(found), OCI_MANIFEST);
    manifest_unref(&found);
    place_close(&p);
    place_fini(&p);
}

static void test_damaged(void **state)
{
    struct place p;
    struct digest d;
    struct manifest *found = NULL;
    struct error err;
    int64_t before = metric_get(METRIC_STORE_DAMAGED);

    (void)state;
    place_init(&p);
    place_open(&p);
    digest_of(DIGEST_SHA256, BODY.ptr, BODY.len, &d);
    place_write(&p, place_blob(&p, &d), "{}", 2);
    assert_int_equal(load(&p, REPO, &d, &found), -ENOENT);
    assert_null(found);
    assert_int_equal(metric_get(METRIC_STORE_DAMAGED), before + 1);
    /* Kept anew it is right again. */
    struct manifest *m = manifest_new(&d, SLICE_NONE, BODY);
    assert_int_equal(keep(&p, REPO, m), 0);
    manifest_unref(&m);
    place_reopen(&p);
    assert_int_equal(load(&p, REPO, &d, &found), 0);
    manifest_unref(&found);

    /* What is larger than a manifest may be is none. */
    uint8_t *content = place_content(1001, 1, &d);
    assert_int_equal(store_put_now(cache_store(p.cache), &d, content, 1001, &err), 0);
    assert_int_equal(load(&p, REPO, &d, &found), -EFBIG);
    free(content);
    place_close(&p);
    place_fini(&p);
}

static void test_memory_bound(void **state)
{
    struct place p;
    unsigned n_found = 0;

    (void)state;
    place_init(&p);
    p.config.manifest_memory_bytes = 256 * 1024;
    place_open(&p);
    struct digest d[200];
    for (unsigned i = 0; i < 200; i++) {
        uint8_t *content = place_content(5000, i, &d[i]);
        struct manifest *m =
            manifest_new(&d[i], SLICE("a/b"), (struct slice){(char *)content, 5000});
        assert_int_equal(keep(&p, REPO, m), 0);
        manifest_unref(&m);
        free(content);
    }
    for (unsigned i = 0; i < 200; i++) {
        struct manifest *m = manifests_find(cache_manifests(p.cache), &d[i]);
        n_found += m != NULL;
        manifest_unref(&m);
    }
    assert_in_range(n_found, 10, 38);
    place_close(&p);
    place_fini(&p);
}

/* Whether the repository has a link to the blob with this content. */
static bool is_linked(struct place *p, struct slice repo, const char *content, struct origin *out)
{
    struct digest d;

    digest_of(DIGEST_SHA256, content, strlen(content), &d);
    return links_load_now(cache_links(p->cache), LINK_LAYER, repo, &d, out) == 0;
}

/* References a configuration, a layer, a foreign layer, and what follows. */
static char *manifest_text(const char *layers)
{
    char one[DIGEST_TEXT_SIZE], two[DIGEST_TEXT_SIZE], three[DIGEST_TEXT_SIZE];
    struct digest d;

    digest_of(DIGEST_SHA256, "config", 6, &d);
    digest_format(&d, one);
    digest_of(DIGEST_SHA256, "layer", 5, &d);
    digest_format(&d, two);
    digest_of(DIGEST_SHA256, "foreign", 7, &d);
    digest_format(&d, three);
    return xasprintf("{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":6},"
                     "\"layers\":[{\"digest\":\"%s\",\"size\":5},"
                     "{\"digest\":\"%s\",\"size\":7,\"urls\":[\"http://x/\"]}%s]}",
                     one, two, three, layers);
}

/* What a mirrored manifest references can be read through its repository; a broken one says
 * nothing. */
static void test_references(void **state)
{
    static const struct {
        struct slice repo;
        const char *layers;
        bool is_linked;
    } ROWS[] = {
        {{"a/good", 6}, "", true},
        {{"a/bad", 5}, ",{\"digest\":\"sha256:1\"}", false},
        {{"a/cut", 5}, ",{", false},
    };
    struct place p;
    struct origin from;
    struct digest d;

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        char *text = manifest_text(ROWS[i].layers);
        digest_of(DIGEST_SHA256, text, strlen(text), &d);
        struct manifest *m = manifest_new(&d, SLICE_NONE, slice_of(text));
        assert_int_equal(keep(&p, ROWS[i].repo, m), 0);
        manifest_unref(&m);
        free(text);
        place_reopen(&p);
        assert_int_equal(is_linked(&p, ROWS[i].repo, "config", &from), ROWS[i].is_linked);
        assert_int_equal(is_linked(&p, ROWS[i].repo, "layer", &from), ROWS[i].is_linked);
        assert_false(is_linked(&p, ROWS[i].repo, "foreign", &from));
        if (ROWS[i].is_linked) {
            assert_false(from.is_pushed);
            assert_string_equal(from.upstream, "hub");
        }
    }
    place_close(&p);
    place_fini(&p);
}

static int put(struct place *p, struct slice repo, struct manifest *m)
{
    struct origin origin = {.is_pushed = true, .at_s = 5};
    struct error err;

    return manifests_put_now(cache_manifests(p->cache), repo, m, &origin, &err);
}

static void test_put(void **state)
{
    struct place p;
    struct origin from;
    struct digest d;
    struct manifest *found;

    (void)state;
    place_init(&p);
    place_open(&p);
    char *text = manifest_text("");
    digest_of(DIGEST_SHA256, text, strlen(text), &d);
    struct manifest *m = manifest_new(&d, SLICE("x/special"), slice_of(text));
    /* Over a mirrored one, over a damaged file, and once more. */
    assert_int_equal(keep(&p, REPO, m), 0);
    place_reopen(&p);
    char *wrong = xstrdup(text);
    wrong[strlen(wrong) / 2] ^= 1;
    place_write(&p, place_blob(&p, &d), wrong, strlen(wrong));
    for (unsigned turn = 0; turn < 2; turn++) {
        assert_int_equal(put(&p, REPO, m), 0);
        found = manifests_find(cache_manifests(p.cache), &d);
        assert_ptr_equal(found, m);
        manifest_unref(&found);
    }
    assert_int_equal(put(&p, SLICE("../evil"), m), -EINVAL);
    manifest_unref(&m);
    place_reopen(&p);
    assert_int_equal(links_load_now(cache_links(p.cache), LINK_REVISION, REPO, &d, &from), 0);
    assert_true(from.is_pushed && from.at_s == 5);
    assert_int_equal(load(&p, REPO, &d, &found), 0);
    assert_slice(manifest_media_type(found), "x/special");
    assert_slice(manifest_body(found), text);
    manifest_unref(&found);
    /* What is pushed references what was pushed: it makes no links of its own. */
    m = manifest_new(&d, SLICE_NONE, slice_of(text));
    assert_int_equal(put(&p, SLICE("a/new"), m), 0);
    assert_false(is_linked(&p, SLICE("a/new"), "layer", NULL));
    manifest_unref(&m);
    free(wrong);
    free(text);
    place_close(&p);
    place_fini(&p);
}

/* What cannot be written is not said to be there. */
static void test_put_fails(void **state)
{
    struct place p;
    struct digest d;

    (void)state;
    place_init(&p);
    place_open(&p);
    digest_of(DIGEST_SHA256, BODY.ptr, BODY.len, &d);
    place_write(&p, place_path(&p, "docker/registry/v2/repositories/library/busybox"), "x", 1);
    struct manifest *m = manifest_new(&d, SLICE_NONE, BODY);
    assert_int_equal(put(&p, REPO, m), -ENOTDIR);
    assert_null(manifests_find(cache_manifests(p.cache), &d));
    manifest_unref(&m);
    place_close(&p);
    place_fini(&p);
}

/* --- deleted on its way to the storage -------------------------------------------------------- */

/* Holds a thread of the pool. */
struct blocker {
    struct pool_job job; /* first */
    struct moment begun, end;
};

static void do_block(struct pool_job *job)
{
    struct blocker *b = (struct blocker *)job;

    moment_come(&b->begun);
    moment_wait(&b->end);
}

static void block(struct place *p, struct blocker *blockers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        blockers[i] = (struct blocker){.job = {.work = do_block}};
        moment_init(&blockers[i].begun);
        moment_init(&blockers[i].end);
        pool_submit(p->pool, &blockers[i].job, NULL);
        assert_true(moment_wait(&blockers[i].begun));
    }
}

static void unblock(struct place *p, struct blocker *blockers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        moment_come(&blockers[i].end);
    place_settle(p);
    for (size_t i = 0; i < n; i++) {
        moment_fini(&blockers[i].begun);
        moment_fini(&blockers[i].end);
    }
}

static void do_add_layer(void *arg)
{
    struct story *s = arg;

    links_add(cache_links(s->place->cache), s->repo, &s->digest, "hub");
}

static enum link_state state_of(struct place *p, enum link_kind kind, const struct digest *d)
{
    return links_find(cache_links(p->cache), kind, REPO, d);
}

static int load_link(struct place *p, enum link_kind kind, const struct digest *d)
{
    return links_load_now(cache_links(p->cache), kind, REPO, d, NULL);
}

/* What is noted and not stored yet is here for those who delete it, and does not come back. */
static void test_deleted_early(void **state)
{
    struct place p;
    struct blocker blockers[3];
    struct digest d, layer;
    struct error err;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct links *ls = cache_links(p.cache);
    digest_of(DIGEST_SHA256, BODY.ptr, BODY.len, &d);
    digest_of(DIGEST_SHA256, "layer", 5, &layer);
    struct manifest *m = manifest_new(&d, SLICE(OCI_MANIFEST), BODY);
    struct story s = {.place = &p, .repo = REPO, .manifest = m, .digest = layer};
    moment_init(&s.over);
    block(&p, blockers, N_ROWS(blockers));
    place_run(&p, 0, do_keep, &s);
    place_run(&p, 0, do_add_layer, &s);
    assert_int_equal(state_of(&p, LINK_REVISION, &d), LINK_YES);
    assert_int_equal(state_of(&p, LINK_LAYER, &layer), LINK_YES);
    assert_int_equal(links_remove_now(ls, LINK_REVISION, REPO, &d, &err), 0);
    assert_int_equal(links_remove_now(ls, LINK_LAYER, REPO, &layer, &err), 0);
    assert_int_equal(links_remove_now(ls, LINK_REVISION, REPO, &d, &err), -ENOENT);
    assert_int_equal(links_remove_now(ls, LINK_LAYER, REPO, &layer, &err), -ENOENT);
    unblock(&p, blockers, N_ROWS(blockers));
    assert_true(moment_wait(&s.over));
    moment_fini(&s.over);
    assert_int_equal(s.rc, -ECANCELED);
    assert_int_equal(load_link(&p, LINK_REVISION, &d), -ENOENT);
    assert_int_equal(load_link(&p, LINK_LAYER, &layer), -ENOENT);
    /* What is heard after that is kept. */
    assert_int_equal(keep(&p, REPO, m), 0);
    place_run(&p, 0, do_add_layer, &s);
    place_reopen(&p);
    assert_int_equal(load_link(&p, LINK_REVISION, &d), 0);
    assert_int_equal(load_link(&p, LINK_LAYER, &layer), 0);
    manifest_unref(&m);
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),           cmocka_unit_test(test_types),
        cmocka_unit_test(test_keep_and_load), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_memory_bound),  cmocka_unit_test(test_references),
        cmocka_unit_test(test_put),           cmocka_unit_test(test_put_fails),
        cmocka_unit_test(test_deleted_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
