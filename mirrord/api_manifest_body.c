#include "config.h"

#include "mirrord/api_manifest_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/link.h"
#include "cache/manifest.h"

/* Neither here nor upstream is the manifest that the remembered tag points to: the tag has moved
 * since, and where it was is gone. What is remembered here stays if it was only heard. */
bool api_manifest_doubt_tag(struct manifest_wait *w)
{
    if (!w->is_unasked)
        return false;
    w->is_unasked = false;
    if (!w->is_heard)
        w->record.mirrored = TAG_UNASKED;
    else
        w->is_heard = w->has_moved = false;
    api_manifest_ask_tag(w);
    return true;
}

void api_manifest_keep_facts(struct manifest_wait *w, const struct resolve_answer *a)
{
    free(w->media_type);
    w->media_type = xmemdup0(a->media_type.ptr, a->media_type.len);
    w->size = a->size;
    w->has_facts = true;
}

static bool can_step_back(const struct manifest_wait *w)
{
    return w->has_moved && w->record.mirrored == TAG_MIRRORED;
}

/* The tag has moved to what cannot be had; where it was before can. */
static void step_back(struct manifest_wait *w)
{
    w->has_moved = w->is_heard = w->is_unasked = false;
    w->is_told = false;
    w->digest = w->record.digest;
    w->checked_at_s = w->record.checked_at_s;
    w->source = (struct origin){.upstream = w->record.upstream, .at_s = w->record.fetched_at_s};
    w->origin = API_ORIGIN_STALE;
    api_manifest_step_body(w);
}

static void on_body_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    api_manifest_stop_timer(w);
    if (!w->txn) {
        api_manifest_end(w);
    } else if (a->error == API_ERROR_NONE) {
        if (!w->is_tag)
            api_manifest_set_source(w);
        if (!a->manifest) {
            api_manifest_keep_facts(w, a);
            api_manifest_send_facts(w);
            return;
        }
        w->origin = !a->is_kept ? API_ORIGIN_PASSED
                    : is_first  ? API_ORIGIN_MISS
                                : API_ORIGIN_COLLAPSED;
        w->has_moved = w->has_moved && a->is_kept;
        w->is_told = w->is_told && a->is_kept;
        api_manifest_send(w, manifest_ref(a->manifest));
    } else if (w->is_heard) {
        api_manifest_refuse_heard(w, a);
    } else if (can_step_back(w)) {
        step_back(w);
    } else if (a->error != API_ERROR_MANIFEST_UNKNOWN || !api_manifest_doubt_tag(w)) {
        w->origin = API_ORIGIN_MISS;
        api_manifest_refuse(w, a->error, a->retry_after_s);
    }
}

/* The body is here, and what the upstream said is whether this repository has it. */
static void on_confirmed(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct manifest_wait *w = arg;

    (void)is_first;
    api_manifest_stop_timer(w);
    if (!w->txn) {
        api_manifest_end(w);
    } else if (a->error == API_ERROR_NONE) {
        struct manifest *m = w->body;
        w->body = NULL;
        w->origin = API_ORIGIN_REVALIDATED;
        w->is_told = true;
        api_manifest_set_source(w);
        api_manifest_send(w, m);
    } else {
        w->origin = API_ORIGIN_MISS;
        api_manifest_refuse(w, a->error, a->retry_after_s);
    }
}

/* The upstream may be asked for the manifest itself. */
static bool can_ask(const struct manifest_wait *w)
{
    return api_can_ask(w->api, api_manifest_repo_of(w)) && w->view.rule != PRECEDENCE_LOCAL_ONLY;
}

/* Without a body: asks for it. With one: whether the repository has it. */
static void ask_body(struct manifest_wait *w)
{
    char text[DIGEST_TEXT_SIZE];
    struct slice digest = {text, digest_format(&w->digest, text)};
    bool is_head = w->is_head || w->body;
    const struct api_settings *s = api_settings_now(w->api);

    if (!can_ask(w)) {
        api_manifest_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else if (w->is_head && w->has_facts) {
        api_manifest_send_facts(w);
    } else if (api_manifest_ask_facts(w, ask_body)) {
        return;
    } else if (resolve_is_absent(w->api->resolver, HOLD_ABSENT_MANIFEST, api_manifest_repo_of(w),
                                 digest)) {
        if (api_manifest_doubt_tag(w))
            return;
        w->origin = API_ORIGIN_NEGATIVE;
        api_manifest_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else {
        api_manifest_goto(w, MANIFEST_WAIT_BODY_ASK);
        w->waiter.done = w->body ? on_confirmed : on_body_answer;
        w->waiter.arg = w;
        if (can_step_back(w))
            api_manifest_start_timer(w, s->stale_wait_ms, step_back);
        else
            api_manifest_start_timer(w, s->miss_wait_ms, api_manifest_refuse_late);
        resolve_ask(w->api->resolver, is_head ? RESOLVE_DIGEST_HEAD : RESOLVE_DIGEST_GET,
                    api_manifest_repo_of(w), digest, &w->waiter);
    }
}

/* The body is here; its reference is taken. Others may read it through other repositories: by
 * digest it is sent through this one only when it has it. */
static void use_body(struct manifest_wait *w, struct manifest *m)
{
    if (w->is_tag || w->is_linked) {
        api_manifest_send(w, m);
        return;
    }
    w->body = m;
    ask_body(w);
}

static void on_body_loaded(void *arg, int rc, struct manifest *m)
{
    struct manifest_wait *w = arg;

    CHECK(w->state == MANIFEST_WAIT_BODY_LOAD);
    if (!w->txn) {
        manifest_unref(&m);
        api_manifest_end(w);
    } else if (rc == 0) {
        use_body(w, m);
    } else if (rc == -ENOENT) {
        ask_body(w);
    } else if (rc == -EFBIG) {
        api_manifest_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    } else {
        api_manifest_refuse(w, API_ERROR_STORAGE, 0);
    }
}

/* The largest manifest that can be here, whoever brought it. */
static size_t max_bytes(const struct api_settings *s)
{
    return s->manifest_max_bytes > s->push_manifest_max_bytes ? s->manifest_max_bytes
                                                              : s->push_manifest_max_bytes;
}

void api_manifest_step_body(struct manifest_wait *w)
{
    struct manifest *m = manifests_find(w->api->manifests, &w->digest);

    if (m) {
        use_body(w, m);
        return;
    }
    api_manifest_goto(w, MANIFEST_WAIT_BODY_LOAD);
    manifests_load(w->api->manifests, api_manifest_repo_of(w), &w->digest,
                   max_bytes(api_settings_now(w->api)), on_body_loaded, w);
}

/* --- the link of a digest --------------------------------------------------------------------- */

void api_manifest_set_linked(struct manifest_wait *w, const struct origin *source)
{
    w->is_linked = true;
    w->has_source = source != NULL;
    if (source)
        w->source = *source;
}

static void on_link_loaded(void *arg, int rc)
{
    struct manifest_wait *w = arg;
    struct origin source;

    CHECK(w->state == MANIFEST_WAIT_LINK_LOAD);
    if (!w->txn) {
        api_manifest_end(w);
    } else if (rc == 0) {
        bool is_known = links_find_origin(w->api->links, LINK_REVISION, api_manifest_repo_of(w),
                                          &w->digest, &source);
        api_manifest_set_linked(w, is_known ? &source : NULL);
        api_manifest_step_body(w);
    } else if (rc != -ENOENT) {
        api_manifest_refuse(w, API_ERROR_STORAGE, 0);
    } else if (can_ask(w)) {
        api_manifest_step_body(w);
    } else {
        api_manifest_refuse(w, API_ERROR_MANIFEST_UNKNOWN, 0);
    }
}

void api_manifest_load_link(struct manifest_wait *w)
{
    api_manifest_goto(w, MANIFEST_WAIT_LINK_LOAD);
    links_load(w->api->links, LINK_REVISION, api_manifest_repo_of(w), &w->digest, on_link_loaded,
               w);
}
