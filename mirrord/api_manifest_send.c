#include "config.h"

#include "mirrord/api_manifest_private.h"

#include <errno.h>
#include <inttypes.h>

#include "base/check.h"
#include "base/clock.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "mirrord/provenance.h"
#include "mirrord/range.h"
#include "mirrord/txn.h"

static void release_manifest(void *arg)
{
    struct manifest *m = arg;

    manifest_unref(&m);
}

/* The fields that do not depend on the manifest. hot */
static void add_fields(struct txn *txn, struct reply *r, const struct manifest_manner *how)
{
    /* What was pushed has its origin here, and no age. */
    bool has_age = how->is_tag && (!how->source || !how->source->is_pushed);

    reply_header_lines(r, SLICE(API_V2_LINE));
    provenance_tell(txn, r, how->source);
    if (!how->is_tag)
        reply_header_lines(r, SLICE("Cache-Control: max-age=31536000, immutable\r\n"));
    if (has_age) {
        int64_t age_s = how->view->now_s - how->checked_at_s;
        reply_headerf(r, "Age", "%" PRId64, age_s > 0 ? age_s : 0);
        api_origin_tell_ttl(r, how->origin, tag_choice_ttl_left_s(how->view, how->checked_at_s));
    } else {
        reply_header_lines(r, api_origin_lines(how->origin));
    }
}

static bool is_not_modified(struct txn *txn, const struct digest *d)
{
    struct slice list = head_field_find(txn_head(txn), "If-None-Match");
    char etag[DIGEST_TEXT_SIZE + 2];

    if (!list.ptr)
        return false;
    size_t n = digest_format(d, etag + 1);
    etag[0] = etag[n + 1] = '"';
    return range_etag_matches(list, (struct slice){etag, n + 2});
}

void api_manifest_reply(struct txn *txn, struct manifest *m, const struct manifest_manner *how)
{
    struct slice body = manifest_body(m);
    bool is_same = is_not_modified(txn, manifest_digest(m));
    struct reply *r;

    txn_on_gone(txn, NULL, NULL);
    api_origin_count_manifest(txn, how->origin);
    r = txn_reply(txn, is_same ? 304 : 200);
    reply_header_lines(r, manifest_header_lines(m));
    add_fields(txn, r, how);
    if (is_same) {
        reply_send_empty(r);
        manifest_unref(&m);
    } else {
        reply_send_memory(r, body.ptr, body.len, release_manifest, m);
    }
}

/* The tag points to what is being sent, which is here: remember it, unless another request that
 * waited for the same has done so. */
static void commit_tag(struct manifest_wait *w, struct manifest *m)
{
    struct tag_record now = {.mirrored = TAG_MIRRORED,
                             .digest = w->digest,
                             .fetched_at_s = w->is_heard ? w->source.at_s : w->checked_at_s,
                             .checked_at_s = w->checked_at_s,
                             .upstream = api_manifest_registry_of(w)->origin,
                             .is_heard = w->is_heard,
                             .heard_at = w->heard_at};
    struct tag_record known;

    if (tags_find(w->api->tags, api_manifest_repo_of(w), api_manifest_tag_of(w), &known) &&
        known.mirrored == TAG_MIRRORED && digest_equal(&known.digest, &now.digest) &&
        known.checked_at_s >= now.checked_at_s)
        return;
    resolve_commit_tag(w->api, api_manifest_repo_of(w), api_manifest_tag_of(w), &now, m);
}

static const struct origin *source_of(const struct manifest_wait *w)
{
    return w->has_source ? &w->source : NULL;
}

void api_manifest_set_source(struct manifest_wait *w)
{
    w->has_source = true;
    w->source =
        (struct origin){.upstream = api_manifest_registry_of(w)->origin, .at_s = clock_wall_s()};
}

/* The upstream says that the repository has this manifest: it is linked, unless it has been. */
static void link_manifest(struct manifest_wait *w, struct manifest *m)
{
    if (links_find(w->api->links, LINK_REVISION, api_manifest_repo_of(w), manifest_digest(m)) !=
        LINK_YES)
        manifests_keep(w->api->manifests, api_manifest_repo_of(w), m,
                       api_manifest_registry_of(w)->origin, NULL, NULL);
}

void api_manifest_send(struct manifest_wait *w, struct manifest *m)
{
    struct manifest_manner how = {w->origin, w->is_tag, w->checked_at_s, &w->view, source_of(w)};

    w->view.now_s = clock_wall_s(); /* it may have waited */
    if (w->is_told)
        link_manifest(w, m);
    if (w->has_moved)
        commit_tag(w, m);
    api_manifest_refresh_heard(w);
    api_manifest_reply(w->txn, m, &how);
    api_manifest_end(w);
}

static int next_of_nothing(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    (void)source, (void)off, (void)want, (void)out;
    return -EPROTO; /* only HEAD is answered with it */
}

static void close_nothing(void *source)
{
    (void)source;
}

static const struct body_source NOTHING_OPS = {next_of_nothing, close_nothing};

void api_manifest_send_facts(struct manifest_wait *w)
{
    struct manifest_manner how = {API_ORIGIN_PASSED, w->is_tag, w->checked_at_s, &w->view,
                                  source_of(w)};
    bool is_same = is_not_modified(w->txn, &w->digest);
    char digest[DIGEST_TEXT_SIZE];

    CHECK(w->is_head && w->has_facts);
    w->view.now_s = clock_wall_s();
    api_manifest_refresh_heard(w);
    digest_format(&w->digest, digest);
    txn_on_gone(w->txn, NULL, NULL);
    api_origin_count_manifest(w->txn, how.origin);
    struct reply *r = txn_reply(w->txn, is_same ? 304 : 200);
    reply_header(r, "Content-Type", slice_of(w->media_type));
    reply_header_lines(r, SLICE("X-Content-Type-Options: nosniff\r\n"));
    reply_header(r, "Docker-Content-Digest", slice_of(digest));
    reply_headerf(r, "ETag", "\"%s\"", digest);
    add_fields(w->txn, r, &how);
    if (is_same)
        reply_send_empty(r);
    else
        reply_send_source(r, w->size, &NOTHING_OPS, w);
    api_manifest_end(w);
}
