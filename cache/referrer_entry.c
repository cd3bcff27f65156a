#include "config.h"

#include "cache/referrer_entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/json_walk.h"
#include "cache/disk.h"
#include "cache/manifest_scan.h"
#include "cache/manifest_type.h"
#include "cache/referrer_list.h"

#define WRAPPER_MAX_BYTES 512 /* what a file has around its descriptor or answer */

char *referrer_entry_root(const struct layout *l, struct slice repo)
{
    char *folder = layout_repo(l, repo);
    char *path = xasprintf("%s/_referrers", folder);

    free(folder);
    return path;
}

char *referrer_entry_alg_folder(const struct layout *l, struct slice repo, enum digest_alg alg)
{
    char *root = referrer_entry_root(l, repo);
    char *path = xasprintf("%s/%s", root, digest_alg_name(alg));

    free(root);
    return path;
}

char *referrer_entry_folder(const struct layout *l, struct slice repo, const struct digest *subject)
{
    char hex[DIGEST_TEXT_SIZE];
    char *folder = referrer_entry_alg_folder(l, repo, subject->alg);

    digest_hex(subject, hex);
    char *path = xasprintf("%s/%s", folder, hex);
    free(folder);
    return path;
}

void referrer_entry_name(const struct digest *d, char out[REFERRER_ENTRY_NAME_SIZE])
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(d, text);
    *strchr(text, ':') = '-';
    CHECK(snprintf(out, REFERRER_ENTRY_NAME_SIZE, "%s.json", text) < REFERRER_ENTRY_NAME_SIZE);
}

bool referrer_entry_name_parse(const char *name, struct digest *out)
{
    char text[REFERRER_ENTRY_NAME_SIZE];
    size_t n = strlen(name);

    if (n >= sizeof(text) || n < 5 || strcmp(name + n - 5, ".json") != 0)
        return false;
    memcpy(text, name, n - 5);
    char *dash = memchr(text, '-', n - 5);
    if (!dash)
        return false;
    *dash = ':';
    return digest_parse((struct slice){text, n - 5}, out);
}

static char *file_of(const struct layout *l, struct slice repo, const struct digest *subject,
                     const char *name)
{
    char *folder = referrer_entry_folder(l, repo, subject);
    char *path = xasprintf("%s/%s", folder, name);

    free(folder);
    return path;
}

static char *entry_path(const struct layout *l, struct slice repo, const struct digest *subject,
                        const struct digest *d)
{
    char name[REFERRER_ENTRY_NAME_SIZE];

    referrer_entry_name(d, name);
    return file_of(l, repo, subject, name);
}

/* --- descriptors ------------------------------------------------------------------------------ */

/* The descriptor of a referrer (distribution-spec, "Listing Referrers"). */
static void print_descriptor(struct slice body, const struct digest *d, struct slice artifact_type,
                             struct slice annotations, struct strbuf *out)
{
    char digest[DIGEST_TEXT_SIZE], type[MANIFEST_TYPE_SIZE];

    digest_format(d, digest);
    manifest_type_derive(body, type, NULL);
    strbuf_add_str(out, "{\"mediaType\":\"");
    strbuf_add_json(out, slice_of(type));
    strbuf_addf(out, "\",\"digest\":\"%s\",\"size\":%zu", digest, body.len);
    if (artifact_type.len) {
        /* Escapes have not been undone: it is a JSON text as it stands. */
        strbuf_add_str(out, ",\"artifactType\":\"");
        strbuf_add_slice(out, artifact_type);
        strbuf_add_char(out, '"');
    }
    if (annotations.len) {
        strbuf_add_str(out, ",\"annotations\":");
        strbuf_add_slice(out, annotations);
    }
    strbuf_add_char(out, '}');
}

static bool can_be_told(struct slice descriptor)
{
    struct referrer_list *list = referrer_list_new();
    bool can = referrer_list_add(list, descriptor, NULL, NULL) == 0;

    referrer_list_free(&list);
    return can;
}

int referrer_entry_of_manifest(struct slice body, const struct digest *d, struct digest *subject,
                               struct strbuf *descriptor)
{
    struct manifest_facts facts;

    if (manifest_scan(body, JSON_WALK_DEPTH_MAX, &facts, NULL, NULL, NULL) < 0 ||
        !facts.has_subject)
        return 0;
    struct slice type = facts.artifact_type;
    if (!type.len && facts.has_config)
        type = facts.config_media_type;
    const struct slice types[] = {type, type, SLICE_NONE};
    const struct slice annotations[] = {facts.annotations, SLICE_NONE, SLICE_NONE};
    size_t start = descriptor->len;
    /* Annotations that are none are left out, and then a type that is no text: the referrer itself
     * is told all the same. */
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        descriptor->len = start;
        print_descriptor(body, d, types[i], annotations[i], descriptor);
        if (can_be_told((struct slice){descriptor->ptr + start, descriptor->len - start}))
            break;
    }
    *subject = facts.subject;
    return 1;
}

/* --- files ------------------------------------------------------------------------------------ */

/* {"subject":"…",<what> */
static void add_wrapper(const struct digest *subject, const char *what, struct strbuf *out)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(subject, text);
    strbuf_addf(out, "{\"subject\":\"%s\",%s", text, what);
}

/* Reads a file of ours whose content begins like this and ends with "}\n"; *inside is what stands
 * between, in *text. */
static int read_wrapped(const char *path, size_t max_bytes, const struct strbuf *begin,
                        struct strbuf *text, struct slice *inside)
{
    struct slice wanted = {begin->ptr, begin->len};
    int rc = disk_read_file(path, max_bytes, text);

    if (rc < 0)
        return rc == -EFBIG || rc == -EISDIR ? -EBADMSG : rc;
    struct slice all = {text->ptr, text->len};
    if (all.len < wanted.len + 2 || !slice_starts(all, wanted) || !slice_ends(all, SLICE("}\n")))
        return -EBADMSG;
    *inside = (struct slice){all.ptr + wanted.len, all.len - wanted.len - 2};
    return 0;
}

int referrer_entry_write(struct layout *l, struct slice repo, const struct digest *subject,
                         const struct digest *d, struct slice descriptor, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char *path = entry_path(l, repo, subject, d);

    add_wrapper(subject, "\"descriptor\":", &text);
    strbuf_add_slice(&text, descriptor);
    strbuf_add_str(&text, "}\n");
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, DISK_DURABLE, err);
    strbuf_fini(&text);
    free(path);
    return rc;
}

int referrer_entry_read(const struct layout *l, struct slice repo, const struct digest *subject,
                        const struct digest *d, size_t max_bytes, struct referrer_list *list)
{
    struct strbuf begin = STRBUF_INIT, text = STRBUF_INIT;
    char *path = entry_path(l, repo, subject, d);
    struct slice descriptor;

    add_wrapper(subject, "\"descriptor\":", &begin);
    int rc = read_wrapped(path, max_bytes + WRAPPER_MAX_BYTES, &begin, &text, &descriptor);
    if (rc == 0)
        rc = referrer_list_add(list, descriptor, d, NULL);
    strbuf_fini(&begin);
    strbuf_fini(&text);
    free(path);
    return rc;
}

void referrer_entry_remove(const struct layout *l, struct slice repo, const struct digest *subject,
                           const struct digest *d)
{
    char *path = entry_path(l, repo, subject, d);
    char *folder = referrer_entry_folder(l, repo, subject);

    unlink(path);
    rmdir(folder);
    free(folder);
    free(path);
}

int referrer_entry_write_upstream(struct layout *l, struct slice repo, const struct digest *subject,
                                  struct slice answer, int64_t fetched_at_s, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char *path = file_of(l, repo, subject, "upstream.json");
    int rc = 0;

    if (answer.len) {
        add_wrapper(subject, "\"fetched_at\":", &text);
        strbuf_addf(&text, "%" PRId64 ",\"answer\":", fetched_at_s);
        strbuf_add_slice(&text, answer);
        strbuf_add_str(&text, "}\n");
        rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, DISK_WHOLE, err);
    } else if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR) {
        rc = error_sys(err, -errno, "remove %s", path);
    }
    strbuf_fini(&text);
    free(path);
    return rc;
}

int referrer_entry_read_upstream(const struct layout *l, struct slice repo,
                                 const struct digest *subject, size_t max_bytes,
                                 struct strbuf *answer, int64_t *fetched_at_s)
{
    struct strbuf begin = STRBUF_INIT, text = STRBUF_INIT;
    char *path = file_of(l, repo, subject, "upstream.json");
    struct slice rest;
    uint64_t at_s;

    add_wrapper(subject, "\"fetched_at\":", &begin);
    int rc = read_wrapped(path, max_bytes + WRAPPER_MAX_BYTES, &begin, &text, &rest);
    if (rc == 0) {
        struct slice at = slice_cut(&rest, ',');
        bool is_ours = slice_to_u64(at, &at_s) && at_s <= INT64_MAX && rest.ptr &&
                       slice_starts(rest, SLICE("\"answer\":"));
        rc = is_ours ? 0 : -EBADMSG;
    }
    if (rc == 0) {
        size_t n = strlen("\"answer\":");
        strbuf_add(answer, rest.ptr + n, rest.len - n);
        *fetched_at_s = (int64_t)at_s;
    }
    strbuf_fini(&begin);
    strbuf_fini(&text);
    free(path);
    return rc;
}
