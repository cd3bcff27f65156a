#include "config.h"

#include "upstream/fetch.h"

#include "upstream/fetch_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/http_wait.h"
#include "base/log.h"
#include "base/metric.h"

#define STEPS_MAX 1000 /* in one wake-up; more is our bug */

static enum fetch_step step_receive(struct fetch *f);
static enum fetch_step step_ping(struct fetch *f);
static enum fetch_step step_end(struct fetch *f);

#define TO(state) (1u << (state))
/* From wherever a URL can fail: to the next one, to the wait before the next round, to the end. */
#define TO_OTHERS (TO(FETCH_PREPARING) | TO(FETCH_BACKING_OFF) | TO(FETCH_ENDING))

/* One row per state: its name, its step, what wakes it while it waits, where it may go. */
static const struct state_row {
    const char *name;
    enum fetch_step (*step)(struct fetch *f);
    const char *waits_for;
    unsigned next;
} state_rows[] = {
    [FETCH_PREPARING] = {"preparing", fetch_auth_prepare, "nothing",
                         TO(FETCH_TOKEN) | TO(FETCH_SENDING) | TO_OTHERS},
    [FETCH_TOKEN] = {"token", fetch_auth_token, "the token cache", TO(FETCH_SENDING) | TO_OTHERS},
    [FETCH_SENDING] = {"sending", fetch_send, "nothing", TO(FETCH_RECEIVING) | TO_OTHERS},
    [FETCH_RECEIVING] = {"receiving", step_receive, "the end of the call",
                         TO(FETCH_SENDING) | TO(FETCH_TOKEN) | TO(FETCH_PINGING) | TO_OTHERS},
    [FETCH_PINGING] = {"pinging", step_ping, "the end of the call",
                       TO(FETCH_TOKEN) | TO(FETCH_SENDING) | TO_OTHERS},
    [FETCH_BACKING_OFF] = {"backing off", fetch_retry_wait, "the timer",
                           TO(FETCH_PREPARING) | TO(FETCH_ENDING)},
    [FETCH_ENDING] = {"ending", step_end, "nothing", TO(FETCH_ENDED)},
    [FETCH_ENDED] = {"ended", NULL, "nothing", 0},
};
_Static_assert(sizeof(state_rows) / sizeof(state_rows[0]) == FETCH_STATE_MAX,
               "a row for each state");

static const struct outcome_row {
    const char *name;
    int code;
} outcome_rows[] = {
    [FETCH_OK] = {"ok", 0},
    [FETCH_NOT_FOUND] = {"not found", -ENOENT},
    [FETCH_UNAUTHORIZED] = {"unauthorized", -EACCES},
    [FETCH_DENIED] = {"denied", -EPERM},
    [FETCH_THROTTLED] = {"throttled", -EBUSY},
    [FETCH_UNAVAILABLE] = {"unavailable", -EHOSTUNREACH},
    [FETCH_BAD_ANSWER] = {"bad answer", -EBADMSG},
    [FETCH_REFUSED] = {"refused", -ECANCELED},
};
_Static_assert(sizeof(outcome_rows) / sizeof(outcome_rows[0]) == FETCH_OUTCOME_MAX,
               "a row for each outcome");

const char *fetch_outcome_name(enum fetch_outcome o)
{
    CHECK(o < FETCH_OUTCOME_MAX);
    return outcome_rows[o].name;
}

/* The only place that changes the state. */
void fetch_goto(struct fetch *f, enum fetch_state next)
{
    CHECK(state_rows[f->state].next & TO(next));
    log_debug(f->upstream->log_prefix, "%s: %s -> %s", f->label, state_rows[f->state].name,
              state_rows[next].name);
    f->state = next;
}

void fetch_wake(struct fetch *f)
{
    worker_later(f->worker, &f->wake);
}

bool fetch_is_at_origin(const struct fetch *f)
{
    return url_same_origin(&f->url, &f->origin);
}

void fetch_drop_probe(struct fetch *f)
{
    if (f->has_probe)
        upstream_give_up_probe(f->upstream);
    f->has_probe = false;
}

void fetch_set_result(struct fetch *f, enum fetch_outcome outcome, const char *text)
{
    f->result.outcome = outcome;
    f->result.status = f->answer.status;
    f->result.retry_after_s = f->answer.retry_after_s;
    f->result.error = (struct error){.code = 0};
    if (outcome != FETCH_OK)
        error_set(&f->result.error, outcome_rows[outcome].code, "%s from %s: %s", f->label,
                  f->upstream->name, text);
}

enum fetch_step fetch_finish(struct fetch *f, enum fetch_outcome outcome, const char *fmt, ...)
{
    char text[sizeof(f->result.error.text)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (fetch_next_is_wanted(f, outcome))
        return fetch_next(f, outcome, text);
    fetch_set_result(f, outcome, text);
    fetch_goto(f, FETCH_ENDING);
    return FETCH_STEP_MORE;
}

/* The call is over: what its head was decides what comes next. */
static enum fetch_step step_receive(struct fetch *f)
{
    if (!f->is_call_over)
        return FETCH_STEP_WAIT;
    if (f->call_result.end == HTTP_END_CLOSED)
        return fetch_finish(f, FETCH_UNAVAILABLE, "%s", f->call_result.error.text);
    switch (f->answer.verdict) {
    case FETCH_ANSWER_NONE:
        return fetch_retry_lost(f);
    case FETCH_ANSWER_USE:
        return fetch_retry_body(f);
    case FETCH_ANSWER_REDIRECT:
        return fetch_send_redirected(f);
    case FETCH_ANSWER_CHALLENGE:
        return fetch_auth_challenged(f);
    case FETCH_ANSWER_DENIED:
        return fetch_finish(f, FETCH_DENIED, "status %d", f->answer.status);
    case FETCH_ANSWER_NOT_FOUND:
        return fetch_finish(f, FETCH_NOT_FOUND, "status %d", f->answer.status);
    case FETCH_ANSWER_THROTTLED:
        return fetch_retry_throttled(f, f->answer.retry_after_s);
    case FETCH_ANSWER_BROKEN:
        return fetch_retry(f, FETCH_UNAVAILABLE, 0, f->answer.why);
    case FETCH_ANSWER_WRONG:
        return fetch_retry(f, FETCH_BAD_ANSWER, 0, f->answer.why);
    case FETCH_ANSWER_BAD:
        break;
    }
    return fetch_finish(f, FETCH_BAD_ANSWER, "%s (status %d)", f->answer.why, f->answer.status);
}

static enum fetch_step step_ping(struct fetch *f)
{
    if (!f->call && !f->is_call_over)
        return fetch_send_ping(f);
    return f->is_call_over ? fetch_auth_pinged(f) : FETCH_STEP_WAIT;
}

static void count_end(const struct fetch *f)
{
    enum fetch_outcome o = f->result.outcome;

    if (o != FETCH_OK && o != FETCH_NOT_FOUND && o != FETCH_REFUSED)
        metric_inc(METRIC_UPSTREAM_FAILURES);
}

static enum fetch_step step_end(struct fetch *f)
{
    fetch_drop_probe(f);
    count_end(f);
    fetch_goto(f, FETCH_ENDED);
    f->ops->done(f->arg, &f->result);
    return FETCH_STEP_WAIT;
}

static void fetch_free(struct fetch *f)
{
    CHECK(!f->call && !f->token_wait && !f->has_probe && !f->wake.is_posted);
    fetch_answer_clear(&f->answer);
    fetch_auth_clear(f);
    http_wait_free(&f->wait);
    url_fini(&f->url);
    url_fini(&f->origin);
    free(f->digest);
    free(f->repo);
    free(f->reference);
    free(f->label);
    upstream_unref(&f->upstream);
    upstream_unref(&f->first);
    free(f);
}

/* The driver. Runs from the worker's loop only, so nothing of the fetch is on the stack. */
static void on_wake(struct mail *m)
{
    struct fetch *f = (struct fetch *)m;
    enum fetch_step step = FETCH_STEP_MORE;
    unsigned n_steps = 0;

    while (f->ops && f->state != FETCH_ENDED && step == FETCH_STEP_MORE) {
        CHECK(++n_steps < STEPS_MAX);
        step = state_rows[f->state].step(f);
    }
    if (!f->ops || f->state == FETCH_ENDED)
        fetch_free(f);
}

#define QUERY_KEEP "!$&'()*+,;=:@/?%" /* RFC 3986 section 3.4 */

/* keep: what may stand in the reference as it is; a query comes encoded by its author. */
static const struct {
    const char *name, *before_repo, *before_reference, *keep;
} kind_rows[] = {
    [FETCH_MANIFEST] = {"manifest", "/v2/", "/manifests/", ":"},
    [FETCH_BLOB] = {"blob", "/v2/", "/blobs/", ":"},
    [FETCH_TAGS] = {"tags", "/v2/", "/tags/list?", QUERY_KEEP},
    [FETCH_REFERRERS] = {"referrers", "/v2/", "/referrers/", QUERY_KEEP},
};
_Static_assert(sizeof(kind_rows) / sizeof(kind_rows[0]) == FETCH_KIND_MAX, "a row for each kind");

int fetch_build_origin(struct fetch *f)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_add_str(&b, f->upstream->base);
    strbuf_add_str(&b, kind_rows[f->kind].before_repo);
    url_add_encoded(&b, slice_of(f->repo), "/");
    strbuf_add_str(&b, kind_rows[f->kind].before_reference);
    url_add_encoded(&b, slice_of(f->reference), kind_rows[f->kind].keep);
    if (f->kind == FETCH_TAGS && !f->reference[0])
        b.len--;
    int rc = url_parse((struct slice){b.ptr, b.len}, &f->origin, NULL);
    strbuf_fini(&b);
    if (rc < 0)
        return rc;
    url_copy(&f->origin, &f->url);
    redirect_begin(&f->chain, &f->origin);
    return 0;
}

/* For the log, where no query belongs. */
static char *make_label(const struct fetch_spec *spec)
{
    struct slice rest = spec->reference;
    struct slice shown = spec->kind == FETCH_TAGS ? SLICE_NONE : slice_cut(&rest, '?');
    bool is_digest = shown.len && memchr(shown.ptr, ':', shown.len);

    return xasprintf("%s %.*s%s%.*s", kind_rows[spec->kind].name, SLICE_ARG(spec->repo),
                     is_digest ? "@" : ":", SLICE_ARG(shown));
}

struct fetch *fetch_start(struct upstream *u, const struct fetch_spec *spec,
                          const struct fetch_ops *ops, void *arg)
{
    struct fetch *f = xcalloc(1, sizeof(*f));

    CHECK(worker_current() && spec->kind < FETCH_KIND_MAX && spec->off < spec->end);
    f->wake.fn = on_wake;
    f->worker = worker_current();
    f->first = upstream_ref(u);
    f->upstream = upstream_ref(u);
    f->ops = ops;
    f->arg = arg;
    f->kind = spec->kind;
    f->is_head = spec->is_head;
    f->repo = xmemdup0(spec->repo.ptr, spec->repo.len);
    f->reference =
        spec->reference.len ? xmemdup0(spec->reference.ptr, spec->reference.len) : xstrdup("");
    f->label = make_label(spec);
    f->off = f->pos = f->pos_at_failure = spec->kind == FETCH_BLOB ? spec->off : 0;
    f->end = f->stop = spec->kind == FETCH_BLOB ? spec->end : UINT64_MAX;
    f->size = UINT64_MAX;
    f->answer.retry_after_s = -1;
    if (fetch_build_origin(f) < 0)
        fetch_finish(f, FETCH_BAD_ANSWER, "no URL can be made of the name");
    fetch_wake(f);
    return f;
}

void fetch_resume(struct fetch *f)
{
    CHECK(worker_is_current(f->worker));
    if (!f->is_paused || !f->call)
        return;
    f->is_paused = false;
    http_call_resume(f->call);
}

void fetch_cancel(struct fetch **ff)
{
    struct fetch *f = *ff;

    *ff = NULL;
    if (!f || f->state == FETCH_ENDED)
        return;
    CHECK(worker_is_current(f->worker));
    f->ops = NULL;
    http_call_cancel(&f->call);
    token_wait_cancel(&f->token_wait);
    fetch_drop_probe(f);
    http_wait_free(&f->wait);
    fetch_wake(f);
}
