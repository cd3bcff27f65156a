#include "config.h"

#include "mirrord/precedence.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/api_private.h"

/* One item; slices point into its text. */
struct rule {
    char *text;
    struct tag_pattern pattern;
    enum precedence precedence;
};

struct precedence_rules {
    struct rule *rules;
    size_t n;
};

static const char *const NAMES[] = {
    [PRECEDENCE_LOCAL_FIRST] = "local-first",
    [PRECEDENCE_UPSTREAM_FIRST] = "upstream-first",
    [PRECEDENCE_LOCAL_ONLY] = "local-only",
    [PRECEDENCE_UPSTREAM_ONLY] = "upstream-only",
};
_Static_assert(sizeof(NAMES) / sizeof(NAMES[0]) == PRECEDENCE_MAX, "a name for every rule");

const char *precedence_name(enum precedence p)
{
    CHECK(p < PRECEDENCE_MAX);
    return NAMES[p];
}

/* --- reading ---------------------------------------------------------------------------------- */

/* false: no rule has this name. */
static bool read_name(struct slice name, enum precedence *out)
{
    for (int i = 0; i < PRECEDENCE_MAX; i++) {
        if (slice_equal(name, slice_of(NAMES[i]))) {
            *out = (enum precedence)i;
            return true;
        }
    }
    return false;
}

static int read_rule(struct slice item, const struct tag_pattern_names *names, struct rule *out,
                     struct error *err)
{
    struct slice rest = item;
    struct slice pattern = slice_trim(slice_cut(&rest, '='));

    if (!rest.ptr)
        return error_set(err, -EINVAL, "no '=' behind the pattern");
    if (!read_name(slice_trim(rest), &out->precedence))
        return error_set(err, -EINVAL,
                         "no rule but local-first, upstream-first, local-only, upstream-only");
    return tag_pattern_read(pattern, names, &out->pattern, err);
}

int precedence_check(struct slice item, struct error *err)
{
    struct rule rule;

    return read_rule(item, NULL, &rule, err);
}

struct precedence_rules *precedence_new(const char *const *list,
                                        const struct tag_pattern_names *names)
{
    struct precedence_rules *rules = xcalloc(1, sizeof(*rules));
    size_t n = 0;

    while (list && list[n])
        n++;
    rules->rules = xcalloc(n + 1, sizeof(*rules->rules));
    for (size_t i = 0; i < n; i++) {
        struct rule *r = &rules->rules[rules->n];
        r->text = xstrdup(list[i]);
        if (read_rule(slice_of(r->text), names, r, NULL) == 0)
            rules->n++;
        else
            free(r->text);
    }
    return rules;
}

void precedence_free(struct precedence_rules **rr)
{
    struct precedence_rules *rules = *rr;

    if (!rules)
        return;
    *rr = NULL;
    for (size_t i = 0; i < rules->n; i++)
        free(rules->rules[i].text);
    free(rules->rules);
    free(rules);
}

/* --- judging ---------------------------------------------------------------------------------- */

enum precedence precedence_judge(const struct precedence_rules *rules, struct slice repo,
                                 struct slice tag)
{
    for (size_t i = 0; rules && i < rules->n; i++) {
        const struct rule *r = &rules->rules[i];
        if (tag_pattern_matches(&r->pattern, repo, tag))
            return r->precedence;
    }
    return PRECEDENCE_LOCAL_FIRST;
}

enum precedence precedence_of(const struct api *api, struct slice repo, struct slice tag)
{
    return precedence_judge(api_snapshot_now(api)->precedence, repo, tag);
}

bool precedence_can_ask(const struct api *api, struct slice repo, struct slice tag)
{
    return api_can_ask(api, repo) && precedence_of(api, repo, tag) != PRECEDENCE_LOCAL_ONLY;
}
