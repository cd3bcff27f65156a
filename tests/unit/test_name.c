#include "config.h"

#include "mirrord/name.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

static const struct {
    const char *name;
    bool is_repo;
} repos[] = {
    {"a", true},
    {"nginx", true},
    {"library/nginx", true},
    {"a/b/c/d", true},
    {"0/9", true},
    {"a.b", true},
    {"a_b", true},
    {"a__b", true},
    {"a-b", true},
    {"a---b", true},
    {"manifests/blobs/tags", true},
    {"", false},
    {"/", false},
    {"a/", false},
    {"/a", false},
    {"a//b", false},
    {"A", false},
    {"a.", false},
    {".a", false},
    {"a..b", false},
    {"a___b", false},
    {"a_-b", false},
    {"-a", false},
    {"a-", false},
    {"a/..", false},
    {"..", false},
    {"a b", false},
    {"a:b", false},
    {"a\xc3\xa9", false},
};

static void test_repos(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(repos); i++) {
        if (name_is_repo(slice_of(repos[i].name)) != repos[i].is_repo)
            fail_msg("%s", repos[i].name);
    }
}

static void test_repo_length(void **state)
{
    char name[NAME_REPO_MAX + 1];

    (void)state;
    memset(name, 'a', sizeof(name));
    assert_true(name_is_repo((struct slice){name, NAME_REPO_MAX}));
    assert_false(name_is_repo((struct slice){name, NAME_REPO_MAX + 1}));
}

static void test_full(void **state)
{
    static const struct {
        const char *name;
        bool is_valid;
    } rows[] = {
        {"app", true},
        {"ghcr.io/org/app", true},
        {"corp:5000/app", true},
        {"corp:/app", false},
        {"corp:65536/app", false},
        {"corp:5000", false},
        {"a/b:1/c", false},
        {"", false},
        {"a/", false},
        {"/a", false},
        {":5000/a", false},
        {"a:1:2/b", false},
    };
    char name[NAME_FULL_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (name_is_full(slice_of(rows[i].name)) != rows[i].is_valid)
            fail_msg("%s", rows[i].name);
    memset(name, 'a', sizeof(name));
    assert_true(name_is_full((struct slice){name, NAME_FULL_MAX}));
    assert_false(name_is_full((struct slice){name, NAME_FULL_MAX + 1}));
}

static void test_tags(void **state)
{
    static const struct {
        const char *tag;
        bool is_tag;
    } rows[] = {
        {"latest", true}, {"1.0", true},   {"A_b-C.9", true}, {"_x", true},   {"", false},
        {".a", false},    {"-a", false},   {"a/b", false},    {"a:b", false}, {"a b", false},
        {"a@b", false},   {"a%2F", false}, {"a\n", false},
    };
    char tag[NAME_TAG_MAX + 1];

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        if (name_is_tag(slice_of(rows[i].tag)) != rows[i].is_tag)
            fail_msg("%s", rows[i].tag);
    }
    memset(tag, 'x', sizeof(tag));
    assert_true(name_is_tag((struct slice){tag, NAME_TAG_MAX}));
    assert_false(name_is_tag((struct slice){tag, NAME_TAG_MAX + 1}));
}

static const struct {
    const char *raw;
    bool is_path;
    int rc; /* 0: out is the result */
    const char *out;
} decodings[] = {
    {"abc", true, 0, "abc"},
    {"sha256%3Aab", true, 0, "sha256:ab"},
    {"sha256%3aab", true, 0, "sha256:ab"},
    {"%41", true, 0, "A"},
    {"%25", true, 0, "%"},
    {"a/b", true, 0, "a/b"},
    {"a%2Fb", true, -EINVAL, NULL},
    {"a%2fb", true, -EINVAL, NULL},
    {"a%2Fb", false, 0, "a/b"},
    {"%", true, -EINVAL, NULL},
    {"%4", true, -EINVAL, NULL},
    {"%4g", true, -EINVAL, NULL},
    {"%00", true, -EINVAL, NULL},
    {"%1f", false, -EINVAL, NULL},
    {"%7f", false, -EINVAL, NULL},
    {"%0d%0a", false, -EINVAL, NULL},
    {"a\tb", false, -EINVAL, NULL},
    {"123456789", true, 0, "123456789"},
    {"1234567890", true, -E2BIG, NULL},
    {"", true, 0, ""},
};

static void test_decode(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(decodings); i++) {
        char out[9];
        int rc = name_decode(slice_of(decodings[i].raw), decodings[i].is_path, out, sizeof(out));
        int want = decodings[i].rc ? decodings[i].rc : (int)strlen(decodings[i].out);
        if (rc != want || (rc > 0 && memcmp(out, decodings[i].out, (size_t)rc) != 0))
            fail_msg("%s: %d", decodings[i].raw, rc);
    }
}

static void test_canonical(void **state)
{
    char out[NAME_HUB_SIZE];

    (void)state;
    assert_int_equal(name_canonical(SLICE("nginx"), true, out), 13);
    assert_memory_equal(out, "library/nginx", 13);
    assert_int_equal(name_canonical(SLICE("nginx"), false, out), 5);
    assert_int_equal(name_canonical(SLICE("a/b"), true, out), 3);
    assert_memory_equal(out, "a/b", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repos),  cmocka_unit_test(test_repo_length),
        cmocka_unit_test(test_full),   cmocka_unit_test(test_tags),
        cmocka_unit_test(test_decode), cmocka_unit_test(test_canonical),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
