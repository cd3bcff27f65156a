/*
 * GET /v2/<name>/tags/list: a page of the upstream's list, merged with the tags that are here
 * (pulled earlier and dropped by the upstream, or put here by somebody). When the upstream fails,
 * the tags of here alone, marked stale. Links lead to this mirror. What the rules of precedence
 * hide is not listed; then a page may be shorter than asked for and still have a next one. A client
 * that can be told something waits no longer than stale_wait for the upstream, and not at all while
 * that keeps silent.
 *
 * Upstream and storage are asked at the same time; when both have answered (two endings, any
 * order) the merge runs off the loop, since a list may have megabytes.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/repo.h"
#include "mirrord/api_private.h"
#include "mirrord/name_page.h"
#include "mirrord/precedence.h"
#include "mirrord/resolve.h"
#include "mirrord/txn.h"
#include "upstream/fetch.h"

/* One request. It frees itself when the client has left, or is answered, and nothing is under way.
 */
struct tags_wait {
    struct pool_job job; /* first: merging */
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    bool has_n;
    size_t limit;
    size_t max_bytes;
    /* Of here. */
    bool is_listed;
    struct repo_names *list;
    /* Of the upstream. */
    bool is_passed;    /* it is asked */
    bool is_absent;    /* it is not, since it has lately said that there is none */
    bool is_postponed; /* it keeps silent: it is asked if nothing is here */
    enum api_origin unasked;
    struct event *timer; /* runs out: what is here is told */
    bool is_asked;       /* its answer, or the lack of one, is there */
    struct fetch *fetch;
    struct strbuf body;
    bool has_link;
    enum api_error error; /* why there is none */
    int retry_after_s;
    /* Merged. */
    bool is_unusable; /* the upstream's answer is no list */
    struct strbuf text;
    struct strbuf query; /* of the next page; empty if there is none */
    size_t last_len, name_len, repo_len;
    char last[NAME_FULL_MAX];
    char name[NAME_FULL_MAX]; /* as the client calls it */
    char repo[NAME_FULL_MAX]; /* as the storage calls it */
};

static void free_wait(void *arg)
{
    struct tags_wait *w = arg;

    repo_names_free(&w->list);
    strbuf_fini(&w->body);
    strbuf_fini(&w->text);
    strbuf_fini(&w->query);
    free(w);
}

static void stop_timer(struct tags_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

static void wait_end(struct tags_wait *w)
{
    CHECK(!w->fetch);
    stop_timer(w);
    worker_bury(worker_current(), free_wait, w);
}

/* The client has left. The upstream's answer is of no further use, the walk is waited for. */
static void on_gone(void *arg)
{
    struct tags_wait *w = arg;
    bool is_merging = w->is_listed && w->is_asked;

    w->txn = NULL;
    w->is_postponed = false;
    if (w->fetch)
        fetch_cancel(&w->fetch);
    if (w->is_listed && !is_merging)
        wait_end(w);
    w->is_asked = true;
}

/* --- merging: a pool thread ------------------------------------------------------------------- */

/* An upstream that does not know `last` begins anew: the names behind those the client has. */
static size_t skip_seen(const char **names, size_t n, struct slice last)
{
    size_t i = 0;

    while (i < n && !slice_equal(slice_of(names[i]), last))
        i++;
    CHECK(i < n);
    n -= i + 1;
    memmove(names, names + i + 1, n * sizeof(names[0]));
    return n;
}

/* The tags in the upstream's answer; what is not a tag is left out. The names belong to *root, the
 * list to the caller. */
static const char **read_upstream(struct tags_wait *w, json_t **root, struct name_run *out)
{
    struct slice last = {w->last, w->last_len};
    bool has_last = false;
    json_t *tags, *tag;
    size_t i, n = 0;

    *root = json_loadb(w->body.ptr ? w->body.ptr : "", w->body.len, 0, NULL);
    tags = json_object_get(*root, "tags");
    w->is_unusable = !json_is_object(*root) || !(json_is_array(tags) || json_is_null(tags));
    const char **names = xcalloc(json_array_size(tags) + 1, sizeof(names[0]));
    json_array_foreach(tags, i, tag)
    {
        struct slice name = slice_of(json_string_value(tag));
        if (!name.ptr || !name_is_tag(name))
            continue;
        has_last = has_last || slice_equal(name, last);
        names[n++] = name.ptr;
    }
    n = name_page_sort(names, n);
    out->has_more = w->has_link && n > 0;
    if (has_last)
        n = skip_seen(names, n, last);
    out->names = names;
    out->n = n;
    return names;
}

static int compare(const void *name, const void *member)
{
    return strcmp(name, *(const char *const *)member);
}

static bool is_in(const struct name_run *run, const char *name)
{
    return run->n > 0 && bsearch(name, run->names, run->n, sizeof(run->names[0]), compare);
}

/* Leaves out tags that the rules hide: those of the upstream that it is never asked about, and
 * those of here that it does not have where only it counts. */
static size_t hide(const struct tags_wait *w, const struct name_run *theirs,
                   const struct name_run *ours, const char **names, size_t n)
{
    struct slice repo = {w->repo, w->repo_len};
    size_t n_kept = 0;

    for (size_t i = 0; i < n; i++) {
        enum precedence rule = precedence_of(w->api, repo, slice_of(names[i]));
        bool is_hidden = (rule == PRECEDENCE_LOCAL_ONLY && !is_in(ours, names[i])) ||
                         (rule == PRECEDENCE_UPSTREAM_ONLY && w->error == API_ERROR_NONE &&
                          !w->is_unusable && !is_in(theirs, names[i]));
        if (!is_hidden)
            names[n_kept++] = names[i];
    }
    return n_kept;
}

static void do_merge(struct pool_job *job)
{
    struct tags_wait *w = (struct tags_wait *)job;
    struct name_run theirs = {0}, ours = {0}, page;
    const char **names = NULL;
    json_t *root = NULL;

    if (w->error == API_ERROR_NONE)
        names = read_upstream(w, &root, &theirs);
    if (w->list)
        ours =
            (struct name_run){(const char *const *)w->list->names, w->list->n, w->list->has_more};
    size_t most = theirs.n + ours.n < w->limit ? theirs.n + ours.n : w->limit;
    const char **room = xcalloc(most + 1, sizeof(room[0]));
    name_page_merge(&theirs, &ours, w->limit, room, &page);
    if (page.has_more && page.n > 0)
        name_page_query(slice_of(page.names[page.n - 1]), w->has_n ? w->limit : 0, &w->query);
    page.n = hide(w, &theirs, &ours, room, page.n);
    name_page_print(&page, "tags", (struct slice){w->name, w->name_len}, &w->text);
    free(room);
    free(names);
    json_decref(root);
}

/* --- answering -------------------------------------------------------------------------------- */

static void refuse(struct tags_wait *w, enum api_error error)
{
    struct api_error_info info = {.detail_key = "name",
                                  .detail_value = {w->name, w->name_len},
                                  .retry_after_s = w->retry_after_s};

    if (w->is_absent) {
        api_origin_note(w->txn, API_ORIGIN_NEGATIVE);
        info.lines = api_origin_lines(API_ORIGIN_NEGATIVE);
    }
    api_error_reply(w->txn, error, &info);
}

static void send_page(struct tags_wait *w, enum api_origin origin)
{
    struct reply *r = txn_reply(w->txn, 200);

    api_origin_note(w->txn, origin);
    reply_header_lines(r, SLICE("Content-Type: application/json\r\n" API_V2_LINE));
    reply_header_lines(r, api_origin_lines(origin));
    if (w->query.len) {
        api_add_ns(w->txn, &w->query);
        reply_headerf(r, "Link", "<%.*s/v2/%.*s/tags/list?%s>; rel=\"next\"",
                      SLICE_ARG(txn_base(w->txn)), (int)w->name_len, w->name, w->query.ptr);
    }
    size_t len = w->text.len;
    char *text = strbuf_take(&w->text);
    reply_send_memory(r, text, len, free, text);
}

static void on_merged(struct pool_job *job)
{
    struct tags_wait *w = (struct tags_wait *)job;
    bool is_failed =
        w->is_unusable || (w->error != API_ERROR_NONE && w->error != API_ERROR_NAME_UNKNOWN);

    if (!w->txn) {
        wait_end(w);
        return;
    }
    if (is_failed)
        log_warning("tags", "list of %.*s from upstream %s is not to be had, telling what is here",
                    (int)w->name_len, w->name,
                    api_registry_of(w->api, (struct slice){w->repo, w->repo_len})->host.ptr);
    txn_on_gone(w->txn, NULL, NULL);
    if (w->list)
        send_page(w, !w->is_passed ? w->unasked : is_failed ? API_ORIGIN_STALE : API_ORIGIN_PASSED);
    else if (w->error != API_ERROR_NONE)
        refuse(w, w->error);
    else if (w->is_unusable)
        refuse(w, API_ERROR_BAD_UPSTREAM);
    else
        send_page(w, API_ORIGIN_PASSED);
    wait_end(w);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* When both have answered. */
static void maybe_merge(struct tags_wait *w)
{
    if (!w->is_listed || !w->is_asked)
        return;
    if (!w->txn) {
        wait_end(w);
        return;
    }
    w->job.work = do_merge;
    w->job.done = on_merged;
    stop_timer(w);
    pool_submit(w->api->pool, &w->job, worker_current());
}

static struct slice repo_of(const struct tags_wait *w)
{
    return (struct slice){w->repo, w->repo_len};
}

/* The upstream takes too long for a client that can be told what is here, or for any. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct tags_wait *w = arg;

    (void)fd, (void)what;
    CHECK(w->is_listed);
    stop_timer(w);
    if (!w->fetch)
        return;
    fetch_cancel(&w->fetch);
    if (w->list)
        resolve_note_silence(w->api->resolver, repo_of(w));
    w->is_asked = true;
    w->error = API_ERROR_TIMEOUT;
    maybe_merge(w);
}

static void start_timer(struct tags_wait *w)
{
    const struct api_settings *s = api_settings_now(w->api);
    unsigned wait_ms = w->list ? s->stale_wait_ms : s->miss_wait_ms;
    struct timeval tv = {wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000};

    w->timer = evtimer_new(worker_event_base(worker_current()), on_timer, w);
    CHECK(w->timer && evtimer_add(w->timer, &tv) == 0);
}

static void ask_upstream(struct tags_wait *w);

static void on_listed(void *arg, int rc, struct repo_names *list)
{
    struct tags_wait *w = arg;

    w->is_listed = true;
    w->list = rc == 0 ? list : NULL;
    if (w->is_postponed && !w->list)
        ask_upstream(w);
    if (w->fetch && w->txn)
        start_timer(w);
    maybe_merge(w);
}

static int on_head(void *arg, const struct fetch_head *head)
{
    struct tags_wait *w = arg;

    w->has_link = head->link.len > 0;
    return head->size != UINT64_MAX && head->size > w->max_bytes ? -EFBIG : 0;
}

static int on_data(void *arg, const void *bytes, size_t n)
{
    struct tags_wait *w = arg;

    if (n > w->max_bytes - w->body.len)
        return -EFBIG;
    strbuf_add(&w->body, bytes, n);
    return 0;
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct tags_wait *w = arg;

    w->fetch = NULL;
    w->is_asked = true;
    w->error = api_error_of_fetch(result, API_ERROR_NAME_UNKNOWN);
    resolve_note_outcome(w->api->resolver, repo_of(w), result);
    if (w->error == API_ERROR_NAME_UNKNOWN)
        resolve_note_absent(w->api->resolver, HOLD_ABSENT_TAGS, repo_of(w), SLICE(""));
    w->retry_after_s = result->retry_after_s;
    maybe_merge(w);
}

static const struct fetch_ops FETCH_OPS = {on_head, on_data, on_done};

/* The same page of the upstream's list. */
static void ask_upstream(struct tags_wait *w)
{
    struct strbuf query = STRBUF_INIT;
    struct fetch_spec spec = {.kind = FETCH_TAGS, .repo = repo_of(w), .end = UINT64_MAX};

    CHECK(!w->fetch);
    w->is_postponed = w->is_asked = false;
    w->error = API_ERROR_NONE;

    if (w->last_len || w->has_n)
        name_page_query((struct slice){w->last, w->last_len}, w->has_n ? w->limit : 0, &query);
    spec.reference = (struct slice){query.ptr ? query.ptr : "", query.len};
    w->fetch = api_fetch(w->api, &spec, &FETCH_OPS, w);
    strbuf_fini(&query);
}

static void send_empty(const struct api_request *q)
{
    struct name_run none = {0};
    struct strbuf body = STRBUF_INIT;
    struct reply *r = txn_reply(q->txn, 200);

    reply_header_lines(r, SLICE("Content-Type: application/json\r\n" API_V2_LINE));
    name_page_print(&none, "tags", q->route->repo, &body);
    size_t len = body.len;
    char *text = strbuf_take(&body);
    reply_send_memory(r, text, len, free, text);
}

/* Asks the upstream and the storage, as far as the rule for the repository has it. */
static void begin(struct tags_wait *w, const struct api_request *q)
{
    static const enum repo_tags WHICH[] = {
        [PRECEDENCE_LOCAL_FIRST] = REPO_TAGS_ALL,
        [PRECEDENCE_UPSTREAM_FIRST] = REPO_TAGS_ALL,
        [PRECEDENCE_LOCAL_ONLY] = REPO_TAGS_PUSHED,
        [PRECEDENCE_UPSTREAM_ONLY] = REPO_TAGS_MIRRORED,
    };
    enum precedence rule = precedence_of(q->api, q->repo, SLICE_NONE);
    struct repo_page page = {q->repo, q->route->last, w->limit, WHICH[rule]};

    bool can_ask = precedence_can_ask(q->api, q->repo, SLICE_NONE);
    bool is_offline = api_registry_of(q->api, q->repo)->upstream && !api_can_ask(q->api, q->repo) &&
                      rule != PRECEDENCE_LOCAL_ONLY;
    w->unasked = is_offline ? API_ORIGIN_OFFLINE : API_ORIGIN_HIT;
    w->is_absent =
        can_ask && resolve_is_absent(q->api->resolver, HOLD_ABSENT_TAGS, q->repo, SLICE(""));
    w->is_passed = can_ask && !w->is_absent;
    w->is_postponed = w->is_passed && !resolve_may_wait(q->api->resolver, q->repo);
    if (w->is_passed && !w->is_postponed) {
        ask_upstream(w);
    } else {
        w->is_asked = true;
        w->error = w->is_passed ? API_ERROR_UNAVAILABLE : API_ERROR_NAME_UNKNOWN;
    }
    repos_list_tags(q->api->repos, &page, on_listed, w);
}

void api_tags_handle(const struct api_request *q)
{
    const struct api_settings *s = api_settings_now(q->api);
    const struct route *route = q->route;

    if (route->has_n && route->n == 0) {
        send_empty(q);
        return;
    }
    struct tags_wait *w = xcalloc(1, sizeof(*w));
    w->api = q->api;
    w->txn = q->txn;
    w->has_n = route->has_n;
    w->limit =
        route->has_n && route->n < s->list_entries_max ? (size_t)route->n : s->list_entries_max;
    w->max_bytes = s->tags_response_max_bytes;
    w->name_len = route->repo.len;
    memcpy(w->name, route->repo.ptr, w->name_len);
    w->repo_len = q->repo.len;
    memcpy(w->repo, q->repo.ptr, w->repo_len);
    w->last_len = route->last.len;
    memcpy(w->last, route->last_text, w->last_len);
    txn_on_gone(w->txn, on_gone, w);
    begin(w, q);
}
