#include "config.h"

#include "upstream/fetch_private.h"

#include <stdio.h>

#include "base/check.h"
#include "base/http_wait.h"
#include "base/log.h"
#include "base/metric.h"
#include "upstream/backoff.h"

/* A stretch that brought this much is continued at once. */
#define GOOD_STRETCH_BYTES (64 * 1024)

static void on_wait_over(void *arg)
{
    struct fetch *f = arg;

    f->is_delay_over = true;
    fetch_wake(f);
}

/* Counts the failure; true when there have been too many without progress. */
static bool is_enough(struct fetch *f)
{
    unsigned max = f->upstream->limits.retries_max;
    bool has_progress = f->pos > f->pos_at_failure;

    /* Where there is another URL, only what was cut in the middle is tried again at the same, and
     * that once. */
    if (fetch_next_has_siblings(f))
        max = has_progress ? 1 : 0;
    else if (has_progress)
        f->failures = 0;
    return ++f->failures > max;
}

static unsigned choose_delay_ms(const struct fetch *f, unsigned delay_min_ms)
{
    const struct upstream_config *limits = &f->upstream->limits;

    if (delay_min_ms > limits->backoff_max_ms)
        delay_min_ms = limits->backoff_max_ms;
    if (f->pos - f->pos_at_failure >= GOOD_STRETCH_BYTES && !delay_min_ms)
        return 0;
    unsigned delay_ms = backoff_delay_ms(limits->backoff_base_ms, limits->backoff_max_ms,
                                         f->failures, backoff_random());
    return delay_ms > delay_min_ms ? delay_ms : delay_min_ms;
}

/* What the server asked for, as far as we are willing to wait. */
static unsigned cap_retry_after_ms(const struct fetch *f, int retry_after_s)
{
    unsigned max_ms = f->upstream->limits.backoff_max_ms;

    if (retry_after_s < 0)
        return 0;
    return (unsigned)retry_after_s > max_ms / 1000 ? max_ms : (unsigned)retry_after_s * 1000;
}

static void describe(const struct fetch *f, const char *why, char *out, size_t n)
{
    if (f->answer.status)
        snprintf(out, n, "%s (status %d)", why, f->answer.status);
    else
        snprintf(out, n, "%s", why);
}

enum fetch_step fetch_retry(struct fetch *f, enum fetch_outcome outcome, unsigned delay_min_ms,
                            const char *why)
{
    unsigned asked_ms = cap_retry_after_ms(f, f->answer.retry_after_s);
    char text[sizeof(((struct error *)0)->text)];

    CHECK(outcome != FETCH_OK);
    describe(f, why, text, sizeof(text));
    if (is_enough(f) || upstream_is_offline(f->upstream))
        return fetch_finish(f, outcome, "%s", text);
    f->delay_ms = choose_delay_ms(f, delay_min_ms > asked_ms ? delay_min_ms : asked_ms);
    log_info(f->upstream->log_prefix, "%s: %s, try %u in %u ms from byte %llu", f->label, text,
             f->failures + 1, f->delay_ms, (unsigned long long)f->pos);
    metric_inc(METRIC_UPSTREAM_RETRIES);
    if (f->has_head && !f->is_head)
        metric_inc(METRIC_UPSTREAM_RESUMES);
    f->pos_at_failure = f->pos;
    fetch_drop_probe(f);
    fetch_goto(f, FETCH_BACKING_OFF);
    return FETCH_STEP_MORE;
}

enum fetch_step fetch_retry_round(struct fetch *f, const char *why)
{
    f->failures = f->n_rounds;
    f->delay_ms = choose_delay_ms(f, 0);
    f->failures = 0;
    log_info(f->upstream->log_prefix, "%s: %s, round %u in %u ms from byte %llu", f->label, why,
             f->n_rounds + 1, f->delay_ms, (unsigned long long)f->pos);
    metric_inc(METRIC_UPSTREAM_RETRIES);
    fetch_goto(f, FETCH_BACKING_OFF);
    return FETCH_STEP_MORE;
}

enum fetch_step fetch_retry_throttled(struct fetch *f, int retry_after_s)
{
    upstream_note_throttled(f->upstream, retry_after_s);
    if (retry_after_s >= 0 && (unsigned)retry_after_s > f->upstream->limits.backoff_max_ms / 1000)
        return fetch_finish(f, FETCH_THROTTLED, "throttled for %d s", retry_after_s);
    return fetch_retry(f, FETCH_THROTTLED, 0, "throttled");
}

/* A failure of the network between us and the registry counts against it. */
static void tell_breaker(struct fetch *f)
{
    if (!fetch_is_at_origin(f))
        return;
    f->has_probe = false;
    upstream_note_failure(f->upstream);
}

enum fetch_step fetch_retry_lost(struct fetch *f)
{
    enum fetch_outcome outcome =
        f->call_result.end == HTTP_END_PROTOCOL ? FETCH_BAD_ANSWER : FETCH_UNAVAILABLE;

    tell_breaker(f);
    return fetch_retry(f, outcome, 0, f->call_result.error.text);
}

/* The answer ended before all that was announced was here. */
static enum fetch_step continue_body(struct fetch *f)
{
    bool is_ok = f->call_result.end == HTTP_END_OK;
    const char *why = is_ok ? "less than announced" : f->call_result.error.text;

    if (f->pos == f->pos_at_failure)
        tell_breaker(f);
    /* What has no digest may have changed by now: its second half may belong to another. */
    if (f->kind != FETCH_BLOB && !f->digest[0])
        return fetch_finish(f, FETCH_UNAVAILABLE, "%s, and nothing to continue by", why);
    return fetch_retry(f, FETCH_UNAVAILABLE, 0, why);
}

enum fetch_step fetch_retry_body(struct fetch *f)
{
    bool is_ok = f->call_result.end == HTTP_END_OK;

    CHECK(f->has_head && f->pos <= f->stop);
    if (f->is_refused)
        return fetch_finish(f, FETCH_REFUSED, "stopped by the receiver");
    if (f->is_head)
        return fetch_finish(f, FETCH_OK, "ok");
    if (f->has_too_much)
        return fetch_finish(f, FETCH_BAD_ANSWER, "more bytes than announced");
    /* Without an announcement the end of the connection is all there is to know. */
    if (f->pos == f->stop || (is_ok && f->size == UINT64_MAX && f->skip == 0))
        return fetch_finish(f, FETCH_OK, "ok");
    return continue_body(f);
}

/* Behind the wait the registry is asked again, whatever it redirected to before. */
enum fetch_step fetch_retry_wait(struct fetch *f)
{
    if (f->delay_ms && !f->is_delay_over) {
        if (!f->wait)
            f->wait = http_wait_new(f->delay_ms, on_wait_over, f);
        return FETCH_STEP_WAIT;
    }
    http_wait_free(&f->wait);
    f->is_delay_over = false;
    redirect_begin(&f->chain, &f->origin);
    url_fini(&f->url);
    url_copy(&f->origin, &f->url);
    fetch_goto(f, FETCH_PREPARING);
    return FETCH_STEP_MORE;
}
