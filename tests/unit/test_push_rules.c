#include "config.h"

#include "mirrord/push_rules.h"

#include <errno.h>

#include "mirrord/configuration.h"
#include "tests/unit/unit.h"

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct network_address HERE = {.is_ipv4 = true, .bytes = {127, 0, 0, 1}};
static const struct network_address FAR = {.is_ipv4 = true, .bytes = {192, 0, 2, 1}};

static enum push_verdict judge(const char *const *repositories, bool is_hub, const char *repo)
{
    struct push_rules *rules = push_rules_new(repositories, LIST("127.0.0.0/8"),
                                              &(struct tag_pattern_names){NULL, is_hub});
    enum push_verdict verdict = push_rules_judge(rules, slice_of(repo), &HERE);

    push_rules_free(&rules);
    assert_null(rules);
    return verdict;
}

static void test_repositories(void **state)
{
    static const struct {
        const char *const patterns[4];
        const char *repo;
        bool is_hub, is_allowed;
    } ROWS[] = {
        {{"*"}, "a/b/c", false, true},
        {{NULL}, "a", false, false},
        {{"a"}, "a", false, true},
        {{"a"}, "ab", false, false},
        {{"team/*"}, "team/a/b", false, true},
        {{"team/*"}, "team", false, false},
        {{"!team/secret", "team/*"}, "team/secret", false, false},
        {{"!team/secret", "team/*"}, "team/open", false, true},
        {{"team/*", "!team/secret"}, "team/secret", false, true},
        {{"!*", "*"}, "a", false, false},
        {{"b", "!c", "*"}, "c", false, false},
        {{"v?"}, "v1", false, true},
        {{"v?"}, "v12", false, false},
        /* Either name of what a Docker Hub calls library/. */
        {{"nginx"}, "library/nginx", true, true},
        {{"nginx"}, "library/nginx", false, false},
        {{"!nginx", "*"}, "library/nginx", true, false},
        {{"!library/*", "*"}, "library/nginx", true, false},
        {{"nginx"}, "nginx/library", true, false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        enum push_verdict verdict = judge(ROWS[i].patterns, ROWS[i].is_hub, ROWS[i].repo);
        if (verdict != (ROWS[i].is_allowed ? PUSH_ALLOWED : PUSH_WRONG_REPOSITORY))
            fail_msg("row %zu: %d", i, (int)verdict);
    }
    assert_int_equal(judge(NULL, false, "a"), PUSH_WRONG_REPOSITORY);
}

static void test_networks(void **state)
{
    struct push_rules *rules = push_rules_new(LIST("*"), LIST("::1", "127.0.0.0/8"), NULL);
    struct push_rules *open = push_rules_new(LIST("*"), LIST("0.0.0.0/0"), NULL);
    struct push_rules *shut = push_rules_new(LIST("*"), NULL, NULL);
    struct push_rules *broken = push_rules_new(LIST("*"), LIST("nonsense", "127.0.0.1"), NULL);

    (void)state;
    assert_int_equal(push_rules_judge(rules, SLICE("a"), &HERE), PUSH_ALLOWED);
    assert_int_equal(push_rules_judge(rules, SLICE("a"), &FAR), PUSH_WRONG_NETWORK);
    assert_int_equal(push_rules_judge(open, SLICE("a"), &FAR), PUSH_ALLOWED);
    assert_int_equal(push_rules_judge(shut, SLICE("a"), &HERE), PUSH_WRONG_NETWORK);
    assert_int_equal(push_rules_judge(broken, SLICE("a"), &HERE), PUSH_ALLOWED);
    assert_int_equal(push_rules_judge(broken, SLICE("a"), &FAR), PUSH_WRONG_NETWORK);
    push_rules_free(&rules);
    push_rules_free(&open);
    push_rules_free(&shut);
    push_rules_free(&broken);
    push_rules_free(&broken);
}

/* Without any setting: everybody near may push everything, nobody from the Internet anything. */
static void test_defaults(void **state)
{
    static const struct {
        const char *peer;
        bool is_near;
    } ROWS[] = {
        {"127.0.0.1", true},
        {"127.255.255.254", true},
        {"::1", true},
        {"10.255.0.1", true},
        {"172.16.0.1", true},
        {"172.31.255.254", true},
        {"192.168.1.1", true},
        {"169.254.1.1", true},
        {"fd00::1", true},
        {"fe80::1", true},
        {"::ffff:10.0.0.1", true},
        {"8.8.8.8", false},
        {"9.255.255.255", false},
        {"11.0.0.1", false},
        {"172.15.255.254", false},
        {"172.32.0.1", false},
        {"192.167.1.1", false},
        {"192.169.1.1", false},
        {"100.64.0.1", false},
        {"128.0.0.1", false},
        {"2001:db8::1", false},
        {"fec0::1", false},
        {"::2", false},
        {"::ffff:8.8.8.8", false},
    };
    static const char *const NO_ENVIRONMENT[] = {NULL};
    struct config_source source = {
        .path = "t.yml", .flavor = "dev", .text = SLICE("dev: {}"), .environment = NO_ENVIRONMENT};
    struct strbuf problems = STRBUF_INIT;
    struct config *c = NULL;

    (void)state;
    assert_int_equal(config_load(&source, &c, &problems), 0);
    struct push_rules *rules = push_rules_new(config_list(c, OPT_PUSH_REPOSITORIES),
                                              config_list(c, OPT_PUSH_NETWORKS), NULL);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct network peer;
        assert_int_equal(network_parse(slice_of(ROWS[i].peer), &peer, NULL), 0);
        enum push_verdict verdict = push_rules_judge(rules, SLICE("a/b"), &peer.base);
        if (verdict != (ROWS[i].is_near ? PUSH_ALLOWED : PUSH_WRONG_NETWORK))
            fail_msg("%s: %d", ROWS[i].peer, (int)verdict);
    }
    push_rules_free(&rules);
    config_unref(&c);
    strbuf_fini(&problems);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *text;
        bool is_good;
    } ROWS[] = {
        {"*", true},    {"team/*", true}, {"!team/*", true}, {"a.b_c-d/9?", true},
        {"", false},    {"!", false},     {"!!a", false},    {"Team/*", false},
        {"a:b", false}, {"a b", false},   {"[ab]", false},   {"a=local-first", false},
        {"\\*", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct error err = {0};
        int rc = push_rules_check_pattern(slice_of(ROWS[i].text), &err);
        if (rc != (ROWS[i].is_good ? 0 : -EINVAL) || !err.text[0] != ROWS[i].is_good)
            fail_msg("%s: %d %s", ROWS[i].text, rc, err.text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repositories),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
