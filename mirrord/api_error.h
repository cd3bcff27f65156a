/*
 * What can be wrong with a request or with answering it, in one table: HTTP status, the code that
 * registry clients know (OCI distribution-spec, "Error Codes"), and the text for a person. One
 * function makes the body, one sends it.
 *
 * Why these statuses, where it is not plain (docs/design/upstream-errors.md): 404 only when the
 * upstream said so, because clients believe it; a refusal of the mirror's own credentials is a 502,
 * since neither a login nor another image name helps the client; 429 always with Retry-After.
 */
#ifndef MIRRORD_API_ERROR_H
#define MIRRORD_API_ERROR_H

#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"

struct fetch_result;
struct txn;

enum api_error {
    API_ERROR_NONE,
    API_ERROR_NAME_INVALID,
    API_ERROR_DIGEST_INVALID,
    API_ERROR_TAG_INVALID,
    API_ERROR_TAGS_TOO_MANY,
    API_ERROR_PAGE_INVALID,
    API_ERROR_PATH_UNKNOWN,
    API_ERROR_NAME_UNKNOWN,
    API_ERROR_BLOB_UNKNOWN,
    API_ERROR_MANIFEST_UNKNOWN,
    API_ERROR_METHOD,
    API_ERROR_RANGE,
    API_ERROR_UPLOAD_UNKNOWN,
    API_ERROR_UPLOAD_BUSY,    /* another request is writing it */
    API_ERROR_UPLOAD_INVALID, /* what was sent does not fit what was announced */
    API_ERROR_UPLOAD_RANGE,   /* not where the upload ends */
    API_ERROR_DIGEST_WRONG,   /* the content has another one */
    API_ERROR_SIZE_INVALID,
    API_ERROR_BLOB_TOO_LARGE,
    API_ERROR_MANIFEST_INVALID,
    API_ERROR_MANIFEST_BLOB_UNKNOWN,
    API_ERROR_MANIFEST_TOO_LARGE,
    API_ERROR_MANIFESTS_BUSY, /* no memory for one more */
    API_ERROR_PUSH_DENIED,
    API_ERROR_DELETE_DISABLED,
    API_ERROR_DISK_FULL,
    API_ERROR_BODY_TIMEOUT,
    API_ERROR_DENIED,
    API_ERROR_THROTTLED,
    API_ERROR_STORAGE,
    API_ERROR_CREDENTIALS,
    API_ERROR_BAD_UPSTREAM,
    API_ERROR_UNAVAILABLE,
    API_ERROR_TIMEOUT,
    API_ERROR_MAX
};

/* What one occurrence adds to its row; all may be empty. */
struct api_error_info {
    const char *detail_key;    /* "name", "Tag", "digest", "reason" */
    struct slice detail_value; /* foreign bytes are fine: they are escaped */
    int retry_after_s;         /* for 429, 503 and what is busy; <= 0: a default */
    const char *allow;         /* for 405 */
    uint64_t object_size;      /* for 416 */
    struct slice lines;        /* more header fields, each with CRLF */
};

int api_error_status(enum api_error id);
/* Appends {"errors":[{"code":…,"message":…,"detail":{…}}]}. */
void api_error_body(enum api_error id, const struct api_error_info *info, struct strbuf *out);
/* Answers the transaction with it. info may be NULL. */
void api_error_reply(struct txn *txn, enum api_error id, const struct api_error_info *info);

/* What the outcome of a fetch means for a client; `unknown` is what "not found" means here. */
enum api_error api_error_of_fetch(const struct fetch_result *result, enum api_error unknown);

/* An error and its Retry-After in one negative number, for fill_fail and back. Numbers that were
 * not made here (an errno of the cache) come back as what such a failure means to a client. */
int api_error_pack(enum api_error id, int retry_after_s);
enum api_error api_error_unpack(int reason, int *retry_after_s_out);

#endif
