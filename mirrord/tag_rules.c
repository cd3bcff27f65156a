#include "config.h"

#include "mirrord/tag_rules.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

/* The pattern points into the text. */
struct rule {
    char *text;
    struct tag_pattern pattern;
    alignas(max_align_t) unsigned char value[TAG_RULES_VALUE_MAX];
};

struct tag_rules {
    const struct tag_rules_kind *kind;
    struct tag_pattern_names names;
    struct rule *rules;
    size_t n;
};

static int read_rule(const struct tag_rules_kind *kind, const struct tag_pattern_names *names,
                     struct slice item, struct rule *out, struct error *err)
{
    struct slice rest = item;
    struct slice pattern = slice_trim(slice_cut(&rest, '='));

    CHECK(kind->size <= sizeof(out->value));
    if (!rest.ptr)
        return error_set(err, -EINVAL, "no '=' behind the pattern");
    int rc = kind->read(slice_trim(rest), out->value, err);
    return rc < 0 ? rc : tag_pattern_read(pattern, names, &out->pattern, err);
}

int tag_rules_check(const struct tag_rules_kind *kind, struct slice item, struct error *err)
{
    struct rule rule;

    return read_rule(kind, NULL, item, &rule, err);
}

/* Room for one more, with this text. */
static struct rule *next_rule(struct tag_rules *rules, const char *text)
{
    rules->rules = xrealloc(rules->rules, (rules->n + 1) * sizeof(*rules->rules));
    struct rule *r = &rules->rules[rules->n];
    *r = (struct rule){.text = xstrdup(text)};
    return r;
}

static void keep(struct tag_rules *rules, struct rule *r, int rc)
{
    if (rc == 0)
        rules->n++;
    else
        free(r->text);
}

struct tag_rules *tag_rules_new(const struct tag_rules_kind *kind, const char *const *list,
                                const struct tag_pattern_names *names)
{
    struct tag_rules *rules = xcalloc(1, sizeof(*rules));

    rules->kind = kind;
    rules->names = names ? *names : (struct tag_pattern_names){0};
    for (size_t i = 0; list && list[i]; i++) {
        struct rule *r = next_rule(rules, list[i]);
        keep(rules, r, read_rule(kind, &rules->names, slice_of(r->text), r, NULL));
    }
    return rules;
}

void tag_rules_add(struct tag_rules *rules, const char *pattern, const void *value)
{
    struct rule *r = next_rule(rules, pattern);

    memcpy(r->value, value, rules->kind->size);
    keep(rules, r, tag_pattern_read(slice_of(r->text), &rules->names, &r->pattern, NULL));
}

void tag_rules_free(struct tag_rules **rr)
{
    struct tag_rules *rules = *rr;

    if (!rules)
        return;
    *rr = NULL;
    for (size_t i = 0; i < rules->n; i++)
        free(rules->rules[i].text);
    free(rules->rules);
    free(rules);
}

const void *tag_rules_find(const struct tag_rules *rules, struct slice repo, struct slice tag)
{
    for (size_t i = 0; rules && i < rules->n; i++) {
        if (tag_pattern_matches(&rules->rules[i].pattern, repo, tag))
            return rules->rules[i].value;
    }
    return NULL;
}
