/*
 * What is remembered here may have been changed by another process. Entries of a memory front note
 * the count of their name when they are made from what the storage says, and are believed while it
 * is still the same; raising a doubt changes the count. Names share counts, so now and then one is
 * read again that did not change.
 *
 * Embedded in its front; any thread, no lock. 16 KiB.
 */
#ifndef CACHE_DOUBTS_H
#define CACHE_DOUBTS_H

#include <stdatomic.h>
#include <stdint.h>

#define DOUBTS_N 4096

struct doubts {
    _Atomic uint32_t counts[DOUBTS_N]; /* zero at first */
};

/* To be taken before the storage is read. hot */
static inline uint32_t doubts_now(const struct doubts *d, uint64_t hash)
{
    return atomic_load_explicit(&d->counts[(hash >> 20) % DOUBTS_N], memory_order_acquire);
}

void doubts_raise(struct doubts *d, uint64_t hash);
void doubts_raise_all(struct doubts *d);

#endif
