/*
 * The access log: one line per request, in the combined format that every log reader knows (with
 * the cache's part, the seconds it took, how it ended, and where the content came from behind it)
 * or as a JSON object. The origin is "pushed", "mirrored:<upstream>", or "-":
 *
 *   ::1 - - [06/Nov/1994:08:49:37 +0000] "GET /v2/a/manifests/b HTTP/1.1" 200 527 "-" "podman" hit
 *       0.000 complete mirrored:registry.example
 *
 * The file belongs to the process (struct access_log); lines gather in a buffer per worker (struct
 * access_buffer) and are written by the pool when they fill 64 KiB or are a second old, so that a
 * slow target never stops a loop. When the target is so slow that the buffer is full, lines are
 * lost, and the log says how many. Control characters and quotes are escaped. Queries,
 * Authorization and other fields than User-Agent and Referer never get in.
 *
 * access_log: any thread; access_buffer: its worker.
 */
#ifndef MIRRORD_ACCESS_LOG_H
#define MIRRORD_ACCESS_LOG_H

#include <stdint.h>

#include "base/error.h"

struct access_buffer;
struct access_log;
struct head;
struct pool;
struct worker;

enum access_format { ACCESS_COMBINED, ACCESS_JSON, ACCESS_FORMAT_MAX };

struct access_entry {
    uint64_t id;
    const char *peer;
    const struct head *head;  /* method_text NULL: none could be parsed */
    int status;               /* 499: the client left before there was one */
    uint64_t n_bytes;         /* of the body */
    const char *cache_status; /* or NULL */
    uint64_t duration_us;
    const char *outcome;  /* "complete", "cut", "left" */
    const char *origin;   /* "pushed", "mirrored", or NULL */
    const char *upstream; /* or NULL */
};

/* path: a file, "-" = standard error, "off". pool NULL: lines are written by whoever adds them. */
int access_log_open(const char *path, enum access_format format, struct pool *pool,
                    struct access_log **out, struct error *err);
/* Another file or format, or the same file again (rotation). On failure the old one stays. */
int access_log_set(struct access_log *log, const char *path, enum access_format format,
                   struct error *err);
void access_log_close(struct access_log **log);

struct access_buffer *access_buffer_new(struct access_log *log, struct worker *w);
/* hot */
void access_buffer_add(struct access_buffer *b, const struct access_entry *e);
/* Writes what is left; done(arg) runs on the worker when that is over and the buffer is gone. */
void access_buffer_close(struct access_buffer *b, void (*done)(void *arg), void *arg);

#endif
