/*
 * Blobs. A blob is read through a repository that has a link to it (docs/design/links.md). What is
 * linked, here and open is answered at once (hot); everything else becomes a story:
 *
 *   LINKING    the repository's link is looked for, off the loop
 *   LOOKING    the store is asked, off the loop
 *   CONFIRMING it is here, or on its way through another repository, but not linked: the upstream
 *              is asked whether it has it in this one
 *   SIZE       a fill brings it; its size is waited for
 *   ASKING     HEAD of a blob that is not here: the upstream is asked for its size only
 *   ANSWERED   the answer, or its body, has taken over; or the client has left
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/fill.h"
#include "cache/link.h"
#include "cache/store.h"
#include "cache/vouch.h"
#include "mirrord/api_private.h"
#include "mirrord/blob_body.h"
#include "mirrord/fill_body.h"
#include "mirrord/precedence.h"
#include "mirrord/provenance.h"
#include "mirrord/range.h"
#include "mirrord/range_body.h"
#include "mirrord/resolve.h"
#include "mirrord/states.h"
#include "mirrord/txn.h"
#include "upstream/fetch.h"

enum wait_state {
    WAIT_NEW,
    WAIT_LINKING,
    WAIT_LOOKING,
    WAIT_CONFIRMING,
    WAIT_SIZE,
    WAIT_ASKING,
    WAIT_ANSWERED,
    WAIT_STATE_MAX
};

static const struct state_row STATES[] = {
    [WAIT_NEW] = {"new",
                  TO(WAIT_LINKING) | TO(WAIT_LOOKING) | TO(WAIT_CONFIRMING) | TO(WAIT_SIZE) |
                      TO(WAIT_ANSWERED),
                  "nobody"},
    [WAIT_LINKING] = {"linking",
                      TO(WAIT_LOOKING) | TO(WAIT_CONFIRMING) | TO(WAIT_SIZE) | TO(WAIT_ANSWERED),
                      "disk"},
    [WAIT_LOOKING] = {"looking",
                      TO(WAIT_CONFIRMING) | TO(WAIT_SIZE) | TO(WAIT_ASKING) | TO(WAIT_ANSWERED),
                      "disk"},
    [WAIT_CONFIRMING] = {"confirming", TO(WAIT_LOOKING) | TO(WAIT_SIZE) | TO(WAIT_ANSWERED),
                         "upstream"},
    [WAIT_SIZE] = {"size", TO(WAIT_CONFIRMING) | TO(WAIT_ANSWERED), "fill"},
    [WAIT_ASKING] = {"asking", TO(WAIT_ANSWERED), "upstream"},
    [WAIT_ANSWERED] = {"answered", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == WAIT_STATE_MAX, "a row for every state");

/* One request that could not be answered at once. It frees itself. */
struct blob_wait {
    enum wait_state state;
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    bool is_head;
    bool is_linked; /* the repository is known to have it */
    enum api_origin origin;
    struct digest digest;
    struct blob *blob; /* found, but whether it may be read is not known yet */
    struct fill *fill;
    struct fill_body *body;
    struct fetch *fetch;
    struct event *timer;          /* while the upstream is waited for */
    struct resolve_waiter waiter; /* while CONFIRMING */
    uint64_t size;                /* that the upstream told for HEAD */
    size_t repo_len;
    char repo[NAME_FULL_MAX];
};

/* The bytes of an object that is ready to be sent. The source is taken. */
struct object {
    const struct digest *digest;
    uint64_t size;
    const struct object_source *ops;
    void *source;
    enum api_origin origin;
    const struct origin *from; /* what the repository's link says; NULL: not known */
};

#define OBJECT_LINES                                                                               \
    "Accept-Ranges: bytes\r\nCache-Control: max-age=31536000, immutable\r\n" API_V2_LINE

/* --- sending ---------------------------------------------------------------------------------- */

/* The fields that every answer about a blob has. hot */
static struct reply *begin_reply(struct txn *txn, int status, const struct object *o)
{
    struct reply *r = txn_reply(txn, status);
    char lines[96 + 2 * DIGEST_TEXT_SIZE];
    char digest[DIGEST_TEXT_SIZE];

    digest_format(o->digest, digest);
    int len = snprintf(lines, sizeof(lines), "Docker-Content-Digest: %s\r\nETag: \"%s\"\r\n",
                       digest, digest);
    CHECK(len > 0 && (size_t)len < sizeof(lines));
    reply_header_lines(r, SLICE(OBJECT_LINES));
    reply_header_lines(r, (struct slice){lines, (size_t)len});
    reply_header_lines(r, api_origin_lines(o->origin));
    provenance_tell(txn, r, o->from);
    return r;
}

/* A fill has to know whom to wake and what is read. */
static void start_source(const struct object *o, struct reply *r, uint64_t off, uint64_t end)
{
    if (o->ops == &FILL_BODY_OPS)
        fill_body_start(o->source, r, off, end);
}

static void send_ranges(struct txn *txn, const struct object *o, const struct byte_range *ranges,
                        size_t n)
{
    struct reply *r = begin_reply(txn, 206, o);
    struct range_body *b = range_body_new(ranges, n, o->size, o->ops, o->source);

    if (n == 1)
        reply_header_lines(r, SLICE("Content-Type: application/octet-stream\r\n"));
    range_body_headers(b, r);
    start_source(o, r, ranges[0].off, ranges[0].end);
    reply_send_source(r, range_body_length(b), &RANGE_BODY_OPS, b);
}

static void send_unsatisfiable(struct txn *txn, const struct object *o)
{
    struct api_error_info info = {.object_size = o->size};

    o->ops->body.close(o->source);
    api_error_reply(txn, API_ERROR_RANGE, &info);
}

/* Text form of the entity tag. */
static struct slice make_etag(const struct digest *d, char out[DIGEST_TEXT_SIZE + 2])
{
    size_t n = digest_format(d, out + 1);

    out[0] = '"';
    out[n + 1] = '"';
    return (struct slice){out, n + 2};
}

/* The ranges the client asks for, as written, in the transaction's memory; 0 when it wants the
 * whole, or more ranges than it may. */
static size_t wanted_specs(struct txn *txn, const struct api *api, const struct digest *d,
                           struct range_spec **out)
{
    const struct head *head = txn_head(txn);
    struct slice range = head_field_find(head, "Range");
    char etag[DIGEST_TEXT_SIZE + 2];

    if (!range.ptr || head->method != HTTP_GET ||
        !range_may_apply(head_field_find(head, "If-Range"), make_etag(d, etag)))
        return 0;
    size_t n = range_count(range);
    if (n > api_settings_now(api)->ranges_max)
        return 0;
    *out = arena_alloc(txn_arena(txn), n * sizeof(**out));
    return *out ? range_parse(range, *out, n) : 0;
}

static void send_whole(struct txn *txn, const struct object *o)
{
    struct reply *r = begin_reply(txn, 200, o);

    reply_header_lines(r, SLICE("Content-Type: application/octet-stream\r\n"));
    start_source(o, r, 0, FILL_SIZE_UNKNOWN);
    reply_send_source(r, o->size, &o->ops->body, o->source);
}

/* Sends what of the object was asked for. hot */
static void send_object(struct txn *txn, const struct api *api, const struct object *o)
{
    struct slice none_match = head_field_find(txn_head(txn), "If-None-Match");
    char etag[DIGEST_TEXT_SIZE + 2];
    struct range_spec *specs = NULL;

    txn_on_gone(txn, NULL, NULL);
    api_origin_count_blob(txn, o->origin);
    if (none_match.ptr && range_etag_matches(none_match, make_etag(o->digest, etag))) {
        o->ops->body.close(o->source);
        reply_send_empty(begin_reply(txn, 304, o));
        return;
    }
    size_t n_specs = wanted_specs(txn, api, o->digest, &specs);
    struct byte_range *ranges =
        n_specs ? arena_alloc(txn_arena(txn), n_specs * sizeof(*ranges)) : NULL;
    if (!ranges) {
        send_whole(txn, o);
        return;
    }
    size_t n = range_resolve(specs, n_specs, o->size, ranges);
    if (n > 0)
        send_ranges(txn, o, ranges, n);
    else
        send_unsatisfiable(txn, o);
}

/* A blob that is here. hot */
static void send_blob(struct txn *txn, const struct api *api, struct blob *blob,
                      enum api_origin origin, const struct origin *from)
{
    struct object o = {.digest = blob_digest(blob),
                       .size = blob_size(blob),
                       .ops = &BLOB_BODY_OPS,
                       .source = blob,
                       .origin = origin,
                       .from = from};

    send_object(txn, api, &o);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void free_wait(void *arg)
{
    free(arg);
}

/* The only place where the state changes. */
static void wait_goto(struct blob_wait *w, enum wait_state next)
{
    CHECK(STATES[w->state].next & TO(next));
    log_debug("blob", "%s -> %s, turn of the %s", STATES[w->state].name, STATES[next].name,
              STATES[next].turn);
    w->state = next;
}

static struct slice repo_of(const struct blob_wait *w)
{
    return (struct slice){w->repo, w->repo_len};
}

/* Where the link came from, as far as memory knows. */
static const struct origin *whence(const struct blob_wait *w, struct origin *out)
{
    bool is_known = links_find_origin(w->api->links, LINK_LAYER, repo_of(w), &w->digest, out);

    return is_known ? out : NULL;
}

static void stop_timer(struct blob_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

/* Lets go of everything; nothing calls the story after this. */
static void wait_end(struct blob_wait *w)
{
    stop_timer(w);
    if (w->fetch)
        fetch_cancel(&w->fetch);
    blob_unref(&w->blob);
    fill_body_free(&w->body);
    fill_unref(&w->fill);
    wait_goto(w, WAIT_ANSWERED);
    worker_bury(worker_current(), free_wait, w);
}

/* Sends what the store has. Takes the blob. */
static void wait_send_blob(struct blob_wait *w, struct blob *blob, enum api_origin origin)
{
    struct origin from;

    send_blob(w->txn, w->api, blob, origin, whence(w, &from));
    wait_end(w);
}

static void wait_refuse(struct blob_wait *w, enum api_error error, int retry_after_s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct api_error_info info = {.detail_key = "digest", .retry_after_s = retry_after_s};

    info.detail_value = (struct slice){digest, digest_format(&w->digest, digest)};
    if (w->origin == API_ORIGIN_NEGATIVE)
        info.lines = api_origin_lines(w->origin);
    txn_on_gone(w->txn, NULL, NULL);
    api_origin_count_blob(w->txn, w->origin);
    api_error_reply(w->txn, error, &info);
    wait_end(w);
}

/* The upstream takes too long. What is under way goes on for the next client. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct blob_wait *w = arg;

    (void)fd, (void)what;
    CHECK(w->state != WAIT_ANSWERED);
    stop_timer(w);
    if (!w->txn || w->state == WAIT_LOOKING)
        return; /* the disk's turn again */
    if (w->state == WAIT_CONFIRMING && !resolve_leave(w->api->resolver, &w->waiter))
        return;
    wait_refuse(w, API_ERROR_TIMEOUT, 0);
}

/* From the first time that the upstream is waited for. */
static void start_timer(struct blob_wait *w)
{
    unsigned wait_ms = api_settings_now(w->api)->miss_wait_ms;
    struct timeval tv = {wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000};

    if (w->timer)
        return;
    CHECK(w->txn);
    w->timer = evtimer_new(worker_event_base(worker_current()), on_timer, w);
    CHECK(w->timer && evtimer_add(w->timer, &tv) == 0);
}

/* The client has left. What cannot be called back is waited for. */
static void on_gone(void *arg)
{
    struct blob_wait *w = arg;

    w->txn = NULL;
    if (w->state == WAIT_LINKING || w->state == WAIT_LOOKING)
        return;
    if (w->state == WAIT_CONFIRMING && !resolve_leave(w->api->resolver, &w->waiter))
        return;
    wait_end(w);
}

/* --- whether it may be read through this repository ------------------------------------------- */

static void look(struct blob_wait *w);
static void on_size(void *arg);

/* The upstream has said whether it has the blob here. What was found meanwhile is used now. */
static void on_confirmed(void *arg, const struct resolve_answer *answer, bool is_first)
{
    struct blob_wait *w = arg;

    (void)is_first;
    CHECK(w->state == WAIT_CONFIRMING);
    if (!w->txn) {
        wait_end(w);
        return;
    }
    if (answer->error != API_ERROR_NONE) {
        wait_refuse(w, answer->error, answer->retry_after_s);
        return;
    }
    w->is_linked = true;
    if (w->body) {
        wait_goto(w, WAIT_SIZE);
        on_size(w);
    } else if (w->blob) {
        struct blob *blob = w->blob;
        w->blob = NULL;
        wait_send_blob(w, blob, API_ORIGIN_REVALIDATED);
    } else {
        look(w);
    }
}

/* The upstream may be asked about this repository. */
static bool can_ask(const struct blob_wait *w)
{
    return precedence_can_ask(w->api, repo_of(w), SLICE_NONE);
}

/* The upstream said so a moment ago. */
static bool is_absent(const struct blob_wait *w, enum hold_kind kind)
{
    char digest[DIGEST_TEXT_SIZE];
    struct slice reference = {digest, digest_format(&w->digest, digest)};

    return resolve_is_absent(w->api->resolver, kind, repo_of(w), reference);
}

static void note_absent(struct blob_wait *w, enum hold_kind kind)
{
    char digest[DIGEST_TEXT_SIZE];
    struct slice reference = {digest, digest_format(&w->digest, digest)};

    resolve_note_absent(w->api->resolver, kind, repo_of(w), reference);
}

static void refuse_absent(struct blob_wait *w)
{
    w->origin = API_ORIGIN_NEGATIVE;
    wait_refuse(w, API_ERROR_BLOB_UNKNOWN, 0);
}

/* Asks once for all who wait; a yes makes the link. */
static void confirm(struct blob_wait *w)
{
    char digest[DIGEST_TEXT_SIZE];
    struct slice reference = {digest, digest_format(&w->digest, digest)};

    CHECK(!w->is_linked);
    if (!can_ask(w)) {
        wait_refuse(w, API_ERROR_BLOB_UNKNOWN, 0);
        return;
    }
    if (is_absent(w, HOLD_ABSENT_BLOB)) {
        refuse_absent(w);
        return;
    }
    wait_goto(w, WAIT_CONFIRMING);
    start_timer(w);
    w->waiter.done = on_confirmed;
    w->waiter.arg = w;
    resolve_ask(w->api->resolver, RESOLVE_BLOB, repo_of(w), reference, &w->waiter);
}

/* --- a fill brings it ------------------------------------------------------------------------- */

/* An upstream may announce an empty body for a blob that is not empty; that would look whole. */
static bool is_wrongly_empty(const struct digest *d)
{
    struct digest empty;

    digest_of(d->alg, "", 0, &empty);
    return !digest_equal(d, &empty);
}

/* With the size of the blob the link is known, if the upstream told it: the pull makes it before
 * that. If not, the size is from an earlier try, perhaps through another repository. */
static bool is_linked_now(struct blob_wait *w)
{
    w->is_linked =
        w->is_linked || links_find(w->api->links, LINK_LAYER, repo_of(w), &w->digest) == LINK_YES;
    return w->is_linked;
}

/* Size or failure is known. */
static void on_size(void *arg)
{
    struct blob_wait *w = arg;
    struct object o = {.digest = &w->digest, .ops = &FILL_BODY_OPS, .origin = w->origin};
    struct origin from;
    int retry_after_s;

    if (w->state != WAIT_SIZE)
        return; /* being confirmed; that looks here again */
    CHECK(w->txn);
    int reason = fill_failure(w->fill, NULL);
    if (reason == 0 && !fill_body_want_size(w->body))
        return;
    if (reason == 0 && fill_size(w->fill, &o.size)) {
        if (!is_linked_now(w)) {
            confirm(w);
            return;
        }
        if (o.size == 0 && is_wrongly_empty(&w->digest)) {
            wait_refuse(w, API_ERROR_BAD_UPSTREAM, 0);
            return;
        }
        o.source = w->body;
        o.from = whence(w, &from);
        w->body = NULL;
        send_object(w->txn, w->api, &o);
        wait_end(w);
        return;
    }
    enum api_error error = api_error_unpack(reason ? reason : -EIO, &retry_after_s);
    /* Who joined may have asked through another repository than the fill. */
    if (error == API_ERROR_BLOB_UNKNOWN && w->origin == API_ORIGIN_MISS)
        note_absent(w, HOLD_ABSENT_BLOB);
    wait_refuse(w, error, retry_after_s);
}

/* The first bytes the client wants; of a cold blob only those are fetched. */
static struct byte_range first_wish(struct blob_wait *w)
{
    struct byte_range wish = {0, FILL_SIZE_UNKNOWN};
    struct range_spec *specs;

    if (wanted_specs(w->txn, w->api, &w->digest, &specs) == 0)
        return wish;
    /* Where a suffix begins is known with the size; so is whether a far offset exists. What holds
     * nothing is refused, with the size. */
    if (specs[0].is_suffix || specs[0].first >= INT64_MAX || specs[0].last < specs[0].first)
        return (struct byte_range){0, 1};
    wish.off = specs[0].first;
    wish.end = specs[0].last == UINT64_MAX ? FILL_SIZE_UNKNOWN : specs[0].last + 1;
    return wish;
}

/* Becomes a reader of the fill, which is driven if it is new. Takes the reference. */
static void wait_for_fill(struct blob_wait *w, struct fill *f, bool is_new)
{
    struct pull_tools tools = api_pull_tools(w->api, repo_of(w));
    struct byte_range wish = first_wish(w);

    wait_goto(w, WAIT_SIZE);
    start_timer(w);
    w->fill = f;
    w->origin = is_new ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
    w->body = fill_body_new(f, wish.off, wish.end, on_size, w);
    if (is_new)
        pull_start(&tools, f, repo_of(w), wish.off, wish.end);
    if (fill_body_want_size(w->body))
        on_size(w);
}

/* The repository has it, or the fill that runs is asked for through this repository. */
static bool may_join(struct blob_wait *w)
{
    return w->is_linked ||
           links_find(w->api->links, LINK_LAYER, repo_of(w), &w->digest) != LINK_UNKNOWN;
}

/* It is not here. The note comes first, so that whoever finds the fill finds it, too. */
static void start_fill(struct blob_wait *w)
{
    bool is_new;

    links_note_pending(w->api->links, repo_of(w), &w->digest);
    struct fill *f = fills_join(w->api->fills, &w->digest, &is_new);
    if (!is_new)
        links_drop_pending(w->api->links, repo_of(w), &w->digest);
    if (is_new || may_join(w)) {
        wait_for_fill(w, f, is_new);
    } else {
        fill_unref(&f);
        confirm(w);
    }
}

/* --- only its size is asked for --------------------------------------------------------------- */

static int on_head(void *arg, const struct fetch_head *head)
{
    struct blob_wait *w = arg;

    w->size = head->size;
    return 0;
}

static int on_data(void *arg, const void *p, size_t n)
{
    (void)arg, (void)p, (void)n;
    return -EPROTO; /* HEAD has no body */
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

static const struct object_source NOTHING_OPS = {{next_of_nothing, close_nothing}, NULL};

static void on_done(void *arg, const struct fetch_result *result)
{
    struct blob_wait *w = arg;
    struct origin from = {.upstream = api_registry_of(w->api, repo_of(w))->origin};
    struct object o = {.digest = &w->digest,
                       .size = w->size,
                       .ops = &NOTHING_OPS,
                       .source = w,
                       .origin = API_ORIGIN_PASSED,
                       .from = &from};

    w->fetch = NULL;
    resolve_note_outcome(w->api->resolver, repo_of(w), result);
    if (result->outcome == FETCH_NOT_FOUND)
        note_absent(w, HOLD_ABSENT_BLOB_HEAD);
    if (result->outcome != FETCH_OK) {
        wait_refuse(w, api_error_of_fetch(result, API_ERROR_BLOB_UNKNOWN), result->retry_after_s);
    } else if (w->size == UINT64_MAX) {
        wait_refuse(w, API_ERROR_BAD_UPSTREAM, 0);
    } else {
        send_object(w->txn, w->api, &o);
        wait_end(w);
    }
}

static const struct fetch_ops FETCH_OPS = {on_head, on_data, on_done};

static void ask_size(struct blob_wait *w)
{
    char digest[DIGEST_TEXT_SIZE];
    struct fetch_spec spec = {.kind = FETCH_BLOB,
                              .is_head = true,
                              .repo = repo_of(w),
                              .reference = {digest, digest_format(&w->digest, digest)},
                              .end = UINT64_MAX};

    wait_goto(w, WAIT_ASKING);
    start_timer(w);
    w->size = UINT64_MAX;
    w->fetch = api_fetch(w->api, &spec, &FETCH_OPS, w);
}

/* --- where it may be -------------------------------------------------------------------------- */

static void on_open(void *arg, int rc, struct blob *blob)
{
    struct blob_wait *w = arg;

    CHECK(w->state == WAIT_LOOKING);
    if (!w->txn) {
        blob_unref(&blob);
        wait_end(w);
    } else if (rc == 0 && is_linked_now(w)) {
        wait_send_blob(w, blob, API_ORIGIN_HIT);
    } else if (rc == 0) {
        w->blob = blob;
        confirm(w);
    } else if (rc != -ENOENT) {
        wait_refuse(w, API_ERROR_STORAGE, 0);
    } else if (!can_ask(w)) {
        wait_refuse(w, API_ERROR_BLOB_UNKNOWN, 0);
    } else if (is_absent(w, HOLD_ABSENT_BLOB) ||
               (w->is_head && is_absent(w, HOLD_ABSENT_BLOB_HEAD))) {
        refuse_absent(w);
    } else if (w->is_head) {
        ask_size(w);
    } else {
        start_fill(w);
    }
}

/* A running fill has it, or the disk, or the upstream. */
static void look(struct blob_wait *w)
{
    struct fill *f = fills_find(w->api->fills, &w->digest);

    if (f && may_join(w)) {
        wait_for_fill(w, f, false);
    } else if (f) {
        fill_unref(&f);
        confirm(w);
    } else {
        wait_goto(w, WAIT_LOOKING);
        /* Who is told that it is here may reference it without bringing it. */
        if (w->is_head)
            vouch_for(w->api->vouches, &w->digest);
        store_open_blob(w->api->store, &w->digest, on_open, w);
    }
}

static void on_link(void *arg, int rc)
{
    struct blob_wait *w = arg;

    CHECK(w->state == WAIT_LINKING);
    w->is_linked = rc == 0;
    if (!w->txn)
        wait_end(w);
    else if (rc != 0 && rc != -ENOENT)
        wait_refuse(w, API_ERROR_STORAGE, 0);
    else if (!w->is_linked && !can_ask(w))
        wait_refuse(w, API_ERROR_BLOB_UNKNOWN, 0);
    else
        look(w);
}

/* Not open here, or not known to be linked. */
static void wait_start(const struct api_request *q)
{
    struct blob_wait *w = xcalloc(1, sizeof(*w));
    enum link_state link = links_find(q->api->links, LINK_LAYER, q->repo, &q->route->digest);

    w->api = q->api;
    w->txn = q->txn;
    w->is_head = q->is_head;
    w->is_linked = link == LINK_YES;
    w->origin = API_ORIGIN_PASSED;
    w->digest = q->route->digest;
    w->repo_len = q->repo.len;
    memcpy(w->repo, q->repo.ptr, q->repo.len);
    txn_on_gone(w->txn, on_gone, w);
    if (link == LINK_UNKNOWN) {
        wait_goto(w, WAIT_LINKING);
        links_load(w->api->links, LINK_LAYER, q->repo, &w->digest, on_link, w);
    } else {
        look(w);
    }
}

void api_blob_handle(const struct api_request *q)
{
    const struct digest *d = &q->route->digest;
    struct origin from;
    bool is_linked = links_find_origin(q->api->links, LINK_LAYER, q->repo, d, &from);

    if (is_linked && q->is_head)
        vouch_for(q->api->vouches, d);
    struct blob *blob = is_linked ? store_find(q->api->store, d) : NULL;
    if (blob)
        send_blob(q->txn, q->api, blob, API_ORIGIN_HIT, &from);
    else
        wait_start(q);
}
