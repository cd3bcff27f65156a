#include "config.h"

#include "mirrord/push_manifest.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/json_text.h"
#include "base/json_walk.h"

/* What manifests of a known type have to look like. */
enum shape { SHAPE_ANY, SHAPE_IMAGE, SHAPE_INDEX, SHAPE_SIGNED };

static const struct {
    struct slice media_type;
    enum shape shape;
} TYPES[] = {
    {{"application/vnd.oci.image.manifest.v1+json", 42}, SHAPE_IMAGE},
    {{"application/vnd.oci.image.index.v1+json", 39}, SHAPE_INDEX},
    {{"application/vnd.docker.distribution.manifest.v2+json", 52}, SHAPE_IMAGE},
    {{"application/vnd.docker.distribution.manifest.list.v2+json", 57}, SHAPE_INDEX},
    {{"application/vnd.docker.distribution.manifest.v1+prettyjws", 57}, SHAPE_SIGNED},
};

static enum shape shape_of(struct slice media_type)
{
    for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++) {
        if (slice_equal_case(media_type, TYPES[i].media_type))
            return TYPES[i].shape;
    }
    return SHAPE_ANY;
}

static enum api_error wrong(struct error *why, const char *text)
{
    error_set(why, -EBADMSG, "%s", text);
    return API_ERROR_MANIFEST_INVALID;
}

/* What is needed of a body that is no manifest of ours. */
struct opaque {
    struct error *why;
    struct slice media_type; /* escapes not undone */
    bool has_media_type;
};

static int note_opaque(void *arg, const struct json_value *v)
{
    struct opaque *o = arg;

    if (v->depth == 0 && v->kind != JSON_WALK_OBJECT)
        return error_set(o->why, -EBADMSG, "the manifest is no JSON object");
    if (v->depth != 1 || v->is_end || !json_text_is(v->key, SLICE("mediaType")))
        return 0;
    if (o->has_media_type)
        return error_set(o->why, -EBADMSG, "manifest: mediaType: is there twice");
    o->has_media_type = true;
    o->media_type = v->kind == JSON_WALK_STRING ? v->text : SLICE_NONE;
    return 0;
}

/* Names as they can be registered (RFC 6838 section 4.2). What is pushed is told to others in a
 * header field: a comma or a quote there would make more than one type of it. */
static bool is_media_type(struct slice type)
{
    unsigned n_slashes = 0;

    for (size_t i = 0; i < type.len; i++) {
        char c = type.ptr[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        n_slashes += c == '/';
        if (!is_alnum && (c == '\0' || !strchr("/!#$&-^_.+", c)))
            return false;
    }
    return n_slashes == 1 && manifest_type_is_valid(type);
}

/* The type that the request tells, without parameters (RFC 9110 section 8.3.1), if it tells one. */
static enum api_error read_header_type(struct push_manifest *m, struct error *why)
{
    struct slice rest = m->content_type;
    struct slice type = slice_trim(slice_cut(&rest, ';'));

    m->media_type[0] = '\0';
    if (type.len == 0)
        return API_ERROR_NONE;
    if (!is_media_type(type))
        return wrong(why, "Content-Type is not a media type");
    memcpy(m->media_type, type.ptr, type.len);
    m->media_type[type.len] = '\0';
    return API_ERROR_NONE;
}

/* said: "mediaType" of the body, as written. What header and body tell has to be the same; what
 * only one of them tells is believed. */
static enum api_error settle_type(struct push_manifest *m, struct slice said, struct error *why)
{
    char room[MANIFEST_TYPE_SIZE];
    int len = json_text_undo(said, room, sizeof(room));
    struct slice type = {room, len > 0 ? (size_t)len : 0};

    if (len != 0 && !is_media_type(type))
        return wrong(why, "manifest: mediaType: is not a media type");
    if (m->media_type[0] == '\0') {
        manifest_type_derive(m->body, m->media_type, NULL);
        if (strcmp(m->media_type, "application/octet-stream") == 0)
            return wrong(why, "neither Content-Type nor the manifest tells its media type");
        return API_ERROR_NONE;
    }
    if (len > 0 && !slice_equal_case(type, slice_of(m->media_type)))
        return wrong(why, "Content-Type and the manifest's mediaType differ");
    return API_ERROR_NONE;
}

/* What can be read as an image and as an index means different things to different readers
 * (GHSA-77vh-xpmg-72qh). */
static enum api_error check_shape(const struct push_manifest *m, const struct manifest_facts *facts,
                                  struct error *why)
{
    enum shape shape = shape_of(slice_of(m->media_type));

    if (shape == SHAPE_SIGNED)
        return wrong(why, "signed manifests of schema 1 are not accepted: push the image anew");
    if (shape == SHAPE_ANY)
        return API_ERROR_NONE;
    if (facts->has_schema_version && facts->schema_version != 2)
        return wrong(why, "manifest: schemaVersion: is not 2");
    if (shape == SHAPE_INDEX && (facts->has_config || facts->has_layers || facts->has_fs_layers))
        return wrong(why, "an index with parts of an image");
    if (shape == SHAPE_IMAGE && (facts->has_manifests || facts->has_fs_layers))
        return wrong(why, "an image manifest with parts of something else");
    if (shape == SHAPE_IMAGE && !facts->has_config)
        return wrong(why, "an image manifest without config");
    return API_ERROR_NONE;
}

/* What manifest_scan refused: of a type that we know it is wrong, of another it is not ours to
 * judge. */
static enum api_error read_opaque(struct push_manifest *m, struct error *why)
{
    struct error scan_error = *why;
    struct opaque o = {.why = why};

    if (json_walk(m->body, m->depth_max, note_opaque, &o, why) < 0)
        return API_ERROR_MANIFEST_INVALID;
    enum api_error error = settle_type(m, o.media_type, why);
    if (error != API_ERROR_NONE)
        return error;
    bool is_known = shape_of(slice_of(m->media_type)) != SHAPE_ANY;
    if (is_known) {
        *why = scan_error;
        return API_ERROR_MANIFEST_INVALID;
    }
    m->is_opaque = true;
    return API_ERROR_NONE;
}

static enum api_error check_digest(struct push_manifest *m, struct error *why)
{
    struct digest real;
    char text[DIGEST_TEXT_SIZE];

    digest_of(m->has_digest ? m->digest.alg : DIGEST_SHA256, m->body.ptr, m->body.len, &real);
    digest_format(&real, text);
    if (m->has_digest && !digest_equal(&real, &m->digest)) {
        error_set(why, -EBADMSG, "the content has %s", text);
        return API_ERROR_DIGEST_WRONG;
    }
    m->digest = real;
    return API_ERROR_NONE;
}

enum api_error push_manifest_read(struct push_manifest *m, manifest_ref_fn on_ref, void *arg,
                                  struct error *why)
{
    struct manifest_facts facts;

    CHECK(m->depth_max > 0);
    m->is_opaque = m->has_subject = false;
    enum api_error error = check_digest(m, why);
    if (error == API_ERROR_NONE)
        error = read_header_type(m, why);
    if (error != API_ERROR_NONE)
        return error;
    if (manifest_scan(m->body, m->depth_max, &facts, on_ref, arg, why) < 0)
        return read_opaque(m, why);
    error = settle_type(m, facts.media_type, why);
    if (error == API_ERROR_NONE)
        error = check_shape(m, &facts, why);
    m->has_subject = facts.has_subject;
    m->subject = facts.subject;
    return error;
}
