/*
 * What the load generator is asked to do: read once from the command line by load.c, then shared
 * by all its threads and never written again.
 */
#ifndef TESTS_BENCH_LOAD_OPTIONS_H
#define TESTS_BENCH_LOAD_OPTIONS_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

struct load_options {
    struct sockaddr_in address;
    char *request; /* the whole text of it; the same for every connection */
    size_t n_request;
    unsigned n_connections;
    unsigned n_threads;
    uint64_t n_requests;   /* per connection; 0 = until duration_ns has passed */
    uint64_t duration_ns;  /* 0 = until n_requests are done */
    uint64_t rate_bytes;   /* body bytes per second and connection; 0 = as they come */
    uint64_t interval_ns;  /* between two requests of one connection; 0 = one after the other */
    int rcvbuf_bytes;      /* 0 = the kernel tunes it */
    const char *reference; /* what every body must equal; NULL = bodies are discarded unseen */
    uint64_t n_reference;
};

/* Ends the process with a message and status 2 when the command line is not understood. */
void load_options_parse(struct load_options *options, int argc, char **argv);
void load_options_fini(struct load_options *options);

#endif
