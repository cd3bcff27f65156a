/*
 * How much the cache may hold: works out what eviction has to keep to from cache_max_size,
 * cache_min_free and what the filesystem says, each second, because others may write there and
 * shares follow its size. What is told to eviction is one number: the least of
 *
 *   cache_max_size                    (or its share of the filesystem)
 *   stored + available - cache_min_free     as long as cache_min_free is set
 *
 * with the marks below it at which eviction begins and ends. Says once when the limit cannot be
 * kept because what is stored may not be evicted.
 *
 * Belongs to the control worker; the filesystem is asked on the pool. Nothing grows.
 */
#ifndef MIRRORD_SPACE_H
#define MIRRORD_SPACE_H

#include <stdint.h>

#include "mirrord/configuration.h"

struct cache;
struct evict_limits;
struct pool;
struct space;
struct worker;

struct space_settings {
    struct config_space max_size, min_free;
    unsigned high_percent, low_percent; /* of the limit; low < high <= 100 */
    int64_t max_age_s;                  /* 0: none */
};

/* What a filesystem says of itself. */
struct space_room {
    uint64_t total_bytes;     /* 0: it could not be asked */
    uint64_t available_bytes; /* to us */
};

/* The strings' owner keeps them until the end; cache and pool outlive it. */
struct space *space_new(struct cache *cache, struct pool *pool, struct worker *home,
                        const char *storage_path);
/* When the pool has come to rest. */
void space_free(struct space **s);
/* In force at once. */
void space_set(struct space *s, const struct space_settings *settings);
/* Each second. */
void space_tick(struct space *s);

/* The bytes that may be stored, 0: no limit. A pure function; so is space_limits. */
uint64_t space_max_bytes(const struct space_settings *settings, const struct space_room *room,
                         uint64_t stored_bytes);
void space_limits(const struct space_settings *settings, const struct space_room *room,
                  uint64_t stored_bytes, struct evict_limits *out);

#endif
