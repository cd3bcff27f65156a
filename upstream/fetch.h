/*
 * A fetch: one request to an upstream registry, from the caller's view. Inside it asks for tokens,
 * follows redirects (without credentials), waits and retries with backoff, absorbs 429, and
 * continues a cut or stalled body with Range where it stopped; it goes on at the upstream's next
 * URL when one fails (upstream/fetch_next.c). The caller sees one head, one unbroken run of body
 * bytes, one end.
 *
 * Belongs to the worker that started it; callbacks run there, never from inside fetch_start.
 * Exactly one `done` unless it was cancelled. Memory: no body byte is kept here; what `data` does
 * not take stays in the socket.
 */
#ifndef UPSTREAM_FETCH_H
#define UPSTREAM_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

struct fetch;
struct upstream;

enum fetch_kind { FETCH_MANIFEST, FETCH_BLOB, FETCH_TAGS, FETCH_REFERRERS, FETCH_KIND_MAX };

struct fetch_spec {
    enum fetch_kind kind;
    bool is_head;
    struct slice repo;      /* upstream's name of the repository; copied */
    struct slice reference; /* tag or digest; copied. FETCH_TAGS: the query ("n=…&last=…") or empty;
                               FETCH_REFERRERS: the subject's digest, perhaps with "?" and a query.
                               Queries come encoded by their author. */
    uint64_t off;           /* blobs: first byte wanted */
    uint64_t end;           /* blobs: behind the last one, UINT64_MAX = to the end */
};

/* Of the answer that is used. Slices are valid during the callback. */
struct fetch_head {
    int status;              /* 200 or 206 */
    struct slice media_type; /* without parameters */
    uint64_t size;           /* of the whole object; UINT64_MAX when not told */
    struct slice digest;     /* Docker-Content-Digest, or empty */
    struct slice link;       /* Link, or empty */
    bool is_range;           /* the body is the range asked for; false: it starts at byte 0 */
};

enum fetch_outcome {
    FETCH_OK,           /* the whole body as announced was delivered */
    FETCH_NOT_FOUND,    /* 404, or 401/403 for want of a repository where the registry hides them */
    FETCH_UNAUTHORIZED, /* our credentials are refused */
    FETCH_DENIED,       /* 403, insufficient scope */
    FETCH_THROTTLED,    /* 429 beyond what could be absorbed; retry_after_s */
    FETCH_UNAVAILABLE,  /* no connection, timeouts, 5xx, breaker open */
    FETCH_BAD_ANSWER,   /* HTML, wrong range, wrong length, redirect loop: not what was asked for */
    FETCH_REFUSED,      /* `data` or `head` returned a negative value */
    FETCH_OUTCOME_MAX
};

struct fetch_result {
    enum fetch_outcome outcome;
    int status;         /* of the last answer, 0 when there was none */
    int retry_after_s;  /* -1 when not told */
    struct error error; /* text for the log; code 0 when FETCH_OK */
};

#define FETCH_PAUSE 1 /* from `data`: nothing was taken; fetch_resume() later */

struct fetch_ops {
    /* Once, before the first byte. Negative refuses the answer. */
    int (*head)(void *arg, const struct fetch_head *head);
    /* 0: took all n bytes. FETCH_PAUSE: none. Negative: stop. Not called for HEAD. */
    int (*data)(void *arg, const void *p, size_t n);
    /* The fetch is freed after this returns. */
    void (*done)(void *arg, const struct fetch_result *result);
};

const char *fetch_outcome_name(enum fetch_outcome o);

/* Starts on the calling worker. Copies spec; ops must be static. */
struct fetch *fetch_start(struct upstream *u, const struct fetch_spec *spec,
                          const struct fetch_ops *ops, void *arg);
void fetch_resume(struct fetch *f);
/* No callback follows. NULLs the pointer. Not from inside a callback of the same fetch except
 * `head` and `data`, where returning a negative value is the way. */
void fetch_cancel(struct fetch **f);

#endif
