/*
 * Names of registries as clients write them: "ghcr.io", "registry.example:5000", or a short name of
 * the operator's own. Pure functions; any thread.
 */
#ifndef MIRRORD_REGISTRY_HOST_H
#define MIRRORD_REGISTRY_HOST_H

#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"

#define REGISTRY_HOST_MAX 128 /* room must be left for a repository's name behind it */

/* 0 when this can be one, in lower case: what can be the first component of a repository's name,
 * and perhaps a port behind it. Else -EINVAL with the reason. */
int registry_host_check(struct slice host, struct error *err);
/* Docker Hub's names mean one registry; NULL-terminated, the first is what it is called here. */
extern const char *const REGISTRY_HOST_HUB[];
bool registry_host_is_hub(struct slice host);

#endif
