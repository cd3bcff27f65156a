/*
 * A list of the configuration, "pattern=value", whose first match decides: of what kind the values
 * are says who asks. Compiled once per load of the configuration, by one thread; then immutable,
 * any thread. Finding walks the list, whose length is the configuration's choice.
 *
 * Patterns: mirrord/tag_pattern.h.
 */
#ifndef MIRRORD_TAG_RULES_H
#define MIRRORD_TAG_RULES_H

#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"
#include "mirrord/tag_pattern.h"

struct tag_rules;

struct tag_rules_kind {
    size_t size; /* of a value, in bytes */
    /* 0, or -EINVAL with what is wrong. */
    int (*read)(struct slice text, void *value, struct error *err);
};

#define TAG_RULES_VALUE_MAX 32 /* bytes */

/* 0, or -EINVAL with what is wrong with one item of the list. */
int tag_rules_check(const struct tag_rules_kind *kind, struct slice item, struct error *err);

/* The list is NULL-terminated, or NULL: empty. Items that tag_rules_check refuses match nothing;
 * the configuration has refused them before. The kind and what names points to outlive the rules.
 * names NULL: those of the storage only. */
struct tag_rules *tag_rules_new(const struct tag_rules_kind *kind, const char *const *list,
                                const struct tag_pattern_names *names);
void tag_rules_free(struct tag_rules **rules);
/* Behind all others. Both are copied; a pattern that cannot be read matches nothing. */
void tag_rules_add(struct tag_rules *rules, const char *pattern, const void *value);
/* NULL: nothing matches, or there are no rules. It lives as long as they do. hot */
const void *tag_rules_find(const struct tag_rules *rules, struct slice repo, struct slice tag);

#endif
