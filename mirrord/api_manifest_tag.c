#include "config.h"

#include "mirrord/api_manifest_private.h"

#include <errno.h>

#include <event2/event.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/worker.h"
#include "cache/manifest.h"
#include "mirrord/txn.h"

/* The half of the record that was chosen, from here. */
static void serve_half(struct manifest_wait *w, enum tag_choice choice, enum api_origin origin)
{
    const struct tag_record *r = &w->record;
    bool is_pushed = choice == TAG_CHOICE_PUSHED;

    CHECK(is_pushed || choice == TAG_CHOICE_MIRRORED);
    w->origin = origin;
    w->digest = is_pushed ? r->pushed : r->digest;
    w->checked_at_s = r->checked_at_s;
    w->has_source = true;
    w->source = is_pushed ? (struct origin){.is_pushed = true, .at_s = r->pushed_at_s}
                          : (struct origin){.upstream = r->upstream, .at_s = r->fetched_at_s};
    api_manifest_step_body(w);
}

static bool serve_fallback(struct manifest_wait *w)
{
    enum tag_choice choice = tag_choice_fallback(w->rule, &w->record);

    if (choice != TAG_CHOICE_ABSENT)
        serve_half(w, choice, API_ORIGIN_STALE);
    return choice != TAG_CHOICE_ABSENT;
}

bool api_manifest_fall_back(struct manifest_wait *w)
{
    return serve_fallback(w);
}

static void stop_timer(struct manifest_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

/* The tag may have been pushed while the upstream was asked. True: that settles it. */
static bool serve_push(struct manifest_wait *w)
{
    struct tag_record now;

    if (!tags_find(w->api->tags, api_manifest_repo_of(w), api_manifest_tag_of(w), &now) ||
        !now.is_pushed)
        return false;
    w->record.is_pushed = true;
    w->record.pushed = now.pushed;
    w->record.pushed_at_s = now.pushed_at_s;
    if (w->rule != PRECEDENCE_LOCAL_FIRST)
        return false;
    serve_half(w, TAG_CHOICE_PUSHED, API_ORIGIN_HIT);
    return true;
}

/* The upstream has no such tag, or gave no answer. */
static void on_tag_refused(struct manifest_wait *w, const struct resolve_answer *a, bool is_first)
{
    bool is_absent = a->error == API_ERROR_MANIFEST_UNKNOWN;

    if (is_absent)
        w->record.mirrored = TAG_ABSENT;
    if (is_absent && tag_choice_fallback(w->rule, &w->record) == TAG_CHOICE_PUSHED) {
        serve_half(w, TAG_CHOICE_PUSHED, API_ORIGIN_HIT);
    } else if (!serve_fallback(w)) {
        w->origin = is_first ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
        api_manifest_refuse(w, a->error, a->retry_after_s);
    }
}

/* The upstream has this digest under the tag. */
static void use_tag_answer(struct manifest_wait *w, const struct resolve_answer *a, bool is_first)
{
    bool has_record = w->record.mirrored == TAG_MIRRORED;

    w->is_told = a->is_kept;
    w->digest = a->digest;
    w->checked_at_s = clock_wall_s();
    api_manifest_set_source(w);
    if (has_record && digest_equal(&a->digest, &w->record.digest)) {
        w->origin = API_ORIGIN_REVALIDATED;
        api_manifest_step_body(w);
        return;
    }
    w->origin = is_first ? API_ORIGIN_MISS : API_ORIGIN_COLLAPSED;
    if (a->manifest) {
        w->origin = a->is_kept ? w->origin : API_ORIGIN_PASSED;
        api_manifest_send(w, manifest_ref(a->manifest));
        return;
    }
    w->has_moved = has_record;
    api_manifest_keep_facts(w, a);
    api_manifest_step_body(w);
}

static void on_tag_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    stop_timer(w);
    if (!w->txn)
        api_manifest_end(w);
    else if (serve_push(w))
        return;
    else if (a->error != API_ERROR_NONE)
        on_tag_refused(w, a, is_first);
    else
        use_tag_answer(w, a, is_first);
}

/* The upstream takes too long for a client that can have the remembered tag. The question goes on;
 * others do not wait for it either. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct manifest_wait *w = arg;

    (void)fd, (void)what;
    stop_timer(w);
    resolve_hold(w->api->resolver, api_manifest_repo_of(w), api_manifest_tag_of(w),
                 api_settings_now(w->api)->stale_retry_s);
    if (w->txn && resolve_leave(w->api->resolver, &w->waiter))
        serve_fallback(w);
}

static void start_timer(struct manifest_wait *w)
{
    unsigned wait_ms = api_settings_now(w->api)->stale_wait_ms;
    struct timeval tv = {wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000};

    w->timer = evtimer_new(worker_event_base(worker_current()), on_timer, w);
    CHECK(w->timer && evtimer_add(w->timer, &tv) == 0);
}

/* A tag that has been seen costs a HEAD; one that has not is fetched with one GET, unless the
 * client asks for less. */
void api_manifest_ask_tag(struct manifest_wait *w)
{
    bool is_get = w->record.mirrored != TAG_MIRRORED && !w->is_head;

    api_manifest_goto(w, MANIFEST_WAIT_TAG_ASK);
    w->waiter.done = on_tag_answer;
    w->waiter.arg = w;
    if (tag_choice_fallback(w->rule, &w->record) != TAG_CHOICE_ABSENT)
        start_timer(w);
    resolve_ask(w->api->resolver, is_get ? RESOLVE_TAG_GET : RESOLVE_TAG_HEAD,
                api_manifest_repo_of(w), api_manifest_tag_of(w), &w->waiter);
}

enum tag_choice api_manifest_choose(const struct api *api, struct slice repo, enum precedence rule,
                                    const struct tag_record *record)
{
    const struct api_settings *s = api_settings_now(api);
    struct tag_view view = {.rule = rule,
                            .has_upstream = api_registry_of(api, repo)->upstream != NULL,
                            .now_s = clock_wall_s(),
                            .ttl_s = s->tags_cache_ttl_s,
                            .negative_ttl_s = s->negative_ttl_s};

    return tag_choice_of(&view, record);
}

void api_manifest_step_tag(struct manifest_wait *w, const struct tag_record *record)
{
    enum tag_choice choice = api_manifest_choose(w->api, api_manifest_repo_of(w), w->rule, record);
    bool has_fallback = tag_choice_fallback(w->rule, record) != TAG_CHOICE_ABSENT;

    if (record)
        w->record = *record;
    w->is_unasked = choice == TAG_CHOICE_MIRRORED;
    if (choice == TAG_CHOICE_PUSHED || choice == TAG_CHOICE_MIRRORED) {
        serve_half(w, choice, API_ORIGIN_HIT);
    } else if (choice == TAG_CHOICE_ABSENT) {
        w->origin = API_ORIGIN_NEGATIVE;
        api_manifest_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else if (has_fallback &&
               resolve_is_held(w->api->resolver, api_manifest_repo_of(w), api_manifest_tag_of(w))) {
        serve_fallback(w);
    } else {
        api_manifest_ask_tag(w);
    }
}

static void on_tag_loaded(void *arg, int rc, const struct tag_record *record,
                          const struct tag_record *heard)
{
    struct manifest_wait *w = arg;

    CHECK(w->state == MANIFEST_WAIT_TAG_LOAD);
    if (!w->txn)
        api_manifest_end(w);
    else if (heard && api_manifest_use_heard(w, record, heard))
        return;
    else if (rc == 0 || rc == -ENOENT)
        api_manifest_step_tag(w, record);
    else
        api_manifest_refuse(w, API_ERROR_STORAGE, 0);
}

void api_manifest_load_tag(struct manifest_wait *w)
{
    api_manifest_goto(w, MANIFEST_WAIT_TAG_LOAD);
    tags_load(w->api->tags, api_manifest_repo_of(w), api_manifest_tag_of(w), on_tag_loaded, w);
}
