/*
 * From method, path and query to what is asked for: which resource, of which repository, under
 * which reference. A pure function; the result borrows from the path, or from its own text where
 * something had to be decoded, so it lives as long as both.
 *
 * /v2/<name>/manifests/<tag or digest>   /v2/<name>/blobs/<digest>   /v2/<name>/tags/list
 * /v2/<name>/blobs/uploads/   /v2/<name>/blobs/uploads/<id>   /v2/<name>/referrers/<digest>
 * /v2/_catalog   /v2   /v2/   /   /_ping   /v1/_ping
 *
 * What stands before /v2 is the base ("/ghcr.io/v2/…"); whether it means anything is judged in
 * registry_route.h.
 *
 * Names may contain components such as "manifests", so paths are read from their end.
 */
#ifndef MIRRORD_ROUTE_H
#define MIRRORD_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/slice.h"
#include "mirrord/api_error.h"
#include "mirrord/head.h"
#include "mirrord/name.h"

enum route_id {
    ROUTE_UNKNOWN,
    ROUTE_ROOT,
    ROUTE_PING,
    ROUTE_VERSION,
    ROUTE_CATALOG,
    ROUTE_MANIFEST,
    ROUTE_BLOB,
    ROUTE_TAGS,
    ROUTE_UPLOADS, /* where uploads begin */
    ROUTE_UPLOAD,  /* one upload; its id, not judged here, is the reference */
    ROUTE_REFERRERS,
    ROUTE_MAX
};

/* No path that is longer once decoded can be valid. */
#define ROUTE_PATH_MAX 768

struct route {
    enum route_id id;
    const char *allow;      /* methods that this resource can have, for 405 */
    struct slice base;      /* "/ghcr.io" of /ghcr.io/v2/…; else empty */
    struct slice repo;      /* valid by name_is_full */
    struct slice reference; /* tag, digest, or id of an upload, as text */
    bool is_digest;
    struct digest digest;
    bool has_n;
    uint64_t n;
    struct slice last; /* decoded; empty when not given */
    char path_text[ROUTE_PATH_MAX];
    char last_text[NAME_FULL_MAX];
};

/* API_ERROR_NONE, or what is wrong with the request; id and allow are set as far as known. */
enum api_error route_parse(enum http_method method, struct slice path, struct slice query,
                           struct route *out);
const char *route_name(enum route_id id);

#endif
