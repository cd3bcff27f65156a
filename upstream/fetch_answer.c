#include "config.h"

#include "upstream/fetch_private.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/metric.h"
#include "upstream/content_range.h"

void fetch_answer_clear(struct fetch_answer *a)
{
    free(a->location);
    challenge_fini(&a->challenge);
    *a = (struct fetch_answer){.verdict = FETCH_ANSWER_NONE, .retry_after_s = -1};
}

static void judge(struct fetch *f, enum fetch_verdict verdict, const char *why)
{
    f->answer.verdict = verdict;
    f->answer.why = why;
}

/* Is this challenge better than what was met so far? Tokens before passwords. */
static bool is_better(const struct fetch_answer *a, const struct challenge *c)
{
    if (c->scheme == CHALLENGE_OTHER || (c->scheme == CHALLENGE_BEARER && !c->realm))
        return false;
    return !a->has_challenge ||
           (a->challenge.scheme == CHALLENGE_BASIC && c->scheme == CHALLENGE_BEARER);
}

static void note_challenges(struct fetch_answer *a, const struct http_call *call)
{
    struct slice rest;
    struct challenge c;

    for (unsigned nth = 0; (rest = http_call_header(call, "WWW-Authenticate", nth)).ptr; nth++) {
        while (challenge_next(&rest, &c)) {
            if (is_better(a, &c)) {
                challenge_fini(&a->challenge);
                a->challenge = c;
                a->has_challenge = true;
            } else {
                challenge_fini(&c);
            }
        }
    }
}

static void note_retry_after(struct fetch_answer *a, const struct http_call *call)
{
    struct slice value = http_call_header(call, "Retry-After", 0);

    if (!value.len)
        return;
    int64_t wait_s = clock_parse_retry_after(value.ptr, value.len, clock_wall_s());
    if (wait_s >= 0)
        a->retry_after_s = wait_s > INT_MAX ? INT_MAX : (int)wait_s;
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void judge_redirect(struct fetch *f, const struct http_call *call)
{
    struct slice location = http_call_header(call, "Location", 0);

    if (!location.len) {
        judge(f, FETCH_ANSWER_BAD, "redirect without a location");
        return;
    }
    f->answer.location = xmemdup0(location.ptr, location.len);
    judge(f, FETCH_ANSWER_REDIRECT, "redirect");
}

static void judge_status_of_registry(struct fetch *f, int status)
{
    if (status == 401)
        judge(f, FETCH_ANSWER_CHALLENGE, "challenge");
    else if (status == 403)
        judge(f, FETCH_ANSWER_DENIED, "denied");
    else if (status == 404 || status == 410)
        judge(f, FETCH_ANSWER_NOT_FOUND, "not found");
    else if (status == 429)
        judge(f, FETCH_ANSWER_THROTTLED, "throttled");
    else if (status == 408 || status == 425 || status >= 500)
        judge(f, FETCH_ANSWER_BROKEN, "the registry fails");
    else
        judge(f, FETCH_ANSWER_BAD, "unexpected status");
}

/* A target that says no to a presigned URL may have been given a stale one: the registry is asked
 * for a new one. For manifests the target is a registry itself, and its answer stands. */
static void judge_status_of_target(struct fetch *f, int status)
{
    bool is_registry = f->kind != FETCH_BLOB;

    if (is_registry && (status == 403 || status == 404 || status == 410))
        judge_status_of_registry(f, status);
    else if (is_registry && status == 401 && f->answer.has_challenge)
        judge(f, FETCH_ANSWER_CHALLENGE, "challenge");
    else if (status == 429)
        judge(f, FETCH_ANSWER_THROTTLED, "throttled");
    else if (status == 404 && !f->has_head && ++f->missing_at_target > 1)
        judge(f, FETCH_ANSWER_NOT_FOUND, "not found");
    else
        judge(f, FETCH_ANSWER_BROKEN, "the target of a redirect fails");
}

static struct slice media_type_of(const struct http_call *call)
{
    struct slice value = http_call_header(call, "Content-Type", 0);

    return slice_trim(slice_cut(&value, ';'));
}

static bool is_json_type(struct slice type)
{
    struct slice vendor = SLICE("application/vnd.");

    return slice_equal_case(type, SLICE("application/json")) || slice_ends(type, SLICE("+json")) ||
           (type.len >= vendor.len &&
            slice_equal_case((struct slice){type.ptr, vendor.len}, vendor));
}

/* An HTML page is never a blob, and a manifest or an index is some kind of JSON. No type at all is
 * left to the digest check and to the caller. */
static bool is_right_type(const struct fetch *f, struct slice type)
{
    if (slice_equal_case(type, SLICE("text/html")) ||
        slice_equal_case(type, SLICE("multipart/byteranges")))
        return false;
    bool is_json = f->kind == FETCH_MANIFEST || f->kind == FETCH_REFERRERS;
    return !is_json || !type.len || is_json_type(type);
}

static uint64_t length_of(const struct http_call *call)
{
    uint64_t n;

    return slice_to_u64(http_call_header(call, "Content-Length", 0), &n) ? n : UINT64_MAX;
}

/* A 206 must begin exactly where the last byte ended, belong to the same whole, and not exceed
 * what was asked for. */
static bool is_right_range(const struct fetch *f, const struct content_range *r, uint64_t length)
{
    if (r->first != f->pos || r->last >= f->stop)
        return false;
    if (length != UINT64_MAX && length != r->last - r->first + 1)
        return false;
    return f->size == UINT64_MAX || r->size == f->size;
}

static bool was_range_asked(const struct fetch *f)
{
    return f->kind == FETCH_BLOB && !f->is_head && (f->pos > 0 || f->end != UINT64_MAX);
}

/* Whether an answer belongs to the same object as the first good one. */
static bool is_same_object(const struct fetch *f, const struct http_call *call, uint64_t size)
{
    struct slice digest = http_call_header(call, "Docker-Content-Digest", 0);

    if (f->size != UINT64_MAX && size != UINT64_MAX && f->size != size)
        return false;
    /* Blobs are named by their digest; a tag may have moved in between. */
    return f->kind == FETCH_BLOB ||
           (f->digest && f->digest[0] && slice_equal(digest, slice_of(f->digest)));
}

/* Gives the caller the head, the first time. */
static void deliver_head(struct fetch *f, const struct http_call *call, uint64_t size,
                         bool is_range)
{
    struct fetch_head head = {.status = f->answer.status, .size = size, .is_range = is_range};

    if (f->has_head)
        return;
    head.media_type = media_type_of(call);
    head.digest = http_call_header(call, "Docker-Content-Digest", 0);
    head.link = http_call_header(call, "Link", 0);
    CHECK(!f->digest);
    f->has_head = true;
    f->digest = xmemdup0(head.digest.ptr ? head.digest.ptr : "", head.digest.len);
    if (f->ops->head(f->arg, &head) < 0)
        f->is_refused = true;
}

static void judge_range(struct fetch *f, const struct http_call *call)
{
    struct content_range r;

    if (!was_range_asked(f)) {
        judge(f, FETCH_ANSWER_WRONG, "a range that was not asked for");
        return;
    }
    if (!content_range_parse(http_call_header(call, "Content-Range", 0), &r) ||
        !is_right_range(f, &r, length_of(call))) {
        judge(f, FETCH_ANSWER_WRONG, "another range than asked for");
        return;
    }
    CHECK(r.last < r.size && r.first == f->pos);
    judge(f, FETCH_ANSWER_USE, NULL);
    f->size = r.size;
    if (r.size < f->stop)
        f->stop = r.size;
    deliver_head(f, call, r.size, true);
}

/* An answer without a length came first; now it is known. */
static void note_size(struct fetch *f, uint64_t size)
{
    if (f->size != UINT64_MAX || size < f->pos)
        return;
    f->size = size;
    if (size < f->stop)
        f->stop = size;
}

/* A 200 in the middle: the server begins anew, what the caller has is dropped on arrival. */
static void judge_whole_again(struct fetch *f, const struct http_call *call, uint64_t size)
{
    if (!is_same_object(f, call, size)) {
        judge(f, FETCH_ANSWER_WRONG, "another object than before");
    } else if (f->pos > FETCH_SKIP_BYTES_MAX) {
        judge(f, FETCH_ANSWER_BAD, "no ranges, and too far to begin anew");
    } else {
        judge(f, FETCH_ANSWER_USE, NULL);
        f->skip = f->pos;
        note_size(f, size);
        f->has_surplus = f->stop < f->size;
    }
}

static void judge_whole(struct fetch *f, const struct http_call *call)
{
    uint64_t size = length_of(call);

    if (f->has_head) {
        judge_whole_again(f, call, size);
        return;
    }
    judge(f, FETCH_ANSWER_USE, NULL);
    f->size = size;
    f->off = f->pos = f->pos_at_failure = 0;
    f->end = UINT64_MAX;
    f->stop = size;
    deliver_head(f, call, size, false);
}

static void judge_good(struct fetch *f, const struct http_call *call)
{
    struct slice encoding = http_call_header(call, "Content-Encoding", 0);

    if (encoding.len && !slice_equal_case(encoding, SLICE("identity")))
        judge(f, FETCH_ANSWER_BAD, "content encoding that was not asked for");
    else if (!is_right_type(f, media_type_of(call)))
        judge(f, FETCH_ANSWER_BAD, "media type that cannot be right");
    else if (f->answer.status == 206)
        judge_range(f, call);
    else
        judge_whole(f, call);
    if (f->answer.verdict != FETCH_ANSWER_USE)
        return;
    f->auth_rounds = 0;
    if (f->authorization && !f->token && fetch_is_at_origin(f))
        upstream_note_credentials(f->upstream, false);
}

/* The registry lives, or it does not; what a CDN does says nothing about it. */
static void tell_breaker(struct fetch *f, int status)
{
    if (!fetch_is_at_origin(f))
        return;
    f->has_probe = false;
    if (status >= 500)
        upstream_note_failure(f->upstream);
    else
        upstream_note_success(f->upstream);
}

void fetch_answer_judge(struct fetch *f, const struct http_call *call)
{
    int status = http_call_status(call);

    CHECK(f->state == FETCH_RECEIVING);
    f->answer.status = status;
    note_retry_after(&f->answer, call);
    tell_breaker(f, status);
    if (status == 429)
        metric_inc(METRIC_UPSTREAM_429);
    if (fetch_is_at_origin(f))
        upstream_note_quota(f->upstream, call);
    if (status == 401)
        note_challenges(&f->answer, call);
    if (status == 200 || status == 206)
        judge_good(f, call);
    else if (is_redirect(status))
        judge_redirect(f, call);
    else if (fetch_is_at_origin(f))
        judge_status_of_registry(f, status);
    else
        judge_status_of_target(f, status);
}

void fetch_answer_judge_ping(struct fetch *f, const struct http_call *call)
{
    CHECK(f->state == FETCH_PINGING);
    f->answer.status = http_call_status(call);
    note_retry_after(&f->answer, call);
    if (f->answer.status >= 500 || f->answer.status == 429) {
        judge(f, FETCH_ANSWER_BROKEN, "the registry fails");
        return;
    }
    judge(f, FETCH_ANSWER_CHALLENGE, "challenge");
    if (f->answer.status == 401)
        note_challenges(&f->answer, call);
}
