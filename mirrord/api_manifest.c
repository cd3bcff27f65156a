#include "config.h"

#include "mirrord/api_manifest_private.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "mirrord/refresh.h"
#include "mirrord/states.h"
#include "mirrord/txn.h"

static const struct state_row STATES[] = {
    [MANIFEST_WAIT_START] = {"start",
                             TO(MANIFEST_WAIT_TAG_LOAD) | TO(MANIFEST_WAIT_TAG_ASK) |
                                 TO(MANIFEST_WAIT_LINK_LOAD) | TO(MANIFEST_WAIT_BODY_LOAD) |
                                 TO(MANIFEST_WAIT_ANSWERED),
                             "us"},
    [MANIFEST_WAIT_TAG_LOAD] = {"tag load",
                                TO(MANIFEST_WAIT_TAG_ASK) | TO(MANIFEST_WAIT_BODY_LOAD) |
                                    TO(MANIFEST_WAIT_ANSWERED),
                                "disk"},
    [MANIFEST_WAIT_TAG_ASK] = {"tag ask", TO(MANIFEST_WAIT_BODY_LOAD) | TO(MANIFEST_WAIT_ANSWERED),
                               "upstream"},
    [MANIFEST_WAIT_LINK_LOAD] = {"link load",
                                 TO(MANIFEST_WAIT_BODY_LOAD) | TO(MANIFEST_WAIT_BODY_ASK) |
                                     TO(MANIFEST_WAIT_ANSWERED),
                                 "disk"},
    /* Back to loading: of the remembered manifest, when the new one cannot be had. Back to the tag:
     * when it was believed unasked, and what it is said to point to is nowhere. */
    [MANIFEST_WAIT_BODY_LOAD] = {"body load",
                                 TO(MANIFEST_WAIT_TAG_ASK) | TO(MANIFEST_WAIT_FACTS) |
                                     TO(MANIFEST_WAIT_BODY_ASK) | TO(MANIFEST_WAIT_ANSWERED),
                                 "disk"},
    [MANIFEST_WAIT_FACTS] = {"facts",
                             TO(MANIFEST_WAIT_TAG_ASK) | TO(MANIFEST_WAIT_BODY_ASK) |
                                 TO(MANIFEST_WAIT_ANSWERED),
                             "cache"},
    [MANIFEST_WAIT_BODY_ASK] = {"body ask",
                                TO(MANIFEST_WAIT_TAG_ASK) | TO(MANIFEST_WAIT_BODY_LOAD) |
                                    TO(MANIFEST_WAIT_ANSWERED),
                                "upstream"},
    [MANIFEST_WAIT_ANSWERED] = {"answered", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == MANIFEST_WAIT_STATE_MAX,
               "a row for every state");

/* --- the story's beginning and end ------------------------------------------------------------ */

void api_manifest_goto(struct manifest_wait *w, enum manifest_wait_state next)
{
    CHECK(STATES[w->state].next & TO(next));
    log_debug("manifest", "%s -> %s, turn of the %s", STATES[w->state].name, STATES[next].name,
              STATES[next].turn);
    w->state = next;
}

static void free_wait(void *arg)
{
    struct manifest_wait *w = arg;

    manifest_unref(&w->body);
    free(w->media_type);
    free(w);
}

void api_manifest_end(struct manifest_wait *w)
{
    api_manifest_goto(w, MANIFEST_WAIT_ANSWERED);
    api_manifest_stop_timer(w);
    worker_bury(worker_current(), free_wait, w);
}

struct slice api_manifest_repo_of(const struct manifest_wait *w)
{
    return (struct slice){w->repo, w->repo_len};
}

const struct registry *api_manifest_registry_of(const struct manifest_wait *w)
{
    return api_registry_of(w->api, api_manifest_repo_of(w));
}

struct slice api_manifest_tag_of(const struct manifest_wait *w)
{
    return (struct slice){w->tag, w->tag_len};
}

void api_manifest_refuse(struct manifest_wait *w, enum api_error error, int retry_after_s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct api_error_info info = {.detail_key = w->is_tag ? "Tag" : "digest",
                                  .detail_value = api_manifest_tag_of(w),
                                  .retry_after_s = retry_after_s};

    if (!w->is_tag)
        info.detail_value = (struct slice){digest, digest_format(&w->digest, digest)};
    if (w->origin == API_ORIGIN_NEGATIVE && w->view.can_ask)
        info.lines = api_origin_lines(w->origin);
    txn_on_gone(w->txn, NULL, NULL);
    api_origin_count_manifest(w->txn, w->origin);
    api_error_reply(w->txn, error, &info);
    api_manifest_end(w);
}

void api_manifest_refuse_late(struct manifest_wait *w)
{
    w->origin = API_ORIGIN_MISS;
    api_manifest_refuse(w, API_ERROR_TIMEOUT, 0);
}

/* The upstream takes too long. The question goes on. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct manifest_wait *w = arg;

    (void)fd, (void)what;
    api_manifest_stop_timer(w);
    if (w->txn && resolve_leave(w->api->resolver, &w->waiter))
        w->on_late(w);
}

void api_manifest_start_timer(struct manifest_wait *w, unsigned wait_ms,
                              void (*on_late)(struct manifest_wait *w))
{
    struct timeval tv = {wait_ms / 1000, (suseconds_t)(wait_ms % 1000) * 1000};

    CHECK(!w->timer);
    w->on_late = on_late;
    w->timer = evtimer_new(worker_event_base(worker_current()), on_timer, w);
    CHECK(w->timer && evtimer_add(w->timer, &tv) == 0);
}

void api_manifest_stop_timer(struct manifest_wait *w)
{
    if (w->timer)
        event_free(w->timer);
    w->timer = NULL;
}

/* The client has left. What cannot be called back is waited for. */
static void on_gone(void *arg)
{
    struct manifest_wait *w = arg;
    bool is_asking = w->state == MANIFEST_WAIT_TAG_ASK || w->state == MANIFEST_WAIT_BODY_ASK;

    w->txn = NULL;
    if (is_asking && resolve_leave(w->api->resolver, &w->waiter))
        api_manifest_end(w);
}

/* --- requests --------------------------------------------------------------------------------- */

static struct manifest_wait *wait_new(const struct api_request *q)
{
    struct manifest_wait *w = xcalloc(1, sizeof(*w));

    w->api = q->api;
    w->txn = q->txn;
    w->is_head = q->is_head;
    w->is_tag = !q->route->is_digest;
    api_manifest_view(q->api, q->repo, w->is_tag ? q->route->reference : SLICE_NONE, &w->view);
    w->digest = q->route->digest;
    w->origin = API_ORIGIN_HIT;
    w->repo_len = q->repo.len;
    memcpy(w->repo, q->repo.ptr, q->repo.len);
    if (w->is_tag) {
        w->tag_len = q->route->reference.len;
        memcpy(w->tag, q->route->reference.ptr, w->tag_len);
    }
    txn_on_gone(w->txn, on_gone, w);
    return w;
}

/* By tag. hot */
static void handle_tag(const struct api_request *q)
{
    struct slice tag = q->route->reference;
    struct tag_record r;
    struct tag_view view;
    bool is_known = tags_find(q->api->tags, q->repo, tag, &r);
    enum tag_choice choice = TAG_CHOICE_ASK;

    if (is_known) {
        api_manifest_view(q->api, q->repo, tag, &view);
        choice = api_manifest_choose(q->api, q->repo, &view, &r);
    }
    if (api_manifest_is_of_here(choice)) {
        bool is_pushed = choice == TAG_CHOICE_PUSHED;
        struct manifest *m = manifests_find(q->api->manifests, is_pushed ? &r.pushed : &r.digest);
        struct origin source = {.is_pushed = is_pushed, .upstream = is_pushed ? NULL : r.upstream};
        struct manifest_manner how = {api_manifest_origin(choice, &view, &r), true, r.checked_at_s,
                                      &view, &source};
        if (m) {
            if (choice == TAG_CHOICE_GRACE)
                refresh_tag(q->api, q->repo, tag);
            api_manifest_reply(q->txn, m, &how);
            return;
        }
    }
    struct manifest_wait *w = wait_new(q);
    if (is_known)
        api_manifest_step_tag(w, &r);
    else
        api_manifest_load_tag(w);
}

/* By digest. hot */
static void handle_digest(const struct api_request *q)
{
    const struct digest *d = &q->route->digest;
    struct origin source;
    struct manifest_manner how = {.origin = API_ORIGIN_HIT, .source = &source};
    bool is_linked = links_find_origin(q->api->links, LINK_REVISION, q->repo, d, &source);
    struct manifest *m = is_linked ? manifests_find(q->api->manifests, d) : NULL;

    if (m) {
        api_manifest_reply(q->txn, m, &how);
        return;
    }
    struct manifest_wait *w = wait_new(q);
    if (is_linked) {
        api_manifest_set_linked(w, &source);
        api_manifest_step_body(w);
    } else {
        api_manifest_load_link(w);
    }
}

void api_manifest_handle(const struct api_request *q)
{
    if (q->route->is_digest)
        handle_digest(q);
    else
        handle_tag(q);
}
