/*
 * A server on 127.0.0.1 that answers as a test's function says, byte by byte: for what upstreams
 * do wrong. Each connection has a thread; requests on all of them are numbered in order of arrival.
 * The function may block (script_wait) to hold an answer back; script_release ends all waiting.
 */
#ifndef TESTS_UNIT_SCRIPT_SERVER_H
#define TESTS_UNIT_SCRIPT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct script_server;

struct script_request {
    struct script_server *server;
    int fd;
    unsigned nth; /* from 0 */
    char method[8];
    char target[1024];
    char head[8192];
};

/* Returns false when the connection is to be closed. */
typedef bool (*script_fn)(struct script_request *r, void *arg);

struct script_server *script_server_new(script_fn fn, void *arg);
void script_server_free(struct script_server **s);
unsigned script_server_port(const struct script_server *s);
unsigned script_server_count(struct script_server *s);
/* Waits until so many requests have come. */
void script_server_await(struct script_server *s, unsigned n_requests);
/* The targets of all requests so far, each followed by a line break; free() it. */
char *script_server_log(struct script_server *s);

/* Blocks a script function until script_release; once released it never blocks again. */
void script_wait(struct script_server *s);
void script_release(struct script_server *s);

bool script_send(const struct script_request *r, const void *p, size_t n);
bool script_printf(const struct script_request *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The value of a header field into `out`; false when there is none. */
bool script_header(const struct script_request *r, const char *name, char *out, size_t n);
/* "Range: bytes=first-[last]"; *last is UINT64_MAX when open. */
bool script_range(const struct script_request *r, uint64_t *first, uint64_t *last);

#endif
