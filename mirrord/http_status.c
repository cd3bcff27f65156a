#include "config.h"

#include "mirrord/http_status.h"

#include <stddef.h>

#include "base/check.h"

#define REASON_TABLE(ROW)                                                                          \
    ROW(100, "Continue")                                                                           \
    ROW(200, "OK")                                                                                 \
    ROW(201, "Created")                                                                            \
    ROW(202, "Accepted")                                                                           \
    ROW(204, "No Content")                                                                         \
    ROW(206, "Partial Content")                                                                    \
    ROW(301, "Moved Permanently")                                                                  \
    ROW(302, "Found")                                                                              \
    ROW(303, "See Other")                                                                          \
    ROW(304, "Not Modified")                                                                       \
    ROW(307, "Temporary Redirect")                                                                 \
    ROW(308, "Permanent Redirect")                                                                 \
    ROW(400, "Bad Request")                                                                        \
    ROW(401, "Unauthorized")                                                                       \
    ROW(403, "Forbidden")                                                                          \
    ROW(404, "Not Found")                                                                          \
    ROW(405, "Method Not Allowed")                                                                 \
    ROW(406, "Not Acceptable")                                                                     \
    ROW(408, "Request Timeout")                                                                    \
    ROW(409, "Conflict")                                                                           \
    ROW(410, "Gone")                                                                               \
    ROW(411, "Length Required")                                                                    \
    ROW(412, "Precondition Failed")                                                                \
    ROW(413, "Content Too Large")                                                                  \
    ROW(414, "URI Too Long")                                                                       \
    ROW(415, "Unsupported Media Type")                                                             \
    ROW(416, "Range Not Satisfiable")                                                              \
    ROW(417, "Expectation Failed")                                                                 \
    ROW(429, "Too Many Requests")                                                                  \
    ROW(431, "Request Header Fields Too Large")                                                    \
    ROW(500, "Internal Server Error")                                                              \
    ROW(501, "Not Implemented")                                                                    \
    ROW(502, "Bad Gateway")                                                                        \
    ROW(503, "Service Unavailable")                                                                \
    ROW(504, "Gateway Timeout")                                                                    \
    ROW(505, "HTTP Version Not Supported")                                                         \
    ROW(507, "Insufficient Storage")

#define STATUS_FIRST 100
#define STATUS_END 600

static const struct status {
    const char *line, *reason;
    unsigned line_len;
} STATUSES[STATUS_END - STATUS_FIRST] = {
#define REASON(status, text)                                                                       \
    [(status)-STATUS_FIRST] = {"HTTP/1.1 " #status " " text "\r\n", text,                          \
                               sizeof("HTTP/1.1 " #status " " text "\r\n") - 1},
    REASON_TABLE(REASON)
#undef REASON
};

static const struct http_error_row ERRORS[] = {
#define HTTP_ERROR(id, status, close, code, message)                                               \
    [HTTP_ERROR_##id] = {status, close, code, message},
    HTTP_ERROR_TABLE(HTTP_ERROR)
#undef HTTP_ERROR
};
_Static_assert(sizeof(ERRORS) / sizeof(ERRORS[0]) == HTTP_ERROR_MAX, "one row per error");

const char *http_status_reason(int status)
{
    CHECK(status >= STATUS_FIRST && status < STATUS_END);
    const char *reason = STATUSES[status - STATUS_FIRST].reason;
    return reason ? reason : "Unknown";
}

const char *http_status_line(int status, unsigned *len_out)
{
    CHECK(status >= STATUS_FIRST && status < STATUS_END);
    const struct status *s = &STATUSES[status - STATUS_FIRST];
    if (!s->line)
        return NULL;
    *len_out = s->line_len;
    return s->line;
}

const struct http_error_row *http_error_get(enum http_error e)
{
    CHECK(e < HTTP_ERROR_MAX);
    return &ERRORS[e];
}

enum http_error http_error_of_status(int status)
{
    for (int e = 0; e < HTTP_ERROR_MAX; e++)
        if (ERRORS[e].status == status)
            return (enum http_error)e;
    return HTTP_ERROR_INTERNAL;
}
