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
    .fill_range_align = 64 << 10,
    .fill_ranges_max = 4,
    .fill_skip_max_bytes = 1 << 20,
    .fill_complete_percent = 50,
};
