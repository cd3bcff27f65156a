/*
 * Blobs. What is here and open is answered at once (hot); what is not becomes a story:
 *
 *   LOOKING  the store is asked, off the loop
 *   SIZE     a fill brings it; its size is waited for
 *   ASKING   HEAD of a blob that is not here: the upstream is asked for its size only
 *   ANSWERED the answer, or its body, has taken over; or the client has left
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/fill.h"
#include "cache/store.h"
#include "mirrord/api_private.h"
#include "mirrord/blob_body.h"
#include "mirrord/fill_body.h"
#include "mirrord/range.h"
#include "mirrord/range_body.h"
#include "mirrord/txn.h"
#include "upstream/fetch.h"

enum wait_state { WAIT_LOOKING, WAIT_SIZE, WAIT_ASKING, WAIT_ANSWERED, WAIT_STATE_MAX };

static const char *const STATE_NAMES[] = {"looking", "size", "asking", "answered"};
_Static_assert(sizeof(STATE_NAMES) / sizeof(STATE_NAMES[0]) == WAIT_STATE_MAX, "a name for each");

/* One request that could not be answered at once. It frees itself. */
struct blob_wait {
    enum wait_state state;
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    bool is_head;
    enum api_origin origin;
    struct digest digest;
    struct fill *fill;
    struct fill_body *body;
    struct fetch *fetch;
    uint64_t size; /* that the upstream told for HEAD */
    size_t repo_len;
    char repo[NAME_HUB_SIZE];
};

/* The bytes of an object that is ready to be sent. The source is taken. */
struct object {
    const struct digest *digest;
    uint64_t size;
    const struct object_source *ops;
    void *source;
    enum api_origin origin;
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

static void send_blob(struct txn *txn, const struct api *api, struct blob *blob)
{
    struct object o = {.digest = blob_digest(blob),
                       .size = blob_size(blob),
                       .ops = &BLOB_BODY_OPS,
                       .source = blob,
                       .origin = API_ORIGIN_HIT};

    send_object(txn, api, &o);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void free_wait(void *arg)
{
    free(arg);
}

/* Lets go of everything; nothing calls the story after this. */
static void wait_end(struct blob_wait *w)
{
    if (w->fetch)
        fetch_cancel(&w->fetch);
    fill_body_free(&w->body);
    fill_unref(&w->fill);
    log_debug("blob", "%s -> %s", STATE_NAMES[w->state], STATE_NAMES[WAIT_ANSWERED]);
    w->state = WAIT_ANSWERED;
    worker_bury(worker_current(), free_wait, w);
}

static void wait_refuse(struct blob_wait *w, enum api_error error, int retry_after_s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct api_error_info info = {.detail_key = "digest", .retry_after_s = retry_after_s};

    info.detail_value = (struct slice){digest, digest_format(&w->digest, digest)};
    txn_on_gone(w->txn, NULL, NULL);
    api_origin_count_blob(w->txn, w->origin);
    api_error_reply(w->txn, error, &info);
    wait_end(w);
}

/* The client has left. What cannot be called back is waited for. */
static void on_gone(void *arg)
{
    struct blob_wait *w = arg;

    w->txn = NULL;
    if (w->state != WAIT_LOOKING)
        wait_end(w);
}

/* --- a fill brings it ------------------------------------------------------------------------- */

/* An upstream may announce an empty body for a blob that is not empty; that would look whole. */
static bool is_wrongly_empty(const struct digest *d)
{
    struct digest empty;

    digest_of(d->alg, "", 0, &empty);
    return !digest_equal(d, &empty);
}

/* Size or failure is known. */
static void on_size(void *arg)
{
    struct blob_wait *w = arg;
    struct object o = {.digest = &w->digest, .ops = &FILL_BODY_OPS, .origin = w->origin};
    int retry_after_s;

    CHECK(w->state == WAIT_SIZE && w->txn);
    int reason = fill_failure(w->fill, NULL);
    if (reason == 0 && !fill_body_want_size(w->body))
        return;
    if (reason == 0 && fill_size(w->fill, &o.size)) {
        if (o.size == 0 && is_wrongly_empty(&w->digest)) {
            wait_refuse(w, API_ERROR_BAD_UPSTREAM, 0);
            return;
        }
        o.source = w->body;
        w->body = NULL;
        send_object(w->txn, w->api, &o);
        wait_end(w);
        return;
    }
    enum api_error error = api_error_unpack(reason ? reason : -EIO, &retry_after_s);
    wait_refuse(w, error, retry_after_s);
}

/* The first bytes the client wants; of a cold blob only those are fetched. */
static struct byte_range first_wish(struct blob_wait *w)
{
    struct byte_range wish = {0, FILL_SIZE_UNKNOWN};
    struct range_spec *specs;

    if (wanted_specs(w->txn, w->api, &w->digest, &specs) == 0)
        return wish;
    /* Where a suffix begins is known with the size; so is whether a far offset exists. */
    if (specs[0].is_suffix || specs[0].first >= INT64_MAX)
        return (struct byte_range){0, 1};
    wish.off = specs[0].first;
    wish.end = specs[0].last == UINT64_MAX ? FILL_SIZE_UNKNOWN : specs[0].last + 1;
    return wish;
}

/* Becomes a reader of the fill, which is driven if it is new. Takes the reference. */
static void wait_for_fill(struct blob_wait *w, struct fill *f, bool is_new)
{
    struct pull_tools tools = api_pull_tools(w->api);
    struct byte_range wish = first_wish(w);

    w->state = WAIT_SIZE;
    w->fill = f;
    w->origin = is_new ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
    w->body = fill_body_new(f, wish.off, wish.end, on_size, w);
    if (is_new)
        pull_start(&tools, f, (struct slice){w->repo, w->repo_len}, wish.off, wish.end);
    if (fill_body_want_size(w->body))
        on_size(w);
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
    struct object o = {.digest = &w->digest,
                       .size = w->size,
                       .ops = &NOTHING_OPS,
                       .source = w,
                       .origin = API_ORIGIN_PASSED};

    w->fetch = NULL;
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
                              .repo = {w->repo, w->repo_len},
                              .reference = {digest, digest_format(&w->digest, digest)},
                              .end = UINT64_MAX};

    w->state = WAIT_ASKING;
    w->size = UINT64_MAX;
    w->fetch = fetch_start(w->api->upstream, &spec, &FETCH_OPS, w);
}

/* --- where it may be -------------------------------------------------------------------------- */

static void on_open(void *arg, int rc, struct blob *blob)
{
    struct blob_wait *w = arg;
    bool is_new;

    CHECK(w->state == WAIT_LOOKING);
    if (!w->txn) {
        blob_unref(&blob);
        wait_end(w);
    } else if (rc == 0) {
        send_blob(w->txn, w->api, blob);
        wait_end(w);
    } else if (rc != -ENOENT) {
        wait_refuse(w, API_ERROR_STORAGE, 0);
    } else if (!w->api->upstream) {
        wait_refuse(w, API_ERROR_BLOB_UNKNOWN, 0);
    } else if (w->is_head) {
        ask_size(w);
    } else {
        struct fill *f = fills_join(w->api->fills, &w->digest, &is_new);
        wait_for_fill(w, f, is_new);
    }
}

/* Not open here: a running fill has it, or the disk, or the upstream. */
static void wait_start(const struct api_request *q)
{
    struct blob_wait *w = xcalloc(1, sizeof(*w));

    w->api = q->api;
    w->txn = q->txn;
    w->is_head = q->is_head;
    w->origin = API_ORIGIN_PASSED;
    w->digest = q->route->digest;
    w->repo_len = q->repo.len;
    memcpy(w->repo, q->repo.ptr, q->repo.len);
    txn_on_gone(w->txn, on_gone, w);
    struct fill *f = fills_find(q->api->fills, &w->digest);
    if (f)
        wait_for_fill(w, f, false);
    else
        store_open_blob(q->api->store, &w->digest, on_open, w);
}

void api_blob_handle(const struct api_request *q)
{
    struct blob *blob = store_find(q->api->store, &q->route->digest);

    if (blob)
        send_blob(q->txn, q->api, blob);
    else
        wait_start(q);
}
