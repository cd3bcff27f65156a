/*
 * How long what an upstream said about a tag is good for: the setting mirroring.freshness, a list
 * of pattern=ttl[/grace[/keep]] whose first match decides, compiled once per load of the
 * configuration; without a match the defaults count. Immutable, owned by the API's snapshot of its
 * settings; any thread. Judging walks the list, whose length is the configuration's choice.
 *
 *   ttl    since the upstream confirmed it: served, nobody is asked
 *   grace  behind the ttl: served at once, the upstream is asked in the background
 *   keep   behind the ttl: served when the upstream fails
 *
 * Patterns: mirrord/tag_pattern.h. What follows from it: mirrord/tag_choice.h.
 */
#ifndef MIRRORD_FRESHNESS_H
#define MIRRORD_FRESHNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "mirrord/tag_pattern.h"

struct freshness_rules;

#define FRESHNESS_FOR_EVER INT64_MAX
#define FRESHNESS_DEFAULT (-1) /* in what is given: as the defaults say */

struct freshness {
    int64_t ttl_s;
    int64_t grace_s;
    int64_t keep_s; /* FRESHNESS_FOR_EVER: no end */
};

/* A rule that does not come from the list, such as one of an upstream. */
struct freshness_rule {
    const char *pattern;
    struct freshness value;
};

struct freshness_source {
    const char *const *list; /* NULL-terminated; NULL: empty. Its syntax has been checked. */
    const struct freshness_rule *more; /* they are tried behind the list, in this order */
    size_t n_more;
    struct freshness preset;
    struct tag_pattern_names names;
};

/* 0, or -EINVAL with what is wrong with one item of the list. */
int freshness_check(struct slice item, struct error *err);
/* What the source points to is copied. Rules that cannot be read match nothing. */
struct freshness_rules *freshness_new(const struct freshness_source *source);
void freshness_free(struct freshness_rules **rules);
/* hot */
struct freshness freshness_judge(const struct freshness_rules *rules, struct slice repo,
                                 struct slice tag);

#endif
