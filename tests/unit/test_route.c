#include "config.h"

#include "mirrord/route.h"

#include <string.h>

#include "tests/unit/unit.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX64

static const struct {
    enum http_method method;
    const char *path;
    enum api_error error;
    enum route_id id;
    const char *repo;      /* NULL: none */
    const char *reference; /* NULL: none */
} rows[] = {
    {HTTP_GET, "/", API_ERROR_NONE, ROUTE_ROOT, NULL, NULL},
    {HTTP_GET, "/_ping", API_ERROR_NONE, ROUTE_PING, NULL, NULL},
    {HTTP_HEAD, "/v1/_ping", API_ERROR_NONE, ROUTE_PING, NULL, NULL},
    {HTTP_GET, "/v2/", API_ERROR_NONE, ROUTE_VERSION, NULL, NULL},
    {HTTP_GET, "/v2", API_ERROR_NONE, ROUTE_VERSION, NULL, NULL},
    {HTTP_GET, "/v2/_catalog", API_ERROR_NONE, ROUTE_CATALOG, NULL, NULL},
    {HTTP_GET, "/v2/a/manifests/latest", API_ERROR_NONE, ROUTE_MANIFEST, "a", "latest"},
    {HTTP_HEAD, "/v2/a/b/manifests/" DIGEST, API_ERROR_NONE, ROUTE_MANIFEST, "a/b", DIGEST},
    {HTTP_GET, "/v2/a/b/manifests/sha256%3A" HEX64, API_ERROR_NONE, ROUTE_MANIFEST, "a/b", DIGEST},
    {HTTP_GET, "/v2/a/blobs/" DIGEST, API_ERROR_NONE, ROUTE_BLOB, "a", DIGEST},
    {HTTP_GET, "/v2/a/blobs/blobs/" DIGEST, API_ERROR_NONE, ROUTE_BLOB, "a/blobs", DIGEST},
    {HTTP_GET, "/v2/manifests/manifests/manifests", API_ERROR_NONE, ROUTE_MANIFEST, "manifests",
     "manifests"},
    {HTTP_GET, "/v2/a/tags/list", API_ERROR_NONE, ROUTE_TAGS, "a", "list"},
    {HTTP_GET, "/v2/a/manifests/list", API_ERROR_NONE, ROUTE_MANIFEST, "a", "list"},
    {HTTP_GET, "/v2/%6cibrary/x/manifests/1", API_ERROR_NONE, ROUTE_MANIFEST, "library/x", "1"},
    /* Unknown paths. */
    {HTTP_GET, "/x", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/v2/a", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/v2/a/b/nothing", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/v2/a/tags/other", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/v2/a/tags/list/", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_PUT, "/x", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/V2/", API_ERROR_PATH_UNKNOWN, ROUTE_UNKNOWN, NULL, NULL},
    /* Bad names. */
    {HTTP_GET, "/v2//manifests/latest", API_ERROR_NAME_INVALID, ROUTE_MANIFEST, NULL, NULL},
    {HTTP_GET, "/v2/A/manifests/latest", API_ERROR_NAME_INVALID, ROUTE_MANIFEST, NULL, NULL},
    {HTTP_GET, "/v2/../manifests/latest", API_ERROR_NAME_INVALID, ROUTE_MANIFEST, NULL, NULL},
    {HTTP_GET, "/v2/a//b/manifests/latest", API_ERROR_NAME_INVALID, ROUTE_MANIFEST, NULL, NULL},
    {HTTP_GET, "/v2/a%2Fb/manifests/latest", API_ERROR_NAME_INVALID, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/v2/a%00/manifests/latest", API_ERROR_NAME_INVALID, ROUTE_UNKNOWN, NULL, NULL},
    {HTTP_GET, "/v2/%2e%2e/manifests/latest", API_ERROR_NAME_INVALID, ROUTE_MANIFEST, NULL, NULL},
    {HTTP_GET, "/v2/a/manifests/-x", API_ERROR_TAG_INVALID, ROUTE_MANIFEST, "a", "-x"},
    {HTTP_GET, "/v2/a/manifests/", API_ERROR_TAG_INVALID, ROUTE_MANIFEST, "a", ""},
    {HTTP_GET, "/v2/a/manifests/sha256:x", API_ERROR_DIGEST_INVALID, ROUTE_MANIFEST, "a",
     "sha256:x"},
    {HTTP_GET, "/v2/a/blobs/latest", API_ERROR_DIGEST_INVALID, ROUTE_BLOB, "a", "latest"},
    {HTTP_GET, "/v2/a/blobs/md5:0123", API_ERROR_DIGEST_INVALID, ROUTE_BLOB, "a", "md5:0123"},
    {HTTP_GET, "/v2/a/blobs/", API_ERROR_DIGEST_INVALID, ROUTE_BLOB, "a", ""},
    /* Methods. */
    {HTTP_POST, "/v2/a/manifests/latest", API_ERROR_METHOD, ROUTE_MANIFEST, NULL, NULL},
    {HTTP_PUT, "/v2/a/blobs/" DIGEST, API_ERROR_METHOD, ROUTE_BLOB, NULL, NULL},
    {HTTP_DELETE, "/v2/a/tags/list", API_ERROR_METHOD, ROUTE_TAGS, NULL, NULL},
    {HTTP_GET, "/v2/a/blobs/uploads/", API_ERROR_METHOD, ROUTE_UPLOADS, NULL, NULL},
    {HTTP_POST, "/v2/a/blobs/uploads/x", API_ERROR_METHOD, ROUTE_UPLOAD, NULL, NULL},
    {HTTP_PUT, "/v2/a/referrers/" DIGEST, API_ERROR_METHOD, ROUTE_REFERRERS, NULL, NULL},
    {HTTP_POST, "/v2/", API_ERROR_METHOD, ROUTE_VERSION, NULL, NULL},
    {HTTP_OPTIONS, "/v2/", API_ERROR_METHOD, ROUTE_VERSION, NULL, NULL},
    {HTTP_OTHER, "/", API_ERROR_METHOD, ROUTE_ROOT, NULL, NULL},
    /* What changes something. */
    {HTTP_PUT, "/v2/a/manifests/latest", API_ERROR_NONE, ROUTE_MANIFEST, "a", "latest"},
    {HTTP_DELETE, "/v2/a/manifests/" DIGEST, API_ERROR_NONE, ROUTE_MANIFEST, "a", DIGEST},
    {HTTP_DELETE, "/v2/a/blobs/" DIGEST, API_ERROR_NONE, ROUTE_BLOB, "a", DIGEST},
    {HTTP_POST, "/v2/a/blobs/uploads/", API_ERROR_NONE, ROUTE_UPLOADS, "a", NULL},
    {HTTP_POST, "/v2/a/blobs/uploads", API_ERROR_NONE, ROUTE_UPLOADS, "a", NULL},
    {HTTP_POST, "/v2/blobs/blobs/uploads/", API_ERROR_NONE, ROUTE_UPLOADS, "blobs", NULL},
    {HTTP_PATCH, "/v2/a/b/blobs/uploads/1-2", API_ERROR_NONE, ROUTE_UPLOAD, "a/b", "1-2"},
    {HTTP_GET, "/v2/a/b/blobs/uploads/1-2", API_ERROR_NONE, ROUTE_UPLOAD, "a/b", "1-2"},
    {HTTP_POST, "/v2/A/blobs/uploads/", API_ERROR_NAME_INVALID, ROUTE_UPLOADS, NULL, NULL},
    {HTTP_PATCH, "/v2/../blobs/uploads/1", API_ERROR_NAME_INVALID, ROUTE_UPLOAD, NULL, NULL},
    {HTTP_PATCH, "/v2/a/blobs/uploads/..%2F1", API_ERROR_NAME_INVALID, ROUTE_UNKNOWN, NULL, NULL},
    /* Referrers. */
    {HTTP_GET, "/v2/a/referrers/" DIGEST, API_ERROR_NONE, ROUTE_REFERRERS, "a", DIGEST},
    {HTTP_GET, "/v2/a/referrers/latest", API_ERROR_DIGEST_INVALID, ROUTE_REFERRERS, "a", "latest"},
};

static bool is_same(struct slice s, const char *want)
{
    return slice_equal(s, slice_of(want));
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct route route;
        enum api_error error =
            route_parse(rows[i].method, slice_of(rows[i].path), SLICE_NONE, &route);
        if (error != rows[i].error || route.id != rows[i].id)
            fail_msg("%s: error %d, %s", rows[i].path, (int)error, route_name(route.id));
        if (rows[i].repo && !is_same(route.repo, rows[i].repo))
            fail_msg("%s: %.*s", rows[i].path, SLICE_ARG(route.repo));
        if (rows[i].reference && !is_same(route.reference, rows[i].reference))
            fail_msg("%s: %.*s", rows[i].path, SLICE_ARG(route.reference));
        assert_non_null(route.allow);
    }
}

static void test_digest(void **state)
{
    struct route route;

    (void)state;
    assert_int_equal(route_parse(HTTP_GET, SLICE("/v2/a/manifests/" DIGEST), SLICE_NONE, &route),
                     0);
    assert_true(route.is_digest);
    assert_int_equal(route.digest.alg, DIGEST_SHA256);
    assert_int_equal(route_parse(HTTP_GET, SLICE("/v2/a/manifests/x"), SLICE_NONE, &route), 0);
    assert_false(route.is_digest);
}

static void test_name_too_long(void **state)
{
    char path[5000];
    struct route route;

    (void)state;
    memset(path, 'a', sizeof(path));
    memcpy(path, "/v2/", 4);
    memcpy(path + 400, "/manifests/x", 12);
    assert_int_equal(route_parse(HTTP_GET, (struct slice){path, 412}, SLICE_NONE, &route),
                     API_ERROR_NAME_INVALID);
    path[4] = '%';
    assert_int_equal(route_parse(HTTP_GET, (struct slice){path, sizeof(path)}, SLICE_NONE, &route),
                     API_ERROR_NAME_INVALID);
}

static const struct {
    const char *query;
    enum api_error error;
    bool has_n;
    uint64_t n;
    const char *last;
} queries[] = {
    {"", API_ERROR_NONE, false, 0, ""},
    {"n=5", API_ERROR_NONE, true, 5, ""},
    {"n=0", API_ERROR_NONE, true, 0, ""},
    {"last=a", API_ERROR_NONE, false, 0, "a"},
    {"last=a/b&n=7", API_ERROR_NONE, true, 7, "a/b"},
    {"last=a%2Fb", API_ERROR_NONE, false, 0, "a/b"},
    {"ns=docker.io&x&&=", API_ERROR_NONE, false, 0, ""},
    {"n=", API_ERROR_PAGE_INVALID, false, 0, ""},
    {"n=-1", API_ERROR_PAGE_INVALID, false, 0, ""},
    {"n=x", API_ERROR_PAGE_INVALID, false, 0, ""},
    {"n=99999999999999999999", API_ERROR_PAGE_INVALID, false, 0, ""},
    {"last=%0a", API_ERROR_PAGE_INVALID, false, 0, ""},
    {"last=%", API_ERROR_PAGE_INVALID, false, 0, ""},
};

static void test_queries(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(queries); i++) {
        struct route route;
        enum api_error error =
            route_parse(HTTP_GET, SLICE("/v2/_catalog"), slice_of(queries[i].query), &route);
        if (error != queries[i].error)
            fail_msg("%s: %d", queries[i].query, (int)error);
        if (error == API_ERROR_NONE &&
            (route.has_n != queries[i].has_n || route.n != queries[i].n ||
             !is_same(route.last, queries[i].last)))
            fail_msg("%s", queries[i].query);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_name_too_long),
        cmocka_unit_test(test_queries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
