/*
 * Which images a person means, with the names that clients have for registries: what
 * mirrord/image_pattern.h reads, where the first component may be any name of a registry. With
 * Docker Hub as the source, docker.io/library/nginx, docker.io/nginx and nginx are one;
 * docker.io/... with wildcards means images of that registry and of no other. All that lists, pins
 * or evicts images reads its patterns here.
 *
 * A value whose slices point into itself and into the text it was read from: neither may move.
 * Pure functions over the table of registries; any thread.
 */
#ifndef MIRRORD_IMAGE_CHOICE_H
#define MIRRORD_IMAGE_CHOICE_H

#include <stdbool.h>

#include "mirrord/image_pattern.h"
#include "mirrord/registries.h"

struct image_choice {
    struct image_pattern pattern;
    const struct registry *registry; /* whose images only, by its own names; NULL: any, by the
                                        storage's names */
    size_t repo_len; /* of the storage name of the only repository that is meant; 0: of many */
    char repo[NAME_FULL_MAX];
};

/* 0, or -EINVAL with what is wrong. */
int image_choice_read(const struct registries *r, struct slice text, struct image_choice *out,
                      struct error *err);
/* repo: a storage name; tag: empty for an image that no tag points to. */
bool image_choice_matches(const struct registries *r, const struct image_choice *c,
                          struct slice repo, struct slice tag, const struct digest *d);

#endif
