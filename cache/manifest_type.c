#include "config.h"

#include "cache/manifest_type.h"

#include <string.h>

#include "base/check.h"
#include "base/json_scan.h"

#define TYPE_UNKNOWN "application/octet-stream"
#define TYPE_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define TYPE_SCHEMA1 "application/vnd.docker.distribution.manifest.v1+json"
#define TYPE_SCHEMA1_SIGNED "application/vnd.docker.distribution.manifest.v1+prettyjws"

bool manifest_type_is_valid(struct slice media_type)
{
    if (media_type.len == 0 || media_type.len >= MANIFEST_TYPE_SIZE)
        return false;
    for (size_t i = 0; i < media_type.len; i++) {
        if (media_type.ptr[i] < 0x20 || media_type.ptr[i] > 0x7e)
            return false;
    }
    const char *slash = memchr(media_type.ptr, '/', media_type.len);
    return slash && slash > media_type.ptr && slash < media_type.ptr + media_type.len - 1;
}

/* What of a document tells its type. */
struct traits {
    struct slice said; /* "mediaType" */
    bool has_manifests, has_config, has_layers, has_fs_layers, has_signatures;
};

static void note_member(void *arg, struct slice key, enum json_scan_kind kind, struct slice text)
{
    struct traits *t = arg;

    if (slice_equal(key, SLICE("mediaType")))
        t->said = kind == JSON_SCAN_STRING ? text : SLICE_NONE;
    else if (slice_equal(key, SLICE("manifests")))
        t->has_manifests = kind == JSON_SCAN_ARRAY;
    else if (slice_equal(key, SLICE("config")))
        t->has_config = kind == JSON_SCAN_OBJECT;
    else if (slice_equal(key, SLICE("layers")))
        t->has_layers = kind == JSON_SCAN_ARRAY;
    else if (slice_equal(key, SLICE("fsLayers")))
        t->has_fs_layers = kind == JSON_SCAN_ARRAY;
    else if (slice_equal(key, SLICE("signatures")))
        t->has_signatures = true;
}

static const char *type_of_shape(const struct traits *t)
{
    if (t->has_manifests)
        return TYPE_OCI_INDEX;
    if (t->has_config && t->has_layers)
        return TYPE_OCI_MANIFEST;
    if (t->has_fs_layers)
        return t->has_signatures ? TYPE_SCHEMA1_SIGNED : TYPE_SCHEMA1;
    return TYPE_UNKNOWN;
}

/* The text of a JSON string, of whose escapes only that of the slash can stand in a media type. */
static struct slice undo_escapes(struct slice s, char *room)
{
    size_t n = 0;

    if (s.len >= MANIFEST_TYPE_SIZE)
        return SLICE_NONE;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\' && i + 1 < s.len && s.ptr[i + 1] == '/')
            continue;
        room[n++] = s.ptr[i];
    }
    return (struct slice){room, n};
}

int manifest_type_derive(struct slice body, char out[MANIFEST_TYPE_SIZE], struct error *err)
{
    struct traits traits = {.said = SLICE_NONE};
    char room[MANIFEST_TYPE_SIZE];

    int rc = json_scan(body, note_member, &traits, err);
    if (rc < 0)
        traits = (struct traits){.said = SLICE_NONE};
    struct slice said = undo_escapes(traits.said, room);
    bool is_backslash_free = said.len == 0 || !memchr(said.ptr, '\\', said.len);
    struct slice type =
        is_backslash_free && manifest_type_is_valid(said) ? said : slice_of(type_of_shape(&traits));
    CHECK(type.len < MANIFEST_TYPE_SIZE);
    memcpy(out, type.ptr, type.len);
    out[type.len] = '\0';
    return rc;
}
