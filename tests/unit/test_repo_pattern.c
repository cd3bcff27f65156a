#include "config.h"

#include "mirrord/repo_pattern.h"

#include "mirrord/tag_pattern.h"
#include "tests/unit/unit.h"

static const char *const HUB[] = {"docker.io", "index.docker.io", NULL};
static const char *const GHCR[] = {"ghcr.io", "ghcr.lan", NULL};
static const char *const PORT[] = {"corp.example:5000", "corp.example_5000", NULL};

static const struct registry_config CONFIGS[] = {
    {.host = "docker.io", .is_default = true, .is_hub = true, .ways = {[REGISTRY_BY_NAME] = HUB}},
    {.host = "ghcr.io", .ways = {[REGISTRY_BY_NAME] = GHCR}},
    {.host = "corp.example:5000", .ways = {[REGISTRY_BY_NAME] = PORT}},
};

static void test_matches(void **state)
{
    static const struct {
        const char *pattern, *repo;
        bool is_match;
    } ROWS[] = {
        {"*", "library/nginx", true},
        {"*", "ghcr.io/org/app", true},
        {"nginx", "library/nginx", true},
        {"library/*", "library/nginx", true},
        {"library/*", "ghcr.io/library/x", false},
        /* The default registry, by any of its names, and no other. */
        {"docker.io/*", "library/nginx", true},
        {"docker.io/*", "org/app", true},
        {"docker.io/*", "ghcr.io/org/app", false},
        {"docker.io/*", "corp.example_5000/app", false},
        {"docker.io/*", "quay.io/org/app", false},
        {"docker.io/library/n*", "library/nginx", true},
        {"docker.io/nginx", "library/nginx", true},
        {"index.docker.io/org/?pp", "org/app", true},
        {"docker.io/org/app", "org/apps", false},
        {"docker.io", "library/docker.io", true},
        /* Others. */
        {"ghcr.io/*", "ghcr.io/org/app", true},
        {"ghcr.lan/org/*", "ghcr.io/org/app", true},
        {"ghcr.lan/org/*", "ghcr.lan/org/app", false},
        {"ghcr.io/*", "ghcr.io.evil/app", false},
        {"ghcr.io/nginx", "ghcr.io/library/nginx", false},
        {"corp.example:5000/*", "corp.example_5000/app", true},
        {"corp.example_5000/app", "corp.example_5000/app", true},
        {"corp.example:5001/*", "corp.example_5000/app", false},
        /* Wildcards in front are of the names of the storage. */
        {"*.io/org/*", "ghcr.io/org/app", true},
        {"*.io/org/*", "org/app", false},
        {"quay.io/*", "quay.io/org/app", true},
    };
    struct registries *r = registries_new(CONFIGS, N_ROWS(CONFIGS));

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct repo_pattern p = repo_pattern_of(slice_of(ROWS[i].pattern), r, true);
        if (repo_pattern_matches(&p, slice_of(ROWS[i].repo)) != ROWS[i].is_match)
            fail_msg("%s of %s", ROWS[i].repo, ROWS[i].pattern);
    }
    registries_free(&r);
}

/* Of a name in front and a tag behind. */
static void test_tags(void **state)
{
    static const struct {
        const char *pattern, *repo, *tag;
        bool is_match;
    } ROWS[] = {
        {"corp.example:5000/app:latest", "corp.example_5000/app", "latest", true},
        {"corp.example:5000/app:latest", "corp.example_5000/app", "v1", false},
        {"corp.example:5000/app:latest", "corp.example_5000/app", "", false},
        {"corp.example:5000/app", "corp.example_5000/app", "v1", true},
        {"docker.io/*:v*", "library/nginx", "v1", true},
        {"docker.io/*:v*", "ghcr.io/org/app", "v1", false},
        {"nginx:5000", "library/nginx", "5000", true},
    };
    static const char *const WRONG[] = {"",     ":latest", "a:",         "A",    "a:5000/b:c/d",
                                        "a:b:", "a b",     "a/b:5000/c", "a/b@c"};
    struct registries *r = registries_new(CONFIGS, N_ROWS(CONFIGS));
    struct tag_pattern_names names = {r, true};
    struct tag_pattern p;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(tag_pattern_read(slice_of(ROWS[i].pattern), &names, &p, NULL), 0);
        if (tag_pattern_matches(&p, slice_of(ROWS[i].repo), slice_of(ROWS[i].tag)) !=
            ROWS[i].is_match)
            fail_msg("%s:%s of %s", ROWS[i].repo, ROWS[i].tag, ROWS[i].pattern);
    }
    for (size_t i = 0; i < N_ROWS(WRONG); i++)
        if (tag_pattern_read(slice_of(WRONG[i]), &names, &p, NULL) == 0)
            fail_msg("%s is accepted", WRONG[i]);
    registries_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
