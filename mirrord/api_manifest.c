/*
 * Manifests. What is in memory and needs no question is answered at once (hot); else a story:
 *
 *   TAG_LOAD   the slower tiers are asked about the tag, off the loop
 *   TAG_ASK    the upstream is asked about the tag
 *   LINK_LOAD  the storage is asked whether the repository has the digest, off the loop
 *   BODY_LOAD  the storage is asked for the body of a digest, off the loop
 *   BODY_ASK   the upstream is asked for it; or, when it is here for the sake of another
 *              repository, whether this one has it, too
 *   ANSWERED   or the client has left
 *
 * When the upstream is asked about a tag and what its answers mean: docs/design/tags.md. Whose half
 * of a tag is served, and through which repository a digest can be read: docs/design/provenance.md.
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
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/provenance.h"
#include "mirrord/range.h"
#include "mirrord/resolve.h"
#include "mirrord/states.h"
#include "mirrord/tag_choice.h"
#include "mirrord/txn.h"

enum wait_state {
    WAIT_START,
    WAIT_TAG_LOAD,
    WAIT_TAG_ASK,
    WAIT_LINK_LOAD,
    WAIT_BODY_LOAD,
    WAIT_BODY_ASK,
    WAIT_ANSWERED,
    WAIT_STATE_MAX
};

static const struct state_row STATES[] = {
    [WAIT_START] = {"start",
                    TO(WAIT_TAG_LOAD) | TO(WAIT_TAG_ASK) | TO(WAIT_LINK_LOAD) | TO(WAIT_BODY_LOAD) |
                        TO(WAIT_ANSWERED),
                    "us"},
    [WAIT_TAG_LOAD] = {"tag load", TO(WAIT_TAG_ASK) | TO(WAIT_BODY_LOAD) | TO(WAIT_ANSWERED),
                       "disk"},
    [WAIT_TAG_ASK] = {"tag ask", TO(WAIT_BODY_LOAD) | TO(WAIT_ANSWERED), "upstream"},
    [WAIT_LINK_LOAD] = {"link load", TO(WAIT_BODY_LOAD) | TO(WAIT_BODY_ASK) | TO(WAIT_ANSWERED),
                        "disk"},
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
    enum precedence rule;
    struct tag_record record; /* all zero: nothing is remembered */
    bool has_moved;           /* the upstream says another digest; it is not remembered yet */
    bool is_told;             /* the upstream has named the digest just now */
    bool is_unasked;          /* the record's mirrored half was believed without a question */
    bool is_linked;           /* what was asked for by digest is in the repository */
    struct digest digest;     /* of the manifest to send */
    int64_t checked_at_s;     /* when the tag was last confirmed to have it */
    enum api_origin origin;
    bool has_source;
    struct origin source;  /* where what is sent came from */
    struct manifest *body; /* is here, and not in this repository as far as we know */
    bool has_facts;        /* told by the upstream for HEAD */
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
    int64_t checked_at_s;        /* for tags */
    const struct origin *source; /* NULL: not known */
};

static void release_manifest(void *arg)
{
    struct manifest *m = arg;

    manifest_unref(&m);
}

/* The fields that do not depend on the manifest. hot */
static void add_fields(struct txn *txn, struct reply *r, const struct manner *how)
{
    reply_header_lines(r, SLICE(API_V2_LINE));
    reply_header_lines(r, api_origin_lines(how->origin));
    provenance_tell(txn, r, how->source);
    if (!how->is_tag) {
        reply_header_lines(r, SLICE("Cache-Control: max-age=31536000, immutable\r\n"));
    } else if (!how->source || !how->source->is_pushed) {
        /* What was pushed has its origin here, and no age. */
        int64_t age_s = clock_wall_s() - how->checked_at_s;
        reply_headerf(r, "Age", "%" PRId64, age_s > 0 ? age_s : 0);
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
    add_fields(txn, r, how);
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

    manifest_unref(&w->body);
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

static const struct registry *registry_of(const struct manifest_wait *w)
{
    return api_registry_of(w->api, repo_of(w));
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
static void commit_tag(struct manifest_wait *w, struct manifest *m)
{
    struct tag_record now = {.mirrored = TAG_MIRRORED,
                             .digest = w->digest,
                             .fetched_at_s = w->checked_at_s,
                             .checked_at_s = w->checked_at_s,
                             .upstream = registry_of(w)->origin};
    struct tag_record known;

    if (tags_find(w->api->tags, repo_of(w), tag_of(w), &known) && known.mirrored == TAG_MIRRORED &&
        digest_equal(&known.digest, &now.digest) && known.checked_at_s >= now.checked_at_s)
        return;
    resolve_commit_tag(w->api, repo_of(w), tag_of(w), &now, m);
}

static const struct origin *source_of(const struct manifest_wait *w)
{
    return w->has_source ? &w->source : NULL;
}

/* It is, or was a moment ago, the upstream's of now. */
static void set_upstream_source(struct manifest_wait *w)
{
    w->has_source = true;
    w->source = (struct origin){.upstream = registry_of(w)->origin, .at_s = clock_wall_s()};
}

/* The upstream says that the repository has this manifest: it is linked, unless it has been. */
static void link_manifest(struct manifest_wait *w, struct manifest *m)
{
    if (links_find(w->api->links, LINK_REVISION, repo_of(w), manifest_digest(m)) != LINK_YES)
        manifests_keep(w->api->manifests, repo_of(w), m, registry_of(w)->origin, NULL, NULL);
}

/* Answers with the manifest; its reference is taken. */
static void wait_send(struct manifest_wait *w, struct manifest *m)
{
    struct manner how = {w->origin, w->is_tag, w->checked_at_s, source_of(w)};

    if (w->is_told)
        link_manifest(w, m);
    if (w->has_moved)
        commit_tag(w, m);
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
    struct manner how = {API_ORIGIN_PASSED, w->is_tag, w->checked_at_s, source_of(w)};
    bool is_same = is_not_modified(w->txn, &w->digest);
    char digest[DIGEST_TEXT_SIZE];

    CHECK(w->is_head && w->has_facts);
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
    wait_end(w);
}

/* --- the body of a digest --------------------------------------------------------------------- */

static void step_body(struct manifest_wait *w);
static void ask_tag(struct manifest_wait *w);

/* Neither here nor upstream is the manifest that the remembered tag points to: the tag has moved
 * since, and where it was is gone. Then the tag is asked about after all. */
static bool doubt_tag(struct manifest_wait *w)
{
    if (!w->is_unasked)
        return false;
    w->is_unasked = false;
    w->record.mirrored = TAG_UNASKED;
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

/* The tag has moved to what cannot be had; where it was before can. */
static void step_back(struct manifest_wait *w)
{
    w->has_moved = false;
    w->is_told = false;
    w->digest = w->record.digest;
    w->checked_at_s = w->record.checked_at_s;
    w->source = (struct origin){.upstream = w->record.upstream, .at_s = w->record.fetched_at_s};
    w->origin = API_ORIGIN_STALE;
    step_body(w);
}

static void on_body_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    if (!w->txn) {
        wait_end(w);
    } else if (a->error == API_ERROR_NONE) {
        if (!w->is_tag)
            set_upstream_source(w);
        if (!a->manifest) {
            keep_facts(w, a);
            wait_send_facts(w);
            return;
        }
        w->origin = !a->is_kept ? API_ORIGIN_PASSED
                    : is_first  ? API_ORIGIN_MISS
                                : API_ORIGIN_COLLAPSED;
        w->has_moved = w->has_moved && a->is_kept;
        w->is_told = w->is_told && a->is_kept;
        wait_send(w, manifest_ref(a->manifest));
    } else if (w->has_moved && w->record.mirrored == TAG_MIRRORED) {
        step_back(w);
    } else if (a->error != API_ERROR_MANIFEST_UNKNOWN || !doubt_tag(w)) {
        w->origin = API_ORIGIN_MISS;
        wait_refuse(w, a->error, a->retry_after_s);
    }
}

/* The body is here, and what the upstream said is whether this repository has it. */
static void on_confirmed(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    (void)is_first;
    if (!w->txn) {
        wait_end(w);
    } else if (a->error == API_ERROR_NONE) {
        struct manifest *m = w->body;
        w->body = NULL;
        w->origin = API_ORIGIN_REVALIDATED;
        w->is_told = true;
        set_upstream_source(w);
        wait_send(w, m);
    } else {
        w->origin = API_ORIGIN_MISS;
        wait_refuse(w, a->error, a->retry_after_s);
    }
}

/* The upstream may be asked for the manifest itself. */
static bool can_ask(const struct manifest_wait *w)
{
    return registry_of(w)->upstream && w->rule != PRECEDENCE_LOCAL_ONLY;
}

/* Without a body: asks for it. With one: whether the repository has it. */
static void ask_body(struct manifest_wait *w)
{
    char text[DIGEST_TEXT_SIZE];
    struct slice digest = {text, digest_format(&w->digest, text)};
    bool is_head = w->is_head || w->body;

    if (!can_ask(w)) {
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
        w->waiter.done = w->body ? on_confirmed : on_body_answer;
        w->waiter.arg = w;
        resolve_ask(w->api->resolver, is_head ? RESOLVE_DIGEST_HEAD : RESOLVE_DIGEST_GET,
                    repo_of(w), digest, &w->waiter);
    }
}

/* The body is here; its reference is taken. Others may read it through other repositories: by
 * digest it is sent through this one only when it has it. */
static void use_body(struct manifest_wait *w, struct manifest *m)
{
    if (w->is_tag || w->is_linked) {
        wait_send(w, m);
        return;
    }
    w->body = m;
    ask_body(w);
}

static void on_body_loaded(void *arg, int rc, struct manifest *m)
{
    struct manifest_wait *w = arg;

    CHECK(w->state == WAIT_BODY_LOAD);
    if (!w->txn) {
        manifest_unref(&m);
        wait_end(w);
    } else if (rc == 0) {
        use_body(w, m);
    } else if (rc == -ENOENT) {
        ask_body(w);
    } else if (rc == -EFBIG) {
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else {
        wait_refuse(w, API_ERROR_STORAGE, 0);
    }
}

/* The largest manifest that can be here, whoever brought it. */
static size_t max_bytes(const struct api_settings *s)
{
    return s->manifest_max_bytes > s->push_manifest_max_bytes ? s->manifest_max_bytes
                                                              : s->push_manifest_max_bytes;
}

/* w->digest is known: from memory, from the storage, from the upstream. */
static void step_body(struct manifest_wait *w)
{
    struct manifest *m = manifests_find(w->api->manifests, &w->digest);

    if (m) {
        use_body(w, m);
        return;
    }
    wait_goto(w, WAIT_BODY_LOAD);
    manifests_load(w->api->manifests, repo_of(w), &w->digest, max_bytes(api_settings_now(w->api)),
                   on_body_loaded, w);
}

/* --- the link of a digest --------------------------------------------------------------------- */

static void set_linked(struct manifest_wait *w, const struct origin *source)
{
    w->is_linked = true;
    w->has_source = source != NULL;
    if (source)
        w->source = *source;
}

static void on_link_loaded(void *arg, int rc)
{
    struct manifest_wait *w = arg;
    struct origin source;

    CHECK(w->state == WAIT_LINK_LOAD);
    if (!w->txn) {
        wait_end(w);
    } else if (rc == 0) {
        bool is_known =
            links_find_origin(w->api->links, LINK_REVISION, repo_of(w), &w->digest, &source);
        set_linked(w, is_known ? &source : NULL);
        step_body(w);
    } else if (rc != -ENOENT) {
        wait_refuse(w, API_ERROR_STORAGE, 0);
    } else if (can_ask(w)) {
        step_body(w);
    } else {
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    }
}

/* --- the digest of a tag ---------------------------------------------------------------------- */

/* The half of the record that was chosen, from here. */
static void serve_half(struct manifest_wait *w, enum tag_choice choice, enum api_origin origin)
{
    const struct tag_record *r = &w->record;
    bool is_pushed = choice == TAG_CHOICE_PUSHED;

    CHECK(is_pushed || choice == TAG_CHOICE_MIRRORED);
    w->origin = origin;
    w->digest = is_pushed ? r->pushed : r->digest;
    w->checked_at_s = r->checked_at_s;
    w->has_source = true;
    w->source = is_pushed ? (struct origin){.is_pushed = true, .at_s = r->pushed_at_s}
                          : (struct origin){.upstream = r->upstream, .at_s = r->fetched_at_s};
    step_body(w);
}

/* What is served when the upstream cannot be asked; false when there is nothing. */
static bool serve_fallback(struct manifest_wait *w)
{
    enum tag_choice choice = tag_choice_fallback(w->rule, &w->record);

    if (choice != TAG_CHOICE_ABSENT)
        serve_half(w, choice, API_ORIGIN_STALE);
    return choice != TAG_CHOICE_ABSENT;
}

static void stop_timer(struct manifest_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

/* The tag may have been pushed while the upstream was asked. True: that settles it. */
static bool serve_push(struct manifest_wait *w)
{
    struct tag_record now;

    if (!tags_find(w->api->tags, repo_of(w), tag_of(w), &now) || !now.is_pushed)
        return false;
    w->record.is_pushed = true;
    w->record.pushed = now.pushed;
    w->record.pushed_at_s = now.pushed_at_s;
    if (w->rule != PRECEDENCE_LOCAL_FIRST)
        return false;
    serve_half(w, TAG_CHOICE_PUSHED, API_ORIGIN_HIT);
    return true;
}

/* The upstream has no such tag, or gave no answer. */
static void on_tag_refused(struct manifest_wait *w, const struct resolve_answer *a, bool is_first)
{
    bool is_absent = a->error == API_ERROR_MANIFEST_UNKNOWN;

    if (is_absent)
        w->record.mirrored = TAG_ABSENT;
    if (is_absent && tag_choice_fallback(w->rule, &w->record) == TAG_CHOICE_PUSHED) {
        serve_half(w, TAG_CHOICE_PUSHED, API_ORIGIN_HIT);
    } else if (!serve_fallback(w)) {
        w->origin = is_first ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
        wait_refuse(w, a->error, a->retry_after_s);
    }
}

/* The upstream has this digest under the tag. */
static void use_tag_answer(struct manifest_wait *w, const struct resolve_answer *a, bool is_first)
{
    bool has_record = w->record.mirrored == TAG_MIRRORED;

    w->is_told = a->is_kept;
    w->digest = a->digest;
    w->checked_at_s = clock_wall_s();
    set_upstream_source(w);
    if (has_record && digest_equal(&a->digest, &w->record.digest)) {
        w->origin = API_ORIGIN_REVALIDATED;
        step_body(w);
        return;
    }
    w->origin = is_first ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
    if (a->manifest) {
        w->origin = a->is_kept ? w->origin : API_ORIGIN_PASSED;
        wait_send(w, manifest_ref(a->manifest));
        return;
    }
    w->has_moved = has_record;
    keep_facts(w, a);
    step_body(w);
}

static void on_tag_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    stop_timer(w);
    if (!w->txn)
        wait_end(w);
    else if (serve_push(w))
        return;
    else if (a->error != API_ERROR_NONE)
        on_tag_refused(w, a, is_first);
    else
        use_tag_answer(w, a, is_first);
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
        serve_fallback(w);
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
    bool is_get = w->record.mirrored != TAG_MIRRORED && !w->is_head;

    wait_goto(w, WAIT_TAG_ASK);
    w->waiter.done = on_tag_answer;
    w->waiter.arg = w;
    if (tag_choice_fallback(w->rule, &w->record) != TAG_CHOICE_ABSENT)
        start_timer(w);
    resolve_ask(w->api->resolver, is_get ? RESOLVE_TAG_GET : RESOLVE_TAG_HEAD, repo_of(w),
                tag_of(w), &w->waiter);
}

/* hot */
static enum tag_choice choose(const struct api *api, struct slice repo, enum precedence rule,
                              const struct tag_record *record)
{
    const struct api_settings *s = api_settings_now(api);
    struct tag_view view = {.rule = rule,
                            .has_upstream = api_registry_of(api, repo)->upstream != NULL,
                            .now_s = clock_wall_s(),
                            .ttl_s = s->tags_cache_ttl_s,
                            .negative_ttl_s = s->negative_ttl_s};

    return tag_choice_of(&view, record);
}

/* The tag's record is known, or that there is none. */
static void step_tag(struct manifest_wait *w, const struct tag_record *record)
{
    enum tag_choice choice = choose(w->api, repo_of(w), w->rule, record);
    bool has_fallback = tag_choice_fallback(w->rule, record) != TAG_CHOICE_ABSENT;

    if (record)
        w->record = *record;
    w->is_unasked = choice == TAG_CHOICE_MIRRORED;
    if (choice == TAG_CHOICE_PUSHED || choice == TAG_CHOICE_MIRRORED) {
        serve_half(w, choice, API_ORIGIN_HIT);
    } else if (choice == TAG_CHOICE_ABSENT) {
        w->origin = API_ORIGIN_NEGATIVE;
        wait_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else if (has_fallback && resolve_is_held(w->api->resolver, repo_of(w), tag_of(w))) {
        serve_fallback(w);
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
    w->rule = precedence_of(q->api, q->repo, w->is_tag ? q->route->reference : SLICE_NONE);
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
    struct tag_record r;
    bool is_known = tags_find(q->api->tags, q->repo, tag, &r);
    enum tag_choice choice = is_known
                                 ? choose(q->api, q->repo, precedence_of(q->api, q->repo, tag), &r)
                                 : TAG_CHOICE_ASK;

    if (choice == TAG_CHOICE_PUSHED || choice == TAG_CHOICE_MIRRORED) {
        bool is_pushed = choice == TAG_CHOICE_PUSHED;
        struct manifest *m = manifests_find(q->api->manifests, is_pushed ? &r.pushed : &r.digest);
        struct origin source = {.is_pushed = is_pushed, .upstream = is_pushed ? NULL : r.upstream};
        struct manner how = {API_ORIGIN_HIT, true, r.checked_at_s, &source};
        if (m) {
            send_manifest(q->txn, m, &how);
            return;
        }
    }
    struct manifest_wait *w = wait_new(q);
    if (is_known) {
        step_tag(w, &r);
    } else {
        wait_goto(w, WAIT_TAG_LOAD);
        tags_load(q->api->tags, q->repo, tag, on_tag_loaded, w);
    }
}

/* By digest. hot */
static void handle_digest(const struct api_request *q)
{
    const struct digest *d = &q->route->digest;
    struct origin source;
    struct manner how = {.origin = API_ORIGIN_HIT, .source = &source};
    bool is_linked = links_find_origin(q->api->links, LINK_REVISION, q->repo, d, &source);
    struct manifest *m = is_linked ? manifests_find(q->api->manifests, d) : NULL;

    if (m) {
        send_manifest(q->txn, m, &how);
        return;
    }
    struct manifest_wait *w = wait_new(q);
    if (is_linked) {
        set_linked(w, &source);
        step_body(w);
    } else {
        wait_goto(w, WAIT_LINK_LOAD);
        links_load(q->api->links, LINK_REVISION, q->repo, d, on_link_loaded, w);
    }
}

void api_manifest_handle(const struct api_request *q)
{
    if (q->route->is_digest)
        handle_digest(q);
    else
        handle_tag(q);
}
