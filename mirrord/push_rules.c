#include "config.h"

#include "mirrord/push_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/glob.h"

struct repository_rule {
    struct slice pattern; /* in the rules' text */
    bool is_exclusion;
};

struct push_rules {
    struct repository_rule *repositories;
    size_t n_repositories;
    struct network *networks;
    size_t n_networks;
    bool is_hub;
    char **texts; /* what the patterns point into */
};

static bool is_pattern_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("._-/*?", c));
}

/* Cuts the '!' off. */
static struct repository_rule read_pattern(struct slice text)
{
    struct repository_rule rule = {.pattern = slice_trim(text)};

    rule.is_exclusion = slice_starts(rule.pattern, SLICE("!"));
    if (rule.is_exclusion) {
        rule.pattern.ptr++;
        rule.pattern.len--;
    }
    return rule;
}

int push_rules_check_pattern(struct slice text, struct error *err)
{
    struct repository_rule rule = read_pattern(text);

    if (rule.pattern.len == 0)
        return error_set(err, -EINVAL, "no pattern");
    for (size_t i = 0; i < rule.pattern.len; i++)
        if (!is_pattern_char(rule.pattern.ptr[i]))
            return error_set(err, -EINVAL, "a character that no name of a repository has");
    return 0;
}

static size_t count(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    return n;
}

static void add_repositories(struct push_rules *rules, const char *const *list)
{
    size_t n = count(list);

    rules->repositories = xcalloc(n + 1, sizeof(*rules->repositories));
    rules->texts = xcalloc(n + 1, sizeof(*rules->texts));
    for (size_t i = 0; i < n; i++) {
        rules->texts[i] = xstrdup(list[i]);
        rules->repositories[i] = read_pattern(slice_of(rules->texts[i]));
    }
    rules->n_repositories = n;
}

static void add_networks(struct push_rules *rules, const char *const *list)
{
    size_t n = count(list);

    rules->networks = xcalloc(n + 1, sizeof(*rules->networks));
    for (size_t i = 0; i < n; i++)
        if (network_parse(slice_of(list[i]), &rules->networks[rules->n_networks], NULL) == 0)
            rules->n_networks++;
    CHECK(rules->n_networks <= n);
}

struct push_rules *push_rules_new(const char *const *repositories, const char *const *networks,
                                  bool is_hub)
{
    struct push_rules *rules = xcalloc(1, sizeof(*rules));

    rules->is_hub = is_hub;
    add_repositories(rules, repositories);
    add_networks(rules, networks);
    return rules;
}

void push_rules_free(struct push_rules **rr)
{
    struct push_rules *rules = *rr;

    if (!rules)
        return;
    *rr = NULL;
    for (size_t i = 0; i < rules->n_repositories; i++)
        free(rules->texts[i]);
    free(rules->texts);
    free(rules->repositories);
    free(rules->networks);
    free(rules);
}

/* Under its canonical name, or under the short one that a Docker Hub knows it by. */
static bool is_meant(const struct push_rules *rules, struct slice pattern, struct slice repo)
{
    static const struct slice LIBRARY = {"library/", 8};

    if (glob_match(pattern, repo))
        return true;
    if (!rules->is_hub || !slice_starts(repo, LIBRARY))
        return false;
    return glob_match(pattern, (struct slice){repo.ptr + LIBRARY.len, repo.len - LIBRARY.len});
}

/* The first pattern that matches decides. */
static bool accepts(const struct push_rules *rules, struct slice repo)
{
    for (size_t i = 0; i < rules->n_repositories; i++)
        if (is_meant(rules, rules->repositories[i].pattern, repo))
            return !rules->repositories[i].is_exclusion;
    return false;
}

static bool is_near(const struct push_rules *rules, const struct network_address *peer)
{
    for (size_t i = 0; i < rules->n_networks; i++)
        if (network_holds(&rules->networks[i], peer))
            return true;
    return false;
}

enum push_verdict push_rules_judge(const struct push_rules *rules, struct slice repo,
                                   const struct network_address *peer)
{
    CHECK(repo.len > 0);
    if (!is_near(rules, peer))
        return PUSH_WRONG_NETWORK;
    return accepts(rules, repo) ? PUSH_ALLOWED : PUSH_WRONG_REPOSITORY;
}
