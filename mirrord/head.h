/*
 * The request head: RFC 9112 sections 2 to 6, strictly (docs/design/strict-http.md). A pure
 * function over one contiguous buffer: no memory, no sockets; the result borrows from the buffer.
 */
#ifndef MIRRORD_HEAD_H
#define MIRRORD_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER,
    HTTP_METHOD_MAX
};

#define HEAD_HEADERS_MAX 100

struct head_field {
    struct slice name;
    struct slice value; /* trimmed */
};

struct head {
    enum http_method method;
    struct slice method_text;
    struct slice target; /* as sent */
    struct slice path;   /* raw, not decoded, begins with '/'; absolute-form is cut to it */
    struct slice query;  /* behind '?', empty if none */
    struct slice host;   /* from absolute-form if given, else the Host field */
    unsigned minor;      /* HTTP/1.<minor> */
    bool keep_alive;
    bool expect_continue;
    bool is_chunked;
    bool has_length;
    uint64_t length; /* Content-Length */
    size_t n_fields;
    struct head_field fields[HEAD_HEADERS_MAX];
};

struct head_limits {
    size_t target_max_bytes;
    size_t head_max_bytes;
    unsigned fields_max; /* at most HEAD_HEADERS_MAX */
};

/* > 0: the head is complete and that many bytes long. 0: more bytes are needed; *scanned says how
 * far the search for its end has come (give it back the next time, 0 at first). < 0: the negative
 * HTTP status to answer before closing (-400, -414, -417, -431, -501, -505). */
int head_parse(const char *buf, size_t len, const struct head_limits *limits, size_t *scanned,
               struct head *out);

/* The value of the first field of this name (any case); ptr NULL when there is none. */
struct slice head_field_find(const struct head *h, const char *name);
const char *http_method_name(enum http_method m);

#endif
