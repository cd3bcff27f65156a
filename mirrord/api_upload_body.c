/*
 * The body of a request, into the upload. It is written as it comes, so that a client that loses
 * its connection goes on where it was; and not read faster than the storage takes it.
 *
 * What the head tells is judged before 100 Continue is sent and before a byte is read.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "mirrord/api_upload_private.h"
#include "mirrord/txn.h"

/* --- what the head tells ---------------------------------------------------------------------- */

/* Reads Content-Range: API_ERROR_NONE when the body may be appended. */
static enum api_error judge_range(struct upload_story *s, const struct head *head)
{
    struct slice text = head_field_find(head, "Content-Range");
    uint64_t length = head->has_length ? head->length : 0;

    s->has_range = text.ptr != NULL;
    if (!s->has_range)
        return API_ERROR_NONE;
    if (chunk_range_parse(text, &s->range) < 0)
        return API_ERROR_UPLOAD_INVALID;
    if (s->range.first != s->begin)
        return API_ERROR_UPLOAD_RANGE;
    return head->is_chunked || length == s->range.n ? API_ERROR_NONE : API_ERROR_SIZE_INVALID;
}

/* Judges what is told of the body, and sets how much may come. */
static enum api_error judge_body(struct upload_story *s)
{
    const struct head *head = txn_head(s->txn);
    uint64_t max = api_settings_now(s->api)->blob_max_bytes;
    uint64_t n_told = head->has_length ? head->length : 0;

    enum api_error error = judge_range(s, head);
    if (error != API_ERROR_NONE)
        return error;
    if (s->has_range)
        n_told = s->range.n;
    if (s->begin > max || n_told > max - s->begin)
        return API_ERROR_BLOB_TOO_LARGE;
    s->n_max = s->has_range ? s->range.n : max - s->begin;
    return API_ERROR_NONE;
}

/* --- the body --------------------------------------------------------------------------------- */

static int on_data(void *arg, const void *p, size_t n)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_RECEIVING && s->upload);
    int rc = upload_write(s->upload, p, n);
    if (rc < 0) {
        log_error("push", "upload %s of %.*s: write: %s", s->id, (int)s->repo_len, s->repo,
                  strerror(-rc));
        api_upload_refuse_rc(s, rc);
    }
    return rc;
}

/* The body did not come as it should; what came stays. */
static void refuse_body(struct upload_story *s, int rc)
{
    switch (rc) {
    case -EFBIG:
        api_upload_refuse(s, s->has_range ? API_ERROR_SIZE_INVALID : API_ERROR_BLOB_TOO_LARGE,
                          NULL);
        break;
    case -ETIMEDOUT:
        api_upload_refuse(s, API_ERROR_BODY_TIMEOUT, NULL);
        break;
    default:
        api_upload_refuse(s, API_ERROR_UPLOAD_INVALID, "framing");
    }
}

static void on_end(void *arg, int rc)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_RECEIVING);
    upload_on_room(s->upload, NULL, NULL);
    if (rc == -ECONNRESET || rc == -ECANCELED)
        return; /* the transaction tells right away that the client has left */
    if (rc < 0)
        refuse_body(s, rc);
    else if (s->has_range && upload_size(s->upload) - s->begin != s->range.n)
        api_upload_refuse(s, API_ERROR_SIZE_INVALID, NULL);
    else
        s->on_received(s);
}

static const struct body_sink SINK = {on_data, on_end};

static void on_room(void *arg)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_RECEIVING && s->txn);
    txn_body_resume(s->txn);
}

void api_upload_receive(struct upload_story *s, void (*on_received)(struct upload_story *s))
{
    s->begin = upload_size(s->upload);
    enum api_error error = judge_body(s);
    if (error != API_ERROR_NONE) {
        api_upload_refuse(s, error, error == API_ERROR_UPLOAD_INVALID ? "Content-Range" : NULL);
        return;
    }
    s->on_received = on_received;
    api_upload_goto(s, UPLOAD_STORY_RECEIVING);
    upload_on_room(s->upload, on_room, s);
    txn_read_body(s->txn, s->n_max, &SINK, s);
}

/* --- PATCH ------------------------------------------------------------------------------------ */

static void on_chunk(struct upload_story *s)
{
    struct reply *r = api_upload_reply(s, 202, upload_size(s->upload));

    api_upload_let_go(s);
    reply_send_empty(r);
    api_upload_end(s);
}

static void on_patch_held(struct upload_story *s)
{
    api_upload_receive(s, on_chunk);
}

void api_upload_patch_handle(const struct api_request *q)
{
    if (api_push_allow(q))
        api_upload_open(api_upload_new(q), q->route, on_patch_held);
}
