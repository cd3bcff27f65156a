/*
 * A sharded hash table that keeps the most recently used items, bounded by the sum of their costs
 * (bytes, or 1 each). Items are embedded in their objects; the table owns those that are in it and
 * hands them to `drop` when they leave. One short lock per shard; any thread.
 * An item that costs more than its shard may hold (max_cost / n_shards) is not kept.
 */
#ifndef CACHE_LRU_H
#define CACHE_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lru;

struct lru_item {
    struct lru_item *chain; /* in its bucket */
    struct lru_item *newer, *older;
    uint64_t hash;
    size_t cost;
};

struct lru_kind {
    bool (*has_key)(const struct lru_item *it, const void *key);
    /* Under the shard's lock: copies or counts what the finder gets. False: treat as not found. */
    bool (*take)(struct lru_item *it, void *out);
    /* Outside the lock: the table's ownership ends. */
    void (*drop)(struct lru_item *it);
};

struct lru *lru_new(const struct lru_kind *kind, size_t max_cost, unsigned n_shards);
void lru_free(struct lru **l);

/* A found one becomes the most recently used. */
bool lru_find(struct lru *l, uint64_t hash, const void *key, void *out);
/* Takes the item; another of the same key is dropped. */
void lru_put(struct lru *l, struct lru_item *it, uint64_t hash, const void *key, size_t cost);
/* The same, but when the key is there already the new one is dropped: false. */
bool lru_put_new(struct lru *l, struct lru_item *it, uint64_t hash, const void *key, size_t cost);
/* Runs change(it, arg) under the shard's lock if the key is there: short, without locks of its own.
 * The item's age and cost stay. */
bool lru_change(struct lru *l, uint64_t hash, const void *key,
                void (*change)(struct lru_item *it, void *arg), void *arg);
bool lru_remove(struct lru *l, uint64_t hash, const void *key);
/* The sum over all shards, for tests and metrics. */
size_t lru_cost(struct lru *l);

/* A hash of n bytes, seeded per process, so that clients cannot choose names that collide. */
uint64_t lru_hash(const void *p, size_t n, uint64_t start);

#endif
