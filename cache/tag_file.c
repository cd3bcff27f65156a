#include "config.h"

#include "cache/tag_file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/check.h"
#include "cache/disk.h"

#define RECORD_MAX_BYTES 4096

/* Reads a link file: a digest, perhaps with blanks behind. */
static int read_link(const char *path, struct digest *out)
{
    struct strbuf text = STRBUF_INIT;
    int rc = disk_read_file(path, DIGEST_TEXT_SIZE + 2, &text);

    if (rc == 0) {
        struct slice s = {text.ptr, text.len};
        while (s.len > 0 && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
            s.len--;
        /* A damaged link is none. */
        rc = s.len > 0 && digest_parse(s, out) ? 0 : -ENOENT;
    }
    strbuf_fini(&text);
    return rc == -EFBIG || rc == -ENOTDIR ? -ENOENT : rc;
}

/* Our record; false when there is none, or not about this digest. */
static bool read_record(const char *path, const struct digest *d, struct tag_record *out)
{
    struct strbuf text = STRBUF_INIT;
    struct digest about;
    json_t *root = NULL;

    if (disk_read_file(path, RECORD_MAX_BYTES, &text) == 0 && text.len > 0)
        root = json_loadb(text.ptr, text.len, 0, NULL);
    strbuf_fini(&text);
    const char *digest = json_string_value(json_object_get(root, "digest"));
    const char *origin = json_string_value(json_object_get(root, "origin"));
    bool is_ours = digest && digest_parse(slice_of(digest), &about) && digest_equal(&about, d) &&
                   origin && slice_equal(slice_of(origin), SLICE("mirrored"));
    if (is_ours) {
        out->origin = TAG_MIRRORED;
        out->fetched_at_s = json_integer_value(json_object_get(root, "fetched_at"));
        out->checked_at_s = json_integer_value(json_object_get(root, "checked_at"));
    }
    json_decref(root);
    return is_ours;
}

int tag_file_load(struct layout *l, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct tag_record record = {.origin = TAG_LOCAL};
    struct stat st;
    char *link = layout_tag_link(l, repo, tag);
    char *path = layout_tag_record(l, repo, tag);
    int rc = read_link(link, &record.digest);

    if (rc == 0 && !read_record(path, &record.digest, &record) && stat(link, &st) == 0)
        record.fetched_at_s = record.checked_at_s = st.st_mtime;
    if (rc == 0)
        *out = record;
    free(path);
    free(link);
    return rc;
}

static int write_record(struct layout *l, const char *path, const struct tag_record *record,
                        enum disk_care care, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char digest[DIGEST_TEXT_SIZE];

    digest_format(&record->digest, digest);
    strbuf_addf(&text,
                "{\"origin\":\"mirrored\",\"digest\":\"%s\",\"fetched_at\":%lld,"
                "\"checked_at\":%lld}\n",
                digest, (long long)record->fetched_at_s, (long long)record->checked_at_s);
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, care, err);
    strbuf_fini(&text);
    return rc;
}

int tag_file_store(struct layout *l, struct slice repo, struct slice tag,
                   const struct tag_record *record, struct error *err)
{
    char digest[DIGEST_TEXT_SIZE];
    struct digest before;
    char *link = layout_tag_link(l, repo, tag);
    char *index = layout_tag_index_link(l, repo, tag, &record->digest);
    char *path = layout_tag_record(l, repo, tag);
    bool is_same = read_link(link, &before) == 0 && digest_equal(&before, &record->digest);
    enum disk_care care = is_same ? DISK_WHOLE : DISK_DURABLE;
    int rc = 0;

    CHECK(record->origin == TAG_MIRRORED);
    digest_format(&record->digest, digest);
    if (!is_same)
        rc = disk_write_file(l, index, slice_of(digest), DISK_DURABLE, err);
    /* The record before the link: a link without its record would count as somebody else's. */
    if (rc == 0)
        rc = write_record(l, path, record, care, err);
    if (rc == 0 && !is_same)
        rc = disk_write_file(l, link, slice_of(digest), DISK_DURABLE, err);
    free(path);
    free(index);
    free(link);
    return rc;
}
