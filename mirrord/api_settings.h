/*
 * What the API side of the configuration comes down to: plain values, so that the API knows no
 * configuration file. A snapshot is immutable from api_set_settings on; requests read the newest
 * one once, when they need it. Strings are copied by api_set_settings.
 */
#ifndef MIRRORD_API_SETTINGS_H
#define MIRRORD_API_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "upstream/quota.h"

struct api_settings {
    /* Tags. */
    int64_t tags_cache_ttl_s;   /* a tag younger than this is served unasked; 0: ask every time */
    int64_t tags_grace_s;       /* behind the ttl: served, while the upstream is asked */
    int64_t tags_keep_s;        /* behind the ttl: served when it fails; INT64_MAX: no end */
    int64_t gone_confirm_s;     /* "there is none" of a tag that there was is not believed before */
    int64_t negative_tag_ttl_s; /* how long "there is none" is believed, of a tag */
    int64_t negative_manifest_ttl_s; /* of a manifest by digest */
    int64_t negative_blob_ttl_s;
    int64_t negative_list_ttl_s; /* of tags and of referrers */
    int64_t stale_retry_s;       /* after a failed question: how long the remembered tag is served
                                    before the upstream is asked again */
    unsigned miss_wait_ms;       /* how long one with nothing remembered waits for a first answer */
    unsigned stale_wait_ms; /* how long a client with a remembered tag waits for the upstream */
    bool is_offline;
    struct quota_floor quota_floor;
    unsigned quota_stretch; /* below it: by so much longer is what is remembered fresh */
    /* Bounds. */
    unsigned negative_entries_max; /* remembered absences; fixed at the start */
    size_t manifest_max_bytes;
    unsigned questions_max;         /* while more run, one that nobody waits for is dropped */
    size_t tags_response_max_bytes; /* of an upstream's tags list */
    unsigned list_entries_max;      /* names in one page of tags or of the catalogue */
    unsigned ranges_max;            /* ranges in one request; more: Range is ignored */
    /* Pushes. */
    uint64_t blob_max_bytes; /* UINT64_MAX: any size */
    size_t push_manifest_max_bytes;
    uint64_t push_manifests_memory; /* bodies of all that are being pushed */
    unsigned manifest_depth_max;
    unsigned tags_max;        /* of one manifest in one request */
    uint64_t chunk_min_bytes; /* 0: not told */
    bool accepts_sparse;      /* manifests whose references are missing */
    bool can_delete;
    /* Lists, NULL-terminated; NULL: empty. Their syntax has been checked. */
    const char *const *push_repositories;
    const char *const *push_networks;
    const char *const *precedence;
    const char *const *freshness;
    /* Referrers. */
    int64_t referrers_ttl_s;
    size_t referrers_max_bytes; /* of an upstream's list */
    uint64_t referrers_memory;  /* of all upstream lists that are being fetched */
    unsigned referrers_pages_max;
    /* Fills. */
    unsigned fill_continue_percent; /* goes on without clients from this share on; 0: always */
    uint64_t fill_range_align;      /* ranges fetched ahead are widened to multiples of this */
    unsigned fill_ranges_max;       /* upstream ranges at once for one blob, beside the main one */
    uint64_t fill_skip_max_bytes;   /* rather read over a kept segment than open a new request */
    unsigned fill_complete_percent; /* a blob asked for in ranges is completed from this share on */
    /* The legacy face. */
    const char *issue;  /* NULL: not set */
    const char *flavor; /* NULL or the flavor's name */
    bool has_source;    /* something is mirrored */
    bool standalone;
    bool debug;
    const char *const *argv; /* NULL-terminated, for /_ping with debug; may be NULL */
};

/* What an installation without any setting uses. */
extern const struct api_settings API_SETTINGS_DEFAULT;

#endif
