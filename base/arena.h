/*
 * Memory for one story (a transaction): handed out piece by piece, given back all at once.
 *
 * Embedded by value; one owner, one thread. The first block is kept over arena_reset(), so a warm
 * owner asks malloc for nothing; further blocks are chained behind it and freed by the reset.
 * Bounded by max_bytes over all blocks: beyond it arena_alloc() returns NULL, so a peer that
 * chooses sizes gets an error and not our memory. Pieces never move and cannot be freed singly.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/slice.h"

struct arena_block;

struct arena {
    char *at, *end;             /* what is left of the newest block */
    struct arena_block *newest; /* leads to the older ones; the last is the first block */
    size_t n_bytes;             /* size of all blocks */
    size_t max_bytes;
};

/* Takes the first block at once; max_bytes counts it. */
void arena_init(struct arena *a, size_t first_bytes, size_t max_bytes);
void arena_fini(struct arena *a);
/* Forgets everything that was handed out. */
void arena_reset(struct arena *a);

/* n bytes aligned for any type, not cleared; NULL beyond the limit. */
void *arena_alloc(struct arena *a, size_t n);
/* A copy of the bytes with a NUL behind them; NULL beyond the limit. */
char *arena_copy(struct arena *a, struct slice s);
/* Formatted text, NUL-terminated; NULL beyond the limit. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
