/*
 * What a rule of a setting is about: a pattern of repositories, or behind ':' of tags, too
 * ("repository:tag"). * stands for any characters, ? for one. Repositories go by the names that the
 * storage calls them by, so those of another upstream than the default begin with its host.
 *
 * Slices point into the text that was read. Pure; any thread; hot.
 */
#ifndef MIRRORD_TAG_PATTERN_H
#define MIRRORD_TAG_PATTERN_H

#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"

struct tag_pattern {
    struct slice repo;
    struct slice tag; /* ptr NULL: whatever the tag, and without one */
};

/* 0, or -EINVAL for what no name can match. */
int tag_pattern_read(struct slice text, struct tag_pattern *out, struct error *err);
/* tag empty: about the repository's digests and blobs, of which a pattern with a tag says nothing.
 * is_hub: "library/x" is also meant by "x". */
bool tag_pattern_matches(const struct tag_pattern *p, bool is_hub, struct slice repo,
                         struct slice tag);

#endif
