#include "config.h"

#include "cache/manifest_type.h"

#include <string.h>

#include <jansson.h>

#include "base/check.h"

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

/* By what the document has. */
static const char *type_of_shape(const json_t *root)
{
    if (json_is_array(json_object_get(root, "manifests")))
        return TYPE_OCI_INDEX;
    if (json_is_object(json_object_get(root, "config")) &&
        json_is_array(json_object_get(root, "layers")))
        return TYPE_OCI_MANIFEST;
    if (json_is_array(json_object_get(root, "fsLayers")))
        return json_object_get(root, "signatures") ? TYPE_SCHEMA1_SIGNED : TYPE_SCHEMA1;
    return TYPE_UNKNOWN;
}

void manifest_type_derive(struct slice body, char out[MANIFEST_TYPE_SIZE])
{
    json_t *root = body.len > 0 ? json_loadb(body.ptr, body.len, 0, NULL) : NULL;
    const char *said = json_string_value(json_object_get(root, "mediaType"));
    const char *type = said && manifest_type_is_valid(slice_of(said)) ? said : type_of_shape(root);

    CHECK(strlen(type) < MANIFEST_TYPE_SIZE);
    memcpy(out, type, strlen(type) + 1);
    json_decref(root);
}
