/*
 * What a client pushed as a manifest: is it one, of which type, under which digest, and what does
 * it reference. A pure function over its bytes; any thread, best one of the pool, since it hashes.
 *
 * Known types have to have their shape; other types are taken as they are, as long as they are
 * JSON objects (docs/design/pushed-manifests.md).
 */
#ifndef MIRRORD_PUSH_MANIFEST_H
#define MIRRORD_PUSH_MANIFEST_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "cache/manifest_scan.h"
#include "cache/manifest_type.h"
#include "mirrord/api_error.h"

struct push_manifest {
    /* Given. */
    struct slice body;
    struct slice content_type; /* of the request; empty if it told none */
    bool has_digest;           /* the client told one */
    struct digest digest;      /* that one; after push_manifest_read the manifest's */
    unsigned depth_max;
    /* Found. */
    char media_type[MANIFEST_TYPE_SIZE]; /* without parameters */
    bool is_opaque;                      /* of a foreign shape: nothing is known of references */
    bool has_subject;
    struct digest subject;
};

/* API_ERROR_NONE; or what is wrong with it, and why in *why. Tells each reference to on_ref, which
 * may not fail; when the manifest is opaque or wrong, forget what was told. */
enum api_error push_manifest_read(struct push_manifest *m, manifest_ref_fn on_ref, void *arg,
                                  struct error *why);

#endif
