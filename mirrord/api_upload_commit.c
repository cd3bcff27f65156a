/* PUT of an upload, with digest= and perhaps the last chunk; and the end of a POST with both. */
#include "config.h"

#include <errno.h>

#include "base/check.h"
#include "base/log.h"
#include "mirrord/api_upload_private.h"
#include "mirrord/query.h"
#include "mirrord/txn.h"

/* Says what digest the content has: whoever sent it may want to know. */
static void refuse_digest(struct upload_story *s, const struct digest *found)
{
    char text[DIGEST_TEXT_SIZE];
    struct api_error_info info = {.detail_key = "found"};

    info.detail_value = (struct slice){text, digest_format(found, text)};
    txn_on_gone(s->txn, NULL, NULL);
    api_error_reply(s->txn, API_ERROR_DIGEST_WRONG, &info);
}

static void on_committed(void *arg, int rc, const struct digest *found, const struct error *err)
{
    struct upload_story *s = arg;

    CHECK(s->state == UPLOAD_STORY_COMMITTING && !s->upload);
    if (rc < 0 && rc != -EBADMSG)
        log_error("push", "upload %s of %.*s: %s", s->id, (int)s->repo_len, s->repo, err->text);
    if (!s->txn) {
        api_upload_end(s);
        return;
    }
    if (rc < 0 && rc != -EBADMSG) {
        api_upload_refuse_rc(s, rc);
        return;
    }
    if (rc == 0)
        reply_send_empty(api_upload_reply_blob(s));
    else
        refuse_digest(s, found);
    api_upload_end(s);
}

void api_upload_commit(struct upload_story *s)
{
    api_upload_goto(s, UPLOAD_STORY_COMMITTING);
    upload_commit(&s->upload, &s->digest, on_committed, s);
}

static void on_put_held(struct upload_story *s)
{
    api_upload_receive(s, api_upload_commit);
}

void api_upload_put_handle(const struct api_request *q)
{
    char digest[DIGEST_TEXT_SIZE];

    if (!api_push_allow(q))
        return;
    struct upload_story *s = api_upload_new(q);
    int len = query_find(txn_head(q->txn)->query, "digest", digest, sizeof(digest));
    if (len < 0 || !digest_parse((struct slice){digest, (size_t)len}, &s->digest))
        api_upload_refuse(s, API_ERROR_DIGEST_INVALID, len == -ENOENT ? "digest is missing" : NULL);
    else
        api_upload_open(s, q->route, on_put_held);
}
