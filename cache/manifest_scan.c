#include "config.h"

#include "cache/manifest_scan.h"

#include <errno.h>

#include "base/check.h"
#include "base/json_text.h"
#include "base/json_walk.h"
#include "cache/manifest_type.h"

/* Members of the outermost object that are looked at. */
enum member {
    MEMBER_MEDIA_TYPE,
    MEMBER_ARTIFACT_TYPE,
    MEMBER_SCHEMA_VERSION,
    MEMBER_ANNOTATIONS,
    MEMBER_CONFIG,
    MEMBER_SUBJECT,
    MEMBER_LAYERS,
    MEMBER_BLOBS,
    MEMBER_MANIFESTS,
    MEMBER_FS_LAYERS,
    MEMBER_MAX
};

/* Members of a descriptor that are looked at. */
enum trait { TRAIT_DIGEST, TRAIT_BLOB_SUM, TRAIT_SIZE, TRAIT_MEDIA_TYPE, TRAIT_URLS, TRAIT_MAX };

struct name_row {
    struct slice name;
    enum json_walk_kind kind; /* what its value has to be; null is taken for its absence */
};

static const struct name_row MEMBERS[] = {
    [MEMBER_MEDIA_TYPE] = {{"mediaType", 9}, JSON_WALK_STRING},
    [MEMBER_ARTIFACT_TYPE] = {{"artifactType", 12}, JSON_WALK_STRING},
    [MEMBER_SCHEMA_VERSION] = {{"schemaVersion", 13}, JSON_WALK_NUMBER},
    [MEMBER_ANNOTATIONS] = {{"annotations", 11}, JSON_WALK_OBJECT},
    [MEMBER_CONFIG] = {{"config", 6}, JSON_WALK_OBJECT},
    [MEMBER_SUBJECT] = {{"subject", 7}, JSON_WALK_OBJECT},
    [MEMBER_LAYERS] = {{"layers", 6}, JSON_WALK_ARRAY},
    [MEMBER_BLOBS] = {{"blobs", 5}, JSON_WALK_ARRAY},
    [MEMBER_MANIFESTS] = {{"manifests", 9}, JSON_WALK_ARRAY},
    [MEMBER_FS_LAYERS] = {{"fsLayers", 8}, JSON_WALK_ARRAY},
};
_Static_assert(sizeof(MEMBERS) / sizeof(MEMBERS[0]) == MEMBER_MAX, "a row for every member");

static const struct name_row TRAITS[] = {
    [TRAIT_DIGEST] = {{"digest", 6}, JSON_WALK_STRING},
    [TRAIT_BLOB_SUM] = {{"blobSum", 7}, JSON_WALK_STRING},
    [TRAIT_SIZE] = {{"size", 4}, JSON_WALK_NUMBER},
    [TRAIT_MEDIA_TYPE] = {{"mediaType", 9}, JSON_WALK_STRING},
    [TRAIT_URLS] = {{"urls", 4}, JSON_WALK_ARRAY},
};
_Static_assert(sizeof(TRAITS) / sizeof(TRAITS[0]) == TRAIT_MAX, "a row for every trait");

enum { NAME_ROOM = 16 /* the longest name of the tables fits */ };

struct scan {
    struct manifest_facts *facts;
    manifest_ref_fn on_ref;
    void *arg;
    struct error *err;
    int stopped;        /* negative: by on_ref */
    unsigned seen;      /* members, as a set */
    enum member member; /* the one we are in */
    /* The descriptor we are in. */
    bool is_in_ref, is_in_urls;
    unsigned ref_depth; /* of its members */
    unsigned ref_seen;  /* traits, as a set */
    bool has_digest;
    struct manifest_ref ref;
    struct slice ref_type;
};

static int wrong(struct scan *s, struct slice what, const char *why)
{
    return error_set(s->err, -EBADMSG, "manifest: %.*s: %s", SLICE_ARG(what), why);
}

/* Which row has this name; n_rows: none. Readers of manifests do not agree about names that are
 * written twice or in another case, so such a manifest would say different things to different
 * readers: it is refused. Escapes are undone, all readers agree about them. */
static int find_name(struct scan *s, struct slice key, const struct name_row *rows, unsigned n_rows,
                     unsigned *seen)
{
    char room[NAME_ROOM];
    unsigned i = 0;

    int len = json_text_undo(key, room, sizeof(room));
    if (len < 0)
        return (int)n_rows;
    struct slice name = {room, (size_t)len};
    while (i < n_rows && !slice_equal_case(name, rows[i].name))
        i++;
    if (i == n_rows)
        return (int)n_rows;
    if (!slice_equal(name, rows[i].name))
        return wrong(s, rows[i].name, "its name in another case");
    if (*seen & 1u << i)
        return wrong(s, rows[i].name, "is there twice");
    *seen |= 1u << i;
    return (int)i;
}

/* 1: a value of the right kind; 0: null; else what is wrong. */
static int check_kind(struct scan *s, const struct name_row *row, const struct json_value *v)
{
    static const char *const WANTED[] = {
        [JSON_WALK_OBJECT] = "is no object", [JSON_WALK_ARRAY] = "is no array",
        [JSON_WALK_STRING] = "is no string", [JSON_WALK_NUMBER] = "is no number",
        [JSON_WALK_WORD] = "is no word",
    };
    _Static_assert(sizeof(WANTED) / sizeof(WANTED[0]) == JSON_WALK_KIND_MAX, "a text for each");

    if (v->kind == row->kind)
        return 1;
    return slice_equal(v->text, SLICE("null")) && v->kind == JSON_WALK_WORD
               ? 0
               : wrong(s, row->name, WANTED[row->kind]);
}

/* --- descriptors ------------------------------------------------------------------------------ */

static void begin_ref(struct scan *s, enum manifest_ref_kind kind, unsigned depth)
{
    CHECK(!s->is_in_ref);
    s->is_in_ref = true;
    s->is_in_urls = false;
    s->ref_depth = depth + 1;
    s->ref_seen = 0;
    s->has_digest = false;
    s->ref = (struct manifest_ref){.kind = kind};
    s->ref_type = SLICE_NONE;
}

static int note_digest(struct scan *s, struct slice name, struct slice text)
{
    char room[DIGEST_TEXT_SIZE];

    int len = json_text_undo(text, room, sizeof(room));
    s->has_digest = len > 0 && digest_parse((struct slice){room, (size_t)len}, &s->ref.digest);
    return s->has_digest ? 0 : wrong(s, name, "is not a digest of a supported kind");
}

static int note_size(struct scan *s, struct slice text)
{
    s->ref.has_size = slice_to_u64(text, &s->ref.size) && s->ref.size <= INT64_MAX;
    return s->ref.has_size ? 0 : wrong(s, TRAITS[TRAIT_SIZE].name, "is not a count of bytes");
}

/* A member of the descriptor. */
static int note_trait(struct scan *s, const struct json_value *v)
{
    int trait = find_name(s, v->key, TRAITS, TRAIT_MAX, &s->ref_seen);
    if (trait < 0 || trait == TRAIT_MAX)
        return trait < 0 ? trait : 0;
    const struct name_row *row = &TRAITS[trait];
    int rc = check_kind(s, row, v);
    if (rc <= 0)
        return rc;
    bool is_schema1 = s->member == MEMBER_FS_LAYERS;
    if (trait == (is_schema1 ? TRAIT_BLOB_SUM : TRAIT_DIGEST))
        return note_digest(s, row->name, v->text);
    if (trait == TRAIT_SIZE)
        return note_size(s, v->text);
    if (trait == TRAIT_MEDIA_TYPE)
        s->ref_type = v->text;
    s->is_in_urls = trait == TRAIT_URLS;
    return 0;
}

/* Layers that are not to be distributed (OCI image-spec, layer.md; Docker schema 2, "foreign"). */
static bool is_foreign_type(struct slice source)
{
    char room[MANIFEST_TYPE_SIZE];

    int len = json_text_undo(source, room, sizeof(room));
    struct slice type = {room, len > 0 ? (size_t)len : 0};
    return slice_starts(type, SLICE("application/vnd.oci.image.layer.nondistributable.")) ||
           slice_starts(type, SLICE("application/vnd.docker.image.rootfs.foreign.diff."));
}

static int end_ref(struct scan *s)
{
    s->is_in_ref = false;
    if (!s->has_digest)
        return wrong(s, MEMBERS[s->member].name, "has a descriptor without digest");
    s->ref.is_foreign = s->ref.is_foreign || is_foreign_type(s->ref_type);
    if (s->member == MEMBER_CONFIG)
        s->facts->config_media_type = s->ref_type;
    if (s->member == MEMBER_SUBJECT) {
        s->facts->has_subject = true;
        s->facts->subject = s->ref.digest;
    }
    s->stopped = s->on_ref ? s->on_ref(s->arg, &s->ref) : 0;
    return s->stopped;
}

/* Something in a descriptor, or its end. */
static int step_ref(struct scan *s, const struct json_value *v)
{
    if (v->is_end && v->depth == s->ref_depth - 1)
        return end_ref(s);
    if (v->depth == s->ref_depth) {
        s->is_in_urls = false;
        return v->is_end ? 0 : note_trait(s, v);
    }
    if (s->is_in_urls && v->depth == s->ref_depth + 1)
        s->ref.is_foreign = true;
    return 0;
}

/* --- the outermost object --------------------------------------------------------------------- */

static int note_schema_version(struct scan *s, struct slice text)
{
    s->facts->has_schema_version = slice_to_u64(text, &s->facts->schema_version);
    return s->facts->has_schema_version
               ? 0
               : wrong(s, MEMBERS[MEMBER_SCHEMA_VERSION].name, "is not a version");
}

/* A member's value, or its begin. */
static int note_value(struct scan *s, const struct json_value *v)
{
    struct manifest_facts *facts = s->facts;

    switch (s->member) {
    case MEMBER_MEDIA_TYPE:
        facts->media_type = v->text;
        return 0;
    case MEMBER_ARTIFACT_TYPE:
        facts->artifact_type = v->text;
        return 0;
    case MEMBER_SCHEMA_VERSION:
        return note_schema_version(s, v->text);
    case MEMBER_CONFIG:
        facts->has_config = true;
        begin_ref(s, MANIFEST_REF_CONFIG, v->depth);
        return 0;
    case MEMBER_SUBJECT:
        begin_ref(s, MANIFEST_REF_SUBJECT, v->depth);
        return 0;
    case MEMBER_LAYERS:
        facts->has_layers = true;
        return 0;
    case MEMBER_MANIFESTS:
        facts->has_manifests = true;
        return 0;
    case MEMBER_FS_LAYERS:
        facts->has_fs_layers = true;
        return 0;
    case MEMBER_ANNOTATIONS:
    case MEMBER_BLOBS:
    case MEMBER_MAX:
        break;
    }
    return 0;
}

static int step_member(struct scan *s, const struct json_value *v)
{
    if (v->is_end) {
        if (s->member == MEMBER_ANNOTATIONS)
            s->facts->annotations = v->text;
        return 0;
    }
    int member = find_name(s, v->key, MEMBERS, MEMBER_MAX, &s->seen);
    s->member = MEMBER_MAX;
    if (member < 0 || member == MEMBER_MAX)
        return member < 0 ? member : 0;
    int rc = check_kind(s, &MEMBERS[member], v);
    if (rc <= 0)
        return rc;
    s->member = (enum member)member;
    return note_value(s, v);
}

/* An element of an array of descriptors. */
static int step_element(struct scan *s, const struct json_value *v)
{
    bool is_list = s->member == MEMBER_LAYERS || s->member == MEMBER_BLOBS ||
                   s->member == MEMBER_MANIFESTS || s->member == MEMBER_FS_LAYERS;

    if (!is_list)
        return 0;
    if (v->kind != JSON_WALK_OBJECT)
        return wrong(s, MEMBERS[s->member].name, "has something else than descriptors");
    begin_ref(s, s->member == MEMBER_MANIFESTS ? MANIFEST_REF_CHILD : MANIFEST_REF_LAYER, v->depth);
    return 0;
}

static int on_value(void *arg, const struct json_value *v)
{
    struct scan *s = arg;

    if (s->is_in_ref)
        return step_ref(s, v);
    switch (v->depth) {
    case 0:
        return v->kind == JSON_WALK_OBJECT ? 0 : wrong(s, SLICE("its text"), "is no object");
    case 1:
        return step_member(s, v);
    case 2:
        return step_element(s, v);
    default:
        return 0;
    }
}

int manifest_scan(struct slice body, unsigned depth_max, struct manifest_facts *facts,
                  manifest_ref_fn on_ref, void *arg, struct error *err)
{
    struct scan s = {
        .facts = facts, .on_ref = on_ref, .arg = arg, .err = err, .member = MEMBER_MAX};

    *facts = (struct manifest_facts){.has_subject = false};
    if (depth_max > JSON_WALK_DEPTH_MAX)
        depth_max = JSON_WALK_DEPTH_MAX;
    int rc = json_walk(body, depth_max, on_value, &s, err);
    CHECK(rc != 0 || !s.is_in_ref);
    if (rc == 0 || s.stopped < 0)
        return rc;
    if (err)
        err->code = -EBADMSG;
    return -EBADMSG;
}
