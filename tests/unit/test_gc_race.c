/*
 * Pushes and the collector at once, with a clock so fast that every run is a grace period after the
 * one before it: only holds, vouches and their order keep blobs alive here, no age does.
 */
#include "config.h"

#include "cache/gc.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/store.h"
#include "cache/vouch.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define N_PUSHERS 4
#define N_PUSHES 150
#define N_LAYERS 12 /* shared by all */
#define N_REFS 3
#define N_ALIVE 4 /* manifests of a pusher; the oldest is deleted for the next */
#define FAR_AHEAD_S 100000

static _Atomic uint64_t ahead_ms;

uint64_t __real_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void)
{
    return __real_clock_mono_ms() + ahead_ms;
}

int64_t __real_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void)
{
    return __real_clock_wall_s() + FAR_AHEAD_S;
}

struct layer {
    char content[32];
    size_t n;
    struct digest digest;
    char path[300];
};

struct accepted {
    struct digest digest;
    unsigned refs[N_REFS];
    char path[300];
};

struct arena_of_all {
    struct place place;
    struct layer layers[N_LAYERS];
    atomic_uint n_pushing;
};

struct pusher {
    struct arena_of_all *all;
    pthread_t thread;
    unsigned number;
    unsigned dice;
    struct accepted alive[N_ALIVE];
    unsigned n_alive;
    unsigned n_lost; /* blobs of accepted manifests that were not there */
    unsigned n_refused;
};

static unsigned roll(struct pusher *p, unsigned n)
{
    p->dice = p->dice * 1103515245 + 12345;
    return (p->dice >> 16) % n;
}

/* HEAD, as a client does before it uploads: whether it is told that the blob is here. */
static bool head(struct place *place, const struct layer *layer, bool is_locking)
{
    struct blob *b = NULL;

    if (is_locking)
        return vouch_present_now(cache_vouches(place->cache), &layer->digest, NULL) == 0;
    vouch_for(cache_vouches(place->cache), &layer->digest);
    b = store_find(cache_store(place->cache), &layer->digest);
    bool is_here = b || store_open_now(cache_store(place->cache), &layer->digest, &b) == 0;
    blob_unref(&b);
    return is_here;
}

static void upload(struct pusher *p, const struct layer *layer)
{
    struct place *place = &p->all->place;
    struct origin origin = {.is_pushed = true, .at_s = 1};
    char repo[16];

    snprintf(repo, sizeof(repo), "r%u", p->number % 2);
    if (!head(place, layer, roll(p, 2)))
        CHECK(store_put_now(cache_store(place->cache), &layer->digest, layer->content, layer->n,
                            NULL) == 0);
    CHECK(links_add_layer_now(cache_links(place->cache), slice_of(repo), &layer->digest, &origin,
                              NULL) == 0);
}

static struct manifest *make_manifest(struct pusher *p, unsigned turn, struct accepted *out)
{
    struct strbuf text = STRBUF_INIT;
    char digest[DIGEST_TEXT_SIZE];

    strbuf_addf(&text, "{\"schemaVersion\":2,\"x\":\"%u/%u\",\"layers\":[", p->number, turn);
    for (unsigned i = 0; i < N_REFS; i++) {
        digest_format(&p->all->layers[out->refs[i]].digest, digest);
        strbuf_addf(&text, "%s{\"digest\":\"%s\",\"size\":1}", i > 0 ? "," : "", digest);
    }
    strbuf_add_str(&text, "]}");
    digest_of(DIGEST_SHA256, text.ptr, text.len, &out->digest);
    struct manifest *m =
        manifest_new(&out->digest, SLICE("application/json"), (struct slice){text.ptr, text.len});
    strbuf_fini(&text);
    return m;
}

/* PUT of a manifest: false when something it references is not here. */
static bool put(struct pusher *p, struct manifest *m, const struct accepted *a)
{
    struct place *place = &p->all->place;
    struct vouches *vs = cache_vouches(place->cache);
    struct origin origin = {.is_pushed = true, .at_s = 1};
    char repo[16];
    int rc = 0;

    snprintf(repo, sizeof(repo), "r%u", p->number % 2);
    unsigned hold = vouch_hold(vs);
    for (unsigned i = 0; i < N_REFS && rc == 0; i++)
        rc = vouch_present_now(vs, &p->all->layers[a->refs[i]].digest, NULL);
    if (rc == 0)
        CHECK(manifests_put_now(cache_manifests(place->cache), slice_of(repo), m, &origin, NULL) ==
              0);
    vouch_release(vs, hold);
    return rc == 0;
}

static void delete_oldest(struct pusher *p)
{
    char repo[16];

    snprintf(repo, sizeof(repo), "r%u", p->number % 2);
    CHECK(links_remove_now(cache_links(p->all->place.cache), LINK_REVISION, slice_of(repo),
                           &p->alive[0].digest, NULL) == 0);
    memmove(p->alive, p->alive + 1, sizeof(p->alive) - sizeof(p->alive[0]));
    p->n_alive--;
}

/* Everything that was accepted and not deleted is complete. */
static void look_at_all(struct pusher *p)
{
    for (unsigned i = 0; i < p->n_alive; i++) {
        p->n_lost += access(p->alive[i].path, F_OK) != 0;
        for (unsigned n = 0; n < N_REFS; n++)
            p->n_lost += access(p->all->layers[p->alive[i].refs[n]].path, F_OK) != 0;
    }
}

static void push(struct pusher *p, unsigned turn)
{
    struct accepted a;
    char hex[DIGEST_TEXT_SIZE];
    bool is_accepted = false;

    for (unsigned i = 0; i < N_REFS; i++)
        a.refs[i] = roll(p, N_LAYERS);
    struct manifest *m = make_manifest(p, turn, &a);
    while (!is_accepted) {
        for (unsigned i = 0; i < N_REFS; i++)
            upload(p, &p->all->layers[a.refs[i]]);
        is_accepted = put(p, m, &a);
        p->n_refused += !is_accepted;
    }
    manifest_unref(&m);
    digest_hex(&a.digest, hex);
    snprintf(a.path, sizeof(a.path), "%s/docker/registry/v2/blobs/sha256/%.2s/%s/data",
             p->all->place.root, hex, hex);
    if (p->n_alive == N_ALIVE)
        delete_oldest(p);
    p->alive[p->n_alive++] = a;
}

static void *push_all(void *arg)
{
    struct pusher *p = arg;

    for (unsigned turn = 0; turn < N_PUSHES; turn++) {
        push(p, turn);
        look_at_all(p);
    }
    atomic_fetch_sub(&p->all->n_pushing, 1);
    return NULL;
}

/* A grace period later. */
static void run(struct place *p)
{
    struct gc_report r;

    ahead_ms += 1001;
    gc_start(cache_gc(p->cache));
    cache_drain(p->cache);
    gc_read_report(cache_gc(p->cache), &r);
    assert_true(r.is_complete);
    assert_int_equal(r.n_errors, 0);
}

static size_t count_blobs(struct place *p)
{
    size_t n = 0;

    for (unsigned i = 0; i < 256; i++)
        n += place_count(p, place_path(p, "docker/registry/v2/blobs/sha256/%02x", i));
    return n;
}

static void make_layers(struct arena_of_all *all)
{
    for (unsigned i = 0; i < N_LAYERS; i++) {
        struct layer *l = &all->layers[i];
        l->n = (size_t)snprintf(l->content, sizeof(l->content), "layer %u", i);
        digest_of(DIGEST_SHA256, l->content, l->n, &l->digest);
        snprintf(l->path, sizeof(l->path), "%s", place_blob(&all->place, &l->digest));
    }
}

/* What is left in the end is what is referenced. */
static size_t count_referenced(const struct pusher *pushers)
{
    bool is_used[N_LAYERS] = {false};
    size_t n = 0;

    for (unsigned i = 0; i < N_PUSHERS; i++) {
        n += pushers[i].n_alive;
        for (unsigned a = 0; a < pushers[i].n_alive; a++)
            for (unsigned r = 0; r < N_REFS; r++)
                is_used[pushers[i].alive[a].refs[r]] = true;
    }
    for (unsigned i = 0; i < N_LAYERS; i++)
        n += is_used[i];
    return n;
}

static void test_race(void **state)
{
    static struct arena_of_all all;
    static struct pusher pushers[N_PUSHERS];
    unsigned n_runs = 0, n_refused = 0;

    (void)state;
    place_init(&all.place);
    all.place.config.gc_grace_s = 0;
    all.place.config.gc_batch = 5;
    place_open(&all.place);
    make_layers(&all);
    atomic_store(&all.n_pushing, N_PUSHERS);
    for (unsigned i = 0; i < N_PUSHERS; i++) {
        pushers[i] = (struct pusher){.all = &all, .number = i, .dice = i * 77};
        assert_int_equal(pthread_create(&pushers[i].thread, NULL, push_all, &pushers[i]), 0);
    }
    for (; atomic_load(&all.n_pushing) > 0; n_runs++)
        run(&all.place);
    for (unsigned i = 0; i < N_PUSHERS; i++) {
        pthread_join(pushers[i].thread, NULL);
        n_refused += pushers[i].n_refused;
        assert_int_equal(pushers[i].n_lost, 0);
    }
    for (unsigned i = 0; i < 4; i++)
        run(&all.place);
    for (unsigned i = 0; i < N_PUSHERS; i++) {
        look_at_all(&pushers[i]);
        assert_int_equal(pushers[i].n_lost, 0);
    }
    print_message("%u runs beside %u pushes, %u of them refused once\n", n_runs,
                  N_PUSHERS * N_PUSHES, n_refused);
    assert_int_equal(count_blobs(&all.place), count_referenced(pushers));
    place_close(&all.place);
    place_fini(&all.place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_race),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
