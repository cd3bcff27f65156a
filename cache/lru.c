#include "config.h"

#include "cache/lru.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/check.h"

#define FIRST_BUCKETS 16

struct shard {
    pthread_mutex_t lock; /* guards all below */
    struct lru_item **buckets;
    size_t n_buckets; /* a power of two */
    size_t n_items;
    size_t cost;
    struct lru_item *newest, *oldest;
} __attribute__((aligned(64)));

struct lru {
    const struct lru_kind *kind;
    size_t max_cost; /* of one shard */
    unsigned n_shards;
    struct shard *shards;
};

struct lru *lru_new(const struct lru_kind *kind, size_t max_cost, unsigned n_shards)
{
    struct lru *l = xcalloc(1, sizeof(*l));

    CHECK(n_shards > 0);
    l->kind = kind;
    l->max_cost = max_cost / n_shards;
    l->n_shards = n_shards;
    l->shards = aligned_alloc(_Alignof(struct shard), n_shards * sizeof(l->shards[0]));
    CHECK(l->shards);
    for (unsigned i = 0; i < n_shards; i++) {
        l->shards[i] = (struct shard){.n_buckets = FIRST_BUCKETS};
        l->shards[i].buckets = xcalloc(FIRST_BUCKETS, sizeof(struct lru_item *));
        pthread_mutex_init(&l->shards[i].lock, NULL);
    }
    return l;
}

/* The shard takes the high bits, the bucket the low ones. */
static struct shard *shard_of(struct lru *l, uint64_t hash)
{
    return &l->shards[(hash >> 48) % l->n_shards];
}

static struct lru_item **bucket_of(struct shard *s, uint64_t hash)
{
    return &s->buckets[hash & (s->n_buckets - 1)];
}

static void age_unlink(struct shard *s, struct lru_item *it)
{
    *(it->newer ? &it->newer->older : &s->newest) = it->older;
    *(it->older ? &it->older->newer : &s->oldest) = it->newer;
}

static void age_link_newest(struct shard *s, struct lru_item *it)
{
    it->newer = NULL;
    it->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = it;
    s->newest = it;
}

/* Where in its bucket the item with this key hangs, or where the chain ends. */
static struct lru_item **find_link(struct lru *l, struct shard *s, uint64_t hash, const void *key)
{
    struct lru_item **link = bucket_of(s, hash);

    while (*link && ((*link)->hash != hash || !l->kind->has_key(*link, key)))
        link = &(*link)->chain;
    return link;
}

/* Takes the item out of the shard and puts it before the run of those to be dropped. */
static void take_out(struct shard *s, struct lru_item **link, struct lru_item **dropped)
{
    struct lru_item *it = *link;

    *link = it->chain;
    age_unlink(s, it);
    CHECK(s->n_items > 0 && s->cost >= it->cost);
    s->n_items--;
    s->cost -= it->cost;
    it->chain = *dropped;
    *dropped = it;
}

static void drop_all(struct lru *l, struct lru_item *dropped)
{
    while (dropped) {
        struct lru_item *next = dropped->chain;
        l->kind->drop(dropped);
        dropped = next;
    }
}

static void grow(struct shard *s)
{
    size_t n_old = s->n_buckets;
    struct lru_item **old = s->buckets;

    s->n_buckets = n_old * 2;
    s->buckets = xcalloc(s->n_buckets, sizeof(struct lru_item *));
    for (size_t i = 0; i < n_old; i++) {
        for (struct lru_item *it = old[i], *next; it; it = next) {
            struct lru_item **link = bucket_of(s, it->hash);
            next = it->chain;
            it->chain = *link;
            *link = it;
        }
    }
    free(old);
}

/* The link that points to this item, which is in the shard. */
static struct lru_item **link_to(struct shard *s, struct lru_item *it)
{
    struct lru_item **link = bucket_of(s, it->hash);

    while (*link != it) {
        CHECK(*link);
        link = &(*link)->chain;
    }
    return link;
}

bool lru_find(struct lru *l, uint64_t hash, const void *key, void *out)
{
    struct shard *s = shard_of(l, hash);
    bool is_taken = false;

    pthread_mutex_lock(&s->lock);
    struct lru_item *it = *find_link(l, s, hash, key);
    if (it)
        is_taken = l->kind->take(it, out);
    if (is_taken && s->newest != it) {
        age_unlink(s, it);
        age_link_newest(s, it);
    }
    pthread_mutex_unlock(&s->lock);
    return is_taken;
}

/* The common part of both ways to put. */
static bool put(struct lru *l, struct lru_item *it, const void *key, bool can_replace)
{
    struct shard *s = shard_of(l, it->hash);
    struct lru_item *dropped = NULL;

    pthread_mutex_lock(&s->lock);
    struct lru_item **link = find_link(l, s, it->hash, key);
    bool is_there = *link != NULL;
    if (is_there && can_replace)
        take_out(s, link, &dropped);
    if (it->cost > l->max_cost || (is_there && !can_replace)) {
        it->chain = dropped;
        dropped = it;
    } else {
        while (s->oldest && s->cost + it->cost > l->max_cost)
            take_out(s, link_to(s, s->oldest), &dropped);
        if (s->n_items >= s->n_buckets)
            grow(s);
        link = bucket_of(s, it->hash);
        it->chain = *link;
        *link = it;
        age_link_newest(s, it);
        s->n_items++;
        s->cost += it->cost;
    }
    pthread_mutex_unlock(&s->lock);
    drop_all(l, dropped);
    return can_replace || !is_there;
}

void lru_put(struct lru *l, struct lru_item *it, uint64_t hash, const void *key, size_t cost)
{
    it->hash = hash;
    it->cost = cost;
    put(l, it, key, true);
}

bool lru_put_new(struct lru *l, struct lru_item *it, uint64_t hash, const void *key, size_t cost)
{
    it->hash = hash;
    it->cost = cost;
    return put(l, it, key, false);
}

bool lru_change(struct lru *l, uint64_t hash, const void *key,
                void (*change)(struct lru_item *it, void *arg), void *arg)
{
    struct shard *s = shard_of(l, hash);

    pthread_mutex_lock(&s->lock);
    struct lru_item *it = *find_link(l, s, hash, key);
    if (it)
        change(it, arg);
    pthread_mutex_unlock(&s->lock);
    return it != NULL;
}

bool lru_remove(struct lru *l, uint64_t hash, const void *key)
{
    struct shard *s = shard_of(l, hash);
    struct lru_item *dropped = NULL;

    pthread_mutex_lock(&s->lock);
    struct lru_item **link = find_link(l, s, hash, key);
    if (*link)
        take_out(s, link, &dropped);
    pthread_mutex_unlock(&s->lock);
    bool was_there = dropped != NULL;
    drop_all(l, dropped);
    return was_there;
}

size_t lru_cost(struct lru *l)
{
    size_t cost = 0;

    for (unsigned i = 0; i < l->n_shards; i++) {
        pthread_mutex_lock(&l->shards[i].lock);
        cost += l->shards[i].cost;
        pthread_mutex_unlock(&l->shards[i].lock);
    }
    return cost;
}

void lru_free(struct lru **ll)
{
    struct lru *l = *ll;

    if (!l)
        return;
    for (unsigned i = 0; i < l->n_shards; i++) {
        struct shard *s = &l->shards[i];
        struct lru_item *dropped = NULL;
        while (s->oldest)
            take_out(s, link_to(s, s->oldest), &dropped);
        drop_all(l, dropped);
        free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    free(l->shards);
    free(l);
    *ll = NULL;
}

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    CHECK(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
}

uint64_t lru_hash(const void *p, size_t n, uint64_t start)
{
    const unsigned char *bytes = p;

    pthread_once(&seed_once, make_seed);
    uint64_t h = seed ^ (start * 0x9e3779b97f4a7c15u);
    for (size_t i = 0; i < n; i++) {
        h = (h ^ bytes[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 29);
}
