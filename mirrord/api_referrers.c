/*
 * GET /v2/<name>/referrers/<digest>: a page of the manifests that have this subject: those of here
 * merged with those of the upstream. A story:
 *
 *   LISTING   the storage is asked, off the loop: what is here, and what the upstream said last
 *   ASKING    the upstream is asked, when that was too long ago; nothing is held meanwhile, so that
 *             many who wait cost little, and what is here is listed again afterwards
 *   MERGING   the page is made, off the loop, since lists may have megabytes
 *   ANSWERED  or the client has left
 *
 * When the upstream fails, what is known is told, marked stale: docs/design/referrers.md.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/url.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/referrers.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/query.h"
#include "mirrord/referrer_page.h"
#include "mirrord/referrers_ask.h"
#include "mirrord/resolve.h"
#include "mirrord/states.h"
#include "mirrord/txn.h"

enum {
    PAGE_BYTES_MAX = 4 << 20,  /* clients read no longer ones (oras: 4 MiB) */
    TYPE_MAX = 255,            /* RFC 6838: type and subtype have at most 127 characters each */
    KEPT_WRAPPER_BYTES = 1024, /* a kept list has its own frame around the descriptors */
};

enum wait_state {
    WAIT_START,
    WAIT_LISTING,
    WAIT_ASKING,
    WAIT_MERGING,
    WAIT_ANSWERED,
    WAIT_STATE_MAX
};

static const struct state_row STATES[] = {
    [WAIT_START] = {"start", TO(WAIT_LISTING), "us"},
    [WAIT_LISTING] = {"listing", TO(WAIT_ASKING) | TO(WAIT_MERGING) | TO(WAIT_ANSWERED), "disk"},
    [WAIT_ASKING] = {"asking", TO(WAIT_LISTING) | TO(WAIT_ANSWERED), "upstream"},
    /* Back to asking: when the kept answer turns out to be none. */
    [WAIT_MERGING] = {"merging", TO(WAIT_ASKING) | TO(WAIT_ANSWERED), "pool"},
    [WAIT_ANSWERED] = {"answered", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == WAIT_STATE_MAX, "a row for every state");

/* One request. It frees itself. */
struct referrers_wait {
    struct pool_job job; /* first: merging */
    enum wait_state state;
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    struct digest subject, last;
    bool has_last, has_n;
    size_t limit;
    enum api_origin origin;
    /* Of here. */
    struct referrer_list *ours;
    bool ours_go_on;
    bool is_known; /* something can be told without the upstream */
    /* Of the upstream. */
    bool can_ask;
    bool can_tell; /* what it said earlier */
    bool has_asked;
    bool has_kept;
    struct strbuf kept;
    struct flight_waiter waiter;
    struct flight *flight; /* its answer, which is used; NULL: the kept one is */
    struct event *timer;   /* runs out: what is known is told */
    /* Merged. */
    bool is_damaged; /* the kept answer */
    struct strbuf text;
    struct referrer_page page;
    size_t type_len, repo_len, name_len;
    char type[TYPE_MAX + 1];
    char repo[NAME_FULL_MAX];
    char name[NAME_FULL_MAX]; /* as the client calls it */
};

static struct slice repo_of(const struct referrers_wait *w)
{
    return (struct slice){w->repo, w->repo_len};
}

static struct slice type_of(const struct referrers_wait *w)
{
    return (struct slice){w->type, w->type_len};
}

/* --- beginning and end ------------------------------------------------------------------------ */

static void wait_goto(struct referrers_wait *w, enum wait_state next)
{
    CHECK(STATES[w->state].next & TO(next));
    log_debug("referrers", "%s -> %s, turn of the %s", STATES[w->state].name, STATES[next].name,
              STATES[next].turn);
    w->state = next;
}

static void drop_lists(struct referrers_wait *w)
{
    referrer_list_free(&w->ours);
    strbuf_fini(&w->kept);
}

static void free_wait(void *arg)
{
    struct referrers_wait *w = arg;

    drop_lists(w);
    flight_unref(&w->flight);
    strbuf_fini(&w->text);
    free(w);
}

static void stop_timer(struct referrers_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

/* Nothing calls the story after this. */
static void wait_end(struct referrers_wait *w)
{
    wait_goto(w, WAIT_ANSWERED);
    stop_timer(w);
    worker_bury(worker_current(), free_wait, w);
}

/* The client has left. What cannot be called back is waited for. */
static void on_gone(void *arg)
{
    struct referrers_wait *w = arg;
    unsigned n_max = api_settings_now(w->api)->questions_max;

    w->txn = NULL;
    if (w->state == WAIT_ASKING && flights_leave(w->api->referrers_asked, &w->waiter, n_max))
        wait_end(w);
}

static void count_answer(enum api_origin origin)
{
    switch (origin) {
    case API_ORIGIN_MISS:
        metric_inc(METRIC_REFERRERS_MISSES);
        return;
    case API_ORIGIN_COLLAPSED:
        metric_inc(METRIC_REFERRERS_COLLAPSED);
        return;
    case API_ORIGIN_STALE:
    case API_ORIGIN_OFFLINE:
        metric_inc(METRIC_REFERRERS_STALE);
        return;
    default:
        metric_inc(METRIC_REFERRERS_HITS);
    }
}

static void refuse(struct referrers_wait *w, enum api_error error, int retry_after_s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct api_error_info info = {.detail_key = "digest",
                                  .detail_value = {digest, digest_format(&w->subject, digest)},
                                  .retry_after_s = retry_after_s};

    txn_on_gone(w->txn, NULL, NULL);
    count_answer(API_ORIGIN_MISS);
    api_error_reply(w->txn, error, &info);
    wait_end(w);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* To the next page, at this mirror. */
static void add_link(const struct referrers_wait *w, struct reply *r)
{
    char subject[DIGEST_TEXT_SIZE], last[DIGEST_TEXT_SIZE];
    struct strbuf query = STRBUF_INIT;

    digest_format(&w->subject, subject);
    digest_format(&w->page.last, last);
    strbuf_add_str(&query, "last=");
    url_add_encoded(&query, slice_of(last), "");
    if (w->has_n) {
        strbuf_add_str(&query, "&n=");
        strbuf_add_u64(&query, w->limit);
    }
    if (w->type_len) {
        strbuf_add_str(&query, "&artifactType=");
        url_add_encoded(&query, type_of(w), "");
    }
    api_add_ns(w->txn, &query);
    reply_headerf(r, "Link", "<%.*s/v2/%.*s/referrers/%s?%s>; rel=\"next\"",
                  SLICE_ARG(txn_base(w->txn)), (int)w->name_len, w->name, subject, query.ptr);
    strbuf_fini(&query);
}

static void send_page(struct referrers_wait *w)
{
    struct reply *r = txn_reply(w->txn, 200);

    txn_on_gone(w->txn, NULL, NULL);
    api_origin_note(w->txn, w->origin);
    count_answer(w->origin);
    reply_header_lines(r, SLICE("Content-Type: " REFERRER_INDEX_TYPE "\r\n" API_V2_LINE));
    reply_header_lines(r, api_origin_lines(w->origin));
    if (w->type_len)
        reply_header(r, "OCI-Filters-Applied", SLICE("artifactType"));
    if (w->page.has_more)
        add_link(w, r);
    size_t len = w->text.len;
    char *text = strbuf_take(&w->text);
    reply_send_memory(r, text, len, free, text);
    wait_end(w);
}

/* --- merging: a pool thread ------------------------------------------------------------------- */

/* The list that the upstream gave earlier; NULL when what is kept is no list. */
static struct referrer_list *read_kept(const struct referrers_wait *w)
{
    struct referrer_list *list = referrer_list_new();
    struct error err;
    size_t n_left_out;

    if (w->kept.len == 0)
        return list;
    struct slice text = {w->kept.ptr, w->kept.len};
    if (referrer_list_read(list, text, &n_left_out, &err) < 0)
        referrer_list_free(&list);
    else
        referrer_list_sort(list);
    return list;
}

static void do_merge(struct pool_job *job)
{
    struct referrers_wait *w = (struct referrers_wait *)job;
    struct referrers_told told = {.list = NULL};
    struct referrer_list *kept = NULL;

    if (w->flight) {
        referrers_ask_read(w->flight, &told);
    } else if (w->has_kept) {
        told.list = kept = read_kept(w);
        w->is_damaged = !kept;
    }
    struct referrer_page_spec spec = {.ours = w->ours,
                                      .ours_go_on = w->ours_go_on,
                                      .theirs = told.list,
                                      .has_last = w->has_last,
                                      .last = w->last,
                                      .artifact_type = type_of(w),
                                      .n_max = w->limit,
                                      .bytes_max = PAGE_BYTES_MAX};
    referrer_page_print(&spec, &w->text, &w->page);
    referrer_list_free(&kept);
}

static void ask(struct referrers_wait *w);

static void on_merged(struct pool_job *job)
{
    struct referrers_wait *w = (struct referrers_wait *)job;

    if (!w->txn) {
        wait_end(w);
    } else if (w->is_damaged && !w->has_asked && w->can_ask) {
        w->is_damaged = w->has_kept = false;
        w->is_known = w->is_known || referrer_list_count(w->ours) > 0;
        strbuf_clear(&w->text);
        ask(w);
    } else {
        send_page(w);
    }
}

static void merge(struct referrers_wait *w)
{
    wait_goto(w, WAIT_MERGING);
    w->job.work = do_merge;
    w->job.done = on_merged;
    pool_submit(w->api->pool, &w->job, worker_current());
}

/* --- the upstream ----------------------------------------------------------------------------- */

static void list(struct referrers_wait *w);

static void on_told(void *arg, struct flight *f, bool is_first)
{
    struct referrers_wait *w = arg;
    struct referrers_told told;

    stop_timer(w);
    if (!w->txn) {
        wait_end(w);
        return;
    }
    referrers_ask_read(f, &told);
    if (told.error == API_ERROR_NONE) {
        w->flight = flight_ref(f);
        w->origin = is_first ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
        list(w);
    } else if (w->is_known) {
        w->origin = API_ORIGIN_STALE;
        list(w);
    } else {
        refuse(w, told.error, told.retry_after_s);
    }
}

/* The upstream takes too long. The question goes on; of those that can be told something, others do
 * not wait for it either. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct referrers_wait *w = arg;
    unsigned n_max = api_settings_now(w->api)->questions_max;

    (void)fd, (void)what;
    stop_timer(w);
    if (w->is_known) {
        resolve_note_silence(w->api->resolver, repo_of(w));
        referrers_ask_hold(w->api, repo_of(w), &w->subject);
    }
    if (!w->txn || !flights_leave(w->api->referrers_asked, &w->waiter, n_max))
        return;
    if (w->is_known) {
        w->origin = API_ORIGIN_STALE;
        list(w);
    } else {
        refuse(w, API_ERROR_TIMEOUT, 0);
    }
}

static void start_timer(struct referrers_wait *w)
{
    const struct api_settings *s = api_settings_now(w->api);
    unsigned wait_ms = w->is_known ? s->stale_wait_ms : s->miss_wait_ms;
    struct timeval tv = {wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000};

    w->timer = evtimer_new(worker_event_base(worker_current()), on_timer, w);
    CHECK(w->timer && evtimer_add(w->timer, &tv) == 0);
}

static void ask(struct referrers_wait *w)
{
    wait_goto(w, WAIT_ASKING);
    drop_lists(w);
    w->has_asked = true;
    w->waiter.done = on_told;
    w->waiter.arg = w;
    start_timer(w);
    referrers_ask(w->api, repo_of(w), &w->subject, &w->waiter);
}

/* --- what is here ----------------------------------------------------------------------------- */

static bool is_fresh(const struct referrers_wait *w, int64_t kept_at_s)
{
    const struct api_settings *s = api_settings_now(w->api);
    int64_t age_s = clock_wall_s() - kept_at_s;
    int64_t ttl_s = s->referrers_ttl_s;
    int64_t negative_ttl_s = api_negative_ttl_s(w->api, repo_of(w), s->negative_list_ttl_s);

    /* An empty list says that there is none. */
    if (w->kept.len == 0 && negative_ttl_s < ttl_s)
        ttl_s = negative_ttl_s;
    /* Not from the future: somebody set the clock. */
    return w->has_kept && age_s >= 0 && age_s < ttl_s;
}

/* The upstream failed a moment ago, or keeps silent. */
static bool is_left_alone(const struct referrers_wait *w)
{
    return referrers_ask_is_held(w->api, repo_of(w), &w->subject) ||
           !resolve_may_wait(w->api->resolver, repo_of(w));
}

static void note_answer(struct referrers_wait *w, const struct referrers_answer *a)
{
    w->ours = a->list;
    w->ours_go_on = a->has_more;
    w->has_kept = w->can_tell && a->has_kept;
    w->is_known = w->has_kept || a->has_subject || referrer_list_count(a->list) > 0;
    if (w->has_kept && !w->flight)
        strbuf_add_slice(&w->kept, a->kept.body);
}

static void on_listed(void *arg, int rc, const struct referrers_answer *a)
{
    struct referrers_wait *w = arg;

    CHECK(w->state == WAIT_LISTING);
    if (rc == 0)
        note_answer(w, a);
    if (!w->txn) {
        wait_end(w);
    } else if (rc < 0) {
        refuse(w, API_ERROR_STORAGE, 0);
    } else if (w->has_asked || is_fresh(w, a->kept.fetched_at_s)) {
        merge(w);
    } else if (!w->can_ask) {
        w->origin = w->can_tell ? API_ORIGIN_OFFLINE : API_ORIGIN_HIT;
        merge(w);
    } else if (w->is_known && is_left_alone(w)) {
        w->origin = API_ORIGIN_STALE;
        merge(w);
    } else {
        ask(w);
    }
}

static void list(struct referrers_wait *w)
{
    const struct api_settings *s = api_settings_now(w->api);
    size_t manifest_max_bytes = s->manifest_max_bytes > s->push_manifest_max_bytes
                                    ? s->manifest_max_bytes
                                    : s->push_manifest_max_bytes;
    struct referrers_query query = {.repo = repo_of(w),
                                    .subject = w->subject,
                                    .has_last = w->has_last,
                                    .last = w->last,
                                    .artifact_type = type_of(w),
                                    .n_max = w->limit,
                                    .bytes_max = PAGE_BYTES_MAX,
                                    .manifest_max_bytes = manifest_max_bytes,
                                    .kept_max_bytes = s->referrers_max_bytes + KEPT_WRAPPER_BYTES};

    wait_goto(w, WAIT_LISTING);
    drop_lists(w);
    referrers_list(cache_referrers(w->api->cache), &query, on_listed, w);
}

/* --- requests --------------------------------------------------------------------------------- */

/* The type asked for. False: it cannot be one, so nothing has it. */
static bool read_type(const struct api_request *q, struct referrers_wait *w)
{
    int len = query_find(txn_head(q->txn)->query, "artifactType", w->type, sizeof(w->type));

    w->type_len = len > 0 ? (size_t)len : 0;
    return len >= 0 || len == -ENOENT;
}

static void send_empty(struct referrers_wait *w, bool is_filtered)
{
    struct reply *r = txn_reply(w->txn, 200);
    struct referrer_list *none = referrer_list_new();
    struct strbuf text = STRBUF_INIT;

    txn_on_gone(w->txn, NULL, NULL);
    count_answer(API_ORIGIN_HIT);
    reply_header_lines(r, SLICE("Content-Type: " REFERRER_INDEX_TYPE "\r\n" API_V2_LINE));
    if (is_filtered)
        reply_header(r, "OCI-Filters-Applied", SLICE("artifactType"));
    referrer_list_print(none, &text);
    referrer_list_free(&none);
    size_t len = text.len;
    char *body = strbuf_take(&text);
    reply_send_memory(r, body, len, free, body);
}

void api_referrers_handle(const struct api_request *q)
{
    const struct api_settings *s = api_settings_now(q->api);
    const struct route *route = q->route;
    struct referrers_wait *w = xcalloc(1, sizeof(*w));

    w->api = q->api;
    w->txn = q->txn;
    w->subject = route->digest;
    w->has_n = route->has_n;
    w->limit =
        route->has_n && route->n < s->list_entries_max ? (size_t)route->n : s->list_entries_max;
    w->can_ask = precedence_can_ask(q->api, q->repo, SLICE_NONE);
    w->can_tell = api_registry_of(q->api, q->repo)->upstream &&
                  precedence_of(q->api, q->repo, SLICE_NONE) != PRECEDENCE_LOCAL_ONLY;
    w->origin = API_ORIGIN_HIT;
    w->repo_len = q->repo.len;
    memcpy(w->repo, q->repo.ptr, w->repo_len);
    w->name_len = route->repo.len;
    memcpy(w->name, route->repo.ptr, w->name_len);
    w->has_last = route->last.len > 0;
    bool is_page = !w->has_last || digest_parse(route->last, &w->last);
    bool is_type = read_type(q, w);
    if (!is_page || !is_type || w->limit == 0) {
        if (is_page)
            send_empty(w, !is_type || w->type_len);
        else
            api_error_reply(q->txn, API_ERROR_PAGE_INVALID, NULL);
        free(w);
        return;
    }
    txn_on_gone(w->txn, on_gone, w);
    list(w);
}
