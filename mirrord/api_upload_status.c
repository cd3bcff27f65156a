/* How far an upload has come (also while another request writes it), and its end by wish. */
#include "config.h"

#include <string.h>

#include "base/check.h"
#include "mirrord/api_upload_private.h"
#include "mirrord/txn.h"

static void on_size(void *arg, int rc, uint64_t size)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_ASKING);
    if (s->txn && rc < 0) {
        api_upload_refuse_rc(s, rc);
        return;
    }
    if (s->txn)
        reply_send_empty(api_upload_reply(s, 204, size));
    api_upload_end(s);
}

void api_upload_read_handle(const struct api_request *q)
{
    struct slice id = q->route->reference;

    if (!api_push_allow(q))
        return;
    struct upload_story *s = api_upload_new(q);
    if (!upload_id_is_valid(id)) {
        api_upload_refuse(s, API_ERROR_UPLOAD_UNKNOWN, NULL);
        return;
    }
    CHECK(id.len < sizeof(s->id));
    memcpy(s->id, id.ptr, id.len);
    api_upload_goto(s, UPLOAD_STORY_ASKING);
    uploads_ask_size(api_upload_table(s), api_upload_repo(s), id, on_size, s);
}

static void on_removed(void *arg)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_REMOVING);
    if (s->txn) {
        txn_on_gone(s->txn, NULL, NULL);
        struct reply *r = txn_reply(s->txn, 204);
        reply_header_lines(r, SLICE(API_V2_LINE));
        reply_header(r, "Docker-Upload-UUID", slice_of(s->id));
        reply_send_empty(r);
    }
    api_upload_end(s);
}

static void on_delete_held(struct upload_story *s)
{
    api_upload_goto(s, UPLOAD_STORY_REMOVING);
    upload_cancel(&s->upload, on_removed, s);
}

void api_upload_delete_handle(const struct api_request *q)
{
    if (api_push_allow(q))
        api_upload_open(api_upload_new(q), q->route, on_delete_held);
}
