/*
 * Which images a person means, on the command line and at the admin listener:
 *
 *   repository                  all of its images
 *   repository:tag              that tag
 *   repository@sha256:…         that manifest
 *
 * where repository and tag may have * for any characters and ? for one. As everywhere, a Docker
 * Hub's "nginx" is also "library/nginx". A value whose slices point into the text it was read from;
 * pure functions; any thread.
 */
#ifndef MIRRORD_IMAGE_PATTERN_H
#define MIRRORD_IMAGE_PATTERN_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "mirrord/name.h"

#define IMAGE_PATTERN_MAX (NAME_FULL_MAX + 1 + DIGEST_TEXT_SIZE)

struct image_pattern {
    struct slice repo;
    struct slice reference; /* a tag, perhaps with wildcards, or a digest; ptr NULL: whatever */
    bool is_digest;
    bool is_hub;
};

/* 0, or -EINVAL with what is wrong. */
int image_pattern_read(struct slice text, bool is_hub, struct image_pattern *out,
                       struct error *err);
/* Whether it names one repository and one reference. */
bool image_pattern_is_exact(const struct image_pattern *p);
/* Whether it names one repository. */
bool image_pattern_is_one_repo(const struct image_pattern *p);
/* tag: empty for an image that no tag points to. */
bool image_pattern_match(const struct image_pattern *p, struct slice repo, struct slice tag,
                         const struct digest *d);

#endif
