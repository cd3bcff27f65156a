#include "config.h"

#include "cache/tag_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#define DEPTH_MAX 4 /* of the folders in a tag's folder: index/<alg>/<hex> */
#define INDEX_FOLDERS 3

/* Our record, and what only the file knows. */
struct file_record {
    struct tag_record record;
    bool has_previous;
    struct digest previous; /* of the mirrored half: what the link says until it is replaced */
};

/* --- reading ---------------------------------------------------------------------------------- */

static bool read_digest(const json_t *half, const char *key, struct digest *out)
{
    const char *text = json_string_value(json_object_get(half, key));

    return text && digest_parse(slice_of(text), out);
}

static int64_t read_time(const json_t *half, const char *key)
{
    return json_integer_value(json_object_get(half, key));
}

static void read_mirrored(const json_t *half, struct file_record *out)
{
    struct tag_record *r = &out->record;
    const char *upstream = json_string_value(json_object_get(half, "upstream"));

    if (!read_digest(half, "digest", &r->digest))
        return;
    r->mirrored = TAG_MIRRORED;
    r->fetched_at_s = read_time(half, "fetched_at");
    r->checked_at_s = read_time(half, "checked_at");
    r->upstream = upstream ? origin_upstream(slice_of(upstream)) : NULL;
    out->has_previous = read_digest(half, "previous", &out->previous);
}

/* A half that stands there says something. */
static bool is_whole(const json_t *root, const struct file_record *f)
{
    bool has_mirrored = f->record.mirrored == TAG_MIRRORED;

    return (f->record.is_pushed || !json_object_get(root, "pushed")) &&
           (has_mirrored || !json_object_get(root, "mirrored")) &&
           (f->record.is_pushed || has_mirrored);
}

/* Our record, in today's form or in that of mirrord 0.1, which knew mirrored tags only:
 * {"origin":"mirrored","digest":…}. 0; -ENOENT: there is none; -EBADMSG: a part of it, or all,
 * says nothing; or another errno. What can be read is told. */
static int read_record(const char *path, struct file_record *out)
{
    struct strbuf text = STRBUF_INIT;
    json_t *root = NULL;
    int rc = disk_read_file(path, RECORD_MAX_BYTES, &text);

    if (rc == 0 && text.len > 0)
        root = json_loadb(text.ptr, text.len, 0, NULL);
    strbuf_fini(&text);
    const json_t *pushed = json_object_get(root, "pushed");
    const char *origin = json_string_value(json_object_get(root, "origin"));
    out->record.is_pushed = read_digest(pushed, "digest", &out->record.pushed);
    if (out->record.is_pushed)
        out->record.pushed_at_s = read_time(pushed, "at");
    read_mirrored(json_object_get(root, "mirrored"), out);
    if (origin && strcmp(origin, "mirrored") == 0)
        read_mirrored(root, out);
    if ((rc == 0 && !is_whole(root, out)) || rc == -EFBIG)
        rc = -EBADMSG;
    json_decref(root);
    return rc == -ENOTDIR ? -ENOENT : rc;
}

/* As digest_file_read; -EBADMSG: there is a file, and no digest in it. */
static int read_link(const char *path, struct digest *out)
{
    struct stat st;
    int rc = digest_file_read(path, out);

    return rc == -ENOENT && stat(path, &st) == 0 ? -EBADMSG : rc;
}

/* Whether our record tells why the link says this. */
static bool explains(const struct file_record *f, const struct digest *link)
{
    const struct tag_record *r = &f->record;

    if (r->is_pushed)
        return digest_equal(&r->pushed, link);
    return r->mirrored == TAG_MIRRORED && (digest_equal(&r->digest, link) ||
                                           (f->has_previous && digest_equal(&f->previous, link)));
}

int tag_file_load(struct layout *l, struct slice repo, struct slice tag, struct tag_record *out)
{
    struct file_record found = {.has_previous = false};
    struct tag_record *r = &found.record;
    struct digest digest;
    struct stat st;
    char *link = layout_tag_link(l, repo, tag);
    char *path = layout_tag_record(l, repo, tag);
    int rc = read_link(link, &digest);

    if (rc == -EBADMSG) {
        rc = read_record(path, &found) == 0 ? 0 : -ENOENT;
        if (rc == 0)
            *out = *r;
    } else if (rc == 0) {
        read_record(path, &found);
        if (!explains(&found, &digest)) {
            r->is_pushed = true;
            r->pushed = digest;
            r->pushed_at_s = stat(link, &st) == 0 ? st.st_mtime : 0;
        }
        *out = *r;
    }
    free(path);
    free(link);
    return rc;
}

void tag_file_look(struct layout *l, struct slice repo, struct slice tag,
                   struct tag_file_state *out)
{
    struct file_record found = {.has_previous = false};
    char *link = layout_tag_link(l, repo, tag);
    char *path = layout_tag_record(l, repo, tag);

    *out = (struct tag_file_state){0};
    out->link_rc = read_link(link, &out->link);
    out->record_rc = read_record(path, &found);
    out->record = found.record;
    free(path);
    free(link);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void print_mirrored(const struct tag_record *r, const struct digest *previous,
                           struct strbuf *out)
{
    char digest[DIGEST_TEXT_SIZE];

    digest_format(&r->digest, digest);
    strbuf_addf(out, ",\"mirrored\":{\"digest\":\"%s\"", digest);
    if (previous) {
        digest_format(previous, digest);
        strbuf_addf(out, ",\"previous\":\"%s\"", digest);
    }
    if (r->upstream) {
        strbuf_add_str(out, ",\"upstream\":\"");
        strbuf_add_json(out, slice_of(r->upstream));
        strbuf_add_char(out, '"');
    }
    strbuf_addf(out, ",\"fetched_at\":%lld,\"checked_at\":%lld}", (long long)r->fetched_at_s,
                (long long)r->checked_at_s);
}

/* previous: what the link says; NULL when it says what the record does. */
static int write_record(struct layout *l, const char *path, const struct tag_record *r,
                        const struct digest *previous, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char digest[DIGEST_TEXT_SIZE];

    strbuf_add_str(&text, "{\"version\":2");
    if (r->is_pushed) {
        digest_format(&r->pushed, digest);
        strbuf_addf(&text, ",\"pushed\":{\"digest\":\"%s\",\"at\":%lld}", digest,
                    (long long)r->pushed_at_s);
    }
    if (r->mirrored == TAG_MIRRORED)
        print_mirrored(r, previous, &text);
    strbuf_add_str(&text, "}\n");
    CHECK(text.len <= RECORD_MAX_BYTES);
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, DISK_DURABLE, err);
    strbuf_fini(&text);
    return rc;
}

/* The tag's link, and before it the one of registry:2's index. */
static int write_links(struct layout *l, struct slice repo, struct slice tag,
                       const struct digest *d, struct error *err)
{
    char digest[DIGEST_TEXT_SIZE];
    char *link = layout_tag_link(l, repo, tag);
    char *index = layout_tag_index_link(l, repo, tag, d);

    digest_format(d, digest);
    int rc = disk_write_file(l, index, slice_of(digest), DISK_DURABLE, err);
    if (rc == 0)
        rc = disk_write_file(l, link, slice_of(digest), DISK_DURABLE, err);
    free(index);
    free(link);
    return rc;
}

int tag_file_store(struct layout *l, struct slice repo, struct slice tag,
                   const struct tag_record *record, struct error *err)
{
    const struct digest *wanted = record->is_pushed ? &record->pushed : &record->digest;
    struct digest before;
    char *link = layout_tag_link(l, repo, tag);
    char *path = layout_tag_record(l, repo, tag);
    bool has_link = digest_file_read(link, &before) == 0;
    bool is_same = has_link && digest_equal(&before, wanted);
    int rc = 0;

    CHECK(record->is_pushed || record->mirrored == TAG_MIRRORED);
    /* A link that the record does not explain was pushed. So the record comes behind the link of
     * what was pushed, and before that of what was mirrored; then it explains the old one, too. */
    if (!record->is_pushed && !is_same)
        rc = write_record(l, path, record, has_link ? &before : NULL, err);
    if (rc == 0 && !is_same)
        rc = write_links(l, repo, tag, wanted, err);
    if (rc == 0 && (record->is_pushed || is_same || has_link))
        rc = write_record(l, path, record, NULL, err);
    free(path);
    free(link);
    return rc;
}

/* --- removing --------------------------------------------------------------------------------- */

/* Empties a folder as far as it can; what cannot be removed is garbage that says nothing. */
static void empty_folder(int parent_fd, const char *name, unsigned depth)
{
    const struct dirent *entry;
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;

    if (!folder) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) < 0 && depth < DEPTH_MAX) {
            empty_folder(fd, entry->d_name, depth + 1);
            unlinkat(fd, entry->d_name, AT_REMOVEDIR);
        }
    }
    closedir(folder);
}

/* Shortens a path by its last part. */
static void go_up(char *path)
{
    char *slash = strrchr(path, '/');

    CHECK(slash);
    *slash = '\0';
}

/* The folder of a tag without its link: what is usually left there, by name. False: there is more.
 */
static bool remove_folder(struct layout *l, const struct tag_key *k, const struct digest *d,
                          const char *link)
{
    char *record = layout_tag_record(l, k->repo, k->tag);
    char *current = xstrdup(link);
    char *index = layout_tag_index_link(l, k->repo, k->tag, d);
    unsigned n_left = INDEX_FOLDERS + 1;

    go_up(current);
    rmdir(current);
    unlink(record);
    unlink(index);
    for (go_up(index); n_left > 0 && rmdir(index) == 0; n_left--)
        go_up(index);
    free(index);
    free(current);
    free(record);
    return n_left == 0;
}

int tag_file_remove(struct layout *l, const struct tag_key *k, const struct digest *d,
                    enum disk_care care, struct error *err)
{
    char *link = layout_tag_link(l, k->repo, k->tag);
    char *folder = layout_tag(l, k->repo, k->tag);
    int rc = unlink(link) == 0 ? 0 : -errno;

    if (rc == -ENOTDIR)
        rc = -ENOENT;
    if (rc < 0)
        error_sys(err, rc, "remove %s", link);
    else if (care == DISK_DURABLE)
        rc = disk_sync_parent(link, err);
    if ((rc == 0 || rc == -ENOENT) && !(d && remove_folder(l, k, d, link))) {
        empty_folder(AT_FDCWD, folder, 0);
        rmdir(folder);
    }
    free(folder);
    free(link);
    return rc;
}
