#include "config.h"

#include "cache/doubts.h"

#include "base/check.h"

_Static_assert((DOUBTS_N & (DOUBTS_N - 1)) == 0, "a power of two");

void doubts_raise(struct doubts *d, uint64_t hash)
{
    CHECK(d);
    atomic_fetch_add(&d->counts[(hash >> 20) % DOUBTS_N], 1);
}

void doubts_raise_all(struct doubts *d)
{
    CHECK(d);
    for (unsigned i = 0; i < DOUBTS_N; i++)
        atomic_fetch_add(&d->counts[i], 1);
}
