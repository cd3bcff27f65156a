#include "config.h"

#include "upstream/fetch_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "upstream/realm.h"

/* One for a cached token that turns out to be dead, one for another scope than was guessed. */
#define ROUNDS_MAX 3

static void wipe_and_free(char **s)
{
    if (*s)
        explicit_bzero(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

/* Forgets the credentials of the next request. */
static void clear_authorization(struct fetch *f)
{
    wipe_and_free(&f->authorization);
    wipe_and_free(&f->token);
    free(f->authorized_origin);
    f->authorized_origin = NULL;
    f->token_is_fresh = false;
}

void fetch_auth_clear(struct fetch *f)
{
    clear_authorization(f);
    known_auth_fini(&f->plan);
}

/* Takes the line over; it is for the origin of the present URL only. */
static void give_authorization(struct fetch *f, char *line)
{
    CHECK(!f->authorization && !f->authorized_origin && line);
    f->authorization = line;
    f->authorized_origin = xmemdup0(f->url.origin.ptr, f->url.origin.len);
}

static enum fetch_step send_basic(struct fetch *f)
{
    CHECK(f->upstream->basic && fetch_is_at_origin(f));
    clear_authorization(f);
    give_authorization(f, xstrdup(f->upstream->basic));
    fetch_goto(f, FETCH_SENDING);
    return FETCH_STEP_MORE;
}

/* With what the last challenge taught, so that the first answer can be the right one. */
enum fetch_step fetch_auth_prepare(struct fetch *f)
{
    if (upstream_is_offline(f->upstream))
        return fetch_finish(f, FETCH_UNAVAILABLE, "not asked, this mirror is offline");
    if (upstream_is_resting(f->upstream, &f->answer.retry_after_s))
        return f->answer.retry_after_s >= 0
                   ? fetch_finish(f, FETCH_THROTTLED, "throttled a moment ago")
                   : fetch_finish(f, FETCH_UNAVAILABLE, "not asked after repeated failures");
    clear_authorization(f);
    known_auth_fini(&f->plan);
    f->auth_rounds = 0;
    upstream_recall_auth(f->upstream, f->repo, &f->plan);
    if (f->plan.is_known && f->plan.scheme == CHALLENGE_BASIC && f->upstream->basic)
        return send_basic(f);
    f->plan_is_anonymous = !f->upstream->basic;
    fetch_goto(f, f->plan.is_known && f->plan.scheme == CHALLENGE_BEARER ? FETCH_TOKEN
                                                                         : FETCH_SENDING);
    return FETCH_STEP_MORE;
}

static struct token_key key_of(const struct fetch *f)
{
    return (struct token_key){f->plan.realm, f->plan.service, f->plan.scope, f->plan_is_anonymous};
}

static void on_token(void *arg, const struct token_result *result)
{
    struct fetch *f = arg;

    CHECK(f->state == FETCH_TOKEN && !f->call);
    f->token_wait = NULL;
    f->has_token_result = true;
    f->token_result = *result;
    f->token_result.text = NULL;
    if (result->end == TOKEN_OK) {
        clear_authorization(f);
        f->token = xstrdup(result->text);
        f->token_is_fresh = result->is_fresh;
        give_authorization(f, xasprintf("Authorization: Bearer %s", result->text));
    }
    fetch_wake(f);
}

/* The realm did not give a token. */
static enum fetch_step token_failed(struct fetch *f, const struct token_result *r)
{
    f->answer.status = r->status;
    f->answer.retry_after_s = r->retry_after_s;
    switch (r->end) {
    case TOKEN_REFUSED:
        return fetch_finish(f, f->plan_is_anonymous ? FETCH_DENIED : FETCH_UNAUTHORIZED, "%s",
                            r->error.text);
    case TOKEN_THROTTLED:
        return fetch_retry_throttled(f, r->retry_after_s);
    default:
        /* What was learnt from an earlier challenge may be out of date. */
        if (!f->was_challenged)
            upstream_forget_auth(f->upstream, f->plan.realm);
        /* Without its token service it is of no more use than without itself. */
        if (fetch_next_has_siblings(f) && fetch_is_at_origin(f))
            upstream_note_failure(f->upstream);
        return fetch_retry(f, FETCH_UNAVAILABLE, r->again_ms, r->error.text);
    }
}

enum fetch_step fetch_auth_token(struct fetch *f)
{
    struct token_key key = key_of(f);
    struct token_result result;

    if (!f->token_wait && !f->has_token_result) {
        f->token_wait = token_ask(f->upstream, &key, on_token, f);
        return FETCH_STEP_WAIT;
    }
    if (!f->has_token_result)
        return FETCH_STEP_WAIT;
    f->has_token_result = false;
    result = f->token_result;
    if (result.end != TOKEN_OK)
        return token_failed(f, &result);
    fetch_goto(f, FETCH_SENDING);
    return FETCH_STEP_MORE;
}

/* What the challenge asks for, as a plan; the usual scope when it names none. */
static void plan_token(struct fetch *f, const struct url *realm)
{
    const struct challenge *c = &f->answer.challenge;

    known_auth_fini(&f->plan);
    f->plan.is_known = true;
    f->plan.scheme = CHALLENGE_BEARER;
    f->plan.realm = xstrdup(realm->text);
    f->plan.service = c->service ? xstrdup(c->service) : NULL;
    f->plan.scope =
        c->scope && c->scope[0] ? xstrdup(c->scope) : xasprintf("repository:%s:pull", f->repo);
}

/* The answer is to a request that carried the token; a redirect's target never saw it. */
static bool was_token_sent(const struct fetch *f)
{
    return f->token && slice_equal(slice_of(f->authorized_origin), f->url.origin);
}

/* A fresh token for just this scope was refused: another will not be better. */
static bool is_final(const struct fetch *f)
{
    const struct challenge *c = &f->answer.challenge;

    if (f->auth_rounds >= ROUNDS_MAX)
        return true;
    return was_token_sent(f) && f->token_is_fresh &&
           (!c->scope || !f->plan.scope || strcmp(c->scope, f->plan.scope) == 0);
}

static enum fetch_step refused_token(struct fetch *f)
{
    const char *error = f->answer.challenge.error;

    if (error && strcmp(error, "invalid_token") == 0)
        return fetch_finish(f, FETCH_UNAUTHORIZED, "the registry does not know its own token");
    return fetch_finish(f, FETCH_DENIED, "the token does not reach that far");
}

static enum fetch_step answer_bearer(struct fetch *f)
{
    bool is_at_origin = fetch_is_at_origin(f);
    struct token_key old_key = key_of(f);
    struct url realm;
    struct error why;

    if (is_final(f))
        return refused_token(f);
    if (url_parse(slice_of(f->answer.challenge.realm), &realm, &why) < 0)
        return fetch_finish(f, FETCH_UNAUTHORIZED, "token realm: %s", why.text);
    if (!realm_is_trusted(&realm, &f->url,
                          is_at_origin ? (const char *const *)f->upstream->realms : NULL)) {
        fetch_finish(f, FETCH_UNAUTHORIZED, "token realm %.*s is not trusted",
                     SLICE_ARG(realm.origin));
        url_fini(&realm);
        return FETCH_STEP_MORE;
    }
    if (was_token_sent(f))
        token_drop(f->upstream, &old_key, f->token);
    clear_authorization(f);
    f->auth_rounds++;
    f->was_challenged = true;
    plan_token(f, &realm);
    /* Another host than the registry gets nothing of ours but what anybody gets. */
    f->plan_is_anonymous = !f->upstream->basic || !is_at_origin;
    if (is_at_origin) {
        free(f->answer.challenge.realm);
        f->answer.challenge.realm = xstrdup(realm.text);
        upstream_learn_auth(f->upstream, &f->answer.challenge, f->repo);
    }
    url_fini(&realm);
    fetch_goto(f, FETCH_TOKEN);
    return FETCH_STEP_MORE;
}

static enum fetch_step answer_basic(struct fetch *f)
{
    if (!fetch_is_at_origin(f))
        return fetch_finish(f, FETCH_UNAUTHORIZED, "the target of a redirect wants a password");
    if (!f->upstream->basic)
        return fetch_finish(f, FETCH_UNAUTHORIZED, "the registry wants a password");
    if (f->authorization && !f->token) {
        upstream_note_credentials(f->upstream, true);
        return fetch_finish(f, FETCH_UNAUTHORIZED, "the registry refuses the password");
    }
    upstream_learn_auth(f->upstream, &f->answer.challenge, f->repo);
    return send_basic(f);
}

enum fetch_step fetch_auth_challenged(struct fetch *f)
{
    if (f->answer.has_challenge && f->answer.challenge.scheme == CHALLENGE_BEARER)
        return answer_bearer(f);
    if (f->answer.has_challenge)
        return answer_basic(f);
    if (f->authorization || f->has_pinged)
        return fetch_finish(f, FETCH_UNAUTHORIZED, "refused without a challenge");
    /* Some registries tell how they want to be asked on /v2/ only. */
    f->is_call_over = false;
    fetch_goto(f, FETCH_PINGING);
    return FETCH_STEP_MORE;
}

enum fetch_step fetch_auth_pinged(struct fetch *f)
{
    if (f->call_result.end == HTTP_END_CLOSED)
        return fetch_finish(f, FETCH_UNAVAILABLE, "%s", f->call_result.error.text);
    if (f->answer.verdict != FETCH_ANSWER_CHALLENGE) {
        f->has_pinged = false;
        return fetch_retry(f, FETCH_UNAVAILABLE, 0,
                           f->answer.why ? f->answer.why : f->call_result.error.text);
    }
    return fetch_auth_challenged(f);
}
