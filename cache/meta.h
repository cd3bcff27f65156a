/*
 * The metadata cache: small values by key, for a time. One interface, two implementations: memory
 * (bounded, sharded, LRU; this process only) and Redis (shared by all processes that use the same
 * server). Both may forget anything at any moment, and Redis may also say what is no longer so, or
 * nonsense: whoever reads a value checks it, and does without when there is none.
 *
 * Nothing blocks and nothing fails; a value that does not come within the server's timeout is one
 * that is not there.
 */
#ifndef CACHE_META_H
#define CACHE_META_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct meta;
struct redis;

enum meta_role { META_TAGS, META_OBJECTS, META_ROLE_MAX }; /* for the metrics: cache, cache_lru */

struct meta *meta_memory_new(enum meta_role role, size_t memory_bytes);
/* Of keys that begin with the prefix. The server is borrowed. */
struct meta *meta_redis_new(enum meta_role role, struct redis *redis, const char *prefix);
/* When nothing is under way. */
void meta_free(struct meta **m);

/* Whether other processes see the same. */
bool meta_is_shared(const struct meta *m);

/* rc 0 with the value (valid during the call), or a negative errno: there is none. */
typedef void (*meta_get_fn)(void *arg, int rc, struct slice value);
/* A worker's thread only. 0: done runs once, on this worker, never from inside; negative: there is
 * no value, and done does not run. */
int meta_get(struct meta *m, struct slice key, meta_get_fn done, void *arg);
/* Any thread. ttl_s 0: until it is displaced. */
void meta_put(struct meta *m, struct slice key, struct slice value, unsigned ttl_s);
/* Any thread. */
void meta_forget(struct meta *m, struct slice key);
/* Any thread: what was got cannot be used. It is counted and forgotten. */
void meta_refuse(struct meta *m, struct slice key);

/* lost(arg) runs, on any thread, when something could not be forgotten. Set it before the first
 * use. */
void meta_on_lost(struct meta *m, void (*lost)(void *arg), void *arg);

#endif
