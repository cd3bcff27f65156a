/*
 * Going on with the next URL of an upstream when one fails, and round again when all have.
 *
 * A failure (no connection, 5xx, 429, a wrong answer) at one URL leads to the next, at the byte
 * that was reached. Only the first URL can say no: what another does not have, or refuses, may be
 * there all the same. When the last has failed the round begins anew after a wait, as a single URL
 * would be tried again; URLs that are resting are passed over. What is told in the end is what the
 * first said.
 */
#include "config.h"

#include "upstream/fetch_private.h"

#include <string.h>

#include "base/check.h"
#include "base/http_wait.h"
#include "base/log.h"
#include "base/metric.h"

bool fetch_next_has_siblings(const struct fetch *f)
{
    return f->first->fallback != NULL;
}

static bool is_failure(enum fetch_outcome outcome)
{
    return outcome == FETCH_UNAVAILABLE || outcome == FETCH_THROTTLED ||
           outcome == FETCH_BAD_ANSWER;
}

static bool is_no(enum fetch_outcome outcome)
{
    return outcome == FETCH_NOT_FOUND || outcome == FETCH_UNAUTHORIZED || outcome == FETCH_DENIED;
}

/* Whether what the caller has can be continued at all, and is worth it. */
static bool can_go_on(const struct fetch *f)
{
    bool is_closed = f->is_call_over && f->call_result.end == HTTP_END_CLOSED;
    bool is_lost = f->has_head && f->kind != FETCH_BLOB && !f->digest[0];

    return !is_closed && !is_lost && !f->has_too_much && !f->is_refused &&
           f->answer.status != STATUS_RANGE && f->origin.text;
}

bool fetch_next_is_wanted(const struct fetch *f, enum fetch_outcome outcome)
{
    bool is_first = f->upstream == f->first;

    if (!fetch_next_has_siblings(f) || !can_go_on(f))
        return false;
    return is_failure(outcome) || (is_no(outcome) && (!is_first || f->has_head));
}

/* Everything that belonged to the URL before is gone: its credentials, its redirects, its faults.
 */
static int move(struct fetch *f, struct upstream *to)
{
    struct upstream *from = f->upstream;

    CHECK(!f->call && !f->token_wait);
    fetch_drop_probe(f);
    fetch_auth_clear(f);
    fetch_answer_clear(&f->answer);
    f->upstream = upstream_ref(to);
    upstream_unref(&from);
    f->failures = f->missing_at_target = 0;
    f->has_pinged = f->has_token_result = f->is_call_over = false;
    f->pos_at_failure = f->pos;
    url_fini(&f->url);
    url_fini(&f->origin);
    return fetch_build_origin(f);
}

/* Is there a reason to think that another round could bring it? */
static bool is_worth_a_round(struct fetch *f, enum fetch_outcome last)
{
    if (f->pos > f->pos_at_round)
        f->n_rounds = 0;
    if (f->n_rounds >= f->first->limits.retries_max)
        return false;
    return !upstream_is_resting(f->first, NULL) ||
           (is_failure(last) && !upstream_is_resting(f->upstream, NULL));
}

enum fetch_step fetch_next(struct fetch *f, enum fetch_outcome outcome, const char *why)
{
    struct upstream *next = f->upstream->fallback;

    if (f->upstream == f->first)
        fetch_set_result(f, outcome, why);
    CHECK(f->result.outcome != FETCH_OK);
    if (next) {
        log_info(f->upstream->log_prefix, "%s: %s, going on with %s", f->label, why, next->name);
        metric_inc(METRIC_UPSTREAM_FAILOVERS);
        if (move(f, next) == 0) {
            fetch_goto(f, FETCH_PREPARING);
            return FETCH_STEP_MORE;
        }
    } else if (is_worth_a_round(f, outcome)) {
        f->n_rounds++;
        f->pos_at_round = f->pos;
        if (move(f, f->first) == 0)
            return fetch_retry_round(f, why);
    }
    fetch_goto(f, FETCH_ENDING);
    return FETCH_STEP_MORE;
}
