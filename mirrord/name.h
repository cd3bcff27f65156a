/*
 * Names in the registry protocol: repositories, tags, and the percent-encoding they may arrive in
 * (OCI distribution-spec, "Pulling manifests"; RFC 3986 section 2.1). Pure functions; any thread.
 */
#ifndef MIRRORD_NAME_H
#define MIRRORD_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "mirrord/registry_host.h"

#define NAME_REPO_MAX 255
/* With the registry's host in front, as clients may write it and as the storage has it. */
#define NAME_FULL_MAX (REGISTRY_HOST_MAX + 1 + NAME_REPO_MAX)
#define NAME_TAG_MAX 128

/* Components of lower-case letters and digits, parted by '/', each with single '.', '_', "__" or
 * runs of '-' between its characters; at most NAME_REPO_MAX bytes. */
bool name_is_repo(struct slice s);
/* The same, perhaps behind a registry's host with or without a port; at most NAME_FULL_MAX bytes.
 * Whether its first component is a registry's host is not known here. */
bool name_is_full(struct slice s);
/* [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127} */
bool name_is_tag(struct slice s);

/* Lower-case letters, digits and what `more` has besides; not empty. For patterns of names. */
bool name_has_only(struct slice s, const char *more);

/* Decodes %XX of `raw` into out[out_size] and returns the length. Strict: -EINVAL for an incomplete
 * or foreign escape and for control characters, encoded or not; -E2BIG when it does not fit. In a
 * path an encoded '/' is -EINVAL too: it would change the path's shape. */
int name_decode(struct slice raw, bool is_path, char *out, size_t out_size);
/* Whether name_decode would change anything. */
bool name_is_encoded(struct slice raw);

/* The same name as a Docker Hub has it: "nginx" is "library/nginx". Returns the length written to
 * out, which has room for NAME_HUB_SIZE bytes; no NUL. */
#define NAME_HUB_SIZE (8 + NAME_REPO_MAX)
size_t name_canonical(struct slice repo, bool is_hub, char out[NAME_HUB_SIZE]);

#endif
