#include "config.h"

#include "cache/bloom.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/check.h"

struct bloom {
    size_t mask; /* number of bits - 1 */
    unsigned n_probes;
    uint64_t seed[2];
    _Atomic uint64_t *words;
};

struct bloom *bloom_new(size_t n_bits, unsigned n_probes)
{
    size_t n = 64;

    CHECK(n_probes > 0 && n_bits <= SIZE_MAX / 4);
    while (n < n_bits)
        n *= 2;
    struct bloom *b = xcalloc(1, sizeof(*b));
    b->mask = n - 1;
    b->n_probes = n_probes;
    CHECK(getrandom(b->seed, sizeof(b->seed), 0) == sizeof(b->seed));
    b->words = calloc(n / 64, sizeof(*b->words));
    if (!b->words) {
        free(b);
        return NULL;
    }
    return b;
}

void bloom_free(struct bloom **bb)
{
    struct bloom *b = *bb;

    if (!b)
        return;
    free(b->words);
    free(b);
    *bb = NULL;
}

/* The finaliser of MurmurHash3: every bit of x changes half of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
}

/* Where the bits of this digest are: bit number start + n * step (Kirsch and Mitzenmacher). */
struct probes {
    uint64_t start, step;
};

static struct probes probes_of(const struct bloom *b, const struct digest *d)
{
    uint64_t halves[2];

    memcpy(halves, d->bytes, sizeof(halves));
    uint64_t start = mix(halves[0] ^ b->seed[0]);
    return (struct probes){start, mix(halves[1] ^ b->seed[1] ^ start) | 1};
}

bool bloom_add(struct bloom *b, const struct digest *d)
{
    struct probes p = probes_of(b, d);
    bool is_new = false;

    for (unsigned i = 0; i < b->n_probes; i++, p.start += p.step) {
        size_t bit = (size_t)p.start & b->mask;
        uint64_t one = (uint64_t)1 << (bit % 64);
        /* What is set already needs no write, which would take the line from other cores. */
        if (atomic_load(&b->words[bit / 64]) & one)
            continue;
        atomic_fetch_or(&b->words[bit / 64], one);
        is_new = true;
    }
    return is_new;
}

bool bloom_has(const struct bloom *b, const struct digest *d)
{
    struct probes p = probes_of(b, d);

    for (unsigned i = 0; i < b->n_probes; i++, p.start += p.step) {
        size_t bit = (size_t)p.start & b->mask;
        if (!(atomic_load(&b->words[bit / 64]) & (uint64_t)1 << (bit % 64)))
            return false;
    }
    return true;
}

void bloom_clear(struct bloom *b)
{
    /* Reading a page that nobody has written costs no memory. */
    for (size_t i = 0; i <= b->mask / 64; i++)
        if (atomic_load_explicit(&b->words[i], memory_order_relaxed))
            atomic_store(&b->words[i], 0);
}
