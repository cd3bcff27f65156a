#include "config.h"

#include "mirrord/revision_lock.h"

#include <pthread.h>

#include "base/check.h"

enum { N_STRIPES = 64 };

static pthread_mutex_t stripes[N_STRIPES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_stripes(void)
{
    for (unsigned i = 0; i < N_STRIPES; i++)
        pthread_mutex_init(&stripes[i], NULL);
}

static pthread_mutex_t *stripe_of(const struct digest *d)
{
    CHECK(pthread_once(&once, init_stripes) == 0);
    return &stripes[digest_key(d) % N_STRIPES];
}

void revision_lock(const struct digest *d)
{
    pthread_mutex_lock(stripe_of(d));
}

void revision_unlock(const struct digest *d)
{
    pthread_mutex_unlock(stripe_of(d));
}
