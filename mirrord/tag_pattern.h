/*
 * What a rule of a setting is about: a pattern of repositories, or behind ':' of tags, too
 * ("repository:tag"). * stands for any characters, ? for one. What may stand in front of a
 * repository: mirrord/repo_pattern.h.
 *
 * Slices point into the text that was read. Pure; any thread; hot.
 */
#ifndef MIRRORD_TAG_PATTERN_H
#define MIRRORD_TAG_PATTERN_H

#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"
#include "mirrord/repo_pattern.h"

struct tag_pattern {
    struct repo_pattern repo;
    struct slice tag; /* ptr NULL: whatever the tag, and without one */
};

/* What the names of registries mean. */
struct tag_pattern_names {
    const struct registries *registries; /* NULL: nothing */
    bool is_hub;                         /* the default is a Docker Hub: "library/x" is "x", too */
};

/* 0, or -EINVAL for what no name can match. */
int tag_pattern_read(struct slice text, const struct tag_pattern_names *names,
                     struct tag_pattern *out, struct error *err);
/* tag empty: about the repository's digests and blobs, of which a pattern with a tag says nothing.
 */
bool tag_pattern_matches(const struct tag_pattern *p, struct slice repo, struct slice tag);

#endif
