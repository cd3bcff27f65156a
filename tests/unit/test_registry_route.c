#include "config.h"

#include "mirrord/registry_route.h"

#include <string.h>

#include "mirrord/registries.h"
#include "tests/unit/unit.h"

#define LONG64 "0123456789012345678901234567890123456789012345678901234567890123"

#define LONG128 LONG64 LONG64
#define NAME247 LONG128 LONG64 "0123456789012345678901234567890123456789012345678901234"
#define NAME255 NAME247 "01234567"

static const char *const HUB[] = {"docker.io", "index.docker.io", "registry-1.docker.io", NULL};
static const char *const HUB_BASE[] = {"/docker.io", NULL};
static const char *const GHCR[] = {"ghcr.io", NULL};
static const char *const GHCR_HOST[] = {"ghcr.mirror.lan", "10.0.0.1:5002", NULL};
static const char *const GHCR_BASE[] = {"/ghcr.io", "/mirrors/ghcr", NULL};
static const char *const PORT[] = {"corp.example:5000", "corp.example_5000", NULL};
static const char *const SHORT[] = {"corp", NULL};
static const char *const LONG[] = {LONG128, NULL};

/* Docker Hub by default, two others. */
static const struct registry_config CONFIGS[] = {
    {.host = "ghcr.io", .ways = {GHCR, GHCR_HOST, GHCR_BASE, GHCR}},
    {.host = "docker.io", .is_default = true, .is_hub = true, .ways = {HUB, NULL, HUB_BASE, HUB}},
    {.host = "corp.example:5000", .ways = {PORT, NULL, NULL, PORT}},
    {.host = "corp", .ways = {SHORT, NULL, NULL, SHORT}},
    {.host = LONG128, .ways = {LONG, NULL, NULL, LONG}},
};

static const struct {
    const char *base, *host, *query, *repo;
    bool is_push;
    enum api_error error;
    const char *stored, *registry, *ns; /* ns NULL: none */
} ROWS[] = {
    /* By nothing: the default. */
    {"", "", "", "nginx", false, API_ERROR_NONE, "library/nginx", "docker.io", NULL},
    {"", "mirror:5000", "n=5", "org/app", false, API_ERROR_NONE, "org/app", "docker.io", NULL},
    /* By the first component. */
    {"", "", "", "ghcr.io/org/app", false, API_ERROR_NONE, "ghcr.io/org/app", "ghcr.io", NULL},
    {"", "", "", "ghcr.io/app", false, API_ERROR_NONE, "ghcr.io/app", "ghcr.io", NULL},
    {"", "", "", "ghcr.io", false, API_ERROR_NONE, "library/ghcr.io", "docker.io", NULL},
    {"", "", "", "ghcr.io.evil/app", false, API_ERROR_NONE, "ghcr.io.evil/app", "", NULL},
    {"", "", "", "docker.io/nginx", false, API_ERROR_NONE, "library/nginx", "docker.io", NULL},
    {"", "", "", "docker.io/library/nginx", false, API_ERROR_NONE, "library/nginx", "docker.io",
     NULL},
    {"", "", "", "index.docker.io/org/app", false, API_ERROR_NONE, "org/app", "docker.io", NULL},
    {"", "", "", "registry-1.docker.io/x", true, API_ERROR_NONE, "library/x", "docker.io", NULL},
    {"", "", "", "corp.example:5000/app", false, API_ERROR_NONE, "corp.example_5000/app",
     "corp.example:5000", NULL},
    {"", "", "", "corp.example_5000/app", false, API_ERROR_NONE, "corp.example_5000/app",
     "corp.example:5000", NULL},
    {"", "", "", "corp.example:5001/app", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    {"", "", "", "corp/app", false, API_ERROR_NONE, "corp/app", "corp", NULL},
    /* What looks like a host and is not known: it is kept, and nobody is asked. */
    {"", "", "", "quay.io/org/app", true, API_ERROR_NONE, "quay.io/org/app", "", NULL},
    {"", "", "", "localhost/app", false, API_ERROR_NONE, "localhost/app", "docker.io", NULL},
    /* By the path before /v2. */
    {"/ghcr.io", "", "", "org/app", false, API_ERROR_NONE, "ghcr.io/org/app", "ghcr.io", NULL},
    {"/mirrors/ghcr", "", "", "app", true, API_ERROR_NONE, "ghcr.io/app", "ghcr.io", NULL},
    {"/docker.io", "", "", "nginx", false, API_ERROR_NONE, "library/nginx", "docker.io", NULL},
    {"/ghcr.io", "", "", "ghcr.io/app", false, API_ERROR_NONE, "ghcr.io/app", "ghcr.io", NULL},
    {"/quay.io", "", "", "app", false, API_ERROR_PATH_UNKNOWN, NULL, NULL, NULL},
    {"/quay.io", "", "ns=ghcr.io", "app", false, API_ERROR_PATH_UNKNOWN, NULL, NULL, NULL},
    /* By Host. */
    {"", "ghcr.mirror.lan", "", "org/app", false, API_ERROR_NONE, "ghcr.io/org/app", "ghcr.io",
     NULL},
    {"", "GHCR.mirror.lan:5000", "", "app", true, API_ERROR_NONE, "ghcr.io/app", "ghcr.io", NULL},
    {"", "10.0.0.1:5002", "", "app", false, API_ERROR_NONE, "ghcr.io/app", "ghcr.io", NULL},
    {"", "10.0.0.1:5003", "", "a/app", false, API_ERROR_NONE, "a/app", "docker.io", NULL},
    /* By ns, before all others. */
    {"", "", "ns=ghcr.io", "org/app", false, API_ERROR_NONE, "ghcr.io/org/app", "ghcr.io",
     "ghcr.io"},
    {"", "", "n=1&ns=GHCR.IO&last=x", "app", false, API_ERROR_NONE, "ghcr.io/app", "ghcr.io",
     "ghcr.io"},
    {"", "", "ns=docker.io", "nginx", false, API_ERROR_NONE, "library/nginx", "docker.io",
     "docker.io"},
    {"", "", "ns=index.docker.io", "library/nginx", false, API_ERROR_NONE, "library/nginx",
     "docker.io", "index.docker.io"},
    {"", "", "ns=corp.example%3A5000", "app", false, API_ERROR_NONE, "corp.example_5000/app",
     "corp.example:5000", "corp.example:5000"},
    {"/docker.io", "", "ns=ghcr.io", "app", false, API_ERROR_NONE, "ghcr.io/app", "ghcr.io",
     "ghcr.io"},
    {"", "ghcr.mirror.lan", "ns=docker.io", "app", false, API_ERROR_NONE, "library/app",
     "docker.io", "docker.io"},
    {"", "", "ns=ghcr.io", "ghcr.io/org/app", false, API_ERROR_NONE, "ghcr.io/org/app", "ghcr.io",
     "ghcr.io"},
    /* The default cannot have a name that is another's here. */
    {"", "", "ns=docker.io", "ghcr.io/org/app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io", "docker.io/app", false, API_ERROR_NONE, "ghcr.io/docker.io/app",
     "ghcr.io", "ghcr.io"},
    /* A push is not routed by ns, whatever it says. */
    {"", "", "ns=ghcr.io", "org/app", true, API_ERROR_NONE, "org/app", "docker.io", NULL},
    {"", "", "ns=127.0.0.1:1", "org/app", true, API_ERROR_NONE, "org/app", "docker.io", NULL},
    /* Unknown, internal, absurd. */
    {"", "", "ns=quay.io", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io.", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io/", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=https://ghcr.io", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=user@ghcr.io", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=127.0.0.1:6379", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=localhost", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=169.254.169.254", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=[::1]:5000", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io&ns=ghcr.io", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io&ns=", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io%00", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=ghcr.io%0d%0aX: y", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=%zz", "app", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
    {"", "", "ns=" LONG64 LONG64 LONG64 LONG64 LONG64, "app", false, API_ERROR_NAME_UNKNOWN, NULL,
     NULL, NULL},
    /* The limit is that of the name at the registry, whichever way it is named. */
    {"", "", "ns=corp.example:5000", NAME255, false, API_ERROR_NONE, "corp.example_5000/" NAME255,
     "corp.example:5000", "corp.example:5000"},
    {"", "", "", "corp.example:5000/" NAME255, false, API_ERROR_NONE, "corp.example_5000/" NAME255,
     "corp.example:5000", NULL},
    {"/ghcr.io", "", "", NAME255, false, API_ERROR_NONE, "ghcr.io/" NAME255, "ghcr.io", NULL},
    {"", "", "", "ghcr.io/" NAME255, false, API_ERROR_NONE, "ghcr.io/" NAME255, "ghcr.io", NULL},
    {"", "", "ns=ghcr.io", "ghcr.io/" NAME255, false, API_ERROR_NONE, "ghcr.io/" NAME255, "ghcr.io",
     "ghcr.io"},
    {"", "", "ns=ghcr.io", NAME255 "x", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    {"", "", "", "ghcr.io/" NAME255 "x", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    {"/ghcr.io", "", "", NAME255 "x", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    {"", "", "ns=" LONG128, NAME255, false, API_ERROR_NONE, LONG128 "/" NAME255, LONG128, LONG128},
    {"", "", "", LONG128 "/" NAME255, false, API_ERROR_NONE, LONG128 "/" NAME255, LONG128, NULL},
    /* Of whom nobody knows the first component, it is a part of the name. */
    {"", "", "", "quay.io/" NAME247, false, API_ERROR_NONE, "quay.io/" NAME247, "", NULL},
    {"", "", "", "quay.io/" NAME247 "x", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    /* Docker Hub's short names are long ones. */
    {"", "", "", NAME247, false, API_ERROR_NONE, "library/" NAME247, "docker.io", NULL},
    {"", "", "", NAME247 "x", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    {"", "", "", "library/" NAME247 "x", false, API_ERROR_NAME_INVALID, NULL, NULL, NULL},
    /* No repository. */
    {"", "", "", "", false, API_ERROR_NONE, "", "docker.io", NULL},
    {"/ghcr.io", "", "", "", false, API_ERROR_NONE, "", "ghcr.io", NULL},
    {"", "", "ns=ghcr.io", "", false, API_ERROR_NONE, "", "ghcr.io", "ghcr.io"},
    {"", "", "ns=no.where", "", false, API_ERROR_NAME_UNKNOWN, NULL, NULL, NULL},
};

static void check_choice(const struct registries *r, size_t row, const char *repo,
                         const struct registry_choice *c)
{
    struct slice stored = {repo, c->repo_len};

    if (!slice_equal(stored, slice_of(ROWS[row].stored)) ||
        !slice_equal(c->registry->host, slice_of(ROWS[row].registry)) ||
        !slice_equal(c->ns, slice_of(ROWS[row].ns ? ROWS[row].ns : "")) ||
        !slice_equal(c->base, slice_of(ROWS[row].base)))
        fail_msg("row %zu: %.*s of %s by ns %.*s", row, SLICE_ARG(stored), c->registry->host.ptr,
                 SLICE_ARG(c->ns));
    if (c->repo_len)
        assert_ptr_equal(registries_of(r, stored), c->registry);
}

static void test_rows(void **state)
{
    struct registries *r = registries_new(CONFIGS, N_ROWS(CONFIGS));

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct registry_request q = {.query = slice_of(ROWS[i].query),
                                     .host = slice_of(ROWS[i].host),
                                     .base = slice_of(ROWS[i].base),
                                     .repo = slice_of(ROWS[i].repo),
                                     .is_pull = !ROWS[i].is_push};
        struct registry_choice choice;
        char repo[NAME_FULL_MAX];
        enum api_error error = registry_route(r, &q, repo, &choice);
        if (error != ROWS[i].error)
            fail_msg("row %zu: error %d", i, (int)error);
        if (error == API_ERROR_NONE)
            check_choice(r, i, repo, &choice);
    }
    registries_free(&r);
}

/* What the upstream is asked for. */
static void test_names_upstream(void **state)
{
    static const struct {
        const char *stored, *theirs;
    } rows[] = {
        {"library/nginx", "library/nginx"},
        {"ghcr.io/org/app", "org/app"},
        {"corp.example_5000/app", "app"},
        {"quay.io/org/app", "quay.io/org/app"},
        {"ghcr.io", "ghcr.io"},
    };
    struct registries *r = registries_new(CONFIGS, N_ROWS(CONFIGS));

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct slice stored = slice_of(rows[i].stored);
        struct slice theirs = registry_repo(registries_of(r, stored), stored);
        if (!slice_equal(theirs, slice_of(rows[i].theirs)))
            fail_msg("%s is %.*s", rows[i].stored, SLICE_ARG(theirs));
    }
    registries_free(&r);
}

/* Another registry than Docker Hub may have projects with dots; those are asked for. */
static void test_private_default(void **state)
{
    static const char *const names[] = {"corp.example", NULL};
    static const struct registry_config config = {
        .host = "corp.example", .is_default = true, .ways = {names, NULL, NULL, names}};
    struct registries *r = registries_new(&config, 1);
    char repo[NAME_FULL_MAX];

    (void)state;
    assert_ptr_equal(registries_of(r, SLICE("my.project/app")), registries_default(r));
    assert_int_equal(registry_route_name(r, SLICE("corp.example/app"), repo), 3);
    assert_memory_equal(repo, "app", 3);
    assert_int_equal(registry_route_name(r, SLICE("docker.io/library/x"), repo), 19);
    registries_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_names_upstream),
        cmocka_unit_test(test_private_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
