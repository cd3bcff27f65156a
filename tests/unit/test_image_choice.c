#include "config.h"

#include "mirrord/image_choice.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const HUB[] = {"docker.io", "index.docker.io", NULL};
static const char *const GHCR[] = {"ghcr.io", "gh", NULL};
static const char *const PORT[] = {"corp.example:5000", "corp.example_5000", NULL};

static const struct registry_config CONFIGS[] = {
    {.host = "docker.io", .is_default = true, .is_hub = true, .ways = {HUB, NULL, NULL, HUB}},
    {.host = "ghcr.io", .ways = {GHCR, NULL, NULL, GHCR}},
    {.host = "corp.example:5000", .ways = {PORT, NULL, NULL, PORT}},
};

/* What is meant by a text, of the images below. */
static const char *const IMAGES[] = {
    "library/nginx:1",        "library/nginx:2",         "org/app:1",
    "ghcr.io/org/app:1",      "ghcr.io/library/nginx:1", "corp.example_5000/app:1",
    "ghcr.io.evil/org/app:1",
};
#define N_IMAGES (sizeof(IMAGES) / sizeof(IMAGES[0]))

static const struct {
    const char *text;
    const char *meant; /* a digit for each image of the above */
} ROWS[] = {
    {"nginx", "01"},
    {"library/nginx", "01"},
    {"docker.io/nginx", "01"},
    {"docker.io/library/nginx:2", "1"},
    {"index.docker.io/library/nginx@sha256:" HEX, "01"},
    {"docker.io/*", "012"},
    {"index.docker.io/ngin?", "01"},
    {"docker.io/library/*:1", "0"},
    {"docker.io/org/*", "2"},
    {"ghcr.io/org/app", "3"},
    {"gh/org/app", "3"},
    {"ghcr.io/*", "34"},
    {"gh/*", "34"},
    {"gh/*/nginx:?", "4"},
    {"ghcr.io/ngin*", ""},
    {"corp.example:5000/app:1", "5"},
    {"corp.example:5000/a*", "5"},
    {"corp.example_5000/a*:*", "5"},
    {"*", "0123456"},
    {"*/org/app", "36"},
    {"ngin*", "01"},
    {"ghcr.io.evil/*", "6"},
    {"quay.io/*", ""},
};

static bool is_meant(const struct registries *r, const struct image_choice *c, const char *image)
{
    struct slice tag = slice_of(image);
    struct slice repo = slice_cut(&tag, ':');
    struct digest d;

    assert_true(digest_parse_hex(DIGEST_SHA256, slice_of(HEX), &d));
    /* A single repository is looked up by its name. */
    if (c->repo_len && !slice_equal(repo, (struct slice){c->repo, c->repo_len}))
        return false;
    return image_choice_matches(r, c, repo, tag, &d);
}

static void test_meant(void **state)
{
    struct registries *r = registries_new(CONFIGS, N_ROWS(CONFIGS));
    struct image_choice choice;
    struct error err;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        char meant[N_IMAGES + 1] = "";
        if (image_choice_read(r, slice_of(ROWS[i].text), &choice, &err) < 0)
            fail_msg("%s: %s", ROWS[i].text, err.text);
        for (size_t k = 0; k < N_IMAGES; k++)
            if (is_meant(r, &choice, IMAGES[k]))
                meant[strlen(meant)] = (char)('0' + k);
        if (strcmp(meant, ROWS[i].meant) != 0)
            fail_msg("%s means %s", ROWS[i].text, meant);
    }
    registries_free(&r);
}

static void test_refused(void **state)
{
    static const char *const TEXTS[] = {"", "a//b", "corp.example:5001/app", "a_/b", "A*", "a:"};
    struct registries *r = registries_new(CONFIGS, N_ROWS(CONFIGS));
    struct image_choice choice;
    struct error err;

    (void)state;
    for (size_t i = 0; i < N_ROWS(TEXTS); i++)
        if (image_choice_read(r, slice_of(TEXTS[i]), &choice, &err) != -EINVAL || !err.text[0])
            fail_msg("%s was taken", TEXTS[i]);
    registries_free(&r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meant),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
