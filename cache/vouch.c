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
 * Vouches of two lengths: those that last a grace period, for the garbage collector, and those that
 * last as long as the hold they were made in, for eviction (whose period is 0).
 *
 * Generation g of vouches is in filter g % 2. A new generation begins when the present one is at
 * least a period old; then the one before it is forgotten, all of whose vouches are older.
 */
struct memory {
    uint64_t period_ms;
    struct bloom *filters[2];
    atomic_uint generation;
    /* Guarded by the turn lock, as are changes of the generation. */
    uint64_t turned_at_ms;
    unsigned n_holds[2]; /* those that began in an even and in an odd generation */
    bool has_run;
};

enum { LASTING, BRIEF, N_MEMORIES };

struct vouches {
    const struct layout *layout;
    uint64_t started_at_ms; /* monotonic, as all times here */
    pthread_mutex_t turn_lock;
    struct memory memories[N_MEMORIES];
    pthread_mutex_t stripes[N_STRIPES]; /* by digest: who looks, and who looks and removes */
};

static void memory_init(struct memory *m, uint64_t period_ms, uint64_t now_ms)
{
    m->period_ms = period_ms;
    m->turned_at_ms = now_ms;
    for (unsigned i = 0; i < 2; i++) {
        m->filters[i] = bloom_new(FILTER_BITS, FILTER_PROBES);
        CHECK(m->filters[i]);
    }
}

struct vouches *vouches_new(const struct layout *l, unsigned grace_s)
{
    struct vouches *vs = xcalloc(1, sizeof(*vs));
    uint64_t period_ms = (uint64_t)grace_s * 1000;

    vs->layout = l;
    vs->started_at_ms = clock_mono_ms();
    memory_init(&vs->memories[LASTING], period_ms < PERIOD_MIN_MS ? PERIOD_MIN_MS : period_ms,
                vs->started_at_ms);
    memory_init(&vs->memories[BRIEF], 0, vs->started_at_ms);
    pthread_mutex_init(&vs->turn_lock, NULL);
    for (unsigned i = 0; i < N_STRIPES; i++)
        pthread_mutex_init(&vs->stripes[i], NULL);
    return vs;
}

static void memory_fini(struct memory *m)
{
    CHECK(!m->has_run && m->n_holds[0] == 0 && m->n_holds[1] == 0);
    bloom_free(&m->filters[0]);
    bloom_free(&m->filters[1]);
}

void vouches_free(struct vouches **vvs)
{
    struct vouches *vs = *vvs;

    if (!vs)
        return;
    for (unsigned i = 0; i < N_STRIPES; i++)
        pthread_mutex_destroy(&vs->stripes[i]);
    pthread_mutex_destroy(&vs->turn_lock);
    for (unsigned i = 0; i < N_MEMORIES; i++)
        memory_fini(&vs->memories[i]);
    free(vs);
    *vvs = NULL;
}

/* Begins a new generation when it is time and nobody needs the one that would be forgotten: no run
 * of the collector, no manifest being put that began in it. */
static void turn_locked(struct memory *m)
{
    unsigned old = (atomic_load(&m->generation) + 1) % 2;
    uint64_t now_ms = clock_mono_ms();

    if (m->has_run || m->n_holds[old] > 0 || now_ms - m->turned_at_ms < m->period_ms)
        return;
    bloom_clear(m->filters[old]);
    m->turned_at_ms = now_ms;
    atomic_fetch_add(&m->generation, 1);
}

static void add(struct memory *m, const struct digest *d)
{
    unsigned generation = atomic_load(&m->generation);

    for (;;) {
        bloom_add(m->filters[generation % 2], d);
        unsigned now = atomic_load(&m->generation);
        if (now == generation)
            return;
        /* This thread was so slow that its filter may have been cleared under it. */
        generation = now;
    }
}

void vouch_for(struct vouches *vs, const struct digest *d)
{
    for (unsigned i = 0; i < N_MEMORIES; i++)
        add(&vs->memories[i], d);
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
    turn_locked(&vs->memories[LASTING]);
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

/* One bit for each memory. */
unsigned vouch_hold(struct vouches *vs)
{
    unsigned hold = 0;

    pthread_mutex_lock(&vs->turn_lock);
    for (unsigned i = 0; i < N_MEMORIES; i++) {
        struct memory *m = &vs->memories[i];
        unsigned bit = atomic_load(&m->generation) % 2;
        m->n_holds[bit]++;
        hold |= bit << i;
    }
    pthread_mutex_unlock(&vs->turn_lock);
    return hold;
}

void vouch_release(struct vouches *vs, unsigned hold)
{
    CHECK(hold < 1 << N_MEMORIES);
    pthread_mutex_lock(&vs->turn_lock);
    for (unsigned i = 0; i < N_MEMORIES; i++) {
        struct memory *m = &vs->memories[i];
        unsigned bit = hold >> i & 1;
        CHECK(m->n_holds[bit] > 0);
        m->n_holds[bit]--;
    }
    pthread_mutex_unlock(&vs->turn_lock);
}

static void begin_run(struct vouches *vs, struct memory *m, unsigned n_turns)
{
    pthread_mutex_lock(&vs->turn_lock);
    CHECK(!m->has_run);
    for (unsigned i = 0; i < n_turns; i++)
        turn_locked(m);
    m->has_run = true;
    pthread_mutex_unlock(&vs->turn_lock);
}

static void end_run(struct vouches *vs, struct memory *m)
{
    pthread_mutex_lock(&vs->turn_lock);
    CHECK(m->has_run);
    m->has_run = false;
    pthread_mutex_unlock(&vs->turn_lock);
}

void vouches_begin_run(struct vouches *vs)
{
    begin_run(vs, &vs->memories[LASTING], 1);
}

void vouches_end_run(struct vouches *vs)
{
    end_run(vs, &vs->memories[LASTING]);
}

static bool has(const struct memory *m, const struct digest *d)
{
    return bloom_has(m->filters[0], d) || bloom_has(m->filters[1], d);
}

bool vouch_is_held(struct vouches *vs, const struct digest *d)
{
    const struct memory *m = &vs->memories[LASTING];

    return clock_mono_ms() - vs->started_at_ms < m->period_ms || has(m, d);
}

/* Two turns forget both generations, as far as no hold needs them. */
void vouches_begin_eviction(struct vouches *vs)
{
    begin_run(vs, &vs->memories[BRIEF], 2);
}

void vouches_end_eviction(struct vouches *vs)
{
    end_run(vs, &vs->memories[BRIEF]);
}

bool vouch_is_held_now(struct vouches *vs, const struct digest *d)
{
    return has(&vs->memories[BRIEF], d);
}
