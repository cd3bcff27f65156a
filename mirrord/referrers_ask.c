#include "config.h"

#include "mirrord/referrers_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "cache/cache.h"
#include "cache/manifest.h"
#include "cache/referrers.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/referrer_page.h"
#include "mirrord/resolve.h"
#include "mirrord/states.h"
#include "upstream/fetch.h"

#define HOLD_NAME_SIZE (DIGEST_TEXT_SIZE + 1)
/* "Referrers Tag Schema": the algorithm cut to 32 characters, the encoded part to 64. */
#define SCHEMA_HEX_MAX 64

enum ask_state { ASK_ASKING, ASK_SCHEMA, ASK_READING, ASK_KEEPING, ASK_ANSWERED, ASK_STATE_MAX };

static const struct state_row STATES[] = {
    [ASK_ASKING] = {"asking", TO(ASK_SCHEMA) | TO(ASK_READING) | TO(ASK_ANSWERED), "upstream"},
    [ASK_SCHEMA] = {"schema", TO(ASK_READING) | TO(ASK_KEEPING) | TO(ASK_ANSWERED), "upstream"},
    [ASK_READING] = {"reading", TO(ASK_ASKING) | TO(ASK_KEEPING) | TO(ASK_ANSWERED), "pool"},
    [ASK_KEEPING] = {"keeping", TO(ASK_ANSWERED), "disk"},
    [ASK_ANSWERED] = {"answered", 0, "askers"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == ASK_STATE_MAX, "a row for every state");

struct question {
    struct flight flight; /* first */
    struct pool_job job;  /* reading */
    struct api *api;
    enum ask_state state;
    struct digest subject;
    struct fetch *fetch;
    struct resolve_waiter waiter; /* for the tag of the schema */
    struct manifest *manifest;    /* what that tag has */
    struct strbuf body;           /* of a page of the API */
    struct strbuf link;           /* where it says that the list goes on; empty: nowhere */
    struct strbuf query;          /* of the next page */
    size_t bytes_max, n_bytes;    /* of all pages together */
    bool is_crowded;              /* too much is being fetched at a time */
    unsigned pages_max, n_pages;
    struct referrer_list *list;
    struct strbuf text; /* the list as it is kept */
    enum api_error error;
    int retry_after_s;
    struct error why; /* for the log */
    size_t repo_len;
    char repo[NAME_FULL_MAX];
};

/* What a question is made of. */
struct wish {
    struct api *api;
    struct slice repo;
    const struct digest *subject;
};

static struct slice repo_of(const struct question *q)
{
    return (struct slice){q->repo, q->repo_len};
}

static struct question *question_of(struct pool_job *job)
{
    return (struct question *)((char *)job - offsetof(struct question, job));
}

/* The only place where the state changes. */
static void ask_goto(struct question *q, enum ask_state next)
{
    CHECK(STATES[q->state].next & TO(next));
    log_debug("referrers", "%.*s: %s -> %s, turn of the %s", (int)q->repo_len, q->repo,
              STATES[q->state].name, STATES[next].name, STATES[next].turn);
    q->state = next;
}

/* --- holds: by a name that no tag and no digest has ------------------------------------------- */

static struct slice hold_name(const struct digest *subject, char out[HOLD_NAME_SIZE])
{
    out[0] = '^';
    return (struct slice){out, 1 + digest_format(subject, out + 1)};
}

bool referrers_ask_is_held(struct api *api, struct slice repo, const struct digest *subject)
{
    char name[HOLD_NAME_SIZE];

    return resolve_is_held(api->resolver, repo, hold_name(subject, name));
}

void referrers_ask_hold(struct api *api, struct slice repo, const struct digest *subject)
{
    char name[HOLD_NAME_SIZE];

    resolve_hold(api->resolver, repo, hold_name(subject, name),
                 api_settings_now(api)->stale_retry_s);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void do_free(struct flight *f)
{
    struct question *q = (struct question *)f;

    memory_share_give(&q->api->referrers_memory, q->n_bytes);
    if (q->manifest)
        manifest_unref(&q->manifest);
    referrer_list_free(&q->list);
    strbuf_fini(&q->body);
    strbuf_fini(&q->link);
    strbuf_fini(&q->query);
    strbuf_fini(&q->text);
    free(q);
}

static void answer(struct question *q)
{
    ask_goto(q, ASK_ANSWERED);
    strbuf_fini(&q->body);
    strbuf_fini(&q->text);
    flight_land(&q->flight);
}

static void fail(struct question *q, enum api_error error)
{
    char subject[DIGEST_TEXT_SIZE];

    digest_format(&q->subject, subject);
    CHECK(error != API_ERROR_NONE);
    log_warning("referrers", "referrers of %.*s@%s from upstream %s: %s", (int)q->repo_len, q->repo,
                subject, api_registry_of(q->api, repo_of(q))->host.ptr, q->why.text);
    q->error = error;
    referrers_ask_hold(q->api, repo_of(q), &q->subject);
    answer(q);
}

static void on_kept(void *arg)
{
    answer(arg);
}

/* The list is complete. */
static void keep(struct question *q)
{
    struct referrers_kept kept = {SLICE_NONE, clock_wall_s()};

    if (referrer_list_count(q->list))
        kept.body = (struct slice){q->text.ptr, q->text.len};
    ask_goto(q, ASK_KEEPING);
    referrers_keep_upstream(cache_referrers(q->api->cache), repo_of(q), &q->subject, &kept, on_kept,
                            q);
}

/* --- reading: a pool thread ------------------------------------------------------------------- */

static void do_read(struct pool_job *job)
{
    struct question *q = question_of(job);
    struct slice body = {q->body.ptr ? q->body.ptr : "", q->body.len};
    struct slice link = {q->link.ptr, q->link.len};
    size_t n_left_out = 0;
    int rc = 0;

    if (q->manifest)
        body = manifest_body(q->manifest);
    if (referrer_list_read(q->list, body, &n_left_out, &q->why) < 0) {
        q->error = API_ERROR_BAD_UPSTREAM;
        return;
    }
    if (n_left_out)
        log_warning("referrers", "%zu descriptors of %.*s from the upstream are none", n_left_out,
                    (int)q->repo_len, q->repo);
    strbuf_clear(&q->query);
    rc = q->link.len ? referrer_page_next(link, &q->subject, &q->query) : -ENOENT;
    if (rc == -EBADMSG) {
        error_set(&q->why, rc, "the list goes on where it cannot");
        q->error = API_ERROR_BAD_UPSTREAM;
    }
    if (rc == -ENOENT) {
        referrer_list_sort(q->list);
        referrer_list_print(q->list, &q->text);
    }
}

static void ask_page(struct question *q);

/* Home again. */
static void on_read(struct pool_job *job)
{
    struct question *q = question_of(job);

    strbuf_fini(&q->body);
    if (q->error != API_ERROR_NONE) {
        fail(q, q->error);
    } else if (q->query.len == 0) {
        keep(q);
    } else if (q->n_pages == q->pages_max) {
        error_set(&q->why, -EFBIG, "the list has more than %u pages", q->pages_max);
        fail(q, API_ERROR_BAD_UPSTREAM);
    } else {
        ask_goto(q, ASK_ASKING);
        ask_page(q);
    }
}

static void read_body(struct question *q)
{
    ask_goto(q, ASK_READING);
    q->job.work = do_read;
    q->job.done = on_read;
    pool_submit(q->api->pool, &q->job, worker_current());
}

/* --- the tag schema --------------------------------------------------------------------------- */

static void on_schema(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct question *q = arg;

    (void)is_first;
    strbuf_clear(&q->link);
    if (a->error == API_ERROR_MANIFEST_UNKNOWN || a->error == API_ERROR_NAME_UNKNOWN) {
        keep(q);
    } else if (a->error != API_ERROR_NONE) {
        error_set(&q->why, -EIO, "neither the API nor the tag schema answers");
        q->retry_after_s = a->retry_after_s;
        fail(q, a->error);
    } else if (!a->manifest || manifest_body(a->manifest).len > q->bytes_max) {
        error_set(&q->why, -EFBIG, "the list is larger than %zu bytes", q->bytes_max);
        fail(q, API_ERROR_BAD_UPSTREAM);
    } else {
        q->manifest = manifest_ref(a->manifest);
        read_body(q);
    }
}

/* The upstream has no referrers API. */
static void ask_schema(struct question *q)
{
    char hex[DIGEST_TEXT_SIZE];

    ask_goto(q, ASK_SCHEMA);
    digest_hex(&q->subject, hex);
    char *tag = xasprintf("%s-%.*s", digest_alg_name(q->subject.alg), SCHEMA_HEX_MAX, hex);
    q->waiter.done = on_schema;
    q->waiter.arg = q;
    /* A rule of its own for such tags may forbid it. */
    if (precedence_can_ask(q->api, repo_of(q), slice_of(tag)))
        resolve_ask(q->api->resolver, RESOLVE_TAG_GET, repo_of(q), slice_of(tag), &q->waiter);
    else
        keep(q);
    free(tag);
}

/* --- the API ---------------------------------------------------------------------------------- */

static int refuse_size(struct question *q)
{
    return error_set(&q->why, -EFBIG, "the list is larger than %zu bytes", q->bytes_max);
}

static int on_head(void *arg, const struct fetch_head *head)
{
    struct question *q = arg;

    strbuf_clear(&q->link);
    strbuf_add_slice(&q->link, head->link);
    return head->size != UINT64_MAX && head->size > q->bytes_max - q->n_bytes ? refuse_size(q) : 0;
}

static int on_data(void *arg, const void *bytes, size_t n)
{
    struct question *q = arg;

    if (n > q->bytes_max - q->n_bytes)
        return refuse_size(q);
    /* Thousands of clients may ask about as many subjects. */
    q->is_crowded = !memory_share_take(&q->api->referrers_memory, q->n_bytes, n,
                                       api_settings_now(q->api)->referrers_memory);
    if (q->is_crowded)
        return error_set(&q->why, -ENOMEM, "too much is being fetched at this moment");
    q->n_bytes += n;
    strbuf_add(&q->body, bytes, n);
    return 0;
}

/* The first page is not there, not to be had, or not an index: what registries without the API
 * answer, each in its way. The tag says whether it is so. */
static bool has_no_api(const struct question *q, const struct fetch_result *result)
{
    bool is_odd = result->outcome == FETCH_NOT_FOUND || result->outcome == FETCH_DENIED ||
                  result->outcome == FETCH_BAD_ANSWER || result->status == 501;

    return q->n_pages == 1 && is_odd;
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct question *q = arg;

    q->fetch = NULL;
    resolve_note_outcome(q->api->resolver, repo_of(q), result);
    if (result->outcome == FETCH_OK) {
        read_body(q);
        return;
    }
    if (has_no_api(q, result)) {
        ask_schema(q);
        return;
    }
    if (result->outcome != FETCH_REFUSED)
        q->why = result->error;
    q->retry_after_s = result->retry_after_s;
    if (q->is_crowded) {
        fail(q, API_ERROR_UNAVAILABLE);
        return;
    }
    /* A page that was announced and is not there is a wrong answer. */
    fail(q, api_error_of_fetch(result, API_ERROR_BAD_UPSTREAM));
}

static const struct fetch_ops FETCH_OPS = {on_head, on_data, on_done};

static void ask_page(struct question *q)
{
    char subject[DIGEST_TEXT_SIZE];
    struct strbuf reference = STRBUF_INIT;
    struct fetch_spec spec = {.kind = FETCH_REFERRERS, .repo = repo_of(q), .end = UINT64_MAX};

    q->n_pages++;
    digest_format(&q->subject, subject);
    strbuf_add_str(&reference, subject);
    if (q->query.len) {
        strbuf_add_char(&reference, '?');
        strbuf_add_slice(&reference, (struct slice){q->query.ptr, q->query.len});
    }
    spec.reference = (struct slice){reference.ptr, reference.len};
    q->fetch = api_fetch(q->api, &spec, &FETCH_OPS, q);
    strbuf_fini(&reference);
}

/* --- questions -------------------------------------------------------------------------------- */

static struct flight *do_make(void *arg)
{
    const struct wish *wish = arg;
    const struct api_settings *s = api_settings_now(wish->api);
    struct question *q = xcalloc(1, sizeof(*q));

    CHECK(wish->repo.len <= sizeof(q->repo));
    q->api = wish->api;
    q->subject = *wish->subject;
    q->bytes_max = s->referrers_max_bytes;
    q->pages_max = s->referrers_pages_max;
    q->list = referrer_list_new();
    q->repo_len = wish->repo.len;
    memcpy(q->repo, wish->repo.ptr, wish->repo.len);
    return &q->flight;
}

static void do_start(struct flight *f)
{
    ask_page((struct question *)f);
}

static bool do_stop(struct flight *f)
{
    struct question *q = (struct question *)f;

    if (q->state != ASK_ASKING)
        return false;
    fetch_cancel(&q->fetch);
    ask_goto(q, ASK_ANSWERED);
    return true;
}

static const struct flight_ops FLIGHT_OPS = {do_make, do_start, do_stop, do_free};

struct flights *referrers_ask_table(void)
{
    return flights_new(&FLIGHT_OPS);
}

void referrers_ask(struct api *api, struct slice repo, const struct digest *subject,
                   struct flight_waiter *w)
{
    struct wish wish = {api, repo, subject};
    char digest[DIGEST_TEXT_SIZE];

    CHECK(api_registry_of(api, repo)->upstream);
    digest_format(subject, digest);
    char *key = xasprintf("%.*s@%s", SLICE_ARG(repo), digest);
    flights_join(api->referrers_asked, slice_of(key), &wish, w);
    free(key);
}

void referrers_ask_read(const struct flight *f, struct referrers_told *out)
{
    const struct question *q = (const struct question *)f;

    CHECK(q->state == ASK_ANSWERED);
    out->error = q->error;
    out->retry_after_s = q->retry_after_s;
    out->list = q->list;
}
