/*
 * mount=<digest>, with or without from=<repository>: the blob gets a link of this repository, and
 * no byte is sent. With from it must be linked there; without, it is enough that it is here
 * (docs/design/pushes.md says what that means). Whatever speaks against it, an upload begins
 * instead: that is what clients expect (OCI distribution-spec, "Mounting a blob from another
 * repository").
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "cache/cache.h"
#include "cache/link.h"
#include "cache/vouch.h"
#include "mirrord/api_upload_private.h"
#include "mirrord/query.h"
#include "mirrord/txn.h"

struct mount {
    struct pool_job job; /* first */
    struct upload_story *story;
    bool has_from;
    size_t from_len;
    char from[NAME_FULL_MAX];
    int rc;
    struct error err;
};

/* Pool: who vouches first and looks then cannot lose it to the collector. */
static void do_mount(struct pool_job *job)
{
    struct mount *m = (struct mount *)job;
    struct upload_story *s = m->story;
    struct links *links = cache_links(s->api->cache);
    struct origin origin = {.is_pushed = true, .at_s = clock_wall_s()};
    struct slice from = {m->from, m->from_len};

    unsigned hold = vouch_hold(cache_vouches(s->api->cache));
    if (m->has_from)
        m->rc = links_load_now(links, LINK_LAYER, from, &s->digest, NULL);
    if (m->rc == 0)
        m->rc = vouch_present_now(cache_vouches(s->api->cache), &s->digest, NULL);
    if (m->rc == 0)
        m->rc = links_add_layer_now(links, api_upload_repo(s), &s->digest, &origin, &m->err);
    vouch_release(cache_vouches(s->api->cache), hold);
}

static void on_mounted(struct pool_job *job)
{
    struct mount *m = (struct mount *)job;
    struct upload_story *s = m->story;
    int rc = m->rc;

    CHECK(s->state == UPLOAD_STORY_MOUNTING && rc <= 0);
    if (rc < 0 && rc != -ENOENT)
        log_warning("push", "mount into %.*s: %s", (int)s->repo_len, s->repo,
                    m->err.code ? m->err.text : "the storage failed");
    free(m);
    if (!s->txn) {
        api_upload_end(s);
    } else if (rc == 0) {
        metric_inc(METRIC_PUSH_MOUNTS);
        reply_send_empty(api_upload_reply_blob(s));
        api_upload_end(s);
    } else {
        api_upload_begin(s);
    }
}

/* The repository that is mounted from, if one is named; false when it cannot be one. */
static bool read_from(const struct upload_story *s, struct slice query, struct mount *m)
{
    char from[NAME_FULL_MAX + 1];
    int len = query_find(query, "from", from, sizeof(from));

    m->has_from = len != -ENOENT;
    if (!m->has_from)
        return true;
    if (len < 0 || !name_is_full((struct slice){from, (size_t)len}))
        return false;
    m->from_len = api_store_name(s->api, s->txn, (struct slice){from, (size_t)len}, m->from);
    return m->from_len > 0;
}

bool api_upload_mount(struct upload_story *s)
{
    struct slice query = txn_head(s->txn)->query;
    char digest[DIGEST_TEXT_SIZE];

    int len = query_find(query, "mount", digest, sizeof(digest));
    if (len < 0 || !digest_parse((struct slice){digest, (size_t)len}, &s->digest))
        return false;
    struct mount *m = xcalloc(1, sizeof(*m));
    if (!read_from(s, query, m)) {
        free(m);
        return false;
    }
    m->story = s;
    m->job.work = do_mount;
    m->job.done = on_mounted;
    api_upload_goto(s, UPLOAD_STORY_MOUNTING);
    pool_submit(s->api->pool, &m->job, worker_current());
    return true;
}
