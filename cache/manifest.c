#include "config.h"

#include "cache/manifest.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/lru.h"
#include "cache/manifest_type.h"
#include "cache/store.h"

#define N_SHARDS 8
#define RECORD_MAX_BYTES 4096 /* of a revision's record of ours */

struct manifest {
    atomic_uint refs;
    struct digest digest;
    struct slice media_type; /* these three are views of text */
    struct slice header_lines;
    struct slice body;
    char text[];
};

/* The memory front holds entries, since a manifest may be put more than once. */
struct entry {
    struct lru_item item; /* first */
    struct manifest *manifest;
};

struct manifests {
    struct layout *layout;
    struct errands *errands;
    struct store *store;
    struct lru *lru;
};

/* One load or keep under way. */
struct story {
    struct errand errand; /* first */
    struct manifests *manifests;
    char *repo;
    struct digest digest;
    size_t max_bytes;
    struct manifest *manifest;
    int rc;
    manifest_load_fn loaded;
    manifest_kept_fn kept;
    void *arg;
};

struct manifest *manifest_new(const struct digest *d, struct slice media_type, struct slice body)
{
    char digest[DIGEST_TEXT_SIZE], type[MANIFEST_TYPE_SIZE];

    if (!manifest_type_is_valid(media_type)) {
        manifest_type_derive(body, type, NULL);
        media_type = slice_of(type);
    }
    digest_format(d, digest);
    char *lines = xasprintf("Content-Type: %.*s\r\nDocker-Content-Digest: %s\r\nETag: \"%s\"\r\n",
                            SLICE_ARG(media_type), digest, digest);
    size_t n_lines = strlen(lines);
    struct manifest *m = xmalloc(sizeof(*m) + n_lines + body.len);
    atomic_init(&m->refs, 1);
    m->digest = *d;
    memcpy(m->text, lines, n_lines);
    if (body.len > 0)
        memcpy(m->text + n_lines, body.ptr, body.len);
    m->header_lines = (struct slice){m->text, n_lines};
    m->media_type = (struct slice){m->text + strlen("Content-Type: "), media_type.len};
    m->body = (struct slice){m->text + n_lines, body.len};
    free(lines);
    return m;
}

struct manifest *manifest_ref(struct manifest *m)
{
    CHECK(atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed) > 0);
    return m;
}

void manifest_unref(struct manifest **mm)
{
    struct manifest *m = *mm;

    *mm = NULL;
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        free(m);
}

const struct digest *manifest_digest(const struct manifest *m)
{
    return &m->digest;
}

struct slice manifest_media_type(const struct manifest *m)
{
    return m->media_type;
}

struct slice manifest_body(const struct manifest *m)
{
    return m->body;
}

struct slice manifest_header_lines(const struct manifest *m)
{
    return m->header_lines;
}

static bool entry_has_key(const struct lru_item *it, const void *key)
{
    return digest_equal(&((const struct entry *)it)->manifest->digest, key);
}

static bool entry_take(struct lru_item *it, void *out)
{
    *(struct manifest **)out = manifest_ref(((struct entry *)it)->manifest);
    return true;
}

static void entry_drop(struct lru_item *it)
{
    struct entry *e = (struct entry *)it;

    manifest_unref(&e->manifest);
    free(e);
}

static const struct lru_kind ENTRIES = {
    .has_key = entry_has_key,
    .take = entry_take,
    .drop = entry_drop,
};

struct manifests *manifests_new(struct layout *l, struct errands *errands, struct store *store,
                                size_t memory_bytes)
{
    struct manifests *ms = xcalloc(1, sizeof(*ms));

    ms->layout = l;
    ms->errands = errands;
    ms->store = store;
    ms->lru = lru_new(&ENTRIES, memory_bytes, N_SHARDS);
    return ms;
}

void manifests_free(struct manifests **mms)
{
    struct manifests *ms = *mms;

    if (!ms)
        return;
    lru_free(&ms->lru);
    free(ms);
    *mms = NULL;
}

struct manifest *manifests_find(struct manifests *ms, const struct digest *d)
{
    struct manifest *m = NULL;

    lru_find(ms->lru, digest_key(d), d, &m);
    return m;
}

static void remember(struct manifests *ms, struct manifest *m)
{
    struct entry *e = xcalloc(1, sizeof(*e));
    size_t cost = sizeof(*e) + sizeof(*m) + m->header_lines.len + m->body.len;

    e->manifest = manifest_ref(m);
    lru_put(ms->lru, &e->item, digest_key(&m->digest), &m->digest, cost);
}

static struct story *story_new(struct manifests *ms, struct slice repo, const struct digest *d,
                               void *arg)
{
    struct story *s = xcalloc(1, sizeof(*s));

    s->manifests = ms;
    s->repo = xmemdup0(repo.ptr, repo.len);
    s->digest = *d;
    s->arg = arg;
    return s;
}

static void story_free(struct story *s)
{
    manifest_unref(&s->manifest);
    free(s->repo);
    free(s);
}

/* The media type that our record of the revision tells; empty when there is none. */
static void read_media_type(struct story *s, struct strbuf *out)
{
    struct strbuf text = STRBUF_INIT;
    struct slice repo = slice_of(s->repo);

    if (!layout_repo_is_valid(repo))
        return;
    char *path = layout_revision_record(s->manifests->layout, repo, &s->digest);
    if (disk_read_file(path, RECORD_MAX_BYTES, &text) == 0 && text.len > 0) {
        json_t *root = json_loadb(text.ptr, text.len, 0, NULL);
        const char *type = json_string_value(json_object_get(root, "media_type"));
        if (type)
            strbuf_add_str(out, type);
        json_decref(root);
    }
    strbuf_fini(&text);
    free(path);
}

/* What is stored is not what its name says. */
static int refuse_wrong(struct story *s)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(&s->digest, text);
    log_error("store", "manifest %s is damaged on disk; it counts as missing", text);
    metric_inc(METRIC_STORE_DAMAGED);
    store_forget(s->manifests->store, &s->digest);
    return -ENOENT;
}

static int read_body(struct story *s, struct blob *b, char *body, size_t n)
{
    struct strbuf type = STRBUF_INIT;
    struct digest found;
    int rc = n > 0 ? disk_pread(blob_fd(b), body, n, 0) : 0;

    if (rc == 0)
        digest_of(s->digest.alg, body, n, &found);
    if (rc == -EIO || (rc == 0 && !digest_equal(&found, &s->digest)))
        return refuse_wrong(s);
    if (rc < 0)
        return rc;
    read_media_type(s, &type);
    s->manifest =
        manifest_new(&s->digest, (struct slice){type.ptr, type.len}, (struct slice){body, n});
    strbuf_fini(&type);
    return 0;
}

static int load_from_store(struct story *s)
{
    struct blob *b = NULL;
    int rc = store_open_now(s->manifests->store, &s->digest, &b);

    if (rc < 0)
        return rc;
    uint64_t size = blob_size(b);
    if (size > s->max_bytes) {
        blob_unref(&b);
        return -EFBIG;
    }
    char *body = malloc(size > 0 ? (size_t)size : 1);
    rc = body ? read_body(s, b, body, (size_t)size) : -ENOMEM;
    free(body);
    blob_unref(&b);
    return rc;
}

static void do_load(struct errand *e)
{
    struct story *s = (struct story *)e;

    s->manifest = manifests_find(s->manifests, &s->digest);
    if (s->manifest)
        return;
    s->rc = load_from_store(s);
    if (s->rc == 0)
        remember(s->manifests, s->manifest);
}

static void on_loaded(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct manifest *m = s->manifest;

    CHECK((s->rc == 0) == (m != NULL));
    s->manifest = NULL;
    s->loaded(s->arg, s->rc, m);
    story_free(s);
}

void manifests_load(struct manifests *ms, struct slice repo, const struct digest *d,
                    size_t max_bytes, manifest_load_fn done, void *arg)
{
    struct story *s = story_new(ms, repo, d, arg);

    s->loaded = done;
    s->max_bytes = max_bytes;
    errand_submit(ms->errands, &s->errand, do_load, on_loaded);
}

/* {"media_type":"…"} */
static int write_record(struct story *s, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char *path = layout_revision_record(s->manifests->layout, slice_of(s->repo), &s->digest);

    strbuf_add_str(&text, "{\"media_type\":\"");
    strbuf_add_json(&text, s->manifest->media_type);
    strbuf_add_str(&text, "\"}\n");
    int rc = disk_write_file(s->manifests->layout, path, (struct slice){text.ptr, text.len},
                             DISK_DURABLE, err);
    strbuf_fini(&text);
    free(path);
    return rc;
}

static int write_link(struct story *s, struct error *err)
{
    char digest[DIGEST_TEXT_SIZE];
    char *path = layout_revision_link(s->manifests->layout, slice_of(s->repo), &s->digest);

    digest_format(&s->digest, digest);
    int rc = disk_write_file(s->manifests->layout, path, slice_of(digest), DISK_DURABLE, err);
    free(path);
    return rc;
}

/* The link comes last: it says that the rest is there. */
static void do_keep(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct slice body = s->manifest->body;
    struct error err;

    if (!layout_repo_is_valid(slice_of(s->repo)))
        s->rc = error_set(&err, -EINVAL, "repository name not usable");
    else
        s->rc = store_put_now(s->manifests->store, &s->digest, body.ptr, body.len, &err);
    if (s->rc == 0)
        s->rc = write_record(s, &err);
    if (s->rc == 0)
        s->rc = write_link(s, &err);
    if (s->rc < 0)
        log_error("store", "manifest not kept: %s", err.text);
    if (!e->done)
        story_free(s);
}

static void on_kept(struct errand *e)
{
    struct story *s = (struct story *)e;

    s->kept(s->arg, s->rc);
    story_free(s);
}

void manifests_keep(struct manifests *ms, struct slice repo, struct manifest *m,
                    manifest_kept_fn done, void *arg)
{
    struct story *s = story_new(ms, repo, &m->digest, arg);

    s->manifest = manifest_ref(m);
    s->kept = done;
    remember(ms, m);
    errand_submit(ms->errands, &s->errand, do_keep, done ? on_kept : NULL);
}
