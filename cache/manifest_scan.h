/*
 * What a manifest says about others, from its bytes alone: what it references, its subject, what a
 * referrer's descriptor tells (OCI image-spec: manifest.md, image-index.md, descriptor.md; Docker
 * image manifest version 2 schema 1 and 2). One streaming pass without a tree; memory is constant
 * whatever the text is. A pure function; any thread (tests/fuzz/fuzz_manifest_scan.c).
 */
#ifndef CACHE_MANIFEST_SCAN_H
#define CACHE_MANIFEST_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"

enum manifest_ref_kind {
    MANIFEST_REF_CONFIG,
    MANIFEST_REF_LAYER,   /* layers[], blobs[], fsLayers[] */
    MANIFEST_REF_CHILD,   /* manifests[] */
    MANIFEST_REF_SUBJECT, /* may be missing everywhere */
    MANIFEST_REF_KIND_MAX
};

/* One descriptor. */
struct manifest_ref {
    enum manifest_ref_kind kind;
    struct digest digest;
    bool has_size;
    uint64_t size;
    bool is_foreign; /* has urls, or a non-distributable media type: may lie elsewhere for good */
};

/* Slices are parts of the body: strings between their quotes, escapes not undone; objects from
 * brace to brace. Empty when there is none. */
struct manifest_facts {
    struct slice media_type;        /* "mediaType" */
    struct slice artifact_type;     /* "artifactType" */
    struct slice config_media_type; /* config.mediaType */
    struct slice annotations;       /* the object as text */
    bool has_schema_version;
    uint64_t schema_version;
    bool has_config, has_layers, has_manifests, has_fs_layers; /* members of that name */
    bool has_subject;
    struct digest subject;
};

/* Negative stops the scan and is its result. */
typedef int (*manifest_ref_fn)(void *arg, const struct manifest_ref *ref);

/* 0; -EBADMSG with what is wrong and where: not one JSON object, deeper than depth_max, a
 * descriptor without a valid digest, with a negative or absurd size, a member of the wrong type, a
 * member twice or in another case (readers disagree about those; escapes in names are undone); or
 * what on_ref returned. Members that are null count as missing. on_ref may be NULL. Believe nothing
 * before it returned 0. Strings of the facts: base/json_text.h undoes their escapes. */
int manifest_scan(struct slice body, unsigned depth_max, struct manifest_facts *facts,
                  manifest_ref_fn on_ref, void *arg, struct error *err);

#endif
