/*
 * Which of a tag's two halves is served, and whether the upstream may be asked: the setting
 * mirroring.precedence, a list of pattern=rule whose first match decides, compiled once per load of
 * the configuration. Immutable, owned by the API's snapshot of its settings; any thread. Judging
 * walks the list, whose length is the configuration's choice; without a list it costs nothing.
 *
 *   local-first     the pushed one, for ever; else the upstream's
 *   upstream-first  the upstream's; the pushed one while the upstream has none or cannot be asked
 *                   and nothing of it is remembered
 *   local-only      the pushed one; the upstream is never asked
 *   upstream-only   the upstream's; nothing can be pushed
 *
 * A pattern with ':' is meant for tags, "repository:tag"; it says nothing about digests and blobs.
 * Why these four: docs/design/provenance.md.
 */
#ifndef MIRRORD_PRECEDENCE_H
#define MIRRORD_PRECEDENCE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"
#include "mirrord/tag_rules.h"

struct api;

enum precedence {
    PRECEDENCE_LOCAL_FIRST,
    PRECEDENCE_UPSTREAM_FIRST,
    PRECEDENCE_LOCAL_ONLY,
    PRECEDENCE_UPSTREAM_ONLY,
    PRECEDENCE_MAX
};

/* The rule in force for a tag of a repository (canonical name); tag empty: for its digests and
 * blobs. Any thread. hot */
enum precedence precedence_of(const struct api *api, struct slice repo, struct slice tag);
/* Whether the upstream may be asked about this tag, or (tag empty) digest of the repository. False
 * also when there is no upstream, or this mirror is offline. */
bool precedence_can_ask(const struct api *api, struct slice repo, struct slice tag);
const char *precedence_name(enum precedence p);

/* 0, or -EINVAL with what is wrong with one item of the list. */
int precedence_check(struct slice item, struct error *err);
/* As tag_rules_new; freed by tag_rules_free. */
struct tag_rules *precedence_new(const char *const *list, const struct tag_pattern_names *names);
/* NULL rules: local-first. */
enum precedence precedence_judge(const struct tag_rules *rules, struct slice repo,
                                 struct slice tag);

#endif
