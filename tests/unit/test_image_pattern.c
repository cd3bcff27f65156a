#include "config.h"

#include "mirrord/image_pattern.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
    const char *text, *repo, *tag, *hex;
    bool is_hub, is_match;
} MATCHES[] = {
    {"library/nginx", "library/nginx", "1.25", HEX, false, true},
    {"library/nginx", "library/nginx", "", HEX, false, true},
    {"library/nginx", "library/nginx2", "1.25", HEX, false, false},
    {"nginx", "library/nginx", "1", HEX, true, true},
    {"nginx", "library/nginx", "1", HEX, false, false},
    {"nginx:1", "library/nginx", "1", HEX, true, true},
    {"nginx:1", "library/nginx", "2", HEX, true, false},
    {"nginx:1.*", "library/nginx", "1.25", HEX, true, true},
    {"nginx:*", "library/nginx", "", HEX, true, false},
    {"*", "a/b/c", "", HEX, false, true},
    {"*:latest", "a/b/c", "latest", HEX, false, true},
    {"ghcr.io/*", "ghcr.io/a/b", "x", HEX, false, true},
    {"host:5000/a", "host:5000/a", "x", HEX, false, true},
    {"host:5000/a:x", "host:5000/a", "x", HEX, false, true},
    {"host:5000/a:x", "host:5000/a", "y", HEX, false, false},
    {"a@sha256:" HEX, "a", "x", HEX, false, true},
    {"a@sha256:" HEX, "a", "", OTHER, false, false},
    {"*@sha256:" HEX, "b", "", HEX, false, true},
};

static void test_match(void **state)
{
    struct image_pattern p;
    struct digest d;

    (void)state;
    for (size_t i = 0; i < N_ROWS(MATCHES); i++) {
        assert_true(digest_parse_hex(DIGEST_SHA256, slice_of(MATCHES[i].hex), &d));
        assert_int_equal(image_pattern_read(slice_of(MATCHES[i].text), MATCHES[i].is_hub, &p, NULL),
                         0);
        if (image_pattern_match(&p, slice_of(MATCHES[i].repo), slice_of(MATCHES[i].tag), &d) !=
            MATCHES[i].is_match)
            fail_msg("%s on %s:%s", MATCHES[i].text, MATCHES[i].repo, MATCHES[i].tag);
    }
}

static void test_refused(void **state)
{
    static const char *const TEXTS[] = {
        "",    ":1",    ("@sha256:" HEX), "a:",   "a@",   "a@sha256:12",
        "A/b", "a:b c", "a\"b",           "a:.x", "a:x!",
    };
    struct image_pattern p;
    struct error err;

    (void)state;
    for (size_t i = 0; i < N_ROWS(TEXTS); i++) {
        if (image_pattern_read(slice_of(TEXTS[i]), true, &p, &err) != -EINVAL)
            fail_msg("%s was taken", TEXTS[i]);
    }
}

static void test_exact(void **state)
{
    static const struct {
        const char *text;
        bool is_exact, is_one_repo;
    } ROWS[] = {
        {"nginx", false, true},    {"nginx:1", true, true},
        {"nginx:1*", false, true}, {"nginx@sha256:" HEX, true, true},
        {"n*:1", false, false},    {"n?", false, false},
    };
    struct image_pattern p;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(image_pattern_read(slice_of(ROWS[i].text), true, &p, NULL), 0);
        assert_int_equal(image_pattern_is_exact(&p), ROWS[i].is_exact);
        assert_int_equal(image_pattern_is_one_repo(&p), ROWS[i].is_one_repo);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
