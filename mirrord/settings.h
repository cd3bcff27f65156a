/*
 * Turns options into the plain structs that the parts of the daemon take, so that none of them
 * knows the configuration file. Strings in the results belong to the configuration.
 */
#ifndef MIRRORD_SETTINGS_H
#define MIRRORD_SETTINGS_H

#include <stdbool.h>

#include "base/redis.h"
#include "cache/cache.h"
#include "cache/scrub.h"
#include "mirrord/access_log.h"
#include "mirrord/api_settings.h"
#include "mirrord/server.h"
#include "upstream/upstream.h"

struct config;
struct pool;

struct cache_config settings_cache(const struct config *config, struct pool *pool);
struct scrub_settings settings_scrub(const struct config *config);
/* False: this Redis server is not used. The caller adds the workers. */
bool settings_redis(const struct config *config, bool is_lru, struct redis_config *out);
struct upstream_config settings_upstream(const struct config *config);
struct api_settings settings_api(const struct config *config, char *const *argv);
struct server_limits settings_limits(const struct config *config);
enum access_format settings_access_format(const struct config *config);

#endif
