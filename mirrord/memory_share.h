/*
 * A bound on the memory that all stories of one kind hold together, where each alone is bounded by
 * a setting of its own and their number by nothing but the clients. One alone always gets through.
 * Any thread.
 */
#ifndef MIRRORD_MEMORY_SHARE_H
#define MIRRORD_MEMORY_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_share {
    atomic_uint_least64_t n_bytes; /* of all */
};

/* n more bytes for a story that has `own` so far; false when that is more than max for all. */
bool memory_share_take(struct memory_share *s, size_t own, size_t n, uint64_t max);
void memory_share_give(struct memory_share *s, size_t n);

#endif
