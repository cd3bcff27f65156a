#include "config.h"

#include "upstream/backoff.h"

#include <sys/random.h>

#include "base/check.h"

unsigned backoff_delay_ms(unsigned base_ms, unsigned max_ms, unsigned failures, uint64_t random)
{
    uint64_t ceiling = base_ms;

    CHECK(failures > 0);
    for (unsigned i = 1; i < failures && ceiling < max_ms; i++)
        ceiling *= 2;
    if (ceiling > max_ms)
        ceiling = max_ms;
    return (unsigned)(random % (ceiling + 1));
}

uint64_t backoff_random(void)
{
    uint64_t n;

    CHECK(getentropy(&n, sizeof(n)) == 0);
    return n;
}
