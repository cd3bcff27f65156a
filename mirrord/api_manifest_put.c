/*
 * PUT /v2/<name>/manifests/<tag or digest>[?tag=a&tag=b].
 *
 *   READING   the body comes in; the memory for it grows with what came, and that for all of them
 *             together is bounded
 *   PUSHING   on the pool: it is judged, its references are looked at, some in one turn; if all is
 *             well it is stored, linked and tagged, each durably before the next, so that no tag
 *             points to nothing
 *   FETCHING  the upstream brings what is referenced and only it has; then PUSHING again
 *   OVER      answered, or the client has left
 *
 * A client that leaves while the pool works is waited for; what is pushed then is pushed.
 * What is accepted and what is not: docs/design/pushed-manifests.md.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/manifest.h"
#include "cache/tag.h"
#include "cache/vouch.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/push_fetch.h"
#include "mirrord/push_manifest.h"
#include "mirrord/push_refs.h"
#include "mirrord/query.h"
#include "mirrord/resolve.h"
#include "mirrord/revision_lock.h"
#include "mirrord/states.h"
#include "mirrord/txn.h"

enum put_state { PUT_READING, PUT_PUSHING, PUT_FETCHING, PUT_OVER, PUT_STATE_MAX };

static const struct state_row STATES[] = {
    [PUT_READING] = {"reading", TO(PUT_PUSHING) | TO(PUT_OVER), "client"},
    [PUT_PUSHING] = {"pushing", TO(PUT_FETCHING) | TO(PUT_OVER), "pool"},
    [PUT_FETCHING] = {"fetching", TO(PUT_PUSHING) | TO(PUT_OVER), "upstream"},
    [PUT_OVER] = {"over", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == PUT_STATE_MAX, "a row for every state");

enum {
    REF_TEXT_MIN = 64, /* no reference is written with fewer bytes */
    BELOW_BODIES = 16, /* largest manifests' worth of children that are looked into */
};

/* One request. It frees itself. */
struct manifest_put {
    struct pool_job job; /* first: pushing */
    enum put_state state;
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    const struct api_settings *settings;
    struct strbuf body;
    char *content_type;
    struct strbuf tags; /* each with a NUL behind */
    size_t n_tags;
    bool has_tag; /* the first of them is the reference */
    struct push_manifest manifest;
    struct push_refs refs;
    bool is_read;  /* the manifest has been judged */
    bool is_held;  /* the collector keeps off, by `hold`; also between two turns of the pool */
    bool has_more; /* references to look at, in the next turn */
    unsigned hold;
    bool has_fetched; /* what the upstream has is here now */
    struct push_fetch *fetch;
    /* What it came to. */
    enum api_error error;
    int retry_after_s;
    struct error why;
    struct strbuf missing;
    size_t repo_len, name_len;
    char repo[NAME_FULL_MAX]; /* as the storage calls it */
    char name[NAME_FULL_MAX]; /* as the client does */
};

/* --- life ------------------------------------------------------------------------------------- */

/* The only place where the state changes. */
static void put_goto(struct manifest_put *p, enum put_state next)
{
    CHECK(STATES[p->state].next & TO(next));
    log_debug("push", "manifest for %.*s: %s -> %s, turn of the %s", (int)p->name_len, p->name,
              STATES[p->state].name, STATES[next].name, STATES[next].turn);
    p->state = next;
}

static struct slice repo_of(const struct manifest_put *p)
{
    return (struct slice){p->repo, p->repo_len};
}

static void free_put(void *arg)
{
    struct manifest_put *p = arg;

    CHECK(!p->is_held);
    push_refs_fini(&p->refs);
    strbuf_fini(&p->body);
    strbuf_fini(&p->tags);
    strbuf_fini(&p->missing);
    free(p->content_type);
    free(p);
}

/* Nothing calls the story after this. */
static void put_end(struct manifest_put *p)
{
    push_fetch_cancel(&p->fetch);
    memory_share_give(&p->api->put_memory, p->body.len);
    put_goto(p, PUT_OVER);
    worker_bury(worker_current(), free_put, p);
}

static void on_gone(void *arg)
{
    struct manifest_put *p = arg;

    p->txn = NULL;
    if (p->state != PUT_PUSHING)
        put_end(p);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void put_refuse(struct manifest_put *p, enum api_error error, struct slice reason)
{
    struct api_error_info info = {.retry_after_s = p->retry_after_s};

    if (reason.len > 0) {
        info.detail_key = error == API_ERROR_MANIFEST_BLOB_UNKNOWN ? "digest" : "reason";
        info.detail_value = reason;
    }
    metric_inc(METRIC_PUSH_MANIFESTS_REFUSED);
    txn_on_gone(p->txn, NULL, NULL);
    api_error_reply(p->txn, error, &info);
    put_end(p);
}

/* Goes through the tags: the next one, or an empty one behind the last. */
static struct slice next_tag(const struct manifest_put *p, size_t *at)
{
    struct slice tag = SLICE_NONE;

    if (*at < p->tags.len)
        tag = slice_of(p->tags.ptr + *at);
    *at += tag.len + 1;
    return tag;
}

static void answer(struct manifest_put *p)
{
    char digest[DIGEST_TEXT_SIZE];
    struct slice tag;
    size_t at = 0;

    digest_format(&p->manifest.digest, digest);
    txn_on_gone(p->txn, NULL, NULL);
    struct reply *r = txn_reply(p->txn, 201);
    reply_header_lines(r, SLICE(API_V2_LINE));
    reply_headerf(r, "Location", "%.*s/v2/%.*s/manifests/%s", SLICE_ARG(txn_base(p->txn)),
                  (int)p->name_len, p->name, digest);
    reply_header(r, "Docker-Content-Digest", slice_of(digest));
    if (p->has_tag)
        next_tag(p, &at);
    while ((tag = next_tag(p, &at)).len > 0)
        reply_header(r, "OCI-Tag", tag);
    if (p->manifest.has_subject) {
        digest_format(&p->manifest.subject, digest);
        reply_header(r, "OCI-Subject", slice_of(digest));
    }
    reply_send_empty(r);
    put_end(p);
}

/* --- storing: the pool ------------------------------------------------------------------------ */

static enum api_error storage_failed(const struct manifest_put *p, int rc, const struct error *err)
{
    log_error("push", "manifest for %.*s: %s", (int)p->repo_len, p->repo, err->text);
    return rc == -ENOSPC || rc == -EDQUOT ? API_ERROR_DISK_FULL : API_ERROR_STORAGE;
}

/* What it references becomes pushed, then it is stored and linked, then the tags point to it. */
static int keep(struct manifest_put *p, struct manifest *m, struct error *err)
{
    struct origin origin = {.is_pushed = true, .at_s = clock_wall_s()};
    struct slice tag;
    size_t at = 0;

    int rc = push_refs_take(&p->refs, origin.at_s, err);
    if (rc == 0)
        rc = manifests_put_now(p->api->manifests, repo_of(p), m, &origin, err);
    while (rc == 0 && (tag = next_tag(p, &at)).len > 0)
        rc = tags_push_now(p->api->tags, repo_of(p), tag, manifest_digest(m), err);
    return rc;
}

static enum api_error keep_locked(struct manifest_put *p)
{
    struct push_manifest *pm = &p->manifest;
    struct manifest *m = manifest_new(&pm->digest, slice_of(pm->media_type), pm->body);
    struct error err;

    revision_lock(&pm->digest);
    int rc = keep(p, m, &err);
    revision_unlock(&pm->digest);
    manifest_unref(&m);
    return rc < 0 ? storage_failed(p, rc, &err) : API_ERROR_NONE;
}

/* Looks at what it references, or at some of it: then has_more. */
static enum api_error check_refs(struct manifest_put *p)
{
    char digest[DIGEST_TEXT_SIZE];
    struct error err;

    int rc = push_refs_check(&p->refs, &err);
    p->has_more = rc > 0;
    if (rc != 0)
        return rc < 0 ? storage_failed(p, rc, &err) : API_ERROR_NONE;
    const struct push_ref *lie = push_refs_find_lie(&p->refs);
    if (lie) {
        digest_format(&lie->told.digest, digest);
        error_set(&p->why, -EBADMSG, "%s has %llu bytes, its descriptor tells %llu", digest,
                  (unsigned long long)lie->size, (unsigned long long)lie->told.size);
        return API_ERROR_MANIFEST_INVALID;
    }
    if (p->settings->accepts_sparse)
        return API_ERROR_NONE;
    strbuf_clear(&p->missing);
    return push_refs_missing(&p->refs, &p->missing) == 0 ? API_ERROR_NONE
                                                         : API_ERROR_MANIFEST_BLOB_UNKNOWN;
}

static enum api_error read_manifest(struct manifest_put *p)
{
    size_t max = p->settings->push_manifest_max_bytes;

    p->manifest.body = (struct slice){p->body.len ? p->body.ptr : "", p->body.len};
    enum api_error error = push_manifest_read(&p->manifest, push_refs_add, &p->refs, &p->why);
    if (p->manifest.is_opaque)
        push_refs_clear(&p->refs);
    p->refs.n_max = p->refs.n + max / REF_TEXT_MIN;
    p->refs.below_max_bytes = max * BELOW_BODIES;
    p->is_read = true;
    return error;
}

static void hold(struct manifest_put *p)
{
    struct vouches *vouches = cache_vouches(p->api->cache);

    if (!p->is_held) {
        p->hold = vouch_hold(vouches);
        vouch_for(vouches, &p->manifest.digest);
    }
    p->is_held = true;
}

static void release(struct manifest_put *p)
{
    if (p->is_held)
        vouch_release(cache_vouches(p->api->cache), p->hold);
    p->is_held = false;
}

/* One turn. */
static void do_push(struct pool_job *job)
{
    struct manifest_put *p = (struct manifest_put *)job;

    p->error = p->is_read ? API_ERROR_NONE : read_manifest(p);
    if (p->error != API_ERROR_NONE)
        return;
    hold(p);
    p->error = check_refs(p);
    if (p->has_more)
        return;
    if (p->error == API_ERROR_NONE)
        p->error = keep_locked(p);
    release(p);
}

/* --- home again ------------------------------------------------------------------------------- */

static void push(struct manifest_put *p);

/* What the upstream said about these names before means nothing any more. */
static void forget_holds(struct manifest_put *p)
{
    char digest[DIGEST_TEXT_SIZE];
    struct slice name = {digest, digest_format(&p->manifest.digest, digest)};
    size_t at = 0;

    do
        resolve_hold(p->api->resolver, repo_of(p), name, 0);
    while ((name = next_tag(p, &at)).len > 0);
}

static void on_fetched(void *arg, enum api_error error, int retry_after_s)
{
    struct manifest_put *p = arg;

    CHECK(p->state == PUT_FETCHING && p->txn);
    p->fetch = NULL;
    p->has_fetched = true;
    p->retry_after_s = retry_after_s;
    if (error != API_ERROR_NONE)
        put_refuse(p, error, SLICE("the upstream registry was asked for what is referenced"));
    else
        push(p);
}

/* Whether the upstream may have what is missing. */
static bool can_fetch(const struct manifest_put *p)
{
    return p->error == API_ERROR_MANIFEST_BLOB_UNKNOWN && !p->has_fetched &&
           precedence_can_ask(p->api, repo_of(p), SLICE_NONE);
}

static void on_pushed(struct pool_job *job)
{
    struct manifest_put *p = (struct manifest_put *)job;

    if (p->has_more && p->txn) {
        pool_submit(p->api->pool, &p->job, worker_current());
        return;
    }
    if (p->has_more)
        release(p);
    else if (p->error == API_ERROR_NONE) {
        metric_inc(METRIC_PUSH_MANIFESTS);
        forget_holds(p);
    }
    if (!p->txn) {
        put_end(p);
    } else if (p->error == API_ERROR_NONE) {
        answer(p);
    } else if (can_fetch(p)) {
        put_goto(p, PUT_FETCHING);
        p->fetch = push_fetch_start(p->api, repo_of(p), &p->refs, on_fetched, p);
    } else if (p->error == API_ERROR_MANIFEST_BLOB_UNKNOWN) {
        put_refuse(p, p->error, (struct slice){p->missing.ptr, p->missing.len});
    } else {
        put_refuse(p, p->error, slice_of(p->why.text));
    }
}

static void push(struct manifest_put *p)
{
    put_goto(p, PUT_PUSHING);
    p->job.work = do_push;
    p->job.done = on_pushed;
    pool_submit(p->api->pool, &p->job, worker_current());
}

/* --- the body --------------------------------------------------------------------------------- */

/* Thousands of clients that send slowly must not fill the memory. */
static bool take_memory(struct manifest_put *p, size_t n)
{
    return memory_share_take(&p->api->put_memory, p->body.len, n,
                             p->settings->push_manifests_memory);
}

static int on_data(void *arg, const void *bytes, size_t n)
{
    struct manifest_put *p = arg;

    CHECK(p->state == PUT_READING && n <= p->settings->push_manifest_max_bytes - p->body.len);
    if (!take_memory(p, n)) {
        put_refuse(p, API_ERROR_MANIFESTS_BUSY, SLICE_NONE);
        return -ENOMEM;
    }
    strbuf_add(&p->body, bytes, n);
    return 0;
}

static void on_end(void *arg, int rc)
{
    struct manifest_put *p = arg;

    CHECK(p->state == PUT_READING);
    if (rc == -ECONNRESET || rc == -ECANCELED)
        return; /* the transaction tells right away that the client has left */
    if (rc == 0)
        push(p);
    else if (rc == -EFBIG)
        put_refuse(p, API_ERROR_MANIFEST_TOO_LARGE, SLICE_NONE);
    else if (rc == -ETIMEDOUT)
        put_refuse(p, API_ERROR_BODY_TIMEOUT, SLICE_NONE);
    else
        put_refuse(p, API_ERROR_MANIFEST_INVALID, SLICE("the framing of the body is broken"));
}

static const struct body_sink SINK = {on_data, on_end};

/* --- the request ------------------------------------------------------------------------------ */

static void add_tag(struct manifest_put *p, struct slice tag)
{
    strbuf_add_slice(&p->tags, tag);
    strbuf_add_char(&p->tags, '\0');
    p->n_tags++;
}

/* Tags from the path and the query. */
static enum api_error read_tags(struct manifest_put *p, const struct api_request *q)
{
    struct slice query = txn_head(q->txn)->query;
    char tag[NAME_TAG_MAX + 1];
    int len;

    p->has_tag = !q->route->is_digest;
    if (p->has_tag)
        add_tag(p, q->route->reference);
    while ((len = query_next(&query, "tag", tag, sizeof(tag))) != -ENOENT) {
        if (len < 0 || !name_is_tag((struct slice){tag, (size_t)len}))
            return API_ERROR_TAG_INVALID;
        if (p->n_tags == p->settings->tags_max)
            return API_ERROR_TAGS_TOO_MANY;
        add_tag(p, (struct slice){tag, (size_t)len});
    }
    return API_ERROR_NONE;
}

/* Of a child, whoever brought it. */
static size_t child_max_bytes(const struct api_settings *s)
{
    return s->manifest_max_bytes > s->push_manifest_max_bytes ? s->manifest_max_bytes
                                                              : s->push_manifest_max_bytes;
}

static struct manifest_put *put_new(const struct api_request *q)
{
    struct manifest_put *p = xcalloc(1, sizeof(*p));
    struct slice content_type = head_field_find(txn_head(q->txn), "Content-Type");

    CHECK(q->repo.len <= sizeof(p->repo) && q->route->repo.len <= sizeof(p->name));
    p->api = q->api;
    p->txn = q->txn;
    p->settings = api_settings_now(q->api);
    p->repo_len = q->repo.len;
    memcpy(p->repo, q->repo.ptr, p->repo_len);
    p->name_len = q->route->repo.len;
    memcpy(p->name, q->route->repo.ptr, p->name_len);
    p->content_type = xmemdup0(content_type.ptr ? content_type.ptr : "", content_type.len);
    p->manifest = (struct push_manifest){.content_type = slice_of(p->content_type),
                                         .has_digest = q->route->is_digest,
                                         .digest = q->route->digest,
                                         .depth_max = p->settings->manifest_depth_max};
    p->refs = (struct push_refs){.cache = q->api->cache,
                                 .repo = repo_of(p),
                                 .manifest_max_bytes = child_max_bytes(p->settings)};
    txn_note_cache(p->txn, "push");
    txn_on_gone(p->txn, on_gone, p);
    return p;
}

void api_manifest_put_handle(const struct api_request *q)
{
    if (!api_push_allow(q))
        return;
    struct manifest_put *p = put_new(q);
    const struct head *head = txn_head(q->txn);
    size_t max = p->settings->push_manifest_max_bytes;

    enum api_error error = read_tags(p, q);
    if (error == API_ERROR_NONE && head->has_length && head->length > max)
        error = API_ERROR_MANIFEST_TOO_LARGE;
    if (error != API_ERROR_NONE)
        put_refuse(p, error, SLICE_NONE);
    else
        txn_read_body(q->txn, max, &SINK, p);
}
