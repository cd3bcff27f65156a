#include "config.h"

#include "mirrord/memory_share.h"

#include "base/check.h"

bool memory_share_take(struct memory_share *s, size_t own, size_t n, uint64_t max)
{
    uint64_t all = atomic_fetch_add(&s->n_bytes, n) + n;

    CHECK(all >= own + n);
    if (all <= max || all == own + n)
        return true;
    atomic_fetch_sub(&s->n_bytes, n);
    return false;
}

void memory_share_give(struct memory_share *s, size_t n)
{
    CHECK(atomic_fetch_sub(&s->n_bytes, n) >= n);
}
