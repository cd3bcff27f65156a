#include "config.h"

#include "mirrord/api_settings.h"

const struct api_settings API_SETTINGS_DEFAULT = {
    .tags_cache_ttl_s = 172800,
    .negative_ttl_s = 10,
    .stale_retry_s = 5,
    .stale_wait_ms = 5000,
    .manifest_max_bytes = 4 << 20,
    .questions_max = 512,
    .tags_response_max_bytes = 8 << 20,
    .list_entries_max = 10000,
    .ranges_max = 1024,
    .blob_max_bytes = UINT64_MAX,
    .push_manifest_max_bytes = 4 << 20,
    .push_manifests_memory = 64 << 20,
    .manifest_depth_max = 64,
    .tags_max = 100,
    .push_repositories = (const char *const[]){"*", NULL},
    .push_networks = (const char *const[]){"127.0.0.0/8", "::1/128", NULL},
    .referrers_ttl_s = 60,
    .referrers_max_bytes = 4 << 20,
    .referrers_memory = 64 << 20,
    .referrers_pages_max = 100,
    .fill_range_align = 64 << 10,
    .fill_ranges_max = 4,
    .fill_skip_max_bytes = 1 << 20,
    .fill_complete_percent = 50,
};
