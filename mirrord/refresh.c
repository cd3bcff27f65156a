#include "config.h"

#include "mirrord/refresh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/manifest.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/flight.h"
#include "mirrord/registries.h"
#include "mirrord/resolve.h"
#include "mirrord/states.h"

enum refresh_state {
    REFRESH_ASKING,
    REFRESH_LOOKING,
    REFRESH_FETCHING,
    REFRESH_OVER,
    REFRESH_STATE_MAX
};

static const struct state_row STATES[] = {
    [REFRESH_ASKING] = {"asking", TO(REFRESH_LOOKING) | TO(REFRESH_OVER), "upstream"},
    [REFRESH_LOOKING] = {"looking", TO(REFRESH_FETCHING) | TO(REFRESH_OVER), "disk"},
    [REFRESH_FETCHING] = {"fetching", TO(REFRESH_OVER), "upstream"},
    [REFRESH_OVER] = {"over", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == REFRESH_STATE_MAX, "a row for every state");

struct refresh {
    struct flight flight; /* first */
    enum refresh_state state;
    struct api *api;
    struct resolve_waiter waiter;
    struct digest digest; /* that the tag points to now */
    int64_t told_at_s;
    size_t repo_len, tag_len;
    char repo[NAME_FULL_MAX];
    char tag[NAME_TAG_MAX];
};

struct wish {
    struct api *api;
    struct slice repo, tag;
};

static struct slice repo_of(const struct refresh *r)
{
    return (struct slice){r->repo, r->repo_len};
}

static struct slice tag_of(const struct refresh *r)
{
    return (struct slice){r->tag, r->tag_len};
}

/* The only place where the state changes. */
static void refresh_goto(struct refresh *r, enum refresh_state next)
{
    CHECK(STATES[r->state].next & TO(next));
    log_debug("refresh", "%.*s:%.*s: %s -> %s, turn of the %s", SLICE_ARG(repo_of(r)),
              SLICE_ARG(tag_of(r)), STATES[r->state].name, STATES[next].name, STATES[next].turn);
    r->state = next;
}

static void end(struct refresh *r)
{
    refresh_goto(r, REFRESH_OVER);
    flight_land(&r->flight);
}

/* What the tag points to now is not to be had at present: the next client within its grace does not
 * ask at once. */
static void give_up(struct refresh *r)
{
    resolve_hold(r->api->resolver, repo_of(r), tag_of(r), api_settings_now(r->api)->stale_retry_s);
    end(r);
}

/* It is here: the tag points to it from now on. */
static void commit(struct refresh *r, struct manifest *m)
{
    struct tag_record record = {.mirrored = TAG_MIRRORED,
                                .digest = r->digest,
                                .fetched_at_s = r->told_at_s,
                                .checked_at_s = r->told_at_s,
                                .upstream = api_registry_of(r->api, repo_of(r))->origin};

    CHECK(digest_equal(manifest_digest(m), &r->digest));
    metric_inc(METRIC_REFRESHES_MOVED);
    resolve_commit_tag(r->api, repo_of(r), tag_of(r), &record, m);
    end(r);
}

static void on_fetched(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct refresh *r = arg;

    (void)is_first;
    CHECK(r->state == REFRESH_FETCHING);
    if (a->error == API_ERROR_NONE && a->manifest && a->is_kept)
        commit(r, a->manifest);
    else
        give_up(r);
}

/* One GET, which may cost of a quota that is better left to clients who wait. */
static void fetch(struct refresh *r)
{
    char text[DIGEST_TEXT_SIZE];
    struct slice digest = {text, digest_format(&r->digest, text)};

    if (api_is_saving(r->api, repo_of(r)) || !api_can_ask(r->api, repo_of(r))) {
        give_up(r);
        return;
    }
    refresh_goto(r, REFRESH_FETCHING);
    r->waiter = (struct resolve_waiter){.done = on_fetched, .arg = r};
    resolve_ask(r->api->resolver, RESOLVE_DIGEST_GET, repo_of(r), digest, &r->waiter);
}

static void on_looked(void *arg, int rc, struct manifest *m)
{
    struct refresh *r = arg;

    CHECK(r->state == REFRESH_LOOKING);
    if (rc == 0) {
        commit(r, m);
        manifest_unref(&m);
    } else if (rc == -ENOENT) {
        fetch(r);
    } else {
        give_up(r);
    }
}

static void on_asked(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct refresh *r = arg;
    struct tag_record known;

    CHECK(r->state == REFRESH_ASKING);

    (void)is_first;
    bool is_done = a->error != API_ERROR_NONE || !a->is_kept || a->manifest ||
                   !tags_find_mirrored(r->api->tags, repo_of(r), tag_of(r), &known) ||
                   known.mirrored != TAG_MIRRORED || digest_equal(&known.digest, &a->digest);
    if (is_done) {
        end(r);
        return;
    }
    r->digest = a->digest;
    r->told_at_s = clock_wall_s();
    refresh_goto(r, REFRESH_LOOKING);
    manifests_load(r->api->manifests, repo_of(r), &r->digest,
                   api_settings_now(r->api)->manifest_max_bytes, on_looked, r);
}

/* --- flights ---------------------------------------------------------------------------------- */

static struct flight *do_make(void *arg)
{
    const struct wish *wish = arg;
    struct refresh *r = xcalloc(1, sizeof(*r));

    CHECK(wish->repo.len <= sizeof(r->repo) && wish->tag.len <= sizeof(r->tag));
    r->api = wish->api;
    r->repo_len = wish->repo.len;
    memcpy(r->repo, wish->repo.ptr, wish->repo.len);
    r->tag_len = wish->tag.len;
    memcpy(r->tag, wish->tag.ptr, wish->tag.len);
    return &r->flight;
}

static void do_start(struct flight *f)
{
    struct refresh *r = (struct refresh *)f;

    CHECK(r->state == REFRESH_ASKING);
    metric_inc(METRIC_REFRESHES);
    r->waiter = (struct resolve_waiter){.done = on_asked, .arg = r};
    resolve_ask(r->api->resolver, RESOLVE_TAG_HEAD, repo_of(r), tag_of(r), &r->waiter);
}

/* It ends by itself. */
static bool do_stop(struct flight *f)
{
    (void)f;
    return false;
}

static void do_free(struct flight *f)
{
    free(f);
}

static const struct flight_ops FLIGHT_OPS = {do_make, do_start, do_stop, do_free};

struct flights *refresh_table(void)
{
    return flights_new(&FLIGHT_OPS);
}

void refresh_tag(struct api *api, struct slice repo, struct slice tag)
{
    struct wish wish = {api, repo, tag};
    char key[NAME_FULL_MAX + 1 + NAME_TAG_MAX];
    size_t n = repo.len;

    CHECK(n + 1 + tag.len <= sizeof(key));
    if (resolve_is_held(api->resolver, repo, tag))
        return;
    memcpy(key, repo.ptr, n);
    key[n++] = ':';
    memcpy(key + n, tag.ptr, tag.len);
    flights_begin(api->refreshes, (struct slice){key, n + tag.len}, &wish);
}
