/* What base/http_client.c and base/http_call.c know of each other; nobody else includes this. */
#ifndef BASE_HTTP_CLIENT_PRIVATE_H
#define BASE_HTTP_CLIENT_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

#include "base/error.h"
#include "base/http_call.h"
#include "base/strbuf.h"
#include "base/worker.h"

struct event;
struct http_wait;

struct http_client {
    struct worker *worker;
    CURLM *multi;
    struct event *timer;     /* when curl wants to be called without a socket event */
    struct http_call *calls; /* all that are in `multi` */
    struct http_wait *waits; /* all that run */
    unsigned host_connections_max;
};

/* Whose turn it is; decides which time limit runs. */
enum http_call_phase {
    HTTP_CALL_CONNECTING, /* curl's own limit: it knows when a call waits for a free connection */
    HTTP_CALL_WAITING,    /* for the end of the head */
    HTTP_CALL_BODY
};

struct http_call {
    struct mail wake; /* first. Begins, resumes, or delivers the end and frees */
    struct http_call *next, *prev;
    struct http_client *client; /* NULL once it is out of the client */
    struct worker *worker;
    const struct http_call_ops *ops; /* NULL once cancelled */
    void *arg;
    CURL *easy;
    struct curl_slist *header_lines;
    struct strbuf head; /* field lines of the answer, each ending in CRLF */
    int status;
    enum http_call_phase phase;
    bool has_head;
    bool is_paused;
    bool want_add; /* it is not in a client yet */
    bool want_resume;
    bool is_ended; /* result is set, `done` is due */
    struct http_call_result result;
    struct error refusal; /* why a callback ended it, code 0 when none did */
    enum http_end refusal_end;
    struct event *timer;
    uint64_t active_ms; /* when the phase began or the last body byte came */
    unsigned header_timeout_ms;
    unsigned idle_timeout_ms;
    char curl_text[CURL_ERROR_SIZE];
};

/* The calling worker's client, made if need be; NULL after http_client_close(). */
struct http_client *http_client_get(void);
/* Takes the call's easy handle into the multi handle. */
int http_client_add(struct http_client *c, struct http_call *call);
/* Not from inside a curl callback. */
void http_client_remove(struct http_call *call);

/* Not from inside a curl callback: takes the call out of its client; `done` follows by mail. */
void http_call_end(struct http_call *call, enum http_end end, const struct error *error);
/* Ends a wait before its time, by mail. */
void http_wait_end(struct http_wait *w);
/* curl says that the transfer is over. */
void http_call_finished(struct http_call *call, CURLcode code);

#endif
