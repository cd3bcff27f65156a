/*
 * Manifests. What is in memory and needs no question is answered at once (hot); else a story:
 *
 *   TAG_LOAD   the slower tiers are asked about the tag, off the loop
 *   TAG_ASK    the upstream is asked about the tag
 *   BODY_LOAD  the storage is asked for the body of a digest, off the loop
 *   BODY_ASK   the upstream is asked for it
 *   ANSWERED   or the client has left
 *
 * When the upstream is asked about a tag and what its answers mean: docs/design/tags.md.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/manifest.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/range.h"
#include "mirrord/resolve.h"
#include "mirrord/states.h"
#include "mirrord/txn.h"

enum wait_state {
    WAIT_START,
    WAIT_TAG_LOAD,
    WAIT_TAG_ASK,
    WAIT_BODY_LOAD,
    WAIT_BODY_ASK,
    WAIT_ANSWERED,
    WAIT_STATE_MAX
};

static const struct state_row STATES[] = {
    [WAIT_START] = {"start",
                    TO(WAIT_TAG_LOAD) | TO(WAIT_TAG_ASK) | TO(WAIT_BODY_LOAD) | TO(WAIT_ANSWERED),
                    "us"},
    [WAIT_TAG_LOAD] = {"tag load", TO(WAIT_TAG_ASK) | TO(WAIT_BODY_LOAD) | TO(WAIT_ANSWERED),
                       "disk"},
    [WAIT_TAG_ASK] = {"tag ask", TO(WAIT_BODY_LOAD) | TO(WAIT_ANSWERED), "upstream"},
    /* Back to loading: of the remembered manifest, when the new one cannot be had. Back to the tag:
     * when it was believed unasked, and what it is said to point to is nowhere. */
    [WAIT_BODY_LOAD] = {"body load", TO(WAIT_TAG_ASK) | TO(WAIT_BODY_ASK) | TO(WAIT_ANSWERED),
                        "disk"},
    [WAIT_BODY_ASK] = {"body ask", TO(WAIT_TAG_ASK) | TO(WAIT_BODY_LOAD) | TO(WAIT_ANSWERED),
                       "upstream"},
    [WAIT_ANSWERED] = {"answered", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == WAIT_STATE_MAX, "a row for every state");

/* One request that could not be answered at once. It frees itself. */
struct manifest_wait {
    enum wait_state state;
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    bool is_head;
    bool is_tag;
    bool has_record; /* the tag had a digest before the upstream was asked */
    bool has_moved;  /* the upstream says another one; it is not remembered yet */
    struct tag_record record;
    struct digest digest; /* of the manifest to send */
    int64_t checked_at_s; /* when the tag was last confirmed to have it */
    enum api_origin origin;
    bool is_unasked; /* the record was believed without a question */
    bool has_facts;  /* told by the upstream for HEAD */
    uint64_t size;
    char *media_type;
    struct resolve_waiter waiter;
    struct event *timer; /* runs out: the remembered tag is served */
    size_t repo_len, tag_len;
    char repo[NAME_HUB_SIZE];
    char tag[NAME_TAG_MAX];
};

/* --- sending ---------------------------------------------------------------------------------- */

/* How a manifest is being sent. */
struct manner {
    enum api_origin origin;
    bool is_tag;
    int64_t checked_at_s; /* for tags */
};

static void release_manifest(void *arg)
{
    struct manifest *m = arg;

    manifest_unref(&m);
}

/* The fields that do not depend on the manifest. hot */
static void add_fields(struct reply *r, const struct manner *how)
{
    reply_header_lines(r, SLICE(API_V2_LINE));
    reply_header_lines(r, api_origin_lines(how->origin));
    if (how->is_tag) {
        int64_t age_s = clock_wall_s() - how->checked_at_s;
        reply_headerf(r, "Age", "%" PRId64, age_s > 0 ? age_s : 0);
    } else {
        reply_header_lines(r, SLICE("Cache-Control: max-age=31536000, immutable\r\n"));
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

/* Answers with a manifest, whose reference is taken. hot */
static void send_manifest(struct txn *txn, struct manifest *m, const struct manner *how)
{
    struct slice body = manifest_body(m);
    bool is_same = is_not_modified(txn, manifest_digest(m));
    struct reply *r;

    txn_on_gone(txn, NULL, NULL);
    api_origin_count_manifest(txn, how->origin);
    r = txn_reply(txn, is_same ? 304 : 200);
    reply_header_lines(r, manifest_header_lines(m));
    add_fields(r, how);
    if (is_same) {
        reply_send_empty(r);
        manifest_unref(&m);
    } else {
        reply_send_memory(r, body.ptr, body.len, release_manifest, m);
    }
}

/* --- the story's beginning and end ------------------------------------------------------------ */

static void wait_goto(struct manifest_wait *w, enum wait_state next)
{
    CHECK(STATES[w->state].next & TO(next));
    log_debug("manifest", "%s -> %s, turn of the %s", STATES[w->state].name, STATES[next].name,
              STATES[next].turn);
    w->state = next;
}

static void free_wait(void *arg)
{
    struct manifest_wait *w = arg;

    free(w->media_type);
    free(w);
}

/* Nothing calls the story after this. */
static void wait_end(struct manifest_wait *w)
{
    wait_goto(w, WAIT_ANSWERED);
    if (w->timer)
        event_free(w->timer);
    worker_bury(worker_current(), free_wait, w);
}

static struct slice repo_of(const struct manifest_wait *w)
{
    return (struct slice){w->repo, w->repo_len};
}

static struct slice tag_of(const struct manifest_wait *w)
{
    return (struct slice){w->tag, w->tag_len};
}

static void wait_refuse(struct manifest_wait *w, enum api_error error, int retry_after_s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct api_error_info info = {.detail_key = w->is_tag ? "Tag" : "digest",
                                  .detail_value = tag_of(w),
                                  .retry_after_s = retry_after_s};

    if (!w->is_tag)
        info.detail_value = (struct slice){digest, digest_format(&w->digest, digest)};
    txn_on_gone(w->txn, NULL, NULL);
    api_origin_count_manifest(w->txn, w->origin);
    api_error_reply(w->txn, error, &info);
    wait_end(w);
}

/* The client has left. What cannot be called back is waited for. */
static void on_gone(void *arg)
{
    struct manifest_wait *w = arg;
    bool is_asking = w->state == WAIT_TAG_ASK || w->state == WAIT_BODY_ASK;

    w->txn = NULL;
    if (is_asking && resolve_leave(w->api->resolver, &w->waiter))
        wait_end(w);
}

/* The tag points to what is being sent, which is here: remember it, unless another request that
 * waited for the same has done so. */
static void commit_tag(struct manifest_wait *w)
{
    struct tag_record now = {.mirrored = TAG_MIRRORED,
                             .digest = w->digest,
                             .fetched_at_s = w->checked_at_s,
                             .checked_at_s = w->checked_at_s,
                             .upstream = w->api->origin};
    struct tag_record known;

    if (tags_find(w->api->tags, repo_of(w), tag_of(w), &known) && known.mirrored == TAG_MIRRORED &&
        digest_equal(&known.digest, &now.digest) && known.checked_at_s >= now.checked_at_s)
        return;
    tags_put(w->api->tags, repo_of(w), tag_of(w), &now);
}

/* Answers with the manifest; its reference is taken. */
static void wait_send(struct manifest_wait *w, struct manifest *m)
{
    struct manner how = {w->origin, w->is_tag, w->checked_at_s};

    if (w->has_moved)
        commit_tag(w);
    send_manifest(w->txn, m, &how);
    wait_end(w);
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

/* HEAD of a manifest that is not here: what the upstream said about it. */
static void wait_send_facts(struct manifest_wait *w)
{
    struct manner how = {API_ORIGIN_PASSED, w->is_tag, w->checked_at_s};
    bool is_same = is_not_modified(w->txn, &w->digest);
    char digest[DIGEST_TEXT_SIZE];

    CHECK(w->is_head && w->has_facts);
    digest_format(&w->digest, digest);
    txn_on_gone(w->txn, NULL, NULL);
    api_origin_count_manifest(w->txn, how.origin);
    struct reply *r = txn_reply(w->txn, is_same ? 304 : 200);
    reply_header(r, "Content-Type", slice_of(w->media_type));
    reply_header(r, "Docker-Content-Digest", slice_of(digest));
    reply_headerf(r, "ETag", "\"%s\"", digest);
    add_fields(r, &how);
    if (is_same)
        reply_send_empty(r);
    else
        reply_send_source(r, w->size, &NOTHING_OPS, w);
    wait_end(w);
}

/* --- the body of a digest --------------------------------------------------------------------- */

static void step_body(struct manifest_wait *w);
static void ask_tag(struct manifest_wait *w);

/* Neither here nor upstream is the manifest that the remembered tag points to: the tag has moved
 * since, and where it was is gone. Then the tag is asked about after all. */
static bool doubt_tag(struct manifest_wait *w)
{
    if (!w->is_unasked || w->record.is_pushed)
        return false;
    w->is_unasked = false;
    w->has_record = false;
    ask_tag(w);
    return true;
}

/* What the upstream told about the digest, kept for a HEAD answer. */
static void keep_facts(struct manifest_wait *w, const struct resolve_answer *a)
{
    free(w->media_type);
    w->media_type = xmemdup0(a->media_type.ptr, a->media_type.len);
    w->size = a->size;
    w->has_facts = true;
}

static void on_body_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    if (!w->txn) {
        wait_end(w);
    } else if (a->error == API_ERROR_NONE && a->manifest) {
        w->origin = !a->is_kept ? API_ORIGIN_PASSED
                    : is_first  ? API_ORIGIN_MISS
                                : API_ORIGIN_COLLAPSED;
        w->has_moved = w->has_moved && a->is_kept;
        wait_send(w, manifest_ref(a->manifest));
    } else if (a->error == API_ERROR_NONE) {
        keep_facts(w, a);
        wait_send_facts(w);
    } else if (w->has_moved && w->has_record) {
        /* The tag has moved to what cannot be had; where it was before can. */
        w->has_moved = false;
        w->digest = w->record.digest;
        w->checked_at_s = w->record.checked_at_s;
        w->origin = API_ORIGIN_STALE;
        step_body(w);
    } else if (a->error != API_ERROR_MANIFEST_UNKNOWN || !doubt_tag(w)) {
        w->origin = API_ORIGIN_MISS;
        wait_refuse(w, a->error, a->retry_after_s);
    }
}

static void ask_body(struct manifest_wait *w)
{
    char text[DIGEST_TEXT_SIZE];
    struct slice digest = {text, digest_format(&w->digest, text)};

    if (!w->api->upstream) {
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else if (w->is_head && w->has_facts) {
        wait_send_facts(w);
    } else if (resolve_is_held(w->api->resolver, repo_of(w), digest)) {
        if (doubt_tag(w))
            return;
        w->origin = API_ORIGIN_NEGATIVE;
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else {
        wait_goto(w, WAIT_BODY_ASK);
        w->waiter.done = on_body_answer;
        w->waiter.arg = w;
        resolve_ask(w->api->resolver, w->is_head ? RESOLVE_DIGEST_HEAD : RESOLVE_DIGEST_GET,
                    repo_of(w), digest, &w->waiter);
    }
}

static void on_body_loaded(void *arg, int rc, struct manifest *m)
{
    struct manifest_wait *w = arg;

    CHECK(w->state == WAIT_BODY_LOAD);
    if (!w->txn) {
        manifest_unref(&m);
        wait_end(w);
    } else if (rc == 0) {
        wait_send(w, m);
    } else if (rc == -ENOENT) {
        ask_body(w);
    } else if (rc == -EFBIG) {
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else {
        wait_refuse(w, API_ERROR_STORAGE, 0);
    }
}

/* w->digest is known: from memory, from the storage, from the upstream. */
static void step_body(struct manifest_wait *w)
{
    struct manifest *m = manifests_find(w->api->manifests, &w->digest);

    if (m) {
        wait_send(w, m);
        return;
    }
    wait_goto(w, WAIT_BODY_LOAD);
    manifests_load(w->api->manifests, repo_of(w), &w->digest,
                   api_settings_now(w->api)->manifest_max_bytes, on_body_loaded, w);
}

/* --- the digest of a tag ---------------------------------------------------------------------- */

/* The remembered digest, from here. */
static void serve_record(struct manifest_wait *w, enum api_origin origin, int64_t checked_at_s)
{
    w->origin = origin;
    w->digest = w->record.is_pushed ? w->record.pushed : w->record.digest;
    w->checked_at_s = checked_at_s;
    step_body(w);
}

static void stop_timer(struct manifest_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

static void on_tag_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    stop_timer(w);
    if (!w->txn) {
        wait_end(w);
        return;
    }
    if (a->error != API_ERROR_NONE && a->error != API_ERROR_MANIFEST_UNKNOWN && w->has_record) {
        serve_record(w, API_ORIGIN_STALE, w->record.checked_at_s);
        return;
    }
    w->origin = is_first ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
    if (a->error != API_ERROR_NONE) {
        wait_refuse(w, a->error, a->retry_after_s);
        return;
    }
    if (w->has_record && digest_equal(&a->digest, &w->record.digest)) {
        serve_record(w, API_ORIGIN_REVALIDATED, clock_wall_s());
        return;
    }
    w->digest = a->digest;
    w->checked_at_s = clock_wall_s();
    if (a->manifest) {
        w->origin = a->is_kept ? w->origin : API_ORIGIN_PASSED;
        wait_send(w, manifest_ref(a->manifest));
        return;
    }
    w->has_moved = w->has_record;
    keep_facts(w, a);
    step_body(w);
}

/* The upstream takes too long for a client that can have the remembered tag. The question goes on;
 * others do not wait for it either. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct manifest_wait *w = arg;

    (void)fd, (void)what;
    stop_timer(w);
    resolve_hold(w->api->resolver, repo_of(w), tag_of(w), api_settings_now(w->api)->stale_retry_s);
    if (w->txn && resolve_leave(w->api->resolver, &w->waiter))
        serve_record(w, API_ORIGIN_STALE, w->record.checked_at_s);
}

static void start_timer(struct manifest_wait *w)
{
    unsigned wait_ms = api_settings_now(w->api)->stale_wait_ms;
    struct timeval tv = {wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000};

    w->timer = evtimer_new(worker_event_base(worker_current()), on_timer, w);
    CHECK(w->timer && evtimer_add(w->timer, &tv) == 0);
}

/* A tag that has been seen costs a HEAD; one that has not is fetched with one GET, unless the
 * client asks for less. */
static void ask_tag(struct manifest_wait *w)
{
    bool is_get = !w->has_record && !w->is_head;

    wait_goto(w, WAIT_TAG_ASK);
    w->waiter.done = on_tag_answer;
    w->waiter.arg = w;
    if (w->has_record)
        start_timer(w);
    resolve_ask(w->api->resolver, is_get ? RESOLVE_TAG_GET : RESOLVE_TAG_HEAD, repo_of(w),
                tag_of(w), &w->waiter);
}

/* What to do about a tag. */
enum verdict { VERDICT_SERVE, VERDICT_SERVE_STALE, VERDICT_ABSENT, VERDICT_ASK };

/* hot */
static enum verdict judge(const struct api *api, struct slice repo, struct slice tag,
                          const struct tag_record *record)
{
    const struct api_settings *s = api_settings_now(api);
    int64_t age_s = record ? clock_wall_s() - record->checked_at_s : 0;
    bool is_dated = record && age_s >= 0; /* not from the future: somebody set the clock */

    if (record && record->is_pushed)
        return VERDICT_SERVE;
    if (record && record->mirrored == TAG_ABSENT)
        return !api->upstream || (is_dated && age_s < s->negative_ttl_s) ? VERDICT_ABSENT
                                                                         : VERDICT_ASK;
    if (!api->upstream)
        return record ? VERDICT_SERVE : VERDICT_ABSENT;
    if (!record)
        return VERDICT_ASK;
    if (is_dated && age_s < s->tags_cache_ttl_s)
        return VERDICT_SERVE;
    return resolve_is_held(api->resolver, repo, tag) ? VERDICT_SERVE_STALE : VERDICT_ASK;
}

/* The tag's record is known, or that there is none. */
static void step_tag(struct manifest_wait *w, const struct tag_record *record)
{
    enum verdict verdict = judge(w->api, repo_of(w), tag_of(w), record);

    w->has_record = record && (record->is_pushed || record->mirrored == TAG_MIRRORED);
    if (w->has_record)
        w->record = *record;
    w->is_unasked = verdict == VERDICT_SERVE;
    if (verdict == VERDICT_SERVE || verdict == VERDICT_SERVE_STALE) {
        serve_record(w, verdict == VERDICT_SERVE ? API_ORIGIN_HIT : API_ORIGIN_STALE,
                     w->record.is_pushed ? w->record.pushed_at_s : w->record.checked_at_s);
    } else if (verdict == VERDICT_ABSENT) {
        w->origin = API_ORIGIN_NEGATIVE;
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else {
        ask_tag(w);
    }
}

static void on_tag_loaded(void *arg, int rc, const struct tag_record *record)
{
    struct manifest_wait *w = arg;

    CHECK(w->state == WAIT_TAG_LOAD);
    if (!w->txn)
        wait_end(w);
    else if (rc == 0 || rc == -ENOENT)
        step_tag(w, rc == 0 ? record : NULL);
    else
        wait_refuse(w, API_ERROR_STORAGE, 0);
}

/* --- requests --------------------------------------------------------------------------------- */

static struct manifest_wait *wait_new(const struct api_request *q)
{
    struct manifest_wait *w = xcalloc(1, sizeof(*w));

    w->api = q->api;
    w->txn = q->txn;
    w->is_head = q->is_head;
    w->is_tag = !q->route->is_digest;
    w->digest = q->route->digest;
    w->origin = API_ORIGIN_HIT;
    w->repo_len = q->repo.len;
    memcpy(w->repo, q->repo.ptr, q->repo.len);
    if (w->is_tag) {
        w->tag_len = q->route->reference.len;
        memcpy(w->tag, q->route->reference.ptr, w->tag_len);
    }
    txn_on_gone(w->txn, on_gone, w);
    return w;
}

/* By tag. hot */
static void handle_tag(const struct api_request *q)
{
    struct slice tag = q->route->reference;
    struct tag_record record;
    bool is_known = tags_find(q->api->tags, q->repo, tag, &record);

    if (is_known && judge(q->api, q->repo, tag, &record) == VERDICT_SERVE) {
        struct manifest *m =
            manifests_find(q->api->manifests, record.is_pushed ? &record.pushed : &record.digest);
        struct manner how = {API_ORIGIN_HIT, true,
                             record.is_pushed ? record.pushed_at_s : record.checked_at_s};
        if (m) {
            send_manifest(q->txn, m, &how);
            return;
        }
    }
    struct manifest_wait *w = wait_new(q);
    if (is_known) {
        step_tag(w, &record);
    } else {
        wait_goto(w, WAIT_TAG_LOAD);
        tags_load(q->api->tags, q->repo, tag, on_tag_loaded, w);
    }
}

void api_manifest_handle(const struct api_request *q)
{
    struct manner how = {.origin = API_ORIGIN_HIT};

    if (!q->route->is_digest) {
        handle_tag(q);
        return;
    }
    struct manifest *m = manifests_find(q->api->manifests, &q->route->digest);
    if (m)
        send_manifest(q->txn, m, &how);
    else
        step_body(wait_new(q));
}
