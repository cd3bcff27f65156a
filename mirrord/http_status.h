/*
 * Status codes in words (RFC 9110 section 15), and what the HTTP layer itself says when it refuses:
 * one table with status, the registry's error code, and whether the connection ends with it. (What
 * the API refuses stands in api_error.h.) Constant; any thread.
 */
#ifndef MIRRORD_HTTP_STATUS_H
#define MIRRORD_HTTP_STATUS_H

#include <stdbool.h>

/* HTTP_ERROR(id, status, close, code, message): a row of the table. `close`: the connection ends
 * after the answer, because what follows on it cannot be trusted or is not wanted. */
#define HTTP_ERROR_TABLE(ROW)                                                                      \
    ROW(BAD_REQUEST, 400, true, "UNSUPPORTED", "malformed request")                                \
    ROW(REQUEST_TIMEOUT, 408, true, "UNSUPPORTED", "the request took too long to arrive")          \
    ROW(TOO_LARGE, 413, true, "SIZE_INVALID", "request body too large")                            \
    ROW(TARGET_TOO_LONG, 414, true, "UNSUPPORTED", "request target too long")                      \
    ROW(EXPECTATION_FAILED, 417, true, "UNSUPPORTED", "unknown expectation")                       \
    ROW(HEAD_TOO_LARGE, 431, true, "UNSUPPORTED", "request header fields too large")               \
    ROW(INTERNAL, 500, false, "UNKNOWN", "internal error")                                         \
    ROW(NOT_IMPLEMENTED, 501, true, "UNSUPPORTED", "transfer coding not implemented")              \
    ROW(BAD_GATEWAY, 502, false, "UNKNOWN", "the content is not available")                        \
    ROW(VERSION_UNSUPPORTED, 505, true, "UNSUPPORTED", "HTTP version not supported")

enum http_error {
#define HTTP_ERROR(id, status, close, code, message) HTTP_ERROR_##id,
    HTTP_ERROR_TABLE(HTTP_ERROR)
#undef HTTP_ERROR
        HTTP_ERROR_MAX
};

struct http_error_row {
    int status;
    bool close;
    const char *code;
    const char *message;
};

/* Never NULL: "Unknown" for a status nobody registered. */
const char *http_status_reason(int status);
/* "HTTP/1.1 200 OK\r\n" for the registered ones, NULL for others; *len_out its length. */
const char *http_status_line(int status, unsigned *len_out);
const struct http_error_row *http_error_get(enum http_error e);
/* The row of this status; HTTP_ERROR_INTERNAL when there is none. */
enum http_error http_error_of_status(int status);

#endif
