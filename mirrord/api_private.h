/*
 * What the files of the API share: the struct, one request on its way to a handler, and how an
 * answer says where it came from.
 */
#ifndef MIRRORD_API_PRIVATE_H
#define MIRRORD_API_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/metric.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "mirrord/api.h"
#include "mirrord/api_error.h"
#include "mirrord/memory_share.h"
#include "mirrord/name.h"
#include "mirrord/pull.h"
#include "mirrord/registries.h"
#include "mirrord/route.h"

struct fetch;
struct fetch_ops;
struct fetch_spec;
struct links;
struct manifests;
struct offline;
struct push_rules;
struct reply;
struct repos;
struct resolver;
struct store;
struct fills;
struct flights;
struct tags;
struct vouches;

/* Settings in force, with what is made of them once. Immutable. */
struct api_snapshot {
    struct api_snapshot *older;
    struct api_settings settings;
    char *issue;
    char *flavor;
    char *root_body; /* of GET / */
    char *ping_body; /* of GET /_ping */
    struct push_rules *push_rules;
    struct tag_rules *precedence;
    struct freshness_rules *freshness;
};

struct api {
    struct cache *cache;
    struct store *store;
    struct fills *fills;
    struct manifests *manifests;
    struct tags *tags;
    struct repos *repos;
    struct links *links;
    struct vouches *vouches;
    struct pool *pool;
    const struct registries *registries;
    struct resolver *resolver;
    struct offline *offline;              /* NULL: never */
    struct flights *refreshes;            /* mirrord/refresh.h */
    struct flights *referrers_asked;      /* mirrord/referrers_ask.h */
    struct memory_share put_memory;       /* bodies of manifests that are being pushed */
    struct memory_share referrers_memory; /* lists that are being fetched */
    pthread_mutex_t settings_lock;        /* for writers; readers load the pointer */
    _Atomic(struct api_snapshot *) snapshot;
};

/* One request; lives on the stack of api_handle. repo points into canonical_text. */
struct api_request {
    struct api *api;
    struct txn *txn;
    enum http_method method;
    bool is_head;
    const struct route *route;
    struct slice repo; /* its storage name (mirrord/registries.h) */
    const struct registry
        *registry;          /* whose it is, or whom a request without a repository is about */
    bool is_registry_named; /* by other means than the repository's name */
};

/* Where an answer came from. */
enum api_origin {
    API_ORIGIN_HIT,         /* from here */
    API_ORIGIN_MISS,        /* fetched for this request, and kept */
    API_ORIGIN_COLLAPSED,   /* fetched, together with others */
    API_ORIGIN_PASSED,      /* asked upstream, and not kept */
    API_ORIGIN_REVALIDATED, /* from here; the upstream says it is still so */
    API_ORIGIN_GRACE,       /* from here; the upstream is asked for the next one's sake */
    API_ORIGIN_STALE,       /* from here; the upstream should have been asked and cannot be */
    API_ORIGIN_DOUBTED,     /* from here; the upstream says that it is gone, and may be wrong */
    API_ORIGIN_OFFLINE,     /* from here, and old; the upstream may not be asked */
    API_ORIGIN_NEGATIVE,    /* remembered that there is none */
    API_ORIGIN_MAX
};

/* The Cache-Status line (RFC 9211), and Warning where it belongs; with CRLF. */
struct slice api_origin_lines(enum api_origin origin);
/* The same for what has a time to live: so much of it is left. */
void api_origin_tell_ttl(struct reply *r, enum api_origin origin, int64_t ttl_left_s);
/* Notes it for the access line; the others count it too. */
void api_origin_note(struct txn *txn, enum api_origin origin);
void api_origin_count_blob(struct txn *txn, enum api_origin origin);
void api_origin_count_manifest(struct txn *txn, enum api_origin origin);

/* The repository has an upstream, and it may be asked at present. hot */
bool api_can_ask(const struct api *api, struct slice repo);
bool api_is_offline(const struct api *api);
/* Little is left of the upstream's limit: what no client waits for is left undone. */
bool api_is_saving(const struct api *api, struct slice repo);
/* How long absences in this repository are believed: as its registry says, else this long. hot */
int64_t api_negative_ttl_s(const struct api *api, struct slice repo, int64_t common_s);
const struct api_settings *api_settings_now(const struct api *api);
const struct api_snapshot *api_snapshot_now(const struct api *api);
struct pull_tools api_pull_tools(const struct api *api, struct slice repo);
/* Where the content of a repository comes from, by its storage name. */
const struct registry *api_registry_of(const struct api *api, struct slice repo);
/* Starts a fetch from there: spec->repo is the storage name. Only where there is an upstream. */
struct fetch *api_fetch(const struct api *api, const struct fetch_spec *spec,
                        const struct fetch_ops *ops, void *arg);
/* The storage name of another repository that a push names beside its own, by the same address. The
 * length written; 0: there is none. */
size_t api_store_name(const struct api *api, const struct txn *txn, struct slice repo,
                      char out[NAME_FULL_MAX]);
/* Appends what the query of a link to the next page needs to lead to the same registry. */
void api_add_ns(const struct txn *txn, struct strbuf *query);

/* Whether this client may change this repository (uploads, manifests, deletes). If not, it has been
 * answered: nothing of a body was read. */
bool api_push_allow(const struct api_request *q);

/* The lines of every v2 answer. */
#define API_V2_LINE "Docker-Distribution-Api-Version: registry/2.0\r\n"

/* --- handlers: answer now, or take what they need out of the request and answer later ----------
 */

void api_root_handle(const struct api_request *q);
void api_ping_handle(const struct api_request *q);
void api_version_handle(const struct api_request *q);
void api_blob_handle(const struct api_request *q);     /* hot */
void api_manifest_handle(const struct api_request *q); /* hot */
void api_manifest_put_handle(const struct api_request *q);
void api_delete_handle(const struct api_request *q); /* of manifests and blobs */
void api_tags_handle(const struct api_request *q);
void api_catalog_handle(const struct api_request *q);
void api_referrers_handle(const struct api_request *q);
void api_uploads_handle(const struct api_request *q); /* POST */
void api_upload_read_handle(const struct api_request *q);
void api_upload_patch_handle(const struct api_request *q);
void api_upload_put_handle(const struct api_request *q);
void api_upload_delete_handle(const struct api_request *q);

/* api_root.c: what GET / and /_ping say under these settings; free() them. */
char *api_root_body(const struct api_settings *settings);
char *api_ping_body(const struct api_settings *settings);

#endif
