/*
 * What the load generator measured: one sample per complete response, and the summary of all of
 * them as one line of JSON. A report belongs to one thread until the threads have ended.
 */
#ifndef TESTS_BENCH_LOAD_REPORT_H
#define TESTS_BENCH_LOAD_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct load_connection;

/* Seconds from the request to each of these. */
struct load_sample {
    double head_s;
    double first_s; /* the first byte of the body */
    double total_s;
};

struct load_report {
    struct load_sample *samples;
    size_t n_samples;
    size_t n_room;
    uint64_t n_bytes; /* of bodies, of those that were cut short by the end too */
    uint64_t n_errors;
    const char *first_error;
};

/* The connection's response is complete. */
void load_report_add(struct load_report *report, const struct load_connection *conn);
void load_report_merge(struct load_report *report, const struct load_report *other);
/* Sorts the samples, and prints. */
void load_report_print(struct load_report *report, double elapsed_s, FILE *out);
void load_report_fini(struct load_report *report);

#endif
