/* What base/redis.c, base/redis_feed.c and base/redis_link.c know of each other; nobody else
 * includes this. */
#ifndef BASE_REDIS_PRIVATE_H
#define BASE_REDIS_PRIVATE_H

#include <stdatomic.h>

#include "base/redis.h"
#include "base/redis_names.h"

struct redis_desk;

struct redis {
    struct redis_config config; /* its texts are owned */
    struct redis_names *names;
    atomic_uint n_up;               /* links that are up */
    atomic_bool is_failing;         /* said in the log; until a link is up again */
    _Atomic uint64_t complained_ms; /* when an error answer was last logged */
    unsigned n_desks;
    struct redis_desk **desks; /* by index of the worker; each is its worker's own */
};

/* For lines of the log: the role, as in "redis cache". */
const char *redis_prefix(const struct redis *r);
/* A server's own words about what it does not do; now and then into the log. */
void redis_complain(struct redis *r, const char *what);

#endif
