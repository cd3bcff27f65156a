#include "config.h"

#include "cache/link_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/digest_file.h"
#include "cache/disk.h"

#define RECORD_MAX_BYTES 4096

static char *link_path(struct layout *l, const struct link_name *name)
{
    CHECK(name->kind < LINK_KIND_MAX);
    return name->kind == LINK_LAYER ? layout_layer_link(l, name->repo, name->digest)
                                    : layout_revision_link(l, name->repo, name->digest);
}

static char *record_path(struct layout *l, const struct link_name *name)
{
    CHECK(name->kind < LINK_KIND_MAX);
    return name->kind == LINK_LAYER ? layout_layer_record(l, name->repo, name->digest)
                                    : layout_revision_record(l, name->repo, name->digest);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* 0 when the file holds this digest; another one makes it no link. */
static int read_link(const char *path, const struct digest *d)
{
    struct digest found;
    int rc = digest_file_read(path, &found);

    return rc < 0 || digest_equal(&found, d) ? rc : -ENOENT;
}

/* The record as JSON, an object; NULL when there is none that can be read. */
static json_t *read_record(struct layout *l, const struct link_name *name)
{
    struct strbuf text = STRBUF_INIT;
    char *path = record_path(l, name);
    json_t *root = NULL;

    if (disk_read_file(path, RECORD_MAX_BYTES, &text) == 0 && text.len > 0)
        root = json_loadb(text.ptr, text.len, 0, NULL);
    if (root && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    strbuf_fini(&text);
    free(path);
    return root;
}

static struct slice string_of(json_t *root, const char *key)
{
    json_t *value = json_object_get(root, key);

    return (struct slice){json_string_value(value), json_string_length(value)};
}

/* What the record says; false when it says nothing about it. */
static bool origin_of(json_t *root, enum link_kind kind, struct origin *out)
{
    struct slice origin = string_of(root, "origin");

    if (slice_equal(origin, SLICE("pushed"))) {
        *out = (struct origin){.is_pushed = true,
                               .at_s = json_integer_value(json_object_get(root, "pushed_at"))};
        return true;
    }
    /* Earlier versions wrote records of what they mirrored only, and did not say so. */
    bool is_earlier = !origin.ptr && kind == LINK_REVISION && string_of(root, "media_type").ptr;
    if (!is_earlier && !slice_equal(origin, SLICE("mirrored")))
        return false;
    *out = (struct origin){.upstream = origin_upstream(string_of(root, "upstream")),
                           .at_s = json_integer_value(json_object_get(root, "fetched_at"))};
    return true;
}

int link_file_load(struct layout *l, const struct link_name *name, struct origin *out)
{
    char *path = link_path(l, name);
    struct origin origin = {.is_pushed = true};
    struct stat st;
    int rc = read_link(path, name->digest);

    if (rc == 0) {
        json_t *root = read_record(l, name);
        if (!origin_of(root, name->kind, &origin) || origin.at_s == 0)
            origin.at_s = stat(path, &st) == 0 ? (int64_t)st.st_mtime : 0;
        json_decref(root);
        *out = origin;
    }
    free(path);
    return rc;
}

int link_file_survey(struct layout *l, const struct link_name *name, struct origin *out)
{
    char text[DIGEST_TEXT_SIZE];
    struct origin origin;
    struct stat st;

    if (name->kind != LINK_LAYER)
        return link_file_load(l, name, out);
    json_t *root = read_record(l, name);
    bool is_mirrored = root && origin_of(root, name->kind, &origin) && !origin.is_pushed;
    json_decref(root);
    char *path = link_path(l, name);
    bool is_good = is_mirrored && origin.at_s != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
                   (size_t)st.st_size == digest_format(name->digest, text);
    free(path);
    if (!is_good)
        return link_file_load(l, name, out);
    *out = origin;
    return 0;
}

int link_file_look(struct layout *l, const struct link_name *name)
{
    struct origin origin;
    struct stat st;
    int rc;

    if (name->kind == LINK_LAYER) {
        char *path = record_path(l, name);
        rc = stat(path, &st) < 0 ? -errno : 0;
        free(path);
        if (rc == 0)
            return 0;
    }
    rc = link_file_load(l, name, &origin);
    return rc == 0 && origin.is_pushed ? -EEXIST : rc;
}

void link_file_media_type(struct layout *l, const struct link_name *name, struct strbuf *out)
{
    json_t *root = read_record(l, name);
    struct slice type = string_of(root, "media_type");

    if (type.ptr)
        strbuf_add_slice(out, type);
    json_decref(root);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_member(struct strbuf *text, const char *key, struct slice value)
{
    strbuf_addf(text, ",\"%s\":\"", key);
    strbuf_add_json(text, value);
    strbuf_add_char(text, '"');
}

static int write_record(struct layout *l, const struct link_name *name, struct slice media_type,
                        const struct origin *origin, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    bool is_loose = name->kind == LINK_LAYER && !origin->is_pushed;
    char *path = record_path(l, name);

    strbuf_addf(&text, "{\"origin\":\"%s\",\"%s\":%lld", origin->is_pushed ? "pushed" : "mirrored",
                origin->is_pushed ? "pushed_at" : "fetched_at", (long long)origin->at_s);
    if (origin->upstream)
        add_member(&text, "upstream", slice_of(origin->upstream));
    if (name->kind == LINK_REVISION && media_type.len > 0)
        add_member(&text, "media_type", media_type);
    strbuf_add_str(&text, "}\n");
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len},
                             is_loose ? DISK_WHOLE : DISK_DURABLE, err);
    strbuf_fini(&text);
    free(path);
    return rc;
}

/* A pushed layer has none; one that says "mirrored" must be gone before the link says "pushed". */
static int remove_record(struct layout *l, const struct link_name *name, struct error *err)
{
    char *path = record_path(l, name);
    int rc = 0;

    if (unlink(path) == 0)
        rc = disk_sync_parent(path, err);
    else if (errno != ENOENT && errno != ENOTDIR)
        rc = error_sys(err, -errno, "remove %s", path);
    free(path);
    return rc;
}

static int write_link(struct layout *l, const struct link_name *name, const struct origin *origin,
                      struct error *err)
{
    bool is_loose = name->kind == LINK_LAYER && !origin->is_pushed;
    char digest[DIGEST_TEXT_SIZE];
    char *path = link_path(l, name);

    digest_format(name->digest, digest);
    int rc = disk_write_file(l, path, slice_of(digest), is_loose ? DISK_WHOLE : DISK_DURABLE, err);
    free(path);
    return rc;
}

/* The folder of a link, which is its digest's own. */
static char *folder_of(const char *link)
{
    const char *slash = strrchr(link, '/');

    CHECK(slash);
    return xmemdup0(link, (size_t)(slash - link));
}

/* A pushed layer. A mirrored one may have made the folder, and that is not durable. */
static int add_pushed_layer(struct layout *l, const struct link_name *name,
                            const struct origin *origin, struct error *err)
{
    char *path = link_path(l, name);
    char *folder = folder_of(path);
    bool had_folder = access(folder, F_OK) == 0;
    int rc = had_folder ? remove_record(l, name, err) : 0;

    if (rc == 0)
        rc = write_link(l, name, origin, err);
    if (rc == 0 && had_folder)
        rc = disk_sync_parent(folder, err);
    free(folder);
    free(path);
    return rc;
}

int link_file_add(struct layout *l, const struct link_name *name, struct slice media_type,
                  struct origin *now, struct error *err)
{
    struct origin before;
    int rc;

    if (!now->is_pushed && link_file_load(l, name, &before) == 0) {
        *now = before;
        return 0;
    }
    /* A pushed link is written even if it is there: nobody knows whether that one is durable. */
    if (now->is_pushed && name->kind == LINK_LAYER)
        return add_pushed_layer(l, name, now, err);
    rc = write_record(l, name, media_type, now, err);
    return rc == 0 ? write_link(l, name, now, err) : rc;
}

/* Removes what is left of the link's folder, if that is nothing. */
static int remove_folder(const char *link, enum disk_care care, struct error *err)
{
    char *folder = folder_of(link);
    bool is_gone = rmdir(folder) == 0;
    int rc = care == DISK_DURABLE ? disk_sync_parent(is_gone ? folder : link, err) : 0;

    free(folder);
    return rc;
}

int link_file_remove(struct layout *l, const struct link_name *name, enum disk_care care,
                     struct error *err)
{
    char *link = link_path(l, name);
    char *record = record_path(l, name);
    int rc = 0;

    /* The link first: what stays of a mirrored one must not look pushed. */
    if (unlink(link) < 0)
        rc = errno == ENOENT || errno == ENOTDIR ? -ENOENT
                                                 : error_sys(err, -errno, "remove %s", link);
    if (rc == 0 && unlink(record) < 0 && errno != ENOENT)
        rc = error_sys(err, -errno, "remove %s", record);
    if (rc == 0)
        rc = remove_folder(link, care, err);
    free(record);
    free(link);
    return rc;
}
