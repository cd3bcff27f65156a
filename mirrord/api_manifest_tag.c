#include "config.h"

#include "mirrord/api_manifest_private.h"

#include <errno.h>

#include "base/check.h"
#include "base/clock.h"
#include "cache/manifest.h"
#include "mirrord/refresh.h"

/* The half of the record that was chosen, from here. */
static void serve_half(struct manifest_wait *w, enum tag_choice choice, enum api_origin origin)
{
    const struct tag_record *r = &w->record;
    bool is_pushed = choice == TAG_CHOICE_PUSHED;

    CHECK(is_pushed || choice == TAG_CHOICE_MIRRORED || choice == TAG_CHOICE_GRACE);
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
    bool is_doubted =
        resolve_is_doubted(w->api->resolver, api_manifest_repo_of(w), api_manifest_tag_of(w));
    enum tag_choice choice = tag_choice_fallback(&w->view, &w->record);

    if (choice != TAG_CHOICE_ABSENT)
        serve_half(w, choice, is_doubted ? API_ORIGIN_DOUBTED : API_ORIGIN_STALE);
    return choice != TAG_CHOICE_ABSENT;
}

bool api_manifest_fall_back(struct manifest_wait *w)
{
    return serve_fallback(w);
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
    if (w->view.rule != PRECEDENCE_LOCAL_FIRST)
        return false;
    serve_half(w, TAG_CHOICE_PUSHED, API_ORIGIN_HIT);
    return true;
}

/* The upstream has no such tag, or gave no answer. */
static void on_tag_refused(struct manifest_wait *w, const struct resolve_answer *a, bool is_first)
{
    bool is_absent = a->error == API_ERROR_MANIFEST_UNKNOWN && !a->is_doubted;

    if (is_absent)
        w->record.mirrored = TAG_ABSENT;
    if (is_absent && tag_choice_fallback(&w->view, &w->record) == TAG_CHOICE_PUSHED) {
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

    api_manifest_stop_timer(w);
    if (!w->txn)
        api_manifest_end(w);
    else if (serve_push(w))
        return;
    else if (a->error != API_ERROR_NONE)
        on_tag_refused(w, a, is_first);
    else
        use_tag_answer(w, a, is_first);
}

/* A client that can have the remembered tag does not wait longer; others do not wait for it either.
 */
static void on_late(struct manifest_wait *w)
{
    resolve_note_silence(w->api->resolver, api_manifest_repo_of(w));
    resolve_hold(w->api->resolver, api_manifest_repo_of(w), api_manifest_tag_of(w),
                 api_settings_now(w->api)->stale_retry_s);
    serve_fallback(w);
}

/* A tag that has been seen costs a HEAD; one that has not is fetched with one GET, unless the
 * client asks for less. */
void api_manifest_ask_tag(struct manifest_wait *w)
{
    const struct api_settings *s = api_settings_now(w->api);
    bool is_get = w->record.mirrored != TAG_MIRRORED && !w->is_head;

    api_manifest_goto(w, MANIFEST_WAIT_TAG_ASK);
    w->waiter.done = on_tag_answer;
    w->waiter.arg = w;
    if (tag_choice_fallback(&w->view, &w->record) != TAG_CHOICE_ABSENT)
        api_manifest_start_timer(w, s->stale_wait_ms, on_late);
    else
        api_manifest_start_timer(w, s->miss_wait_ms, api_manifest_refuse_late);
    resolve_ask(w->api->resolver, is_get ? RESOLVE_TAG_GET : RESOLVE_TAG_HEAD,
                api_manifest_repo_of(w), api_manifest_tag_of(w), &w->waiter);
}

void api_manifest_view(const struct api *api, struct slice repo, struct slice tag,
                       struct tag_view *out)
{
    const struct api_snapshot *s = api_snapshot_now(api);

    *out = (struct tag_view){.rule = precedence_judge(s->precedence, repo, tag),
                             .can_ask = api_can_ask(api, repo),
                             .now_s = clock_wall_s(),
                             .negative_ttl_s =
                                 api_negative_ttl_s(api, repo, s->settings.negative_tag_ttl_s),
                             .freshness = freshness_judge(s->freshness, repo, tag)};
}

/* The upstream counts what it is asked for, and little is left. */
static void stretch(const struct api *api, struct tag_view *view)
{
    int64_t *ttl_s = &view->freshness.ttl_s;

    if (__builtin_mul_overflow(*ttl_s, (int64_t)api_settings_now(api)->quota_stretch, ttl_s))
        *ttl_s = FRESHNESS_FOR_EVER;
}

enum tag_choice api_manifest_choose(const struct api *api, struct slice repo, struct tag_view *view,
                                    const struct tag_record *record)
{
    enum tag_choice choice = tag_choice_of(view, record);
    bool is_due = choice == TAG_CHOICE_ASK || choice == TAG_CHOICE_GRACE;

    if (!is_due || !record || record->mirrored != TAG_MIRRORED || !api_is_saving(api, repo))
        return choice;
    stretch(api, view);
    return tag_choice_of(view, record);
}

bool api_manifest_is_of_here(enum tag_choice choice)
{
    return choice == TAG_CHOICE_PUSHED || choice == TAG_CHOICE_MIRRORED ||
           choice == TAG_CHOICE_GRACE;
}

enum api_origin api_manifest_origin(enum tag_choice choice, const struct tag_view *view,
                                    const struct tag_record *record)
{
    CHECK(api_manifest_is_of_here(choice));
    if (choice == TAG_CHOICE_GRACE)
        return API_ORIGIN_GRACE;
    bool is_old = choice == TAG_CHOICE_MIRRORED && !view->can_ask &&
                  tag_choice_ttl_left_s(view, record->checked_at_s) <= 0;
    return is_old && view->rule != PRECEDENCE_LOCAL_ONLY ? API_ORIGIN_OFFLINE : API_ORIGIN_HIT;
}

/* The upstream failed a moment ago, or keeps silent, and there is something to serve. In a silence
 * it is asked in the background, so that the first answer is noticed. */
static bool serve_left_alone(struct manifest_wait *w)
{
    struct slice repo = api_manifest_repo_of(w), tag = api_manifest_tag_of(w);

    if (tag_choice_fallback(&w->view, &w->record) == TAG_CHOICE_ABSENT)
        return false;
    if (!resolve_is_held(w->api->resolver, repo, tag)) {
        if (resolve_may_wait(w->api->resolver, repo))
            return false;
        refresh_tag(w->api, repo, tag);
    }
    return serve_fallback(w);
}

void api_manifest_step_tag(struct manifest_wait *w, const struct tag_record *record)
{
    enum tag_choice choice = api_manifest_choose(w->api, api_manifest_repo_of(w), &w->view, record);

    if (record)
        w->record = *record;
    w->is_unasked = choice == TAG_CHOICE_MIRRORED || choice == TAG_CHOICE_GRACE;
    if (choice == TAG_CHOICE_GRACE)
        refresh_tag(w->api, api_manifest_repo_of(w), api_manifest_tag_of(w));
    if (api_manifest_is_of_here(choice)) {
        serve_half(w, choice, api_manifest_origin(choice, &w->view, record));
    } else if (choice == TAG_CHOICE_ABSENT) {
        w->origin = API_ORIGIN_NEGATIVE;
        api_manifest_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else if (!serve_left_alone(w)) {
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
