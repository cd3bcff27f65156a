/*
 * A Bloom filter of digests: a set that may answer yes for one that was never added, but never no
 * for one that was. Each has a random seed of its own, so two filters err about different digests,
 * and nobody can choose digests that collide.
 * Memory is fixed when it is made; pages are touched as bits are set. Adding and asking: any
 * thread. Clearing: beside an add, that one may be lost; the caller sees to it (cache/vouch.c).
 */
#ifndef CACHE_BLOOM_H
#define CACHE_BLOOM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"

struct bloom;

/* n_bits is rounded up to a power of two of at least 64. NULL when there is no memory. */
struct bloom *bloom_new(size_t n_bits, unsigned n_probes);
void bloom_free(struct bloom **b);

/* True when this set a bit: for certain it was not in before. */
bool bloom_add(struct bloom *b, const struct digest *d);
bool bloom_has(const struct bloom *b, const struct digest *d);
void bloom_clear(struct bloom *b);

#endif
