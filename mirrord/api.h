/*
 * The registry's API, pull side: what a client of the registry gets for a request. One struct api
 * per process, shared by all workers; api_handle runs on the worker of the transaction.
 *
 * From here on a request goes to one of:
 *   api_root.c      /, /_ping, /v1/_ping, /v2/
 *   api_blob.c      blobs: from the store, or through a fill (mirrord/pull.h drives it)
 *   api_manifest.c  manifests by tag and digest; what the upstream is asked: mirrord/resolve.h
 *   api_tags.c      tags/list; api_catalog.c: _catalog
 *   api_referrers.c which manifests refer to one; what the upstream is asked: referrers_ask.h
 *
 * Memory: one small story per request that waits, freed when it answered or its client left and
 * everything it waited for has reported; questions and holds are bounded in their own headers.
 */
#ifndef MIRRORD_API_H
#define MIRRORD_API_H

#include "mirrord/api_settings.h"

struct api;
struct cache;
struct offline;
struct pool;
struct registries;
struct txn;

struct api_config {
    struct cache *cache;                 /* outlives the api */
    struct pool *pool;                   /* outlives the api */
    struct offline *offline;             /* outlives the api; NULL: never offline */
    const struct registries *registries; /* outlives the api */
    struct api_settings settings;
};

struct api *api_new(const struct api_config *config);
/* After all workers ended. */
void api_free(struct api **api);
/* A txn_handler_fn; ctx is the struct api. hot */
void api_handle(struct txn *txn, void *ctx);
/* Any thread. Old snapshots are kept until api_free, since requests may still read them: a reload
 * is rare and a snapshot is some hundred bytes. */
void api_set_settings(struct api *api, const struct api_settings *settings);

#endif
