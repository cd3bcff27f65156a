#include "config.h"

#include "mirrord/freshness.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

#define EVER FRESHNESS_FOR_EVER
#define DAY 86400

static void test_check(void **state)
{
    static const struct {
        const char *item;
        const char *why; /* NULL: accepted */
    } CASES[] = {
        {"*=0", NULL},
        {"*:latest=5m/1h", NULL},
        {"ghcr.io/*=1h/1d/30d", NULL},
        {" library/app:v? = 1.5h / 0 / forever ", NULL},
        {"*", "no '='"},
        {"*=", "no ttl"},
        {"*=forever", "no ttl"},
        {"*=1h/", "no grace"},
        {"*=1h/forever", "no grace"},
        {"*=1h/1h/", "no keep"},
        {"*=1h/1h/always", "no keep"},
        {"*=1h/1h/1h/1h", "no keep"},
        {"*=-1", "no ttl"},
        {"=1h", "repository"},
        {"A=1h", "repository"},
        {"a:=1h", "tag"},
        {"*=99999999999999999999", "no ttl"},
    };
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        print_message("%s\n", CASES[i].item);
        int rc = freshness_check(slice_of(CASES[i].item), &err);
        assert_int_equal(rc, CASES[i].why ? -EINVAL : 0);
        if (CASES[i].why)
            assert_non_null(strstr(err.text, CASES[i].why));
    }
}

/* The list first, in its order; then what was given beside it; then the defaults. */
static void test_judge(void **state)
{
    static const char *const LIST[] = {"*:latest=5m/1h", "not a rule", "redis:6*=7/8/forever",
                                       "ghcr.io/a/*=1/2/3", NULL};
    static const struct freshness_rule MORE[] = {
        {"ghcr.io/*", {60, FRESHNESS_DEFAULT, 120}},
        {"UPPER", {1, 1, 1}},
        {"quay.io/*", {FRESHNESS_DEFAULT, 9, FRESHNESS_DEFAULT}},
    };
    static const struct {
        const char *repo, *tag;
        struct freshness want;
    } CASES[] = {
        {"any/thing", "latest", {300, 3600, 5 * DAY}},
        {"library/redis", "6.2", {7, 8, EVER}},
        {"library/redis", "7", {2 * DAY, 30, 5 * DAY}},
        {"library/redis", "latest", {300, 3600, 5 * DAY}},
        {"ghcr.io/a/b", "v1", {1, 2, 3}},
        {"ghcr.io/c", "v1", {60, 30, 120}},
        {"ghcr.io/c", "latest", {300, 3600, 5 * DAY}},
        {"quay.io/c", "v1", {2 * DAY, 9, 5 * DAY}},
        {"any/thing", "", {2 * DAY, 30, 5 * DAY}},
        {"ghcr.io/a/b", "", {1, 2, 3}},
    };
    struct freshness_source source = {LIST, MORE, 3, {2 * DAY, 30, 5 * DAY}, {NULL, true}};
    struct freshness_rules *rules = freshness_new(&source);

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct freshness f =
            freshness_judge(rules, slice_of(CASES[i].repo), slice_of(CASES[i].tag));
        print_message("%s:%s\n", CASES[i].repo, CASES[i].tag);
        assert_int_equal(f.ttl_s, CASES[i].want.ttl_s);
        assert_int_equal(f.grace_s, CASES[i].want.grace_s);
        assert_int_equal(f.keep_s, CASES[i].want.keep_s);
    }
    freshness_free(&rules);
    assert_null(rules);
    freshness_free(&rules);
    source = (struct freshness_source){.preset = {1, 2, 3}};
    rules = freshness_new(&source);
    assert_int_equal(freshness_judge(rules, SLICE("a"), SLICE("b")).keep_s, 3);
    freshness_free(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_judge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
