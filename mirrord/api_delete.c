/*
 * DELETE of tags, manifests and blobs (OCI distribution-spec, "Content Management"). One job on the
 * pool, durable before the answer:
 *
 *   a tag       both its halves go, the pushed one and what is remembered of the upstream's
 *   a manifest  the repository's revision goes, and every tag that points to it
 *   a blob      the repository's link to it goes
 *
 * Bytes stay until the collector finds that nobody references them: other repositories may have the
 * same. What a mirrored repository shows afterwards: docs/design/deletes.md.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/link.h"
#include "cache/repo.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/revision_lock.h"
#include "mirrord/txn.h"

/* One request. It frees itself. */
struct deletion {
    struct pool_job job; /* first */
    struct api *api;
    struct txn *txn; /* NULL once the client has left; it is deleted all the same */
    bool is_blob, is_digest;
    struct digest digest;
    int rc;
    bool has_repo;
    struct error err;
    size_t repo_len, reference_len;
    char repo[NAME_FULL_MAX];
    char reference[DIGEST_TEXT_SIZE]; /* not NUL-terminated */
};

static struct slice repo_of(const struct deletion *d)
{
    return (struct slice){d->repo, d->repo_len};
}

static struct slice reference_of(const struct deletion *d)
{
    return (struct slice){d->reference, d->reference_len};
}

/* --- the pool --------------------------------------------------------------------------------- */

/* Tags first: none may point to a revision that is gone, whenever we are interrupted. */
static int delete_revision(struct deletion *d)
{
    struct links *ls = cache_links(d->api->cache);

    int rc = links_load_now(ls, LINK_REVISION, repo_of(d), &d->digest, NULL);
    if (rc < 0)
        return rc == -ENOENT ? rc : error_sys(&d->err, rc, "link of the revision");
    rc = tags_remove_digest_now(d->api->tags, repo_of(d), &d->digest, &d->err);
    return rc < 0 ? rc : links_remove_now(ls, LINK_REVISION, repo_of(d), &d->digest, &d->err);
}

static void do_delete(struct pool_job *job)
{
    struct deletion *d = (struct deletion *)job;

    if (d->is_blob) {
        d->rc = links_remove_now(cache_links(d->api->cache), LINK_LAYER, repo_of(d), &d->digest,
                                 &d->err);
    } else if (d->is_digest) {
        revision_lock(&d->digest);
        d->rc = delete_revision(d);
        revision_unlock(&d->digest);
    } else {
        d->rc = tags_remove_now(d->api->tags, repo_of(d), reference_of(d), &d->err);
    }
    d->has_repo = d->rc == 0 || repos_have_now(d->api->repos, repo_of(d));
}

/* --- home ------------------------------------------------------------------------------------- */

static void free_deletion(void *arg)
{
    free(arg);
}

static void refuse(struct deletion *d)
{
    struct api_error_info info = {.detail_key = d->is_digest ? "digest" : "Tag",
                                  .detail_value = reference_of(d)};
    enum api_error unknown = d->is_blob ? API_ERROR_BLOB_UNKNOWN : API_ERROR_MANIFEST_UNKNOWN;

    if (d->rc == -ENOENT && !d->has_repo) {
        info.detail_key = "name";
        info.detail_value = repo_of(d);
        unknown = API_ERROR_NAME_UNKNOWN;
    }
    api_error_reply(d->txn, d->rc == -ENOENT ? unknown : API_ERROR_STORAGE, &info);
}

static void accept(struct deletion *d)
{
    struct reply *r = txn_reply(d->txn, 202);

    reply_header_lines(r, SLICE(API_V2_LINE));
    reply_send_empty(r);
}

static void on_deleted(struct pool_job *job)
{
    struct deletion *d = (struct deletion *)job;

    if (d->rc == 0)
        metric_inc(METRIC_DELETES);
    else if (d->rc != -ENOENT)
        log_error("delete", "%.*s of %.*s: %s", SLICE_ARG(reference_of(d)), SLICE_ARG(repo_of(d)),
                  d->err.text);
    if (d->txn) {
        txn_on_gone(d->txn, NULL, NULL);
        if (d->rc == 0)
            accept(d);
        else
            refuse(d);
    }
    worker_bury(worker_current(), free_deletion, d);
}

static void on_gone(void *arg)
{
    ((struct deletion *)arg)->txn = NULL;
}

void api_delete_handle(const struct api_request *q)
{
    struct api_error_info info = {.allow = "GET, HEAD"};

    if (q->route->id == ROUTE_MANIFEST)
        info.allow = "GET, HEAD, PUT";
    if (!api_settings_now(q->api)->can_delete) {
        api_error_reply(q->txn, API_ERROR_DELETE_DISABLED, &info);
        return;
    }
    if (!api_push_allow(q))
        return;
    struct deletion *d = xcalloc(1, sizeof(*d));
    CHECK(q->repo.len <= sizeof(d->repo) && q->route->reference.len <= sizeof(d->reference));
    d->api = q->api;
    d->txn = q->txn;
    d->is_blob = q->route->id == ROUTE_BLOB;
    d->is_digest = q->route->is_digest;
    d->digest = q->route->digest;
    d->repo_len = q->repo.len;
    memcpy(d->repo, q->repo.ptr, d->repo_len);
    d->reference_len = q->route->reference.len;
    memcpy(d->reference, q->route->reference.ptr, d->reference_len);
    txn_note_cache(d->txn, "delete");
    txn_on_gone(d->txn, on_gone, d);
    d->job.work = do_delete;
    d->job.done = on_deleted;
    pool_submit(d->api->pool, &d->job, worker_current());
}
