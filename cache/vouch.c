#include "config.h"

#include "cache/vouch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "cache/bloom.h"
#include "cache/cache_private.h"
#include "cache/vouch_private.h"

/* 256 KiB per filter. With 100,000 different blobs vouched for in a grace period one unvouched
 * blob in a thousand is taken for a vouched one, with a million every second; it goes later. */
#define FILTER_BITS ((size_t)1 << 21)
#define FILTER_PROBES 4
#define N_STRIPES 64
#define PERIOD_MIN_MS 1000

/*
 * Generation g of vouches is in filter g % 2. A new generation begins when the present one is at
 * least a grace period old; then the one before it is forgotten, all of whose vouches are older.
 */
struct vouches {
    const struct layout *layout;
    uint64_t period_ms;
    uint64_t started_at_ms; /* monotonic, as all times here */
    struct bloom *filters[2];
    atomic_uint generation;
    pthread_mutex_t turn_lock; /* guards what follows and changes of the generation */
    uint64_t turned_at_ms;
    unsigned n_holds[2]; /* those that began in an even and in an odd generation */
    bool has_run;
    pthread_mutex_t stripes[N_STRIPES]; /* by digest: who looks, and who looks and removes */
};

struct vouches *vouches_new(const struct layout *l, unsigned grace_s)
{
    struct vouches *vs = xcalloc(1, sizeof(*vs));

    vs->layout = l;
    vs->period_ms = (uint64_t)grace_s * 1000;
    if (vs->period_ms < PERIOD_MIN_MS)
        vs->period_ms = PERIOD_MIN_MS;
    vs->started_at_ms = vs->turned_at_ms = clock_mono_ms();
    for (unsigned i = 0; i < 2; i++) {
        vs->filters[i] = bloom_new(FILTER_BITS, FILTER_PROBES);
        CHECK(vs->filters[i]);
    }
    pthread_mutex_init(&vs->turn_lock, NULL);
    for (unsigned i = 0; i < N_STRIPES; i++)
        pthread_mutex_init(&vs->stripes[i], NULL);
    return vs;
}

void vouches_free(struct vouches **vvs)
{
    struct vouches *vs = *vvs;

    if (!vs)
        return;
    CHECK(!vs->has_run && vs->n_holds[0] == 0 && vs->n_holds[1] == 0);
    for (unsigned i = 0; i < N_STRIPES; i++)
        pthread_mutex_destroy(&vs->stripes[i]);
    pthread_mutex_destroy(&vs->turn_lock);
    bloom_free(&vs->filters[0]);
    bloom_free(&vs->filters[1]);
    free(vs);
    *vvs = NULL;
}

/* Begins a new generation when it is time and nobody needs the one that would be forgotten: no run
 * of the collector, no manifest being put that began in it. */
static void turn_locked(struct vouches *vs)
{
    unsigned old = (atomic_load(&vs->generation) + 1) % 2;
    uint64_t now_ms = clock_mono_ms();

    if (vs->has_run || vs->n_holds[old] > 0 || now_ms - vs->turned_at_ms < vs->period_ms)
        return;
    bloom_clear(vs->filters[old]);
    vs->turned_at_ms = now_ms;
    atomic_fetch_add(&vs->generation, 1);
}

void vouch_for(struct vouches *vs, const struct digest *d)
{
    unsigned generation = atomic_load(&vs->generation);

    for (;;) {
        bloom_add(vs->filters[generation % 2], d);
        unsigned now = atomic_load(&vs->generation);
        if (now == generation)
            return;
        /* This thread was so slow that its filter may have been cleared under it. */
        generation = now;
    }
}

static pthread_mutex_t *stripe_of(struct vouches *vs, const struct digest *d)
{
    return &vs->stripes[digest_key(d) % N_STRIPES];
}

void vouch_lock(struct vouches *vs, const struct digest *d)
{
    pthread_mutex_lock(stripe_of(vs, d));
}

void vouch_unlock(struct vouches *vs, const struct digest *d)
{
    pthread_mutex_unlock(stripe_of(vs, d));
}

int vouch_present_now(struct vouches *vs, const struct digest *d, uint64_t *size_out)
{
    struct stat st;
    char *path = layout_blob(vs->layout, d);

    pthread_mutex_lock(&vs->turn_lock);
    turn_locked(vs);
    pthread_mutex_unlock(&vs->turn_lock);

    vouch_lock(vs, d);
    vouch_for(vs, d);
    int rc = stat(path, &st) < 0 ? -errno : 0;
    vouch_unlock(vs, d);
    free(path);
    if (rc == -ENOTDIR || (rc == 0 && !S_ISREG(st.st_mode)))
        rc = -ENOENT;
    if (rc == 0 && size_out)
        *size_out = (uint64_t)st.st_size;
    return rc;
}

unsigned vouch_hold(struct vouches *vs)
{
    pthread_mutex_lock(&vs->turn_lock);
    unsigned hold = atomic_load(&vs->generation) % 2;
    vs->n_holds[hold]++;
    pthread_mutex_unlock(&vs->turn_lock);
    return hold;
}

void vouch_release(struct vouches *vs, unsigned hold)
{
    CHECK(hold < 2);
    pthread_mutex_lock(&vs->turn_lock);
    CHECK(vs->n_holds[hold] > 0);
    vs->n_holds[hold]--;
    pthread_mutex_unlock(&vs->turn_lock);
}

void vouches_begin_run(struct vouches *vs)
{
    pthread_mutex_lock(&vs->turn_lock);
    CHECK(!vs->has_run);
    turn_locked(vs);
    vs->has_run = true;
    pthread_mutex_unlock(&vs->turn_lock);
}

void vouches_end_run(struct vouches *vs)
{
    pthread_mutex_lock(&vs->turn_lock);
    CHECK(vs->has_run);
    vs->has_run = false;
    pthread_mutex_unlock(&vs->turn_lock);
}

bool vouch_is_held(struct vouches *vs, const struct digest *d)
{
    if (clock_mono_ms() - vs->started_at_ms < vs->period_ms)
        return true;
    return bloom_has(vs->filters[0], d) || bloom_has(vs->filters[1], d);
}
