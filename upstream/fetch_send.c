#include "config.h"

#include "upstream/fetch_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/strbuf.h"

#define LINES_MAX 4

/* Everything a registry may hold; without q-values, which not every registry reads. */
static const char manifest_accept[] = "Accept: application/vnd.oci.image.index.v1+json, "
                                      "application/vnd.oci.image.manifest.v1+json, "
                                      "application/vnd.docker.distribution.manifest.list.v2+json, "
                                      "application/vnd.docker.distribution.manifest.v2+json, "
                                      "application/vnd.docker.distribution.manifest.v1+prettyjws, "
                                      "application/vnd.docker.distribution.manifest.v1+json, */*";

static const char *const accept_lines[] = {
    [FETCH_MANIFEST] = manifest_accept,
    [FETCH_BLOB] = "Accept: */*",
    [FETCH_TAGS] = "Accept: application/json",
    [FETCH_REFERRERS] = "Accept: application/vnd.oci.image.index.v1+json",
};
_Static_assert(sizeof(accept_lines) / sizeof(accept_lines[0]) == FETCH_KIND_MAX,
               "a line for each kind");

static int on_head(void *arg, struct http_call *call)
{
    struct fetch *f = arg;

    if (f->state == FETCH_PINGING)
        fetch_answer_judge_ping(f, call);
    else
        fetch_answer_judge(f, call);
    return !f->ops || f->is_refused ? -ECANCELED : 0;
}

/* Reads on behind an answer that is not used, as long as that is cheaper than a new connection. */
static int drain(struct fetch *f, size_t n)
{
    f->answer.n_drained += n;
    return f->answer.n_drained > FETCH_DRAIN_BYTES_MAX ? -EMSGSIZE : 0;
}

/* A web page that a proxy or a web site sent in place of a manifest. */
static bool is_page(const struct fetch *f, const char *p, size_t n)
{
    return f->kind != FETCH_BLOB && f->pos == 0 && n > 0 && p[0] == '<';
}

/* Gives the caller what is new to it of these n bytes. */
static int give(struct fetch *f, const char *p, size_t n)
{
    size_t skip = f->skip < n ? (size_t)f->skip : n;

    if (is_page(f, p, n)) {
        f->answer.verdict = FETCH_ANSWER_BAD;
        f->answer.why = "a web page in place of a manifest";
        return -EBADMSG;
    }
    uint64_t left = f->stop - f->pos;
    bool is_over = n - skip > left;
    if (is_over && !f->has_surplus) {
        f->has_too_much = true;
        return -EBADMSG;
    }
    size_t want = is_over ? (size_t)left : n - skip;
    int rc = want ? f->ops->data(f->arg, p + skip, want) : 0;
    if (!f->ops)
        return -ECANCELED;
    if (rc > 0) {
        f->is_paused = true;
        return HTTP_CALL_PAUSE;
    }
    if (rc < 0) {
        f->is_refused = true;
        return rc;
    }
    f->skip -= skip;
    f->pos += want;
    metric_add(METRIC_UPSTREAM_BYTES, (int64_t)n);
    return is_over ? -ECANCELED : 0;
}

static int on_data(void *arg, const void *p, size_t n)
{
    struct fetch *f = arg;

    if (f->answer.verdict != FETCH_ANSWER_USE)
        return drain(f, n);
    return give(f, p, n);
}

static void on_done(void *arg, const struct http_call_result *result)
{
    struct fetch *f = arg;

    f->call = NULL;
    f->is_paused = false;
    f->is_call_over = true;
    f->call_result = *result;
    fetch_wake(f);
}

static const struct http_call_ops call_ops = {on_head, on_data, on_done};

static void start_call(struct fetch *f, const char *url, const char *const *lines, size_t n_lines)
{
    struct http_call_spec spec = {.method = f->is_head ? "HEAD" : "GET"};

    CHECK(!f->call);
    if (f->state == FETCH_PINGING)
        spec.method = "GET";
    upstream_fill_call(f->upstream, &spec);
    spec.url = url;
    spec.header_lines = lines;
    spec.n_header_lines = n_lines;
    spec.is_bulk = f->kind == FETCH_BLOB && !f->is_head && f->state != FETCH_PINGING;
    fetch_answer_clear(&f->answer);
    f->is_call_over = false;
    f->is_paused = false;
    f->skip = 0;
    f->has_surplus = false;
    metric_inc(METRIC_UPSTREAM_REQUESTS);
    f->call = http_call_start(&spec, &call_ops, f);
}

/* Once per fetch, however many requests it takes. */
static void count_start(struct fetch *f)
{
    if (f->was_counted)
        return;
    f->was_counted = true;
    if (f->kind == FETCH_BLOB && !f->is_head)
        metric_inc(METRIC_UPSTREAM_BLOB_GETS);
    if (f->kind == FETCH_REFERRERS)
        metric_inc(METRIC_UPSTREAM_REFERRERS_GETS);
    if (f->kind == FETCH_MANIFEST)
        metric_inc(f->is_head ? METRIC_UPSTREAM_MANIFEST_HEADS : METRIC_UPSTREAM_MANIFEST_GETS);
}

/* "Range: bytes=…" for what is still wanted. False when that is the whole. */
static bool range_line(const struct fetch *f, char *line, size_t n)
{
    if (f->kind != FETCH_BLOB || f->is_head || (f->pos == 0 && f->end == UINT64_MAX))
        return false;
    if (f->stop == UINT64_MAX)
        snprintf(line, n, "Range: bytes=%llu-", (unsigned long long)f->pos);
    else
        snprintf(line, n, "Range: bytes=%llu-%llu", (unsigned long long)f->pos,
                 (unsigned long long)f->stop - 1);
    return true;
}

/* Only the breaker's leave lets a request go to the registry; a redirect's target is another. */
static bool is_let_through(struct fetch *f)
{
    if (!fetch_is_at_origin(f) || f->has_probe)
        return true;
    enum breaker_pass pass = upstream_ask_breaker(f->upstream);
    f->has_probe = pass == BREAKER_PASS_PROBE;
    return pass != BREAKER_PASS_NO;
}

enum fetch_step fetch_send(struct fetch *f)
{
    const char *lines[LINES_MAX] = {f->upstream->user_agent_line, accept_lines[f->kind]};
    size_t n_lines = 2;
    char range[64];

    if (upstream_is_offline(f->upstream))
        return fetch_finish(f, FETCH_UNAVAILABLE, "not asked, this mirror is offline");
    if (!is_let_through(f))
        return fetch_finish(f, FETCH_UNAVAILABLE, "not asked after repeated failures");
    if (range_line(f, range, sizeof(range)))
        lines[n_lines++] = range;
    /* The one place where credentials leave: to the origin they were made for, no other. */
    if (f->authorization && slice_equal(slice_of(f->authorized_origin), f->url.origin))
        lines[n_lines++] = f->authorization;
    CHECK(n_lines <= LINES_MAX);
    count_start(f);
    fetch_goto(f, FETCH_RECEIVING);
    start_call(f, f->url.text, lines, n_lines);
    return FETCH_STEP_WAIT;
}

enum fetch_step fetch_send_ping(struct fetch *f)
{
    const char *lines[] = {f->upstream->user_agent_line};
    struct strbuf url = STRBUF_INIT;

    CHECK(f->state == FETCH_PINGING);
    f->has_pinged = true;
    strbuf_add_str(&url, f->upstream->base);
    strbuf_add_str(&url, "/v2/");
    start_call(f, url.ptr, lines, 1);
    strbuf_fini(&url);
    return FETCH_STEP_WAIT;
}

enum fetch_step fetch_send_redirected(struct fetch *f)
{
    struct url target;
    struct error why;

    if (redirect_follow(&f->chain, &f->url, slice_of(f->answer.location), &target, &why) < 0)
        return fetch_finish(f, FETCH_BAD_ANSWER, "%s", why.text);
    url_fini(&f->url);
    f->url = target;
    fetch_goto(f, FETCH_SENDING);
    return FETCH_STEP_MORE;
}
