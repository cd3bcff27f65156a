#include "config.h"

#include "cache/manifest_type.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/json_text.h"
#include "base/json_walk.h"

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
    struct error *err;
    struct slice said; /* "mediaType" */
    bool has_manifests, has_config, has_layers, has_fs_layers, has_signatures;
};

static int note_member(void *arg, const struct json_value *v)
{
    struct traits *t = arg;

    if (v->depth == 0 && !v->is_end && v->kind != JSON_WALK_OBJECT)
        return error_set(t->err, -EBADMSG, "JSON text: no object");
    if (v->depth != 1 || v->is_end)
        return 0;
    if (json_text_is(v->key, SLICE("mediaType")))
        t->said = v->kind == JSON_WALK_STRING ? v->text : SLICE_NONE;
    else if (json_text_is(v->key, SLICE("manifests")))
        t->has_manifests = v->kind == JSON_WALK_ARRAY;
    else if (json_text_is(v->key, SLICE("config")))
        t->has_config = v->kind == JSON_WALK_OBJECT;
    else if (json_text_is(v->key, SLICE("layers")))
        t->has_layers = v->kind == JSON_WALK_ARRAY;
    else if (json_text_is(v->key, SLICE("fsLayers")))
        t->has_fs_layers = v->kind == JSON_WALK_ARRAY;
    else if (json_text_is(v->key, SLICE("signatures")))
        t->has_signatures = true;
    return 0;
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

int manifest_type_derive(struct slice body, char out[MANIFEST_TYPE_SIZE], struct error *err)
{
    struct traits traits = {.err = err};
    char room[MANIFEST_TYPE_SIZE];

    int rc = json_walk(body, JSON_WALK_DEPTH_MAX, note_member, &traits, err);
    if (rc < 0)
        traits = (struct traits){.said = SLICE_NONE};
    int said_len = json_text_undo(traits.said, room, sizeof(room));
    struct slice said = {room, said_len > 0 ? (size_t)said_len : 0};
    struct slice type = manifest_type_is_valid(said) ? said : slice_of(type_of_shape(&traits));
    CHECK(type.len < MANIFEST_TYPE_SIZE);
    memcpy(out, type.ptr, type.len);
    out[type.len] = '\0';
    return rc < 0 ? -EBADMSG : 0;
}
