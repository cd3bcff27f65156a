/*
 * POST of an upload. Parameters: digest= (the body is the whole blob), digest-algorithm= (which one
 * will be told in the end), mount= and from= (api_upload_mount.c).
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "base/check.h"
#include "mirrord/api_upload_private.h"
#include "mirrord/query.h"
#include "mirrord/txn.h"

/* The upload is there, and empty. */
static void on_begun(struct upload_story *s)
{
    uint64_t chunk_min = api_settings_now(s->api)->chunk_min_bytes;
    struct reply *r = api_upload_reply(s, 202, upload_size(s->upload));

    if (chunk_min > 0)
        reply_headerf(r, "OCI-Chunk-Min-Length", "%" PRIu64, chunk_min);
    s->is_untold = false;
    api_upload_let_go(s);
    reply_send_empty(r);
    api_upload_end(s);
}

static void on_single_held(struct upload_story *s)
{
    api_upload_receive(s, api_upload_commit);
}

/* False when an algorithm is named that is none. */
static bool read_algorithm(struct slice query, enum digest_alg *out)
{
    char name[16];
    int rc = query_find(query, "digest-algorithm", name, sizeof(name));

    if (rc == -ENOENT)
        return true;
    for (enum digest_alg alg = 0; rc > 0 && alg < DIGEST_ALG_MAX; alg++)
        if (slice_equal((struct slice){name, (size_t)rc}, slice_of(digest_alg_name(alg)))) {
            *out = alg;
            return true;
        }
    return false;
}

/* Of a length that is told, whether it is too much is known before anything is made. */
static bool is_body_too_large(const struct upload_story *s)
{
    const struct head *head = txn_head(s->txn);

    return head->has_length && head->length > api_settings_now(s->api)->blob_max_bytes;
}

void api_upload_begin(struct upload_story *s)
{
    struct slice query = txn_head(s->txn)->query;
    char digest[DIGEST_TEXT_SIZE];
    enum digest_alg alg = DIGEST_SHA256;

    int len = query_find(query, "digest", digest, sizeof(digest));
    s->is_single = len != -ENOENT;
    if (s->is_single && (len < 0 || !digest_parse((struct slice){digest, (size_t)len}, &s->digest)))
        api_upload_refuse(s, API_ERROR_DIGEST_INVALID, NULL);
    else if (!read_algorithm(query, &alg))
        api_upload_refuse(s, API_ERROR_DIGEST_INVALID, "digest-algorithm");
    else if (s->is_single && is_body_too_large(s))
        api_upload_refuse(s, API_ERROR_BLOB_TOO_LARGE, NULL);
    else {
        s->is_untold = true;
        s->on_held = s->is_single ? on_single_held : on_begun;
        api_upload_goto(s, UPLOAD_STORY_OPENING);
        uploads_create(api_upload_table(s), api_upload_repo(s), s->is_single,
                       s->is_single ? s->digest.alg : alg, api_upload_opened, s);
    }
}

void api_uploads_handle(const struct api_request *q)
{
    CHECK(q->method == HTTP_POST);
    if (!api_push_allow(q))
        return;
    struct upload_story *s = api_upload_new(q);
    if (!api_upload_mount(s))
        api_upload_begin(s);
}
