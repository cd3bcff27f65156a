#include "config.h"

#include "mirrord/precedence.h"

#include <errno.h>

#include "base/check.h"
#include "mirrord/api_private.h"

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

static int read_name(struct slice name, void *out, struct error *err)
{
    for (int i = 0; i < PRECEDENCE_MAX; i++) {
        if (slice_equal(name, slice_of(NAMES[i]))) {
            *(enum precedence *)out = (enum precedence)i;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "no rule but local-first, upstream-first, local-only, upstream-only");
}

static const struct tag_rules_kind KIND = {sizeof(enum precedence), read_name};

int precedence_check(struct slice item, struct error *err)
{
    return tag_rules_check(&KIND, item, err);
}

struct tag_rules *precedence_new(const char *const *list, const struct tag_pattern_names *names)
{
    return tag_rules_new(&KIND, list, names);
}

/* --- judging ---------------------------------------------------------------------------------- */

enum precedence precedence_judge(const struct tag_rules *rules, struct slice repo, struct slice tag)
{
    const enum precedence *found = tag_rules_find(rules, repo, tag);

    return found ? *found : PRECEDENCE_LOCAL_FIRST;
}

enum precedence precedence_of(const struct api *api, struct slice repo, struct slice tag)
{
    return precedence_judge(api_snapshot_now(api)->precedence, repo, tag);
}

bool precedence_can_ask(const struct api *api, struct slice repo, struct slice tag)
{
    return api_can_ask(api, repo) && precedence_of(api, repo, tag) != PRECEDENCE_LOCAL_ONLY;
}
