/* What the metadata cache knows about manifests, where this process alone would ask upstream. */
#include "config.h"

#include "mirrord/api_manifest_private.h"

#include "base/check.h"
#include "cache/manifest.h"
#include "cache/meta_value.h"
#include "mirrord/refresh.h"

bool api_manifest_use_heard(struct manifest_wait *w, const struct tag_record *record,
                            const struct tag_record *heard)
{
    struct tag_record both = *heard;
    struct tag_view view = w->view, heard_view = w->view;

    CHECK(heard->mirrored == TAG_MIRRORED);
    if (record) {
        both.is_pushed = record->is_pushed;
        both.pushed = record->pushed;
        both.pushed_at_s = record->pushed_at_s;
    }
    enum tag_choice choice = api_manifest_choose(w->api, api_manifest_repo_of(w), &view, record);
    enum tag_choice theirs =
        api_manifest_choose(w->api, api_manifest_repo_of(w), &heard_view, &both);
    bool is_due = choice == TAG_CHOICE_ASK || choice == TAG_CHOICE_GRACE;
    bool is_better =
        theirs == TAG_CHOICE_MIRRORED || (theirs == TAG_CHOICE_GRACE && choice == TAG_CHOICE_ASK);
    if (!is_due || !is_better)
        return false;
    w->view = heard_view;
    if (record)
        w->record = *record;
    w->is_unasked = w->is_heard = w->has_moved = w->has_source = true;
    w->origin = api_manifest_origin(theirs, &heard_view, &both);
    w->digest = heard->digest;
    w->checked_at_s = heard->checked_at_s;
    w->heard_at = heard->heard_at;
    w->source = (struct origin){.upstream = heard->upstream, .at_s = heard->fetched_at_s};
    api_manifest_step_body(w);
    return true;
}

void api_manifest_refuse_heard(struct manifest_wait *w, const struct resolve_answer *a)
{
    CHECK(w->is_heard && a->error != API_ERROR_NONE);
    if (a->error == API_ERROR_MANIFEST_UNKNOWN && api_manifest_doubt_tag(w))
        return;
    w->is_unasked = w->is_heard = w->has_moved = false;
    if (api_manifest_fall_back(w))
        return;
    w->origin = API_ORIGIN_MISS;
    api_manifest_refuse(w, a->error, a->retry_after_s);
}

void api_manifest_refresh_heard(const struct manifest_wait *w)
{
    if (w->is_heard && tag_choice_ttl_left_s(&w->view, w->checked_at_s) <= 0)
        refresh_tag(w->api, api_manifest_repo_of(w), api_manifest_tag_of(w));
}

static void on_facts(void *arg, int rc, const struct meta_facts *facts)
{
    struct manifest_wait *w = arg;

    CHECK(w->state == MANIFEST_WAIT_FACTS);
    if (!w->txn) {
        api_manifest_end(w);
        return;
    }
    if (rc == 0) {
        struct resolve_answer a = {.media_type = facts->media_type, .size = facts->size};
        api_manifest_keep_facts(w, &a);
    }
    w->go_on(w);
}

bool api_manifest_ask_facts(struct manifest_wait *w, void (*go_on)(struct manifest_wait *w))
{
    if (!w->is_tag || !w->is_head || w->has_facts || w->has_asked_facts)
        return false;
    CHECK(go_on);
    w->has_asked_facts = true;
    w->go_on = go_on;
    if (manifests_find_facts(w->api->manifests, &w->digest, on_facts, w) < 0)
        return false;
    api_manifest_goto(w, MANIFEST_WAIT_FACTS);
    return true;
}
