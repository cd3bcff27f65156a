/*
 * What the garbage collector and the scrub tell of their runs at the admin listener: the same
 * beginning and end, and between them a number for each thing that is counted. Pure; any thread.
 */
#ifndef CACHE_RUN_REPORT_H
#define CACHE_RUN_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct run_report {
    bool is_running, is_complete;
    int64_t started_at_s, ended_at_s;
    const char *problem; /* the last thing that went wrong, or "" */
};

struct run_count {
    const char *name;
    uint64_t value;
};

/* more: further members, each with a comma before it; or "". */
void run_report_print(const struct run_report *r, const struct run_count *counts, size_t n_counts,
                      const char *more, struct strbuf *out);

#endif
