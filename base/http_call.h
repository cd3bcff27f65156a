/*
 * One outgoing HTTP request and its answer: a method, a URL, header lines, maybe a body; then one
 * head, a run of body bytes that the caller may pause, one end. Nothing happens behind the
 * caller's back: no redirect is followed, no credentials are added, no cookie is kept, no body is
 * decoded. The proxy settings of the environment (http_proxy, HTTPS_PROXY, NO_PROXY) hold.
 *
 * Belongs to the worker that started it, from a callback if need be; callbacks run on its thread,
 * never from inside http_call_start, http_call_resume or http_call_cancel. Exactly one `done`,
 * unless cancelled. Memory: the head up to HTTP_CALL_HEAD_BYTES_MAX, and a receive buffer (256 KiB
 * when is_bulk, else 16 KiB) that also bounds what a paused call holds.
 */
#ifndef BASE_HTTP_CALL_H
#define BASE_HTTP_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"

struct http_call;

#define HTTP_CALL_HEAD_BYTES_MAX (256 * 1024)
#define HTTP_CALL_PAUSE 1 /* from `data`: nothing was taken; http_call_resume() later */

/* All strings are copied, except body, which must live until `done`. */
struct http_call_spec {
    const char *method;              /* "GET", "HEAD", "PUT", … */
    const char *url;                 /* absolute, in url.h's normal form */
    const char *const *header_lines; /* "Name: value", n_header_lines of them */
    size_t n_header_lines;
    struct slice body;   /* ptr NULL: none */
    const char *ca_file; /* NULL: the system's */
    bool skip_tls_verify;
    /* A long body: HTTP/1.1 on a connection of its own, because a paused stream would hold up the
     * others that share an HTTP/2 connection. */
    bool is_bulk;
    unsigned connect_timeout_ms;   /* resolving, connecting and TLS */
    unsigned header_timeout_ms;    /* from the connection to the end of the head */
    unsigned idle_timeout_ms;      /* longest time without a body byte, pauses not counted */
    unsigned host_connections_max; /* the largest value asked for holds, per worker and host */
};

enum http_end {
    HTTP_END_OK,       /* the answer was received whole, as far as its framing tells */
    HTTP_END_CONNECT,  /* name not resolved, connection or TLS handshake failed */
    HTTP_END_TIMEOUT,  /* connecting, waiting for the head or for a body byte took too long */
    HTTP_END_CUT,      /* the connection ended before the answer did */
    HTTP_END_PROTOCOL, /* the answer is not HTTP as it should be */
    HTTP_END_REFUSED,  /* a callback returned a negative value */
    HTTP_END_CLOSED,   /* the worker's client was closed */
    HTTP_END_MAX
};

struct http_call_result {
    enum http_end end;
    struct error error; /* code 0 when HTTP_END_OK */
};

struct http_call_ops {
    /* The answer's head is complete: http_call_status(), http_call_header(). Negative refuses. */
    int (*head)(void *arg, struct http_call *call);
    /* 0: took all n bytes. HTTP_CALL_PAUSE: none. Negative: stop. */
    int (*data)(void *arg, const void *p, size_t n);
    /* The call is freed after this returns. */
    void (*done)(void *arg, const struct http_call_result *result);
};

const char *http_end_name(enum http_end end);

/* Starts on the calling worker, whose client is made if need be. `ops` must be static. */
struct http_call *http_call_start(const struct http_call_spec *spec,
                                  const struct http_call_ops *ops, void *arg);
/* After HTTP_CALL_PAUSE; harmless otherwise. */
void http_call_resume(struct http_call *call);
/* No callback follows. Anytime, also from a callback. NULLs the pointer, accepts NULL. */
void http_call_cancel(struct http_call **call);

/* From `head` on. */
int http_call_status(const struct http_call *call);
/* The value of the nth field of that name, blanks trimmed; ptr NULL when there are not so many. */
struct slice http_call_header(const struct http_call *call, const char *name, unsigned nth);

#endif
