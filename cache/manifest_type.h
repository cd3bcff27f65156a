/*
 * The media type of a manifest from its bytes alone: what "mediaType" says, else its shape (OCI
 * image-spec, manifest.md and image-index.md; Docker distribution, manifest schema 1). Takes
 * anything; pure (tests/fuzz/fuzz_manifest_type.c).
 */
#ifndef CACHE_MANIFEST_TYPE_H
#define CACHE_MANIFEST_TYPE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"

#define MANIFEST_TYPE_SIZE 256 /* with NUL */

/* type/subtype with parameters, printable ASCII, short enough: can stand in a header. */
bool manifest_type_is_valid(struct slice media_type);
/* Always a valid one: "application/octet-stream" when the bytes say nothing. Returns 0, or -EBADMSG
 * when they are no JSON object. Builds no tree: a hostile manifest of a few megabytes would become
 * a tree of hundreds. */
int manifest_type_derive(struct slice body, char out[MANIFEST_TYPE_SIZE], struct error *err);

#endif
