#include "config.h"

#include "mirrord/freshness.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/config_number.h"
#include "mirrord/tag_pattern.h"

/* One item; the pattern points into its text. */
struct rule {
    char *text;
    struct tag_pattern pattern;
    struct freshness value;
};

struct freshness_rules {
    struct rule *rules;
    size_t n;
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
static int read_value(struct slice text, struct freshness *out, struct error *err)
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
    *out = f;
    return 0;
}

static int read_rule(struct slice item, const struct tag_pattern_names *names, struct rule *out,
                     struct error *err)
{
    struct slice rest = item;
    struct slice pattern = slice_trim(slice_cut(&rest, '='));

    if (!rest.ptr)
        return error_set(err, -EINVAL, "no '=' behind the pattern");
    int rc = read_value(slice_trim(rest), &out->value, err);
    return rc < 0 ? rc : tag_pattern_read(pattern, names, &out->pattern, err);
}

int freshness_check(struct slice item, struct error *err)
{
    struct rule rule;

    return read_rule(item, NULL, &rule, err);
}

/* --- compiling -------------------------------------------------------------------------------- */

static void complete(struct freshness *f, const struct freshness *preset)
{
    f->ttl_s = f->ttl_s == FRESHNESS_DEFAULT ? preset->ttl_s : f->ttl_s;
    f->grace_s = f->grace_s == FRESHNESS_DEFAULT ? preset->grace_s : f->grace_s;
    f->keep_s = f->keep_s == FRESHNESS_DEFAULT ? preset->keep_s : f->keep_s;
    CHECK(f->ttl_s >= 0 && f->grace_s >= 0 && f->keep_s >= 0);
}

/* The text is taken: a pattern, whose value is given, or an item of the list. */
static void add_rule(struct freshness_rules *rules, const struct tag_pattern_names *names,
                     char *text, const struct freshness *value)
{
    struct rule *r = &rules->rules[rules->n];
    struct slice all = slice_of(text);

    r->text = text;
    int rc =
        value ? tag_pattern_read(all, names, &r->pattern, NULL) : read_rule(all, names, r, NULL);
    if (rc < 0) {
        free(text);
        return;
    }
    if (value)
        r->value = *value;
    complete(&r->value, &rules->preset);
    rules->n++;
}

struct freshness_rules *freshness_new(const struct freshness_source *source)
{
    struct freshness_rules *rules = xcalloc(1, sizeof(*rules));
    size_t n = 0;

    CHECK(source->preset.ttl_s >= 0 && source->preset.grace_s >= 0 && source->preset.keep_s >= 0);
    while (source->list && source->list[n])
        n++;
    rules->preset = source->preset;
    rules->rules = xcalloc(n + source->n_more + 1, sizeof(*rules->rules));
    for (size_t i = 0; i < n; i++)
        add_rule(rules, &source->names, xstrdup(source->list[i]), NULL);
    for (size_t i = 0; i < source->n_more; i++)
        add_rule(rules, &source->names, xstrdup(source->more[i].pattern), &source->more[i].value);
    return rules;
}

void freshness_free(struct freshness_rules **rr)
{
    struct freshness_rules *rules = *rr;

    if (!rules)
        return;
    *rr = NULL;
    for (size_t i = 0; i < rules->n; i++)
        free(rules->rules[i].text);
    free(rules->rules);
    free(rules);
}

struct freshness freshness_judge(const struct freshness_rules *rules, struct slice repo,
                                 struct slice tag)
{
    for (size_t i = 0; i < rules->n; i++) {
        if (tag_pattern_matches(&rules->rules[i].pattern, repo, tag))
            return rules->rules[i].value;
    }
    return rules->preset;
}
