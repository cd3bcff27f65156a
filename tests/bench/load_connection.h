/*
 * One client connection of the load generator: asks, reads the head, discards or compares the
 * body, keeps the times of the request under way. Belongs to one thread. Its memory is this
 * struct; bodies are discarded inside the kernel unless they are compared.
 */
#ifndef TESTS_BENCH_LOAD_CONNECTION_H
#define TESTS_BENCH_LOAD_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_options;

enum load_progress { LOAD_WAITS, LOAD_COMPLETE, LOAD_FAILED };

struct load_connection {
    const struct load_options *options;
    int fd;
    bool is_asking; /* a request is under way */
    bool has_head;  /* of the response to it */
    size_t n_head;
    uint64_t n_left;     /* of the body */
    uint64_t n_read;     /* of the body */
    uint64_t n_total;    /* body bytes of all responses */
    uint64_t n_done;     /* complete responses */
    uint64_t due_ns;     /* when the next request is to be sent, where they are paced */
    uint64_t start_ns;   /* the request was sent, or was due */
    uint64_t head_ns;    /* the head was complete */
    uint64_t first_ns;   /* the first byte of the body was here */
    uint64_t end_ns;     /* the last one was */
    const char *problem; /* after LOAD_FAILED: what happened */
    char head[4096];
};

/* Connects and waits for it. False: `problem` tells why. */
bool load_connection_open(struct load_connection *conn, const struct load_options *options);
void load_connection_close(struct load_connection *conn);
/* Sends the request; the time of the response counts from start_ns. */
enum load_progress load_connection_ask(struct load_connection *conn, uint64_t start_ns);
/* Reads what is there, but no more than n_max bytes of a body. Never blocks. */
enum load_progress load_connection_read(struct load_connection *conn, uint64_t n_max);

uint64_t load_now_ns(void);

#endif
