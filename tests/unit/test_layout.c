#include "config.h"

#include "cache/layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/unit/unit.h"

static void test_repo_names(void **state)
{
    static const struct {
        const char *name;
        bool is_valid;
    } ROWS[] = {
        {"library/busybox", true},
        {"busybox", true},
        {"a/b/c/d", true},
        {"ghcr.io/owner/name", true},
        {"localhost:5000/a", true},
        {"a__b/c-d.e", true},
        {"", false},
        {"/", false},
        {"/etc", false},
        {"a/", false},
        {"a//b", false},
        {".", false},
        {"..", false},
        {"../x", false},
        {"a/../b", false},
        {"a/..", false},
        {"a/./b", false},
        {"a/.hidden", false},
        {"a/_manifests", false},
        {"_layers", false},
        {"a/_uploads/x", false},
        {"a\\b", false},
        {"a b", false},
        {"a%2f..", false},
        {"a/\xc3\xa9", false},
        {"a\nb", false},
        {"-a", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++)
        assert_int_equal(layout_repo_is_valid(slice_of(ROWS[i].name)), ROWS[i].is_valid);
    assert_false(layout_repo_is_valid((struct slice){"a\0b", 3}));
    assert_false(layout_repo_is_valid(SLICE_NONE));
}

static void test_lengths(void **state)
{
    char name[600];

    (void)state;
    memset(name, 'a', sizeof(name));
    assert_true(layout_repo_is_valid((struct slice){name, 255}));
    assert_false(layout_repo_is_valid((struct slice){name, 256}));
    for (size_t i = 1; i < sizeof(name); i += 2)
        name[i] = '/';
    assert_true(layout_repo_is_valid((struct slice){name, 511}));
    assert_false(layout_repo_is_valid((struct slice){name, 513}));
    memset(name, 'a', sizeof(name));
    assert_true(layout_tag_is_valid((struct slice){name, 128}));
    assert_false(layout_tag_is_valid((struct slice){name, 129}));
}

static void test_tag_names(void **state)
{
    static const struct {
        const char *name;
        bool is_valid;
    } ROWS[] = {
        {"latest", true}, {"1.0", true},  {"_x", true},       {"A-b_c.d", true},    {"", false},
        {".", false},     {"..", false},  {".hidden", false}, {"-x", false},        {"a/b", false},
        {"a:b", false},   {"a b", false}, {"a\n", false},     {"../latest", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++)
        assert_int_equal(layout_tag_is_valid(slice_of(ROWS[i].name)), ROWS[i].is_valid);
}

static void expect(char *path, const char *want)
{
    assert_string_equal(path, want);
    free(path);
}

static void test_paths(void **state)
{
    struct layout *l = layout_new("/s/");
    struct digest d;
    const char *hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char *want = xasprintf("/s/docker/registry/v2/blobs/sha256/e3/%s/data", hex);

    (void)state;
    digest_of(DIGEST_SHA256, "", 0, &d);
    assert_string_equal(layout_root(l), "/s");
    expect(layout_blob(l, &d), want);
    free(want);
    want = xasprintf("/s/_mirrord/fills/sha256-%s.part", hex);
    expect(layout_fill_part(l, &d), want);
    free(want);
    want = xasprintf("/s/_mirrord/fills/sha256-%s.map", hex);
    expect(layout_fill_map(l, &d), want);
    free(want);
    expect(layout_tag_link(l, SLICE("a/b"), SLICE("t")),
           "/s/docker/registry/v2/repositories/a/b/_manifests/tags/t/current/link");
    expect(layout_tag_record(l, SLICE("a/b"), SLICE("t")),
           "/s/docker/registry/v2/repositories/a/b/_manifests/tags/t/mirrord.json");
    want = xasprintf("/s/docker/registry/v2/repositories/a/_manifests/tags/t/index/sha256/%s/link",
                     hex);
    expect(layout_tag_index_link(l, SLICE("a"), SLICE("t"), &d), want);
    free(want);
    want =
        xasprintf("/s/docker/registry/v2/repositories/a/_manifests/revisions/sha256/%s/link", hex);
    expect(layout_revision_link(l, SLICE("a"), &d), want);
    free(want);
    want = xasprintf("/s/docker/registry/v2/repositories/a/_layers/sha256/%s/link", hex);
    expect(layout_layer_link(l, SLICE("a"), &d), want);
    free(want);
    expect(layout_upload(l, SLICE("a/b"), SLICE("1f-2")),
           "/s/docker/registry/v2/repositories/a/b/_uploads/1f-2");
    expect(layout_upload(l, SLICE("a/b"), SLICE_NONE),
           "/s/docker/registry/v2/repositories/a/b/_uploads");
    layout_free(&l);
}

static void test_fill_names(void **state)
{
    struct digest d, found;
    char hex[DIGEST_TEXT_SIZE];

    (void)state;
    digest_of(DIGEST_SHA512, "x", 1, &d);
    digest_hex(&d, hex);
    char *name = xasprintf("sha512-%s.part", hex);
    assert_true(layout_fill_name_parse(slice_of(name), &found));
    assert_true(digest_equal(&d, &found));
    name[10] = 'G';
    assert_false(layout_fill_name_parse(slice_of(name), &found));
    free(name);
    assert_false(layout_fill_name_parse(SLICE(""), &found));
    assert_false(layout_fill_name_parse(SLICE("sha256.part"), &found));
    assert_false(layout_fill_name_parse(SLICE("sha256-ab.part"), &found));
    assert_false(layout_fill_name_parse(SLICE("README"), &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repo_names), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_tag_names),  cmocka_unit_test(test_paths),
        cmocka_unit_test(test_fill_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
