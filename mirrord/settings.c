#include "config.h"

#include "mirrord/settings.h"

#include <string.h>

#include "base/metric.h"
#include "mirrord/configuration.h"
#include "mirrord/freshness.h"

/* The text, or NULL for none and for an empty one. */
static const char *text(const struct config *config, enum option id)
{
    const char *value = config_str(config, id);

    return value && *value ? value : NULL;
}

bool settings_redis(const struct config *config, bool is_lru, struct redis_config *out)
{
    static const struct redis_metrics METRICS[] = {
        {METRIC_REDIS_CACHE_LINKS, METRIC_REDIS_CACHE_SENT, METRIC_REDIS_CACHE_ERRORS,
         METRIC_REDIS_CACHE_TIMEOUTS, METRIC_REDIS_CACHE_LOST, METRIC_REDIS_CACHE_SKIPPED},
        {METRIC_REDIS_LRU_LINKS, METRIC_REDIS_LRU_SENT, METRIC_REDIS_LRU_ERRORS,
         METRIC_REDIS_LRU_TIMEOUTS, METRIC_REDIS_LRU_LOST, METRIC_REDIS_LRU_SKIPPED},
    };
    const char *host = text(config, is_lru ? OPT_CACHE_LRU_HOST : OPT_CACHE_HOST);

    /* No storage is remote so far, which is what "auto" waits for. */
    if (!host || (is_lru && strcmp(config_str(config, OPT_CACHE_LRU_USE), "always") != 0))
        return false;
    bool has_port = host[0] != '/';
    *out = (struct redis_config){
        .role = is_lru ? "cache_lru" : "cache",
        .host = host,
        .port = has_port
                    ? (unsigned)config_int(config, is_lru ? OPT_CACHE_LRU_PORT : OPT_CACHE_PORT)
                    : 0,
        .db = (unsigned)config_int(config, is_lru ? OPT_CACHE_LRU_DB : OPT_CACHE_DB),
        .password = text(config, is_lru ? OPT_CACHE_LRU_PASSWORD : OPT_CACHE_PASSWORD),
        .timeout_ms = (unsigned)config_ms(config, OPT_CACHE_TIMEOUT),
        .connect_timeout_ms = (unsigned)config_ms(config, OPT_CACHE_CONNECT_TIMEOUT),
        .retry_max_ms = (unsigned)config_ms(config, OPT_CACHE_RETRY_MAX),
        .in_flight_max = (unsigned)config_int(config, OPT_CACHE_IN_FLIGHT_MAX),
        .buffer_bytes = config_bytes(config, OPT_CACHE_BUFFER),
        .metrics = METRICS[is_lru],
    };
    return true;
}

/* What the storage calls content without a host comes from there: who shares it must agree. */
static const char *scope(const struct config *config)
{
    const char *source = config_str(config, OPT_MIRRORING_SOURCE);
    const char *host = source ? strstr(source, "//") : NULL;

    return host ? host + 2 : "-";
}

struct cache_config settings_cache(const struct config *config, struct pool *pool)
{
    return (struct cache_config){
        .storage_path = config_str(config, OPT_STORAGE_PATH),
        .pool = pool,
        .manifest_memory_bytes = config_bytes(config, OPT_STORE_METADATA_MEMORY),
        .open_files_max = (unsigned)config_int(config, OPT_STORE_OPEN_FILES_MAX),
        .open_files_valid_s = (unsigned)(config_ms(config, OPT_STORE_OPEN_FILES_VALID) / 1000),
        .fill_running_max = (unsigned)config_int(config, OPT_FILL_RUNNING_MAX),
        .fill_near_bytes = config_bytes(config, OPT_FILL_NEAR_BYTES),
        .fill_memory_bytes = config_bytes(config, OPT_FILL_MEMORY_WINDOW),
        .partial_max_age_s = (unsigned)(config_ms(config, OPT_FILL_PARTIAL_MAX_AGE) / 1000),
        .upload_max_age_s = (unsigned)(config_ms(config, OPT_PUSH_UPLOAD_MAX_AGE) / 1000),
        .uploads_open_max = (unsigned)config_int(config, OPT_PUSH_UPLOADS_OPEN_MAX),
        .gc_grace_s = (unsigned)(config_ms(config, OPT_GC_GRACE) / 1000),
        .gc_batch = (unsigned)config_int(config, OPT_GC_BATCH),
        .redis_prefix = config_str(config, OPT_CACHE_PREFIX),
        .redis_scope = scope(config),
        .redis_unheard_ms = (unsigned)config_ms(config, OPT_CACHE_UNHEARD_TTL),
        .redis_object_max_bytes = config_bytes(config, OPT_CACHE_LRU_OBJECT_MAX_BYTES),
    };
}

struct scrub_settings settings_scrub(const struct config *config)
{
    return (struct scrub_settings){
        .rate_bytes = config_bytes(config, OPT_SCRUB_RATE),
        .interval_s = (int64_t)(config_ms(config, OPT_SCRUB_INTERVAL) / 1000),
    };
}

/* An option in milliseconds as the parts take them. */
static unsigned ms(const struct config *config, enum option id)
{
    return (unsigned)config_ms(config, id);
}

struct upstream_config settings_upstream(const struct config *config)
{
    const char *user_agent = config_str(config, OPT_MIRRORING_USER_AGENT);

    return (struct upstream_config){
        .url = config_str(config, OPT_MIRRORING_SOURCE),
        .username = config_str(config, OPT_MIRRORING_SOURCE_USERNAME),
        .password = config_str(config, OPT_MIRRORING_SOURCE_PASSWORD),
        .realms = config_list(config, OPT_MIRRORING_REALMS),
        .ca_file = config_str(config, OPT_MIRRORING_CA_FILE),
        .tls_verify = config_bool(config, OPT_MIRRORING_TLS_VERIFY),
        .user_agent = user_agent ? user_agent : PACKAGE_NAME "/" PACKAGE_VERSION,
        .connect_timeout_ms = ms(config, OPT_MIRRORING_CONNECT_TIMEOUT),
        .header_timeout_ms = ms(config, OPT_MIRRORING_HEADER_TIMEOUT),
        .idle_timeout_ms = ms(config, OPT_MIRRORING_IDLE_TIMEOUT),
        .retries_max = (unsigned)config_int(config, OPT_MIRRORING_RETRIES_MAX),
        .backoff_base_ms = ms(config, OPT_MIRRORING_BACKOFF_BASE),
        .backoff_max_ms = ms(config, OPT_MIRRORING_BACKOFF_MAX),
        .breaker_failures = (unsigned)config_int(config, OPT_MIRRORING_BREAKER_FAILURES),
        .breaker_cooldown_ms = ms(config, OPT_MIRRORING_BREAKER_COOLDOWN),
        .connections_max = (unsigned)config_int(config, OPT_MIRRORING_CONNECTIONS_MAX),
    };
}

/* Whole seconds, for what is compared with wall-clock times. */
static int64_t seconds(const struct config *config, enum option id)
{
    return (int64_t)(config_ms(config, id) / 1000);
}

/* How long an absence of this kind is believed. */
static int64_t negative_seconds(const struct config *config, enum option id)
{
    return seconds(config, config_is_null(config, id) ? OPT_MIRRORING_NEGATIVE_TTL : id);
}

/* How long tags are served; only the times of tags. */
static void set_freshness(const struct config *config, struct api_settings *s)
{
    s->tags_cache_ttl_s = seconds(config, OPT_MIRRORING_TAGS_CACHE_TTL);
    s->tags_grace_s = seconds(config, OPT_MIRRORING_TAGS_GRACE);
    s->tags_keep_s = config_is_null(config, OPT_MIRRORING_TAGS_KEEP)
                         ? FRESHNESS_FOR_EVER
                         : seconds(config, OPT_MIRRORING_TAGS_KEEP);
    s->freshness = config_list(config, OPT_MIRRORING_FRESHNESS);
    s->gone_confirm_s = seconds(config, OPT_MIRRORING_GONE_CONFIRM);
    s->negative_tag_ttl_s = negative_seconds(config, OPT_MIRRORING_NEGATIVE_TTL_TAGS);
    s->negative_manifest_ttl_s = negative_seconds(config, OPT_MIRRORING_NEGATIVE_TTL_MANIFESTS);
    s->negative_blob_ttl_s = negative_seconds(config, OPT_MIRRORING_NEGATIVE_TTL_BLOBS);
    s->negative_list_ttl_s = negative_seconds(config, OPT_MIRRORING_NEGATIVE_TTL_LISTS);
    s->negative_entries_max = (unsigned)config_int(config, OPT_MIRRORING_NEGATIVE_ENTRIES_MAX);
    s->is_offline = config_bool(config, OPT_MIRRORING_OFFLINE);
    const char *floor = config_str(config, OPT_MIRRORING_QUOTA_FLOOR);
    if (!floor || !quota_floor_parse(slice_of(floor), &s->quota_floor))
        s->quota_floor = (struct quota_floor){0}; /* null */
    s->quota_stretch = (unsigned)config_int(config, OPT_MIRRORING_QUOTA_STRETCH);
}

struct api_settings settings_api(const struct config *config, char *const *argv)
{
    uint64_t blob_max = config_bytes(config, OPT_PUSH_BLOB_MAX_BYTES);

    struct api_settings s = {
        .stale_retry_s = seconds(config, OPT_MIRRORING_STALE_RETRY),
        .stale_wait_ms = ms(config, OPT_MIRRORING_STALE_WAIT),
        .miss_wait_ms = ms(config, OPT_MIRRORING_MISS_WAIT),
        .manifest_max_bytes = config_bytes(config, OPT_MIRRORING_MANIFEST_MAX_BYTES),
        .questions_max = (unsigned)config_int(config, OPT_MIRRORING_QUESTIONS_MAX),
        .tags_response_max_bytes = config_bytes(config, OPT_MIRRORING_TAGS_MAX_BYTES),
        .list_entries_max = (unsigned)config_int(config, OPT_HTTP_LIST_ENTRIES_MAX),
        .blob_max_bytes = blob_max > 0 ? blob_max : UINT64_MAX,
        .push_manifest_max_bytes = config_bytes(config, OPT_PUSH_MANIFEST_MAX_BYTES),
        .push_manifests_memory = config_bytes(config, OPT_PUSH_MANIFESTS_MEMORY),
        .manifest_depth_max = (unsigned)config_int(config, OPT_PUSH_MANIFEST_DEPTH_MAX),
        .tags_max = (unsigned)config_int(config, OPT_PUSH_TAGS_MAX),
        .chunk_min_bytes = config_bytes(config, OPT_PUSH_CHUNK_MIN_BYTES),
        .accepts_sparse = config_bool(config, OPT_SPARSE_MANIFESTS),
        .can_delete = config_bool(config, OPT_DELETE_ENABLED),
        .push_repositories = config_list(config, OPT_PUSH_REPOSITORIES),
        .push_networks = config_list(config, OPT_PUSH_NETWORKS),
        .precedence = config_list(config, OPT_MIRRORING_PRECEDENCE),
        .referrers_ttl_s = seconds(config, OPT_MIRRORING_REFERRERS_TTL),
        .referrers_max_bytes = config_bytes(config, OPT_MIRRORING_REFERRERS_MAX_BYTES),
        .referrers_memory = config_bytes(config, OPT_MIRRORING_REFERRERS_MEMORY),
        .referrers_pages_max = (unsigned)config_int(config, OPT_MIRRORING_REFERRERS_PAGES_MAX),
        .ranges_max = (unsigned)config_int(config, OPT_HTTP_RANGES_MAX),
        .fill_continue_percent = (unsigned)config_int(config, OPT_FILL_CONTINUE),
        .fill_range_align = config_bytes(config, OPT_FILL_RANGE_ALIGN),
        .fill_ranges_max = (unsigned)config_int(config, OPT_FILL_RANGES_MAX),
        .fill_skip_max_bytes = config_bytes(config, OPT_FILL_SKIP_MAX_BYTES),
        .fill_complete_percent = (unsigned)config_int(config, OPT_FILL_COMPLETE_PERCENT),
        .issue = config_str(config, OPT_ISSUE),
        .flavor = config_flavor(config),
        .has_source =
            config_str(config, OPT_MIRRORING_SOURCE) || config_str(config, OPT_MIRRORING_UPSTREAMS),
        .standalone = config_bool(config, OPT_STANDALONE),
        .debug = config_bool(config, OPT_DEBUG),
        .argv = (const char *const *)argv,
    };

    set_freshness(config, &s);
    return s;
}

struct space_settings settings_space(const struct config *config)
{
    return (struct space_settings){
        .max_size = config_space(config, OPT_CACHE_MAX_SIZE),
        .min_free = config_space(config, OPT_CACHE_MIN_FREE),
        .high_percent = (unsigned)config_int(config, OPT_CACHE_HIGH_WATER),
        .low_percent = (unsigned)config_int(config, OPT_CACHE_LOW_WATER),
        .max_age_s = seconds(config, OPT_CACHE_MAX_AGE),
    };
}

struct server_limits settings_limits(const struct config *config)
{
    return (struct server_limits){
        .head =
            {
                .target_max_bytes = config_bytes(config, OPT_HTTP_TARGET_MAX_BYTES),
                .head_max_bytes = config_bytes(config, OPT_HTTP_HEAD_MAX_BYTES),
                .fields_max = (unsigned)config_int(config, OPT_HTTP_HEADERS_MAX),
            },
        .head_ms = ms(config, OPT_HTTP_HEAD_TIMEOUT),
        .body_ms = ms(config, OPT_HTTP_BODY_TIMEOUT),
        .send_ms = ms(config, OPT_HTTP_SEND_TIMEOUT),
        .idle_ms = ms(config, OPT_HTTP_KEEPALIVE_TIMEOUT),
        .linger_ms = ms(config, OPT_HTTP_LINGER_TIMEOUT),
        .linger_bytes = config_bytes(config, OPT_HTTP_LINGER_BYTES),
        .discard_bytes = config_bytes(config, OPT_HTTP_DISCARD_BYTES),
        .send_window_bytes = config_bytes(config, OPT_HTTP_SEND_WINDOW_BYTES),
        .requests_max = (unsigned)config_int(config, OPT_HTTP_REQUESTS_MAX),
    };
}

enum access_format settings_access_format(const struct config *config)
{
    const char *name = config_str(config, OPT_REGISTRY_ACCESS_LOG_FORMAT);

    return name && strcmp(name, "json") == 0 ? ACCESS_JSON : ACCESS_COMBINED;
}
