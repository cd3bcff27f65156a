#include "config.h"

#include "mirrord/api_error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "mirrord/txn.h"
#include "upstream/fetch.h"

struct row {
    int status;
    const char *code;
    const char *message;
};

/* clang-format off */
static const struct row ROWS[] = {
    [API_ERROR_NONE]             = {200, "", ""},
    [API_ERROR_NAME_INVALID]     = {400, "NAME_INVALID", "invalid repository name"},
    [API_ERROR_DIGEST_INVALID]   = {400, "DIGEST_INVALID", "invalid or unsupported digest"},
    [API_ERROR_TAG_INVALID]      = {400, "TAG_INVALID", "invalid tag"},
    [API_ERROR_TAGS_TOO_MANY]    = {414, "TAG_INVALID", "more tags in one request than this registry accepts"},
    [API_ERROR_PAGE_INVALID]     = {400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested"},
    [API_ERROR_PATH_UNKNOWN]     = {404, "UNSUPPORTED", "no such resource"},
    [API_ERROR_NAME_UNKNOWN]     = {404, "NAME_UNKNOWN", "repository name not known to registry"},
    [API_ERROR_BLOB_UNKNOWN]     = {404, "BLOB_UNKNOWN", "blob unknown to registry"},
    [API_ERROR_MANIFEST_UNKNOWN] = {404, "MANIFEST_UNKNOWN", "manifest unknown"},
    [API_ERROR_METHOD]           = {405, "UNSUPPORTED", "the operation is unsupported"},
    [API_ERROR_RANGE]            = {416, "RANGE_INVALID", "no byte of the range exists"},
    [API_ERROR_UPLOAD_UNKNOWN]   = {404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"},
    [API_ERROR_UPLOAD_BUSY]      = {409, "BLOB_UPLOAD_INVALID", "another request is writing this upload"},
    [API_ERROR_UPLOAD_INVALID]   = {400, "BLOB_UPLOAD_INVALID", "blob upload invalid"},
    [API_ERROR_UPLOAD_RANGE]     = {416, "BLOB_UPLOAD_INVALID", "the chunk does not begin where the upload ends"},
    [API_ERROR_DIGEST_WRONG]     = {400, "DIGEST_INVALID", "the digest told is not that of the content"},
    [API_ERROR_SIZE_INVALID]     = {400, "SIZE_INVALID", "the length told is not that of the content"},
    [API_ERROR_BLOB_TOO_LARGE]   = {413, "SIZE_INVALID", "the blob is larger than this registry accepts"},
    [API_ERROR_MANIFEST_INVALID] = {400, "MANIFEST_INVALID", "manifest invalid"},
    [API_ERROR_MANIFEST_BLOB_UNKNOWN] = {400, "MANIFEST_BLOB_UNKNOWN", "the manifest references content unknown to this repository"},
    [API_ERROR_MANIFEST_TOO_LARGE]    = {413, "SIZE_INVALID", "the manifest is larger than this registry accepts"},
    [API_ERROR_MANIFESTS_BUSY]   = {503, "UNAVAILABLE", "too many manifests are being pushed at this moment"},
    [API_ERROR_PUSH_DENIED]      = {403, "DENIED", "this repository does not accept pushes from there"},
    [API_ERROR_DELETE_DISABLED]  = {405, "UNSUPPORTED", "deleting is switched off"},
    [API_ERROR_DISK_FULL]        = {507, "UNKNOWN", "the registry's storage is full"},
    [API_ERROR_BODY_TIMEOUT]     = {408, "BLOB_UPLOAD_INVALID", "the rest of the body did not come in time"},
    [API_ERROR_DENIED]           = {403, "DENIED", "the upstream registry denies access to the resource"},
    [API_ERROR_THROTTLED]        = {429, "TOOMANYREQUESTS", "the upstream registry throttles this mirror"},
    [API_ERROR_STORAGE]          = {500, "UNKNOWN", "the mirror's storage failed"},
    [API_ERROR_CREDENTIALS]      = {502, "UNAUTHORIZED", "the upstream registry refuses this mirror's credentials"},
    [API_ERROR_BAD_UPSTREAM]     = {502, "UNKNOWN", "the upstream registry's answer is unusable"},
    [API_ERROR_UNAVAILABLE]      = {503, "UNAVAILABLE", "the upstream registry cannot be reached"},
    [API_ERROR_TIMEOUT]          = {504, "UNAVAILABLE", "the upstream registry does not answer in time"},
};
/* clang-format on */
_Static_assert(sizeof(ROWS) / sizeof(ROWS[0]) == API_ERROR_MAX, "a row for every error");

enum {
    RETRY_DEFAULT_THROTTLED_S = 60,
    RETRY_DEFAULT_UNAVAILABLE_S = 5,
    RETRY_DEFAULT_BUSY_S = 1,
    RETRY_MAX_S = 86400,
    /* A packed reason: far below any errno, then the seconds, then six bits of the id. */
    PACK_BASE = 1 << 24,
    PACK_ID_BITS = 6,
};
_Static_assert(API_ERROR_MAX <= 1 << PACK_ID_BITS, "an id fits its bits");
_Static_assert(RETRY_MAX_S < (PACK_BASE >> PACK_ID_BITS), "the seconds fit their bits");

int api_error_status(enum api_error id)
{
    CHECK(id < API_ERROR_MAX);
    return ROWS[id].status;
}

void api_error_body(enum api_error id, const struct api_error_info *info, struct strbuf *out)
{
    CHECK(id > API_ERROR_NONE && id < API_ERROR_MAX);
    strbuf_addf(out, "{\"errors\":[{\"code\":\"%s\",\"message\":\"%s\"", ROWS[id].code,
                ROWS[id].message);
    if (info && info->detail_key) {
        strbuf_addf(out, ",\"detail\":{\"%s\":\"", info->detail_key);
        strbuf_add_json(out, info->detail_value);
        strbuf_add_str(out, "\"}");
    }
    strbuf_add_str(out, "}]}\n");
}

/* When to come again; 0 = not said. */
static int retry_after_s(enum api_error id, const struct api_error_info *info)
{
    int told = info && info->retry_after_s > 0 ? info->retry_after_s : 0;

    if (id == API_ERROR_THROTTLED)
        return told ? told : RETRY_DEFAULT_THROTTLED_S;
    if (id == API_ERROR_UNAVAILABLE)
        return told ? told : RETRY_DEFAULT_UNAVAILABLE_S;
    if (id == API_ERROR_UPLOAD_BUSY || id == API_ERROR_MANIFESTS_BUSY)
        return told ? told : RETRY_DEFAULT_BUSY_S;
    return 0;
}

void api_error_reply(struct txn *txn, enum api_error id, const struct api_error_info *info)
{
    struct strbuf body = STRBUF_INIT;
    struct reply *r = txn_reply(txn, api_error_status(id));
    int retry_s = retry_after_s(id, info);

    api_error_body(id, info, &body);
    reply_header_lines(r, SLICE("Content-Type: application/json\r\n"
                                "Docker-Distribution-Api-Version: registry/2.0\r\n"));
    if (retry_s > 0)
        reply_headerf(r, "Retry-After", "%d", retry_s);
    if (api_error_status(id) == 405)
        reply_header(r, "Allow", slice_of(info && info->allow ? info->allow : ""));
    if (id == API_ERROR_RANGE && info)
        reply_headerf(r, "Content-Range", "bytes */%" PRIu64, info->object_size);
    if (info && info->lines.len)
        reply_header_lines(r, info->lines);
    size_t len = body.len;
    char *text = strbuf_take(&body);
    reply_send_memory(r, text, len, free, text);
}

/* No usable answer came: does it look like time, a refusal to talk, or an answer that says so? */
static enum api_error unavailable(const struct fetch_result *result)
{
    if (result->status >= 500)
        return result->status == 504 ? API_ERROR_TIMEOUT : API_ERROR_UNAVAILABLE;
    return result->error.code == -ETIMEDOUT ? API_ERROR_TIMEOUT : API_ERROR_UNAVAILABLE;
}

enum api_error api_error_of_fetch(const struct fetch_result *result, enum api_error unknown)
{
    switch (result->outcome) {
    case FETCH_OK:
        return API_ERROR_NONE;
    case FETCH_NOT_FOUND:
        return unknown;
    case FETCH_UNAUTHORIZED:
        return API_ERROR_CREDENTIALS;
    case FETCH_DENIED:
        return API_ERROR_DENIED;
    case FETCH_THROTTLED:
        return API_ERROR_THROTTLED;
    case FETCH_UNAVAILABLE:
        return unavailable(result);
    case FETCH_BAD_ANSWER:
    case FETCH_REFUSED:
    case FETCH_OUTCOME_MAX:
        break;
    }
    return API_ERROR_BAD_UPSTREAM;
}

int api_error_pack(enum api_error id, int retry_s)
{
    CHECK(id > API_ERROR_NONE && id < API_ERROR_MAX);
    if (retry_s < 0)
        retry_s = 0;
    if (retry_s > RETRY_MAX_S)
        retry_s = RETRY_MAX_S;
    return -(PACK_BASE + (retry_s << PACK_ID_BITS) + (int)id);
}

enum api_error api_error_unpack(int reason, int *retry_after_s_out)
{
    int packed = -reason - PACK_BASE;

    *retry_after_s_out = 0;
    if (packed <= 0)
        return reason == -EBADMSG || reason == -EPROTO ? API_ERROR_BAD_UPSTREAM : API_ERROR_STORAGE;
    *retry_after_s_out = packed >> PACK_ID_BITS;
    return (enum api_error)(packed & ((1 << PACK_ID_BITS) - 1));
}
