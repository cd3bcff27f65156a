/*
 * From what a client asked for to a repository's storage name: which registry is meant, in this
 * order: ns=<host> in the query of a pull; the Host field or the listener; the path before /v2; the
 * first component of the name; else the default. A pure function over the table of registries; it
 * allocates nothing. Nothing here, or that comes of it, is ever dialled: a name that is not in the
 * table chooses no registry.
 */
#ifndef MIRRORD_REGISTRY_ROUTE_H
#define MIRRORD_REGISTRY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "mirrord/api_error.h"
#include "mirrord/name.h"
#include "mirrord/registries.h"

/* What of a request counts. */
struct registry_request {
    struct slice query;    /* raw */
    struct slice host;     /* the Host field; or empty */
    struct slice listener; /* the address it came in by, as upstreams' `listen` has it; or empty */
    struct slice base;     /* decoded path before /v2, "/ghcr.io"; or empty */
    struct slice repo;     /* valid by name_is_full; empty: no repository is asked for */
    bool is_pull;          /* ns counts */
};

struct registry_choice {
    const struct registry *registry;
    struct slice ns;   /* that was used, the table's copy; or empty */
    struct slice base; /* the same of the path before /v2 */
    bool is_named;     /* by ns, Host, listener or base: not by the repository's name */
    size_t repo_len;   /* of the storage name; 0: no repository */
};

/* API_ERROR_NONE and the choice with the storage name in `repo_out`; API_ERROR_NAME_UNKNOWN for a
 * ns, API_ERROR_PATH_UNKNOWN for a base that is not in the table; API_ERROR_NAME_INVALID. */
enum api_error registry_route(const struct registries *r, const struct registry_request *q,
                              char repo_out[NAME_FULL_MAX], struct registry_choice *out);
/* The storage name of a repository that is named without any of this: by its name alone. The length
 * written; 0: not valid. */
size_t registry_route_name(const struct registries *r, struct slice repo, char out[NAME_FULL_MAX]);
/* Cuts the first component off a name, or a pattern, of several if it chooses a registry; else
 * NULL. */
const struct registry *registry_route_cut(const struct registries *r, struct slice *repo);

#endif
