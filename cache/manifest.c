#include "config.h"

#include "cache/manifest.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/ledger.h"
#include "cache/link.h"
#include "cache/lru.h"
#include "cache/manifest_scan.h"
#include "cache/manifest_type.h"
#include "cache/meta.h"
#include "cache/meta_value.h"
#include "cache/objects.h"
#include "cache/store_private.h"
#include "cache/vouch.h"

#define N_SHARDS 8
#define KEY_BYTES (8 + DIGEST_TEXT_SIZE)
#define FACTS_TTL_S                                                                                \
    604800                 /* they do not change; this only cleans up a Redis that evicts nothing  \
                            */
#define SCAN_DEPTH_MAX 512 /* of what is mirrored; deeper ones are kept all the same */

struct manifest {
    atomic_uint refs;
    struct digest digest;
    struct slice media_type; /* these three are views of text */
    struct slice header_lines;
    struct slice body;
    _Atomic uint32_t noted; /* for ledger_note_use */
    char text[];
};

/* The memory front holds entries, since a manifest may be put more than once. */
struct entry {
    struct lru_item item; /* first */
    struct manifest *manifest;
};

struct manifests {
    struct manifest_tools tools;
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
    char *body; /* from the shared cache, with its digest; NULL: none */
    size_t n_body;
    struct origin origin; /* of one being kept */
    uint32_t n_removals;  /* the same: when it was noted */
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
    /* Who pushes chooses the type; no browser shall make a page of it. */
    char *lines = xasprintf("Content-Type: %.*s\r\nX-Content-Type-Options: nosniff\r\n"
                            "Docker-Content-Digest: %s\r\nETag: \"%s\"\r\n",
                            SLICE_ARG(media_type), digest, digest);
    size_t n_lines = strlen(lines);
    struct manifest *m = xmalloc(sizeof(*m) + n_lines + body.len);
    atomic_init(&m->refs, 1);
    atomic_init(&m->noted, 0);
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

struct manifests *manifests_new(const struct manifest_tools *tools, size_t memory_bytes)
{
    struct manifests *ms = xcalloc(1, sizeof(*ms));

    CHECK(tools->errands && tools->store && tools->links && tools->vouches && tools->meta);
    ms->tools = *tools;
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
    if (m)
        ledger_note_use(store_ledger(ms->tools.store), &m->noted, d);
    return m;
}

void manifests_forget(struct manifests *ms, const struct digest *d)
{
    lru_remove(ms->lru, digest_key(d), d);
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
    free(s->body);
    free(s->repo);
    free(s);
}

/* What is stored is not what its name says. */
static int refuse_wrong(struct story *s)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(&s->digest, text);
    log_error("store", "manifest %s is damaged on disk; it counts as missing", text);
    metric_inc(METRIC_STORE_DAMAGED);
    store_forget(s->manifests->tools.store, &s->digest);
    return -ENOENT;
}

static void make_manifest(struct story *s, const char *body, size_t n)
{
    struct strbuf type = STRBUF_INIT;

    links_media_type_now(s->manifests->tools.links, slice_of(s->repo), &s->digest, &type);
    s->manifest =
        manifest_new(&s->digest, (struct slice){type.ptr, type.len}, (struct slice){body, n});
    strbuf_fini(&type);
}

static int read_body(struct story *s, struct blob *b, char *body, size_t n)
{
    struct digest found;
    int rc = n > 0 ? disk_pread(blob_fd(b), body, n, 0) : 0;

    if (rc == 0)
        digest_of(s->digest.alg, body, n, &found);
    if (rc == -EIO || (rc == 0 && !digest_equal(&found, &s->digest)))
        return refuse_wrong(s);
    if (rc < 0)
        return rc;
    make_manifest(s, body, n);
    return 0;
}

static int load_from_store(struct story *s)
{
    struct blob *b = NULL;
    int rc = store_open_now(s->manifests->tools.store, &s->digest, &b);

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

/* --- the shared cache of small objects -------------------------------------------------------- */

/* Pool threads. What was pushed stays here. */
static bool is_mirrored(const struct story *s)
{
    struct origin origin;
    int rc = links_load_now(s->manifests->tools.links, LINK_REVISION, slice_of(s->repo), &s->digest,
                            &origin);

    return rc == 0 && !origin.is_pushed;
}

static void do_load(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct objects *objects = s->manifests->tools.objects;

    s->manifest = manifests_find(s->manifests, &s->digest);
    if (s->manifest)
        return;
    if (s->body)
        make_manifest(s, s->body, s->n_body);
    else
        s->rc = load_from_store(s);
    if (s->rc < 0)
        return;
    remember(s->manifests, s->manifest);
    objects_note_config(objects, s->manifest->body);
    if (objects && !s->body && is_mirrored(s))
        objects_put(objects, &s->digest, s->manifest->body);
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

static void on_shared(void *arg, int rc, struct slice body)
{
    struct story *s = arg;

    if (rc == 0) {
        s->body = xmemdup0(body.ptr, body.len);
        s->n_body = body.len;
    }
    errand_submit(s->manifests->tools.errands, &s->errand, do_load, on_loaded);
}

void manifests_load(struct manifests *ms, struct slice repo, const struct digest *d,
                    size_t max_bytes, manifest_load_fn done, void *arg)
{
    struct story *s = story_new(ms, repo, d, arg);

    s->loaded = done;
    s->max_bytes = max_bytes;
    if (objects_load(ms->tools.objects, d, max_bytes, on_shared, s) < 0)
        errand_submit(ms->tools.errands, &s->errand, do_load, on_loaded);
}

/* --- facts ------------------------------------------------------------------------------------ */

/* One who asked. */
struct facts_story {
    struct manifests *manifests;
    struct digest digest;
    manifest_facts_fn done;
    void *arg;
};

static struct slice facts_key(const struct digest *d, char text[KEY_BYTES])
{
    size_t n = (size_t)snprintf(text, KEY_BYTES, "facts:");

    return (struct slice){text, n + digest_format(d, text + n)};
}

static void on_facts(void *arg, int rc, struct slice value)
{
    struct facts_story *s = arg;
    struct meta_facts facts;
    char text[KEY_BYTES];

    if (rc == 0 && !meta_value_parse_facts(value, &facts)) {
        meta_refuse(s->manifests->tools.meta, facts_key(&s->digest, text));
        rc = -EBADMSG;
    }
    s->done(s->arg, rc, rc == 0 ? &facts : NULL);
    free(s);
}

int manifests_find_facts(struct manifests *ms, const struct digest *d, manifest_facts_fn done,
                         void *arg)
{
    struct facts_story *s = xmalloc(sizeof(*s));
    char text[KEY_BYTES];

    *s = (struct facts_story){ms, *d, done, arg};
    int rc = meta_get(ms->tools.meta, facts_key(d, text), on_facts, s);
    if (rc < 0)
        free(s);
    return rc;
}

void manifests_note_facts(struct manifests *ms, const struct digest *d,
                          const struct meta_facts *facts)
{
    struct strbuf value = STRBUF_INIT;
    char text[KEY_BYTES];

    if (!manifest_type_is_valid(facts->media_type))
        return;
    meta_value_print_facts(facts, &value);
    meta_put(ms->tools.meta, facts_key(d, text), (struct slice){value.ptr, value.len}, FACTS_TTL_S);
    strbuf_fini(&value);
}

/* --- keeping ---------------------------------------------------------------------------------- */

/* The store has just these bytes: not only a file of that name, which may be damaged. */
static bool is_stored(struct manifests *ms, const struct manifest *m)
{
    uint64_t size;
    struct blob *b = NULL;

    if (vouch_present_now(ms->tools.vouches, &m->digest, &size) < 0 || size != m->body.len)
        return false;
    if (store_open_now(ms->tools.store, &m->digest, &b) < 0)
        return false;
    char *stored = malloc(m->body.len > 0 ? m->body.len : 1);
    bool is_same = stored && blob_size(b) == m->body.len &&
                   disk_pread(blob_fd(b), stored, m->body.len, 0) == 0 &&
                   memcmp(stored, m->body.ptr, m->body.len) == 0;
    free(stored);
    blob_unref(&b);
    return is_same;
}

static int put_blob(struct manifests *ms, const struct manifest *m, struct error *err)
{
    if (is_stored(ms, m))
        return store_settle_now(ms->tools.store, &m->digest, err);
    return store_put_now(ms->tools.store, &m->digest, m->body.ptr, m->body.len, err);
}

/* The link comes last: it says that the rest is there. since: of a mirrored one; see
 * links_keep_revision_now. */
static int put_now(struct manifests *ms, struct slice repo, const struct manifest *m,
                   const struct origin *origin, const uint32_t *since, struct error *err)
{
    struct links *ls = ms->tools.links;

    if (!layout_repo_is_valid(repo))
        return error_set(err, -EINVAL, "repository name not usable");
    unsigned hold = vouch_hold(ms->tools.vouches);
    int rc = put_blob(ms, m, err);
    if (rc == 0 && since) {
        struct link_kept kept = {*origin, m->media_type, *since};
        rc = links_keep_revision_now(ls, repo, &m->digest, &kept, err);
    } else if (rc == 0) {
        rc = links_add_revision_now(ls, repo, &m->digest, origin, m->media_type, err);
    }
    vouch_release(ms->tools.vouches, hold);
    return rc;
}

int manifests_put_now(struct manifests *ms, struct slice repo, struct manifest *m,
                      const struct origin *origin, struct error *err)
{
    int rc = put_now(ms, repo, m, origin, NULL, err);

    if (rc == 0)
        remember(ms, m);
    return rc;
}

/* Foreign layers lie elsewhere, and children are asked for by themselves. */
static int link_reference(void *arg, const struct manifest_ref *ref)
{
    struct story *s = arg;
    struct error err;

    if (ref->is_foreign || (ref->kind != MANIFEST_REF_CONFIG && ref->kind != MANIFEST_REF_LAYER))
        return 0;
    s->rc = links_add_layer_now(s->manifests->tools.links, slice_of(s->repo), &ref->digest,
                                &s->origin, &err);
    if (s->rc < 0)
        log_warning("store", "blob of a manifest not linked into %s: %s", s->repo, err.text);
    return s->rc;
}

/* The upstream has this image in this repository, so it has the blobs there, too: they may be read
 * through it from now on, whichever repository they come or came through. */
static void link_references(struct story *s)
{
    struct manifest_facts facts;
    struct slice body = s->manifest->body;

    /* Nothing is to be believed before all of it is well. */
    if (manifest_scan(body, SCAN_DEPTH_MAX, &facts, NULL, NULL, NULL) == 0)
        manifest_scan(body, SCAN_DEPTH_MAX, &facts, link_reference, s, NULL);
    s->rc = 0;
}

static void do_keep(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct error err;

    /* First: who has got it asks for its configuration next. */
    objects_note_config(s->manifests->tools.objects, s->manifest->body);
    s->rc = put_now(s->manifests, slice_of(s->repo), s->manifest, &s->origin, &s->n_removals, &err);
    if (s->rc == 0)
        link_references(s);
    else if (s->rc != -ECANCELED)
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
                    const char *upstream, manifest_kept_fn done, void *arg)
{
    struct story *s = story_new(ms, repo, &m->digest, arg);

    s->manifest = manifest_ref(m);
    s->origin =
        (struct origin){.upstream = origin_upstream(slice_of(upstream)), .at_s = clock_wall_s()};
    s->kept = done;
    s->n_removals = links_removals(ms->tools.links, LINK_REVISION, repo, &m->digest);
    struct meta_facts facts = {m->body.len, m->media_type};
    manifests_note_facts(ms, &m->digest, &facts);
    objects_put(ms->tools.objects, &m->digest, m->body);
    remember(ms, m);
    links_note(ms->tools.links, LINK_REVISION, repo, &m->digest, upstream);
    errand_submit(ms->tools.errands, &s->errand, do_keep, done ? on_kept : NULL);
}
