#include "config.h"

#include "mirrord/resolve.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/strbuf.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/manifest_type.h"
#include "cache/meta_value.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/flight.h"
#include "mirrord/hold.h"
#include "mirrord/silence.h"
#include "mirrord/states.h"
#include "upstream/fetch.h"

enum question_state { QUESTION_ASKING, QUESTION_VERIFYING, QUESTION_ANSWERED, QUESTION_STATE_MAX };

static const struct state_row STATES[] = {
    [QUESTION_ASKING] = {"asking",
                         TO(QUESTION_ASKING) | TO(QUESTION_VERIFYING) | TO(QUESTION_ANSWERED),
                         "upstream"},
    [QUESTION_VERIFYING] = {"verifying", TO(QUESTION_ANSWERED), "pool"},
    [QUESTION_ANSWERED] = {"answered", 0, "askers"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == QUESTION_STATE_MAX, "a row for every state");

enum {
    N_FAILURES = 1024,
    DOUBT_S = 86400,
    MEDIA_TYPE_MAX = 255,
    KEY_SIZE = 2 + NAME_FULL_MAX + DIGEST_TEXT_SIZE
};

struct question {
    struct pool_job job;  /* first: verifying */
    struct flight flight; /* who waits for the answer */
    struct resolver *resolver;
    enum question_state state;
    enum resolve_kind kind;
    bool is_head;      /* of the request that runs */
    bool is_confirmed; /* of a blob: the upstream began to send it */
    struct fetch *fetch;
    size_t max_bytes;
    struct strbuf body;
    struct digest told; /* Docker-Content-Digest */
    bool is_told;
    char media_type[MEDIA_TYPE_MAX + 1];
    struct resolve_answer answer;
    struct error error; /* for the log */
    size_t repo_len, reference_len;
    char repo[NAME_FULL_MAX];
    char reference[DIGEST_TEXT_SIZE]; /* not NUL-terminated */
};
_Static_assert(NAME_TAG_MAX < DIGEST_TEXT_SIZE, "a tag fits where a digest does");
_Static_assert(KEY_SIZE <= FLIGHT_KEY_MAX, "the key fits");

/* What a new question is about. */
struct wish {
    struct resolver *resolver;
    enum resolve_kind kind;
    struct slice repo, reference;
};

struct resolver {
    struct api *api;
    struct flights *questions;
    struct holds *failures; /* and doubts */
    struct holds *absences;
    pthread_mutex_t lock;     /* guards the silences */
    struct silence *silences; /* of registries, as the API's table has them, and one more */
    size_t n_silences;
};

static struct question *question_of(struct flight *f)
{
    return (struct question *)((char *)f - offsetof(struct question, flight));
}

static struct slice repo_of(const struct question *q)
{
    return (struct slice){q->repo, q->repo_len};
}

static struct slice reference_of(const struct question *q)
{
    return (struct slice){q->reference, q->reference_len};
}

static const struct registry *registry_of(const struct question *q)
{
    return api_registry_of(q->resolver->api, repo_of(q));
}

static bool is_blob(const struct question *q)
{
    return q->kind == RESOLVE_BLOB;
}

static bool is_tag(const struct question *q)
{
    return q->kind == RESOLVE_TAG_HEAD || q->kind == RESOLVE_TAG_GET;
}

/* The only place where the state changes. */
static void question_goto(struct question *q, enum question_state next)
{
    CHECK(STATES[q->state].next & TO(next));
    log_debug("resolve", "%.*s: %s -> %s, turn of the %s", (int)q->flight.key_len, q->flight.key,
              STATES[q->state].name, STATES[next].name, STATES[next].turn);
    q->state = next;
}

/* --- when the upstream had better not be asked ------------------------------------------------ */

void resolve_hold(struct resolver *r, struct slice repo, struct slice reference, int64_t seconds)
{
    holds_set(r->failures, HOLD_FAILED, repo, reference, seconds);
}

bool resolve_is_held(struct resolver *r, struct slice repo, struct slice reference)
{
    return holds_has(r->failures, HOLD_FAILED, repo, reference);
}

static int64_t common_seconds(const struct resolver *r, enum hold_kind kind)
{
    const struct api_settings *s = api_settings_now(r->api);

    switch (kind) {
    case HOLD_ABSENT_MANIFEST:
        return s->negative_manifest_ttl_s;
    case HOLD_ABSENT_BLOB:
    case HOLD_ABSENT_BLOB_HEAD:
        return s->negative_blob_ttl_s;
    default:
        CHECK(kind == HOLD_ABSENT_TAGS);
        return s->negative_list_ttl_s;
    }
}

void resolve_note_absent(struct resolver *r, enum hold_kind kind, struct slice repo,
                         struct slice reference)
{
    holds_set(r->absences, kind, repo, reference,
              api_negative_ttl_s(r->api, repo, common_seconds(r, kind)));
}

bool resolve_is_absent(struct resolver *r, enum hold_kind kind, struct slice repo,
                       struct slice reference)
{
    return holds_has(r->absences, kind, repo, reference);
}

bool resolve_is_doubted(struct resolver *r, struct slice repo, struct slice tag)
{
    return holds_has(r->failures, HOLD_DOUBT, repo, tag);
}

/* Of the registry that has this repository. */
static struct silence *silence_of(struct resolver *r, struct slice repo)
{
    const struct registry *g = api_registry_of(r->api, repo);
    size_t i = 0;

    while (i < r->n_silences && registries_item(r->api->registries, i) != g)
        i++;
    return &r->silences[i]; /* the last one is nobody's */
}

void resolve_note_silence(struct resolver *r, struct slice repo)
{
    uint64_t first_ms = (uint64_t)api_settings_now(r->api)->stale_retry_s * 1000;

    if (!api_can_ask(r->api, repo))
        return; /* it was not asked */
    pthread_mutex_lock(&r->lock);
    silence_note(silence_of(r, repo), clock_mono_ms(), first_ms);
    pthread_mutex_unlock(&r->lock);
}

void resolve_note_answer(struct resolver *r, struct slice repo)
{
    pthread_mutex_lock(&r->lock);
    silence_end(silence_of(r, repo));
    pthread_mutex_unlock(&r->lock);
}

bool resolve_may_wait(struct resolver *r, struct slice repo)
{
    uint64_t wait_ms = api_settings_now(r->api)->stale_wait_ms;

    pthread_mutex_lock(&r->lock);
    bool may_wait = silence_may_wait(silence_of(r, repo), clock_mono_ms(), wait_ms);
    pthread_mutex_unlock(&r->lock);
    return may_wait;
}

void resolve_note_outcome(struct resolver *r, struct slice repo, const struct fetch_result *result)
{
    /* A 5xx is an answer, perhaps to this question only. */
    if (result->outcome == FETCH_UNAVAILABLE && result->status == 0)
        resolve_note_silence(r, repo);
    else
        resolve_note_answer(r, repo);
}

/* --- what an answer changes ------------------------------------------------------------------- */

/* A tag whose manifest is being kept. */
struct tag_commit {
    const struct api *api;
    struct tag_record record;
    uint32_t n_removals;
    size_t repo_len, tag_len;
    char repo[NAME_FULL_MAX];
    char tag[NAME_TAG_MAX];
};

static void on_manifest_kept(void *arg, int rc)
{
    struct tag_commit *c = arg;

    if (rc == 0)
        tags_settle(c->api->tags, (struct slice){c->repo, c->repo_len},
                    (struct slice){c->tag, c->tag_len}, &c->record, c->n_removals);
    free(c);
}

void resolve_commit_tag(const struct api *api, struct slice repo, struct slice tag,
                        const struct tag_record *record, struct manifest *m)
{
    struct tag_commit *c = xcalloc(1, sizeof(*c));

    CHECK(repo.len <= sizeof(c->repo) && tag.len <= sizeof(c->tag));
    c->api = api;
    c->record = *record;
    c->n_removals = tags_removals(api->tags, repo, tag);
    c->repo_len = repo.len;
    memcpy(c->repo, repo.ptr, repo.len);
    c->tag_len = tag.len;
    memcpy(c->tag, tag.ptr, tag.len);
    tags_note(api->tags, repo, tag, record);
    manifests_keep(api->manifests, repo, m, api_registry_of(api, repo)->origin, on_manifest_kept,
                   c);
}

/* The tag has this digest now, and it may be remembered. */
static void remember_tag(struct question *q, const struct tag_record *before)
{
    int64_t now_s = clock_wall_s();
    struct tag_record record = {.mirrored = TAG_MIRRORED,
                                .digest = q->answer.digest,
                                .fetched_at_s = now_s,
                                .checked_at_s = now_s,
                                .upstream = registry_of(q)->origin};

    if (before && digest_equal(&before->digest, &record.digest))
        record.fetched_at_s = before->fetched_at_s;
    if (q->answer.manifest)
        resolve_commit_tag(q->resolver->api, repo_of(q), reference_of(q), &record,
                           q->answer.manifest);
    else
        tags_put(q->resolver->api->tags, repo_of(q), reference_of(q), &record);
}

/* "There is none", of a tag that there was: registries say that of tags they have when something
 * behind them fails. The first time it is only noted, and the tag left alone for a while; it is
 * believed when the upstream says so again after that. True: not yet. */
static bool doubt(struct question *q)
{
    struct holds *hs = q->resolver->failures;
    int64_t confirm_ms = api_settings_now(q->resolver->api)->gone_confirm_s * 1000;
    int64_t age_ms = holds_age_ms(hs, HOLD_DOUBT, repo_of(q), reference_of(q));

    if (age_ms >= confirm_ms || confirm_ms == 0) {
        holds_set(hs, HOLD_DOUBT, repo_of(q), reference_of(q), 0);
        return false;
    }
    if (age_ms < 0) {
        age_ms = 0;
        holds_set(hs, HOLD_DOUBT, repo_of(q), reference_of(q), DOUBT_S);
        log_warning("resolve",
                    "%.*s is gone, says upstream %s; it is asked again before that is "
                    "believed",
                    (int)q->flight.key_len, q->flight.key, registry_of(q)->host.ptr);
    }
    resolve_hold(q->resolver, repo_of(q), reference_of(q), (confirm_ms - age_ms + 999) / 1000);
    return true;
}

static void learn_absence(struct question *q, bool was_there)
{
    struct tag_record absent = {.mirrored = TAG_ABSENT, .checked_at_s = clock_wall_s()};

    q->answer.is_doubted = was_there && doubt(q);
    if (!q->answer.is_doubted)
        tags_put(q->resolver->api->tags, repo_of(q), reference_of(q), &absent);
}

/* Notes what was learned about the tag. A tag that has moved is not noted before the manifest it
 * points to now is here: until then the old one is what can be served without the upstream. */
static void learn_tag(struct question *q)
{
    const struct api *api = q->resolver->api;
    struct tag_record before;
    bool has_before = tags_find_mirrored(api->tags, repo_of(q), reference_of(q), &before) &&
                      before.mirrored == TAG_MIRRORED;

    if (q->answer.error == API_ERROR_MANIFEST_UNKNOWN) {
        learn_absence(q, has_before);
        return;
    }
    if (q->answer.error != API_ERROR_NONE) {
        resolve_hold(q->resolver, repo_of(q), reference_of(q),
                     api_settings_now(api)->stale_retry_s);
        return;
    }
    resolve_hold(q->resolver, repo_of(q), reference_of(q), 0);
    holds_set(q->resolver->failures, HOLD_DOUBT, repo_of(q), reference_of(q), 0);
    bool has_moved = has_before && !digest_equal(&before.digest, &q->answer.digest);
    if (q->answer.is_kept && (q->answer.manifest || !has_moved))
        remember_tag(q, has_before ? &before : NULL);
}

static void learn_digest(struct question *q)
{
    if (q->answer.error == API_ERROR_MANIFEST_UNKNOWN)
        resolve_note_absent(q->resolver, HOLD_ABSENT_MANIFEST, repo_of(q), reference_of(q));
}

/* Who has asked may read it through this repository from now on. */
static void learn_blob(struct question *q)
{
    const struct api *api = q->resolver->api;
    struct digest d;

    if (q->answer.error == API_ERROR_BLOB_UNKNOWN)
        resolve_note_absent(q->resolver, HOLD_ABSENT_BLOB, repo_of(q), reference_of(q));
    if (q->answer.error == API_ERROR_NONE && digest_parse(reference_of(q), &d))
        links_add(api->links, repo_of(q), &d, registry_of(q)->origin);
}

/* What it is called that the upstream has none. */
static enum api_error unknown_of(const struct question *q)
{
    return is_blob(q) ? API_ERROR_BLOB_UNKNOWN : API_ERROR_MANIFEST_UNKNOWN;
}

/* --- answering -------------------------------------------------------------------------------- */

static void answer(struct question *q)
{
    const struct api *api = q->resolver->api;

    question_goto(q, QUESTION_ANSWERED);
    if (q->answer.error != API_ERROR_NONE && q->answer.error != unknown_of(q))
        log_warning("resolve", "%.*s from upstream %s: %s", (int)q->flight.key_len, q->flight.key,
                    registry_of(q)->host.ptr, q->error.text);
    if (q->answer.manifest && q->answer.is_kept && !is_tag(q))
        manifests_keep(api->manifests, repo_of(q), q->answer.manifest, registry_of(q)->origin, NULL,
                       NULL);
    if (is_blob(q))
        learn_blob(q);
    else if (is_tag(q))
        learn_tag(q);
    else
        learn_digest(q);
    flight_land(&q->flight);
}

static void fail(struct question *q, enum api_error error)
{
    CHECK(error != API_ERROR_NONE);
    q->answer.error = error;
    answer(q);
}

/* --- verifying: a pool thread ----------------------------------------------------------------- */

static bool is_signed(const struct question *q)
{
    return slice_ends(slice_of(q->media_type), SLICE("+prettyjws"));
}

/* The digest of the bytes is the one that was asked for, or that the upstream told. */
static void verify_digest(struct question *q)
{
    struct digest *d = &q->answer.digest;
    struct digest wanted = q->told;
    bool is_wanted = q->is_told;
    struct digest asked;

    if (!is_tag(q) && digest_parse(reference_of(q), &asked)) {
        wanted = asked;
        is_wanted = true;
    }
    digest_of(is_wanted ? wanted.alg : DIGEST_SHA256, q->body.ptr, q->body.len, d);
    q->answer.is_kept = !is_wanted || digest_equal(d, &wanted);
    if (q->answer.is_kept)
        return;
    /* The digest of a signed manifest is that of its payload without the signatures. */
    *d = wanted;
    if (!is_signed(q)) {
        q->answer.error = API_ERROR_BAD_UPSTREAM;
        error_set(&q->error, -EBADMSG, "the manifest does not have its digest");
    }
}

/* The body is a JSON object. Finds the media type in it when the upstream told none. */
static void verify_json(struct question *q)
{
    char derived[MANIFEST_TYPE_SIZE];

    if (manifest_type_derive((struct slice){q->body.ptr, q->body.len}, derived, &q->error) < 0) {
        q->answer.error = API_ERROR_BAD_UPSTREAM;
        error_wrap(&q->error, "the manifest is not a JSON object");
    } else if (!manifest_type_is_valid(slice_of(q->media_type))) {
        snprintf(q->media_type, sizeof(q->media_type), "%s", derived);
    }
}

static void do_verify(struct pool_job *job)
{
    struct question *q = (struct question *)job;

    verify_digest(q);
    if (q->answer.error == API_ERROR_NONE)
        verify_json(q);
}

/* Home again. */
static void on_verified(struct pool_job *job)
{
    struct question *q = (struct question *)job;
    struct resolve_answer *a = &q->answer;

    if (a->error == API_ERROR_NONE) {
        a->media_type = slice_of(q->media_type);
        a->size = q->body.len;
        a->manifest =
            manifest_new(&a->digest, a->media_type, (struct slice){q->body.ptr, q->body.len});
    }
    strbuf_fini(&q->body);
    answer(q);
}

/* --- asking ----------------------------------------------------------------------------------- */

static int on_head(void *arg, const struct fetch_head *head)
{
    struct question *q = arg;

    if (is_blob(q)) {
        q->is_confirmed = true;
        /* Whoever does not honour ranges would send all of it. */
        return head->is_range || head->size <= 1 ? 0 : -ECANCELED;
    }
    q->is_told = digest_parse(head->digest, &q->told);
    q->answer.size = head->size;
    if (head->media_type.len > MEDIA_TYPE_MAX)
        return error_set(&q->error, -EPROTO, "its media type is too long");
    memcpy(q->media_type, head->media_type.ptr, head->media_type.len);
    q->media_type[head->media_type.len] = '\0';
    if (head->size != UINT64_MAX && head->size > q->max_bytes)
        return error_set(&q->error, -EFBIG, "the manifest is larger than %zu bytes", q->max_bytes);
    return 0;
}

static int on_data(void *arg, const void *bytes, size_t n)
{
    struct question *q = arg;

    if (is_blob(q))
        return 0;
    if (n > q->max_bytes - q->body.len)
        return error_set(&q->error, -EFBIG, "the manifest is larger than %zu bytes", q->max_bytes);
    strbuf_add(&q->body, bytes, n);
    return 0;
}

static void on_done(void *arg, const struct fetch_result *result);

static const struct fetch_ops FETCH_OPS = {on_head, on_data, on_done};

/* Of a blob one byte is asked for: some registries answer HEAD with 404 for blobs that they would
 * serve. Of the empty one there is none. */
static uint64_t blob_end(const struct question *q)
{
    struct digest d, empty;

    CHECK(digest_parse(reference_of(q), &d));
    digest_of(d.alg, "", 0, &empty);
    return digest_equal(&d, &empty) ? UINT64_MAX : 1;
}

static void ask(struct question *q, bool is_head)
{
    struct fetch_spec spec = {.kind = is_blob(q) ? FETCH_BLOB : FETCH_MANIFEST,
                              .is_head = is_head,
                              .repo = repo_of(q),
                              .reference = reference_of(q),
                              .end = is_blob(q) ? blob_end(q) : UINT64_MAX};

    q->is_head = is_head;
    q->fetch = api_fetch(q->resolver->api, &spec, &FETCH_OPS, q);
}

/* HEAD was answered. Registries that leave out what it is for are asked with GET. */
static void use_facts(struct question *q)
{
    if (!is_tag(q))
        q->is_told = digest_parse(reference_of(q), &q->told);
    if (!q->is_told || q->answer.size == UINT64_MAX || !q->media_type[0]) {
        question_goto(q, QUESTION_ASKING);
        ask(q, false);
        return;
    }
    q->answer.digest = q->told;
    q->answer.media_type = slice_of(q->media_type);
    q->answer.is_kept = true;
    manifests_note_facts(q->resolver->api->manifests, &q->answer.digest,
                         &(struct meta_facts){q->answer.size, q->answer.media_type});
    answer(q);
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct question *q = arg;

    q->fetch = NULL;
    resolve_note_outcome(q->resolver, repo_of(q), result);
    if (q->is_confirmed) {
        answer(q);
    } else if (result->outcome != FETCH_OK) {
        if (result->outcome != FETCH_REFUSED)
            q->error = result->error;
        q->answer.retry_after_s = result->retry_after_s;
        fail(q, api_error_of_fetch(result, unknown_of(q)));
    } else if (q->is_head) {
        use_facts(q);
    } else {
        question_goto(q, QUESTION_VERIFYING);
        q->job.work = do_verify;
        q->job.done = on_verified;
        pool_submit(q->resolver->api->pool, &q->job, worker_current());
    }
}

/* --- joining ---------------------------------------------------------------------------------- */

static struct flight *make_question(void *arg)
{
    const struct wish *wish = arg;
    struct question *q = xcalloc(1, sizeof(*q));

    CHECK(wish->repo.len <= sizeof(q->repo) && wish->reference.len <= sizeof(q->reference));
    q->resolver = wish->resolver;
    q->kind = wish->kind;
    q->max_bytes = api_settings_now(wish->resolver->api)->manifest_max_bytes;
    strbuf_init(&q->body);
    q->repo_len = wish->repo.len;
    memcpy(q->repo, wish->repo.ptr, wish->repo.len);
    q->reference_len = wish->reference.len;
    memcpy(q->reference, wish->reference.ptr, wish->reference.len);
    return &q->flight;
}

static void start_question(struct flight *f)
{
    struct question *q = question_of(f);

    ask(q, q->kind == RESOLVE_TAG_HEAD || q->kind == RESOLVE_DIGEST_HEAD);
}

/* What is being verified comes to its end soon. */
static bool stop_question(struct flight *f)
{
    struct question *q = question_of(f);

    if (q->state != QUESTION_ASKING)
        return false;
    question_goto(q, QUESTION_ANSWERED);
    fetch_cancel(&q->fetch);
    return true;
}

static void free_question(struct flight *f)
{
    struct question *q = question_of(f);

    if (q->answer.manifest)
        manifest_unref(&q->answer.manifest);
    strbuf_fini(&q->body);
    free(q);
}

static const struct flight_ops QUESTION_OPS = {make_question, start_question, stop_question,
                                               free_question};

struct resolver *resolver_new(struct api *api)
{
    struct resolver *r = xcalloc(1, sizeof(*r));

    r->api = api;
    r->questions = flights_new(&QUESTION_OPS);
    r->failures = holds_new(N_FAILURES);
    while (registries_item(api->registries, r->n_silences))
        r->n_silences++;
    r->silences = xcalloc(r->n_silences + 1, sizeof(*r->silences));
    r->absences = holds_new(api_settings_now(api)->negative_entries_max);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void resolver_free(struct resolver **rr)
{
    struct resolver *r = *rr;

    if (!r)
        return;
    *rr = NULL;
    flights_free(&r->questions);
    holds_free(&r->failures);
    holds_free(&r->absences);
    free(r->silences);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* GET and HEAD of a tag are one question: whichever answer comes tells the digest. */
static size_t make_key(const struct wish *wish, char out[KEY_SIZE])
{
    static const char *const MARKS[] = {":", ":", "?", "@", "#"};
    _Static_assert(sizeof(MARKS) / sizeof(MARKS[0]) == RESOLVE_KIND_MAX, "a mark for each kind");
    int len = snprintf(out, KEY_SIZE, "%.*s%s%.*s", SLICE_ARG(wish->repo), MARKS[wish->kind],
                       SLICE_ARG(wish->reference));

    CHECK(len > 0 && len < KEY_SIZE);
    return (size_t)len;
}

static void on_answer(void *arg, struct flight *f, bool is_first)
{
    struct resolve_waiter *w = arg;

    w->done(w->arg, &question_of(f)->answer, is_first);
}

void resolve_ask(struct resolver *r, enum resolve_kind kind, struct slice repo,
                 struct slice reference, struct resolve_waiter *w)
{
    struct wish wish = {r, kind, repo, reference};
    char key[KEY_SIZE];

    CHECK(kind < RESOLVE_KIND_MAX && api_registry_of(r->api, repo)->upstream);
    w->flight.done = on_answer;
    w->flight.arg = w;
    flights_join(r->questions, (struct slice){key, make_key(&wish, key)}, &wish, &w->flight);
}

bool resolve_leave(struct resolver *r, struct resolve_waiter *w)
{
    return flights_leave(r->questions, &w->flight, api_settings_now(r->api)->questions_max);
}
