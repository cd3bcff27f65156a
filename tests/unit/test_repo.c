#include "config.h"

#include "cache/repo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPOSITORIES "docker/registry/v2/repositories/"

struct story {
    struct place *place;
    bool want_tags;
    struct slice repo, last;
    size_t n_max;
    enum repo_tags which;
    struct repo_names *names;
    struct moment over;
    int rc;
};

static void on_listed(void *arg, int rc, struct repo_names *names)
{
    struct story *s = arg;

    s->rc = rc;
    s->names = names;
    moment_come(&s->over);
}

static void do_list(void *arg)
{
    struct story *s = arg;
    struct repos *rs = cache_repos(s->place->cache);

    if (s->want_tags)
        repos_list_tags(rs, &(struct repo_page){s->repo, s->last, s->n_max, s->which}, on_listed,
                        s);
    else
        repos_list(rs, s->last, s->n_max, on_listed, s);
}

/* All names with blanks between them, and "+" when there are more. */
static int list_some(struct place *p, const char *repo, struct repo_page page, char *out)
{
    struct story s = {
        .place = p, .want_tags = repo != NULL, .n_max = page.n_max, .which = page.which};

    s.repo = repo ? slice_of(repo) : SLICE_NONE;
    s.last = page.last;
    moment_init(&s.over);
    place_run(p, 1, do_list, &s);
    assert_true(moment_wait(&s.over));
    moment_fini(&s.over);
    *out = '\0';
    for (size_t i = 0; s.names && i < s.names->n; i++)
        out += sprintf(out, "%s%s", i > 0 ? " " : "", s.names->names[i]);
    if (s.names && s.names->has_more)
        strcpy(out, "+");
    repo_names_free(&s.names);
    return s.rc;
}

static int list(struct place *p, const char *repo, const char *last, size_t n_max, char *out)
{
    return list_some(p, repo, (struct repo_page){.last = slice_of(last), .n_max = n_max}, out);
}

/* By the half they have. */
static void test_halves(void **state)
{
#define ONE "sha256:1111111111111111111111111111111111111111111111111111111111111111"
    static const char MIRRORED[] = "{\"version\":2,\"mirrored\":{\"digest\":\"" ONE "\"}}";
    static const char BOTH[] = "{\"version\":2,\"mirrored\":{\"digest\":\"" ONE
                               "\"},\"pushed\":{\"digest\":\"" ONE "\",\"at\":1}}";
    static const struct {
        const char *tag, *record;
    } TAGS[] = {{"a", MIRRORED}, {"b", NULL}, {"c", BOTH}, {"d", MIRRORED}};
    struct repo_page page = {.n_max = 10, .last = SLICE("")};
    struct place p;
    char out[1000];

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < N_ROWS(TAGS); i++) {
        const char *tag = TAGS[i].tag, *record = TAGS[i].record;
        place_write(&p, place_path(&p, REPOSITORIES "a/b/_manifests/tags/%s/current/link", tag),
                    ONE, strlen(ONE));
        if (record)
            place_write(&p, place_path(&p, REPOSITORIES "a/b/_manifests/tags/%s/mirrord.json", tag),
                        record, strlen(record));
    }
    assert_int_equal(list_some(&p, "a/b", page, out), 0);
    assert_string_equal(out, "a b c d");
    page.which = REPO_TAGS_PUSHED;
    assert_int_equal(list_some(&p, "a/b", page, out), 0);
    assert_string_equal(out, "b c");
    page.which = REPO_TAGS_MIRRORED;
    assert_int_equal(list_some(&p, "a/b", page, out), 0);
    assert_string_equal(out, "a c d");
    page.n_max = 2;
    page.last = SLICE("a");
    assert_int_equal(list_some(&p, "a/b", page, out), 0);
    assert_string_equal(out, "c d");
    place_close(&p);
    place_fini(&p);
#undef ONE
}

static void test_tags(void **state)
{
    static const char *const TAGS[] = {"v10", "v2", "latest", "A", "1.0", "_x"};
    static const struct {
        const char *last;
        size_t n_max;
        const char *want;
    } ROWS[] = {
        {"", 100, "1.0 A _x latest v10 v2"},
        {"", 6, "1.0 A _x latest v10 v2"},
        {"", 2, "1.0 A+"},
        {"A", 3, "_x latest v10+"},
        {"B", 3, "_x latest v10+"},
        {"latest", 2, "v10 v2"},
        {"v2", 2, ""},
        {"", 0, "+"},
    };
    struct place p;
    char out[1000];

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < N_ROWS(TAGS); i++)
        place_write(&p, place_path(&p, REPOSITORIES "a/b/_manifests/tags/%s/current/link", TAGS[i]),
                    "x", 1);
    place_write(&p, place_path(&p, REPOSITORIES "a/b/_manifests/tags/half/mirrord.json"), "x", 1);
    place_write(&p, place_path(&p, REPOSITORIES "a/b/_manifests/tags/.hidden/current/link"), "", 0);
    place_write(&p, place_path(&p, REPOSITORIES "empty/_layers/x"), "", 0);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(list(&p, "a/b", ROWS[i].last, ROWS[i].n_max, out), 0);
        assert_string_equal(out, ROWS[i].want);
    }
    assert_int_equal(list(&p, "empty", "", 10, out), 0);
    assert_string_equal(out, "");
    assert_int_equal(list(&p, "none", "", 10, out), -ENOENT);
    assert_int_equal(list(&p, "../b", "", 10, out), -ENOENT);
    place_close(&p);
    place_fini(&p);
}

static void test_repositories(void **state)
{
    static const char *const NAMES[] = {
        "library/busybox", "a", "a/b", "a-b", "a/b/c", "ghcr.io/o/n", "library/alpine", "z"};
    static const struct {
        const char *last;
        size_t n_max;
        const char *want;
    } ROWS[] = {
        {"", 100, "a a-b a/b a/b/c ghcr.io/o/n library/alpine library/busybox z"},
        {"", 8, "a a-b a/b a/b/c ghcr.io/o/n library/alpine library/busybox z"},
        {"", 1, "a+"},
        {"a", 2, "a-b a/b+"},
        {"a/b", 2, "a/b/c ghcr.io/o/n+"},
        {"a/b/c", 2, "ghcr.io/o/n library/alpine+"},
        {"library", 2, "library/alpine library/busybox+"},
        {"library/busybox", 2, "z"},
        {"zz", 2, ""},
    };
    struct place p;
    char out[1000];

    (void)state;
    place_init(&p);
    place_open(&p);
    for (size_t i = 0; i < N_ROWS(NAMES); i++)
        place_write(
            &p, place_path(&p, REPOSITORIES "%s/%s/x", NAMES[i], i % 2 ? "_layers" : "_manifests"),
            "", 0);
    place_write(&p, place_path(&p, REPOSITORIES "stray/file"), "", 0);
    place_write(&p, place_path(&p, REPOSITORIES "stray2/_uploads/x"), "", 0);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(list(&p, NULL, ROWS[i].last, ROWS[i].n_max, out), 0);
        assert_string_equal(out, ROWS[i].want);
    }
    place_close(&p);
    place_fini(&p);
}

/* Page by page, everything once. */
static void test_pages(void **state)
{
    struct place p;
    char out[1000], last[100] = "";
    unsigned n = 0;

    (void)state;
    place_init(&p);
    place_open(&p);
    for (unsigned i = 0; i < 100; i++)
        place_write(&p, place_path(&p, REPOSITORIES "r%u/n%u/_layers/x", i % 7, i), "", 0);
    do {
        assert_int_equal(list(&p, NULL, last, 1, out), 0);
        char *plus = strchr(out, '+');
        if (plus)
            *plus = '\0';
        assert_true(strcmp(last, out) < 0 || !*out);
        strcpy(last, out);
        n += *out != '\0';
        assert_true(plus || n == 100);
    } while (n < 100);
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_repositories),
        cmocka_unit_test(test_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
