/*
 * A set of byte offsets as sorted, disjoint, never touching runs [off, end). Pure: no lock, no I/O;
 * embedded in its owner. Memory: 16 bytes per run; runs that meet become one, so a sequential
 * writer has one whatever it writes.
 */
#ifndef CACHE_SEGMENTS_H
#define CACHE_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segment {
    uint64_t off;
    uint64_t end; /* off < end */
};

struct segments {
    struct segment *runs;
    size_t n;
    size_t cap;
    uint64_t total; /* bytes in all runs */
};

void segments_init(struct segments *s);
void segments_fini(struct segments *s);
void segments_clear(struct segments *s);
void segments_copy(struct segments *to, const struct segments *from);

/* Adds [off, end), which may overlap what is there; nothing when it is empty. */
void segments_add(struct segments *s, uint64_t off, uint64_t end);
/* Keeps only what lies below end. */
void segments_cut(struct segments *s, uint64_t end);
/* The end of the run that holds off; off itself when none does. */
uint64_t segments_run_end(const struct segments *s, uint64_t off);
/* The start of the first run that ends behind off and does not hold it: what limits a gap that
 * begins at off. UINT64_MAX when there is none. */
uint64_t segments_next_start(const struct segments *s, uint64_t off);
/* The highest end, 0 when empty. */
uint64_t segments_last_end(const struct segments *s);

#endif
