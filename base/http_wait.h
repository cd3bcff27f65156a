/*
 * The wait before a worker's HTTP client is asked again. It ends when its time is over, or when the
 * client is closed: nobody goes on waiting for a client that is gone. Own thread only. Memory: one
 * small object with a timer for each wait that runs; its owner frees it, over or not.
 */
#ifndef BASE_HTTP_WAIT_H
#define BASE_HTTP_WAIT_H

struct http_wait;

/* over runs once, from the worker's loop, never from inside a call of this header. */
struct http_wait *http_wait_new(unsigned ms, void (*over)(void *arg), void *arg);
/* over does not run any more; NULLs the pointer. */
void http_wait_free(struct http_wait **w);

#endif
