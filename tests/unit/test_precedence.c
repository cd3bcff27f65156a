#include "config.h"

#include "mirrord/precedence.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

static void test_check(void **state)
{
    static const struct {
        const char *item;
        const char *why; /* NULL: accepted */
    } CASES[] = {
        {"*=local-first", NULL},
        {"internal/*=local-only", NULL},
        {" team/app:v? = upstream-first ", NULL},
        {"a:*=upstream-only", NULL},
        {"a:V1.*_x-=local-first", NULL},
        {"internal/*", "no '='"},
        {"", "no '='"},
        {"=local-only", "repository"},
        {"a=", "no rule"},
        {"a=local", "no rule"},
        {"a=Local-Only", "no rule"},
        {"a=local-only=x", "no rule"},
        {"A=local-only", "repository"},
        {"a b=local-only", "repository"},
        {":v1=local-only", "repository"},
        {"a:=local-only", "tag"},
        {"a:b/c=local-only", "repository"},
        {"a:b:c=local-only", "repository"},
        {"a:5000/c:d=local-only", NULL},
        {"a@sha256:1=local-only", "repository"},
    };
    struct error err;

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        print_message("%s\n", CASES[i].item);
        int rc = precedence_check(slice_of(CASES[i].item), &err);
        assert_int_equal(rc, CASES[i].why ? -EINVAL : 0);
        if (CASES[i].why)
            assert_non_null(strstr(err.text, CASES[i].why));
    }
    assert_int_equal(precedence_check((struct slice){"a\0b=local-only", 14}, &err), -EINVAL);
}

static void test_judge(void **state)
{
    static const char *const LIST[] = {
        "team/app:stable=upstream-first",
        "team/app:v*=local-only",
        "not a rule",
        "team/*=upstream-only",
        "nginx=local-only",
        "library/redis:6*=upstream-first",
        "redis=upstream-only",
        NULL,
    };
    static const struct {
        const char *repo, *tag;
        enum precedence hub, other;
    } CASES[] = {
        {"team/app", "stable", PRECEDENCE_UPSTREAM_FIRST, PRECEDENCE_UPSTREAM_FIRST},
        {"team/app", "v1", PRECEDENCE_LOCAL_ONLY, PRECEDENCE_LOCAL_ONLY},
        {"team/app", "latest", PRECEDENCE_UPSTREAM_ONLY, PRECEDENCE_UPSTREAM_ONLY},
        {"team/app", "", PRECEDENCE_UPSTREAM_ONLY, PRECEDENCE_UPSTREAM_ONLY},
        {"team/app/deep", "stable", PRECEDENCE_UPSTREAM_ONLY, PRECEDENCE_UPSTREAM_ONLY},
        {"team", "v1", PRECEDENCE_LOCAL_FIRST, PRECEDENCE_LOCAL_FIRST},
        {"library/nginx", "v1", PRECEDENCE_LOCAL_ONLY, PRECEDENCE_LOCAL_FIRST},
        {"nginx", "", PRECEDENCE_LOCAL_ONLY, PRECEDENCE_LOCAL_ONLY},
        {"library/redis", "6.2", PRECEDENCE_UPSTREAM_FIRST, PRECEDENCE_UPSTREAM_FIRST},
        {"library/redis", "7", PRECEDENCE_UPSTREAM_ONLY, PRECEDENCE_LOCAL_FIRST},
        {"library/redis", "", PRECEDENCE_UPSTREAM_ONLY, PRECEDENCE_LOCAL_FIRST},
    };
    struct tag_rules *hub = precedence_new(LIST, &(struct tag_pattern_names){NULL, true});
    struct tag_rules *other = precedence_new(LIST, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct slice repo = slice_of(CASES[i].repo), tag = slice_of(CASES[i].tag);
        print_message("%s:%s\n", CASES[i].repo, CASES[i].tag);
        assert_int_equal(precedence_judge(hub, repo, tag), CASES[i].hub);
        assert_int_equal(precedence_judge(other, repo, tag), CASES[i].other);
        assert_int_equal(precedence_judge(NULL, repo, tag), PRECEDENCE_LOCAL_FIRST);
    }
    tag_rules_free(&hub);
    assert_null(hub);
    tag_rules_free(&hub);
    tag_rules_free(&other);
    hub = precedence_new(NULL, NULL);
    assert_int_equal(precedence_judge(hub, SLICE("a"), SLICE("b")), PRECEDENCE_LOCAL_FIRST);
    tag_rules_free(&hub);
}

static void test_names(void **state)
{
    struct error err;

    (void)state;
    for (int i = 0; i < PRECEDENCE_MAX; i++) {
        char item[40];
        const char *const list[] = {item, NULL};
        snprintf(item, sizeof(item), "a=%s", precedence_name((enum precedence)i));
        assert_int_equal(precedence_check(slice_of(item), &err), 0);
        struct tag_rules *rules = precedence_new(list, NULL);
        assert_int_equal(precedence_judge(rules, SLICE("a"), SLICE_NONE), i);
        tag_rules_free(&rules);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
