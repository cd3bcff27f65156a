#include "config.h"

#include "mirrord/freshness.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/config_number.h"
#include "mirrord/tag_rules.h"

struct freshness_rules {
    struct tag_rules *rules;
    struct freshness preset;
};

/* --- reading ---------------------------------------------------------------------------------- */

static bool read_seconds(struct slice text, int64_t *out)
{
    int64_t ms;

    if (!config_number_ms(text, &ms))
        return false;
    *out = ms / 1000;
    return true;
}

/* A part that is not there stays FRESHNESS_DEFAULT. */
static int read_value(struct slice text, void *out, struct error *err)
{
    struct slice rest = text;
    struct slice ttl = slice_trim(slice_cut(&rest, '/'));
    struct slice grace = slice_trim(slice_cut(&rest, '/'));
    struct slice keep = slice_trim(rest);
    struct freshness f = {FRESHNESS_DEFAULT, FRESHNESS_DEFAULT, FRESHNESS_DEFAULT};

    if (!read_seconds(ttl, &f.ttl_s))
        return error_set(err, -EINVAL, "no ttl: seconds, or a number with a unit");
    if (grace.ptr && !read_seconds(grace, &f.grace_s))
        return error_set(err, -EINVAL, "no grace: seconds, or a number with a unit");
    if (keep.ptr && slice_equal(keep, SLICE("forever")))
        f.keep_s = FRESHNESS_FOR_EVER;
    else if (keep.ptr && !read_seconds(keep, &f.keep_s))
        return error_set(err, -EINVAL, "no keep: seconds, a number with a unit, or forever");
    *(struct freshness *)out = f;
    return 0;
}

static const struct tag_rules_kind KIND = {sizeof(struct freshness), read_value};

int freshness_check(struct slice item, struct error *err)
{
    return tag_rules_check(&KIND, item, err);
}

/* --- judging ---------------------------------------------------------------------------------- */

static void complete(struct freshness *f, const struct freshness *preset)
{
    f->ttl_s = f->ttl_s == FRESHNESS_DEFAULT ? preset->ttl_s : f->ttl_s;
    f->grace_s = f->grace_s == FRESHNESS_DEFAULT ? preset->grace_s : f->grace_s;
    f->keep_s = f->keep_s == FRESHNESS_DEFAULT ? preset->keep_s : f->keep_s;
    CHECK(f->ttl_s >= 0 && f->grace_s >= 0 && f->keep_s >= 0);
}

struct freshness_rules *freshness_new(const struct freshness_source *source)
{
    struct freshness_rules *rules = xcalloc(1, sizeof(*rules));

    CHECK(source->preset.ttl_s >= 0 && source->preset.grace_s >= 0 && source->preset.keep_s >= 0);
    rules->preset = source->preset;
    rules->rules = tag_rules_new(&KIND, source->list, &source->names);
    for (size_t i = 0; i < source->n_more; i++)
        tag_rules_add(rules->rules, source->more[i].pattern, &source->more[i].value);
    return rules;
}

void freshness_free(struct freshness_rules **rr)
{
    struct freshness_rules *rules = *rr;

    if (!rules)
        return;
    *rr = NULL;
    tag_rules_free(&rules->rules);
    free(rules);
}

struct freshness freshness_judge(const struct freshness_rules *rules, struct slice repo,
                                 struct slice tag)
{
    const struct freshness *found = tag_rules_find(rules->rules, repo, tag);
    struct freshness f = found ? *found : rules->preset;

    complete(&f, &rules->preset);
    return f;
}
