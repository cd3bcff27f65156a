#include "config.h"

#include "mirrord/push_manifest.h"

#include <string.h>

#include "base/json_walk.h"
#include "base/strbuf.h"
#include "tests/unit/unit.h"

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DESC "{\"digest\":\"sha256:" HEX "\",\"size\":1}"
#define OCI_IMAGE "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define DOCKER_IMAGE "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define SCHEMA1 "application/vnd.docker.distribution.manifest.v1+json"
#define SCHEMA1_SIGNED "application/vnd.docker.distribution.manifest.v1+prettyjws"
#define IMAGE "\"schemaVersion\":2,\"config\":" DESC ",\"layers\":[" DESC "]"
#define INDEX "\"schemaVersion\":2,\"manifests\":[" DESC "]"

/* media_type NULL: refused, and why; else what it is kept as. */
static const struct {
    const char *header, *body, *media_type, *why;
    unsigned n_refs;
    bool is_opaque;
} ROWS[] = {
    {OCI_IMAGE, "{" IMAGE "}", OCI_IMAGE, NULL, 2, false},
    {OCI_IMAGE "; charset=utf-8", "{" IMAGE "}", OCI_IMAGE, NULL, 2, false},
    {"  " OCI_IMAGE " ;x=y", "{" IMAGE "}", OCI_IMAGE, NULL, 2, false},
    {OCI_IMAGE, "{" IMAGE ",\"mediaType\":\"" OCI_IMAGE "\"}", OCI_IMAGE, NULL, 2, false},
    {OCI_IMAGE, "{" IMAGE ",\"mediaType\":\"application\\/vnd.oci.image.manifest.v1\\u002Bjson\"}",
     OCI_IMAGE, NULL, 2, false},
    {"", "{" IMAGE ",\"mediaType\":\"" DOCKER_IMAGE "\"}", DOCKER_IMAGE, NULL, 2, false},
    {"", "{" IMAGE "}", OCI_IMAGE, NULL, 2, false},
    {"", "{" INDEX "}", OCI_INDEX, NULL, 1, false},
    {OCI_INDEX, "{" INDEX "}", OCI_INDEX, NULL, 1, false},
    {OCI_INDEX, "{\"schemaVersion\":2,\"manifests\":[]}", OCI_INDEX, NULL, 0, false},
    {DOCKER_LIST, "{" INDEX "}", DOCKER_LIST, NULL, 1, false},
    {DOCKER_IMAGE, "{\"config\":" DESC "}", DOCKER_IMAGE, NULL, 1, false},
    {SCHEMA1, "{\"schemaVersion\":1,\"fsLayers\":[{\"blobSum\":\"sha256:" HEX "\"}]}", SCHEMA1,
     NULL, 1, false},
    {"application/vnd.example+json", "{\"blobs\":[" DESC "]}", "application/vnd.example+json", NULL,
     1, false},
    /* Of types we do not know nothing is asked. */
    {"application/vnd.example+json", "{\"layers\":[1,2],\"config\":\"x\"}",
     "application/vnd.example+json", NULL, 0, true},
    {"application/vnd.example+json",
     "{\"layers\":7,\"mediaType\":\"application/vnd.example\\u002bjson\"}",
     "application/vnd.example+json", NULL, 0, true},
    {"application/vnd.example+json", "{}", "application/vnd.example+json", NULL, 0, false},

    {OCI_IMAGE, "", NULL, "early end", 0, false},
    {OCI_IMAGE, "[]", NULL, "no JSON object", 0, false},
    {"x/y", "[]", NULL, "no JSON object", 0, false},
    {"x/y", "hello", NULL, "JSON", 0, false},
    {"x/y", "{\"a\":[[[[[[[[1]]]]]]]]}", NULL, "deep", 0, false},
    {"x/y", "{\"layers\":1,\"mediaType\":\"x/z\"}", NULL, "differ", 0, false},
    {"x/y", "{\"layers\":1,\"mediaType\":\"x/z\",\"mediaType\":\"x/y\"}", NULL, "twice", 0, false},
    {"x/y", "{\"mediaType\":\"x/z\",\"\\u006dediaType\":\"x/y\"}", NULL, "twice", 0, false},
    {OCI_IMAGE, "{" IMAGE ",\"mediaType\":\"" DOCKER_IMAGE "\"}", NULL, "differ", 0, false},
    {OCI_IMAGE, "{" IMAGE ",\"mediaType\":\"\\u0000\"}", NULL, "media type", 0, false},
    {"nonsense", "{" IMAGE "}", NULL, "media type", 0, false},
    {"a/b,c/d", "{}", NULL, "media type", 0, false},
    {"a/b\"", "{}", NULL, "media type", 0, false},
    {"a/b/c", "{}", NULL, "media type", 0, false},
    {"a/b c", "{}", NULL, "media type", 0, false},
    {"", "{\"mediaType\":\"a/b,c/d\"}", NULL, "media type", 0, false},
    {"a b/c", "{" IMAGE "}", NULL, "media type", 0, false},
    {"", "{}", NULL, "neither", 0, false},
    {"", "{\"mediaType\":\"nonsense\"}", NULL, "media type", 0, false},
    {OCI_IMAGE, "{" IMAGE ",\"manifests\":[]}", NULL, "something else", 0, false},
    {OCI_INDEX, "{" INDEX ",\"layers\":[]}", NULL, "parts of an image", 0, false},
    {OCI_INDEX, "{" INDEX ",\"config\":" DESC "}", NULL, "parts of an image", 0, false},
    {OCI_IMAGE, "{\"layers\":[]}", NULL, "without config", 0, false},
    {OCI_IMAGE, "{" INDEX "}", NULL, "something else", 0, false},
    {OCI_INDEX, "{" IMAGE "}", NULL, "parts of an image", 0, false},
    {DOCKER_IMAGE, "{\"schemaVersion\":1,\"config\":" DESC "}", NULL, "is not 2", 0, false},
    {OCI_IMAGE, "{\"config\":{\"digest\":\"sha256:x\"}}", NULL, "digest", 0, false},
    {OCI_IMAGE, "{\"config\":{\"digest\":\"sha256:" HEX "\",\"size\":-1}}", NULL, "size", 0, false},
    {"", "{\"mediaType\":\"" OCI_IMAGE "\",\"layers\":7}", NULL, "is no array", 0, false},
    {SCHEMA1_SIGNED, "{\"fsLayers\":[]}", NULL, "signed", 0, false},
    {"", "{\"fsLayers\":[],\"signatures\":[]}", NULL, "signed", 0, false},
};

static int count(void *arg, const struct manifest_ref *ref)
{
    (void)ref;
    ++*(unsigned *)arg;
    return 0;
}

static void check_row(size_t i)
{
    struct push_manifest m = {
        .body = slice_of(ROWS[i].body), .content_type = slice_of(ROWS[i].header), .depth_max = 8};
    struct error why = {0};
    struct digest digest;
    unsigned n_refs = 0;

    enum api_error error = push_manifest_read(&m, count, &n_refs, &why);
    if (!ROWS[i].media_type) {
        if (error != API_ERROR_MANIFEST_INVALID || !strstr(why.text, ROWS[i].why))
            fail_msg("row %zu: %d %s", i, (int)error, why.text);
        return;
    }
    if (error != API_ERROR_NONE)
        fail_msg("row %zu: %d %s", i, (int)error, why.text);
    assert_string_equal(m.media_type, ROWS[i].media_type);
    assert_int_equal(m.is_opaque, ROWS[i].is_opaque);
    if (!m.is_opaque)
        assert_int_equal(n_refs, ROWS[i].n_refs);
    digest_of(DIGEST_SHA256, ROWS[i].body, strlen(ROWS[i].body), &digest);
    assert_true(digest_equal(&m.digest, &digest));
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++)
        check_row(i);
}

static void test_digest(void **state)
{
    const char *body = "{" IMAGE "}";
    struct push_manifest m = {.body = slice_of(body),
                              .content_type = SLICE(OCI_IMAGE),
                              .has_digest = true,
                              .depth_max = 8};
    struct error why = {0};
    unsigned n = 0;

    (void)state;
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        digest_of(alg, body, strlen(body), &m.digest);
        assert_int_equal(push_manifest_read(&m, count, &n, &why), API_ERROR_NONE);
        assert_int_equal(m.digest.alg, alg);
        m.digest.bytes[3] ^= 1;
        assert_int_equal(push_manifest_read(&m, count, &n, &why), API_ERROR_DIGEST_WRONG);
    }
}

static void test_subject(void **state)
{
    struct push_manifest m = {.body = SLICE("{" IMAGE ",\"subject\":" DESC "}"),
                              .content_type = SLICE(OCI_IMAGE),
                              .depth_max = 8};
    struct error why = {0};
    struct digest subject;
    unsigned n = 0;

    (void)state;
    assert_true(digest_parse(SLICE("sha256:" HEX), &subject));
    assert_int_equal(push_manifest_read(&m, count, &n, &why), API_ERROR_NONE);
    assert_true(m.has_subject && digest_equal(&m.subject, &subject));
    assert_int_equal(n, 3);
}

static void test_depth(void **state)
{
    struct strbuf b = STRBUF_INIT;
    struct error why = {0};
    unsigned n = 0;

    (void)state;
    strbuf_add_str(&b, "{\"annotations\":");
    for (unsigned i = 0; i < 10000; i++)
        strbuf_add_str(&b, "{\"a\":");
    struct push_manifest m = {.body = {b.ptr, b.len}, .content_type = SLICE("x/y")};
    for (m.depth_max = 4; m.depth_max <= JSON_WALK_DEPTH_MAX; m.depth_max *= 2)
        assert_int_equal(push_manifest_read(&m, count, &n, &why), API_ERROR_MANIFEST_INVALID);
    strbuf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_subject),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
