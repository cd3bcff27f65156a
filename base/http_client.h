/*
 * The outgoing HTTP client of a worker: connections kept for reuse, name resolution, TLS, shared by
 * all calls (base/http_call.h) of that worker. Made by the first call, so that a daemon that has
 * asked no upstream yet has paid nothing for it. Own thread only. Memory: HTTP_CLIENT_IDLE_MAX kept
 * connections, plus what the running calls hold.
 */
#ifndef BASE_HTTP_CLIENT_H
#define BASE_HTTP_CLIENT_H

#define HTTP_CLIENT_IDLE_MAX 32

/* Ends the calling worker's client: running calls end with HTTP_END_CLOSED, and so does every call
 * started later; waits (base/http_wait.h) are over. To be called on each worker before it is
 * stopped; harmless without a client. */
void http_client_close(void);

#endif
