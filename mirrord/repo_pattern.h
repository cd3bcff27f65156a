/*
 * Which repositories a rule of a setting is about: a pattern in which * stands for any characters
 * and ? for one. In front may stand any name that clients have for a registry, with its port: then
 * it is about that registry's repositories, by the registry's own names, and about no others; for
 * the default registry, too, whose names in the storage have nothing in front. Without such a name
 * it goes by the names of the storage. As everywhere, a Docker Hub's "nginx" is also
 * "library/nginx".
 *
 * A value; its slice points into the text it was made from. Pure functions over the immutable table
 * of registries; any thread; hot.
 */
#ifndef MIRRORD_REPO_PATTERN_H
#define MIRRORD_REPO_PATTERN_H

#include <stdbool.h>

#include "base/slice.h"
#include "mirrord/registries.h"

struct repo_pattern {
    struct slice glob;
    const struct registry *registry; /* NULL: any */
    const struct registries *registries;
    bool is_hub;
};

/* Whether a repository can have such a name. */
bool repo_pattern_is_valid(struct slice text);
/* registries NULL: no registry has a name. is_hub: the default one is a Docker Hub. */
struct repo_pattern repo_pattern_of(struct slice text, const struct registries *registries,
                                    bool is_hub);
bool repo_pattern_matches(const struct repo_pattern *p, struct slice repo);

#endif
