#include "config.h"

#include "mirrord/push_rules.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"

struct repository_rule {
    struct repo_pattern pattern; /* in the rules' text */
    bool is_exclusion;
};

struct push_rules {
    struct repository_rule *repositories;
    size_t n_repositories;
    struct network *networks;
    size_t n_networks;
    char **texts; /* what the patterns point into */
};

/* Cuts the '!' off. */
static struct slice cut_mark(struct slice text, bool *is_exclusion)
{
    struct slice pattern = slice_trim(text);

    *is_exclusion = slice_starts(pattern, SLICE("!"));
    if (*is_exclusion) {
        pattern.ptr++;
        pattern.len--;
    }
    return pattern;
}

int push_rules_check_pattern(struct slice text, struct error *err)
{
    bool is_exclusion;
    struct slice pattern = cut_mark(text, &is_exclusion);

    if (pattern.len == 0)
        return error_set(err, -EINVAL, "no pattern");
    if (!repo_pattern_is_valid(pattern))
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

static void add_repositories(struct push_rules *rules, const char *const *list,
                             const struct tag_pattern_names *names)
{
    size_t n = count(list);

    rules->repositories = xcalloc(n + 1, sizeof(*rules->repositories));
    rules->texts = xcalloc(n + 1, sizeof(*rules->texts));
    for (size_t i = 0; i < n; i++) {
        struct repository_rule *rule = &rules->repositories[i];
        rules->texts[i] = xstrdup(list[i]);
        struct slice pattern = cut_mark(slice_of(rules->texts[i]), &rule->is_exclusion);
        rule->pattern =
            repo_pattern_of(pattern, names ? names->registries : NULL, names && names->is_hub);
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
                                  const struct tag_pattern_names *names)
{
    struct push_rules *rules = xcalloc(1, sizeof(*rules));

    add_repositories(rules, repositories, names);
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

/* The first pattern that matches decides. */
static bool accepts(const struct push_rules *rules, struct slice repo)
{
    for (size_t i = 0; i < rules->n_repositories; i++)
        if (repo_pattern_matches(&rules->repositories[i].pattern, repo))
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
