#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "mirrord/api_upload_private.h"
#include "mirrord/states.h"
#include "mirrord/txn.h"

/* Location, Range and Docker-Upload-UUID with the longest name and id. */
#define LINES_SIZE (2 * NAME_FULL_MAX + 2 * UPLOAD_ID_SIZE + 128)

/* clang-format off */
static const struct state_row STATES[] = {
    [UPLOAD_STORY_NEW]        = {"new", TO(UPLOAD_STORY_MOUNTING) | TO(UPLOAD_STORY_OPENING) |
                                        TO(UPLOAD_STORY_ASKING) | TO(UPLOAD_STORY_OVER), "ours"},
    [UPLOAD_STORY_MOUNTING]   = {"mounting", TO(UPLOAD_STORY_OPENING) | TO(UPLOAD_STORY_OVER), "pool"},
    [UPLOAD_STORY_OPENING]    = {"opening", TO(UPLOAD_STORY_RECEIVING) | TO(UPLOAD_STORY_REMOVING) |
                                            TO(UPLOAD_STORY_OVER), "storage"},
    [UPLOAD_STORY_RECEIVING]  = {"receiving", TO(UPLOAD_STORY_COMMITTING) | TO(UPLOAD_STORY_OVER), "client"},
    [UPLOAD_STORY_COMMITTING] = {"committing", TO(UPLOAD_STORY_OVER), "storage"},
    [UPLOAD_STORY_REMOVING]   = {"removing", TO(UPLOAD_STORY_OVER), "storage"},
    [UPLOAD_STORY_ASKING]     = {"asking", TO(UPLOAD_STORY_OVER), "storage"},
    [UPLOAD_STORY_OVER]       = {"over", 0, "nobody"},
};
/* clang-format on */
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == UPLOAD_STORY_STATE_MAX, "a row per state");

/* --- life ------------------------------------------------------------------------------------- */

void api_upload_goto(struct upload_story *s, enum upload_story_state state)
{
    CHECK(STATES[s->state].next & TO(state));
    log_debug("push", "%s: %s -> %s", s->id[0] ? s->id : "upload", STATES[s->state].name,
              STATES[state].name);
    s->state = state;
}

/* The client has left. Everything but its body is waited for. */
static void on_gone(void *arg)
{
    struct upload_story *s = arg;

    s->txn = NULL;
    if (s->state == UPLOAD_STORY_RECEIVING)
        api_upload_end(s);
}

struct upload_story *api_upload_new(const struct api_request *q)
{
    struct upload_story *s = xcalloc(1, sizeof(*s));

    CHECK(q->repo.len <= sizeof(s->repo) && q->route->repo.len <= sizeof(s->name));
    s->api = q->api;
    s->txn = q->txn;
    s->repo_len = q->repo.len;
    memcpy(s->repo, q->repo.ptr, q->repo.len);
    s->name_len = q->route->repo.len;
    memcpy(s->name, q->route->repo.ptr, s->name_len);
    txn_note_cache(s->txn, "push");
    txn_on_gone(s->txn, on_gone, s);
    return s;
}

struct slice api_upload_repo(const struct upload_story *s)
{
    return (struct slice){s->repo, s->repo_len};
}

struct uploads *api_upload_table(const struct upload_story *s)
{
    return cache_uploads(s->api->cache);
}

void api_upload_let_go(struct upload_story *s)
{
    if (!s->upload)
        return;
    upload_on_room(s->upload, NULL, NULL);
    if (s->is_untold)
        upload_cancel(&s->upload, NULL, NULL);
    else
        upload_release(&s->upload);
}

static void free_story(void *arg)
{
    free(arg);
}

void api_upload_end(struct upload_story *s)
{
    api_upload_let_go(s);
    api_upload_goto(s, UPLOAD_STORY_OVER);
    worker_bury(worker_current(), free_story, s);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Where the upload goes on, and from which byte. */
static struct slice status_lines(const struct upload_story *s, uint64_t size, char out[LINES_SIZE])
{
    struct slice base = s->txn ? txn_base(s->txn) : SLICE("");
    int n =
        snprintf(out, LINES_SIZE,
                 "Location: %.*s/v2/%.*s/blobs/uploads/%s\r\n"
                 "Range: 0-%" PRIu64 "\r\n"
                 "Docker-Upload-UUID: %s\r\n",
                 SLICE_ARG(base), (int)s->name_len, s->name, s->id, size > 0 ? size - 1 : 0, s->id);

    CHECK(n > 0 && n < LINES_SIZE);
    return (struct slice){out, (size_t)n};
}

struct reply *api_upload_reply(struct upload_story *s, int status, uint64_t size)
{
    char lines[LINES_SIZE];

    txn_on_gone(s->txn, NULL, NULL);
    struct reply *r = txn_reply(s->txn, status);
    reply_header_lines(r, SLICE(API_V2_LINE));
    reply_header_lines(r, status_lines(s, size, lines));
    return r;
}

struct reply *api_upload_reply_blob(struct upload_story *s)
{
    char digest[DIGEST_TEXT_SIZE];

    txn_on_gone(s->txn, NULL, NULL);
    struct reply *r = txn_reply(s->txn, 201);
    digest_format(&s->digest, digest);
    reply_header_lines(r, SLICE(API_V2_LINE));
    reply_headerf(r, "Location", "%.*s/v2/%.*s/blobs/%s", SLICE_ARG(txn_base(s->txn)),
                  (int)s->name_len, s->name, digest);
    reply_header(r, "Docker-Content-Digest", slice_of(digest));
    return r;
}

void api_upload_refuse(struct upload_story *s, enum api_error error, const char *reason)
{
    struct api_error_info info = {.detail_key = reason ? "reason" : NULL,
                                  .detail_value = slice_of(reason ? reason : "")};
    char lines[LINES_SIZE];

    if (s->upload && !s->is_untold)
        info.lines = status_lines(s, upload_size(s->upload), lines);
    /* Who reads the answer may ask again at once. */
    api_upload_let_go(s);
    if (s->txn) {
        txn_on_gone(s->txn, NULL, NULL);
        api_error_reply(s->txn, error, &info);
    }
    api_upload_end(s);
}

void api_upload_refuse_rc(struct upload_story *s, int rc)
{
    CHECK(rc < 0);
    if (rc == -ENOENT)
        api_upload_refuse(s, API_ERROR_UPLOAD_UNKNOWN, NULL);
    else if (rc == -EBUSY)
        api_upload_refuse(s, API_ERROR_UPLOAD_BUSY, NULL);
    else if (rc == -ENOSPC || rc == -EDQUOT)
        api_upload_refuse(s, API_ERROR_DISK_FULL, NULL);
    else
        api_upload_refuse(s, API_ERROR_STORAGE, NULL);
}

/* --- getting hold of it ----------------------------------------------------------------------- */

void api_upload_opened(void *arg, int rc, struct upload *u)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_OPENING && !s->upload);
    if (rc < 0) {
        api_upload_refuse_rc(s, rc);
        return;
    }
    s->upload = u;
    memcpy(s->id, upload_id(u), sizeof(s->id));
    if (s->txn)
        s->on_held(s);
    else
        api_upload_end(s);
}

void api_upload_open(struct upload_story *s, const struct route *route,
                     void (*on_held)(struct upload_story *s))
{
    if (!upload_id_is_valid(route->reference)) {
        api_upload_refuse(s, API_ERROR_UPLOAD_UNKNOWN, NULL);
        return;
    }
    s->on_held = on_held;
    api_upload_goto(s, UPLOAD_STORY_OPENING);
    uploads_open(api_upload_table(s), api_upload_repo(s), route->reference, api_upload_opened, s);
}
