#include "config.h"

#include "mirrord/api.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/cache.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/freshness.h"
#include "mirrord/offline.h"
#include "mirrord/precedence.h"
#include "mirrord/push_rules.h"
#include "mirrord/refresh.h"
#include "mirrord/registry_route.h"
#include "mirrord/referrers_ask.h"
#include "mirrord/resolve.h"
#include "mirrord/txn.h"
#include "upstream/fetch.h"
#include "upstream/upstream.h"

struct origin_row {
    const char *note;
    const char *status, *detail; /* of Cache-Status, before and behind a ttl */
    const char *warning;         /* a line, or empty */
    struct slice lines;          /* all of it without a ttl */
    enum metric blobs, manifests;
};

#define WARNING(text) "Warning: 299 - \"" text "\"\r\n"
#define ROW(note, status, detail, warning, blobs, manifests)                                       \
    {                                                                                              \
        note, status, detail, warning,                                                             \
            {"Cache-Status: mirrord; " status detail "\r\n" warning,                               \
             sizeof("Cache-Status: mirrord; " status detail "\r\n" warning) - 1},                  \
            METRIC_BLOB_##blobs, METRIC_MANIFEST_##manifests                                       \
    }
static const struct origin_row ORIGINS[] = {
    [API_ORIGIN_HIT] = ROW("hit", "hit", "", "", HITS, HITS),
    [API_ORIGIN_MISS] = ROW("miss", "fwd=miss; stored", "", "", MISSES, MISSES),
    [API_ORIGIN_COLLAPSED] = ROW("collapsed", "fwd=miss; collapsed", "", "", COLLAPSED, COLLAPSED),
    [API_ORIGIN_PASSED] = ROW("miss", "fwd=miss", "", "", MISSES, MISSES),
    [API_ORIGIN_REVALIDATED] =
        ROW("revalidated", "fwd=stale", "; detail=revalidated", "", HITS, REVALIDATED),
    [API_ORIGIN_GRACE] = ROW("grace", "hit", "; detail=grace", "", HITS, GRACE),
    [API_ORIGIN_STALE] =
        ROW("stale", "hit", "; detail=stale",
            WARNING("the upstream did not answer, this may be out of date"), HITS, STALE),
    [API_ORIGIN_DOUBTED] =
        ROW("stale", "hit", "; detail=doubted",
            WARNING("the upstream says that this is gone, it will be asked again"), HITS, STALE),
    [API_ORIGIN_OFFLINE] =
        ROW("stale", "hit", "; detail=offline",
            WARNING("this mirror is offline, this may be out of date"), HITS, STALE),
    [API_ORIGIN_NEGATIVE] = ROW("negative", "hit", "; detail=negative", "", HITS, NEGATIVE),
};
_Static_assert(sizeof(ORIGINS) / sizeof(ORIGINS[0]) == API_ORIGIN_MAX, "a row for every origin");

struct slice api_origin_lines(enum api_origin origin)
{
    CHECK(origin < API_ORIGIN_MAX);
    return ORIGINS[origin].lines;
}

void api_origin_tell_ttl(struct reply *r, enum api_origin origin, int64_t ttl_left_s)
{
    const struct origin_row *row = &ORIGINS[origin];

    CHECK(origin < API_ORIGIN_MAX);
    reply_headerf(r, "Cache-Status", "mirrord; %s; ttl=%" PRId64 "%s", row->status, ttl_left_s,
                  row->detail);
    reply_header_lines(r, slice_of(row->warning));
}

void api_origin_note(struct txn *txn, enum api_origin origin)
{
    CHECK(origin < API_ORIGIN_MAX);
    txn_note_cache(txn, ORIGINS[origin].note);
}

void api_origin_count_blob(struct txn *txn, enum api_origin origin)
{
    api_origin_note(txn, origin);
    metric_inc(ORIGINS[origin].blobs);
}

void api_origin_count_manifest(struct txn *txn, enum api_origin origin)
{
    api_origin_note(txn, origin);
    metric_inc(ORIGINS[origin].manifests);
}

/* --- settings --------------------------------------------------------------------------------- */

const struct api_snapshot *api_snapshot_now(const struct api *api)
{
    return atomic_load_explicit(&api->snapshot, memory_order_acquire);
}

const struct api_settings *api_settings_now(const struct api *api)
{
    return &api_snapshot_now(api)->settings;
}

static struct tag_pattern_names names_of(const struct api *api)
{
    return (struct tag_pattern_names){api->registries, registries_default(api->registries)->is_hub};
}

/* What the registries say of their own stands behind the list, for all that is theirs. The default
 * registry, whose names have no prefix, comes last. */
static struct freshness_rules *make_freshness(const struct api *api,
                                              const struct api_settings *settings)
{
    struct freshness_source source = {
        .list = settings->freshness,
        .preset = {settings->tags_cache_ttl_s, settings->tags_grace_s, settings->tags_keep_s},
        .names = names_of(api)};
    const struct registry *g;
    size_t n = 0;

    while (registries_item(api->registries, n))
        n++;
    struct freshness_rule *rules = xcalloc(n, sizeof(*rules));
    for (size_t i = 0; i < n; i++) {
        g = registries_item(api->registries, (i + 1) % n);
        rules[source.n_more++] =
            (struct freshness_rule){xasprintf("%.*s*", SLICE_ARG(g->prefix)),
                                    {g->times.ttl_s, g->times.grace_s, g->times.keep_s}};
    }
    source.more = rules;
    struct freshness_rules *made = freshness_new(&source);
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)rules[i].pattern);
    free(rules);
    return made;
}

static void set_floors(const struct api *api, const struct api_settings *settings)
{
    const struct registry *g;

    for (size_t i = 0; (g = registries_item(api->registries, i)); i++)
        for (struct upstream *u = g->upstream; u; u = upstream_fallback(u))
            upstream_set_quota_floor(u, &settings->quota_floor);
}

void api_set_settings(struct api *api, const struct api_settings *settings)
{
    struct api_snapshot *s = xcalloc(1, sizeof(*s));
    struct tag_pattern_names names = names_of(api);

    CHECK(settings->fill_range_align > 0 && settings->list_entries_max > 0);
    s->settings = *settings;
    s->issue = settings->issue ? xstrdup(settings->issue) : NULL;
    s->flavor = settings->flavor ? xstrdup(settings->flavor) : NULL;
    s->settings.issue = s->issue;
    s->settings.flavor = s->flavor;
    s->root_body = api_root_body(&s->settings);
    s->ping_body = api_ping_body(&s->settings);
    s->push_rules = push_rules_new(settings->push_repositories, settings->push_networks, &names);
    s->precedence = precedence_new(settings->precedence, &names);
    s->freshness = make_freshness(api, settings);
    s->settings.freshness = NULL;
    s->settings.precedence = NULL;
    s->settings.push_repositories = s->settings.push_networks = NULL; /* they are compiled */
    s->settings.argv = NULL; /* borrowed by the caller; it is in the body now */
    pthread_mutex_lock(&api->settings_lock);
    s->older = atomic_load(&api->snapshot);
    atomic_store_explicit(&api->snapshot, s, memory_order_release);
    pthread_mutex_unlock(&api->settings_lock);
    set_floors(api, settings);
    if (api->offline)
        offline_set(api->offline, OFFLINE_BY_SETTING, settings->is_offline);
}

bool api_can_ask(const struct api *api, struct slice repo)
{
    return api_registry_of(api, repo)->upstream && !api_is_offline(api);
}

bool api_is_offline(const struct api *api)
{
    return api->offline && offline_is_on(api->offline);
}

int64_t api_negative_ttl_s(const struct api *api, struct slice repo, int64_t common_s)
{
    int64_t own_s = api_registry_of(api, repo)->times.negative_ttl_s;

    return own_s >= 0 ? own_s : common_s;
}

bool api_is_saving(const struct api *api, struct slice repo)
{
    struct upstream *u = api_registry_of(api, repo)->upstream;

    return u && upstream_is_low(u);
}

/* For how long what is said about a tag is of use to other mirrors: while it may be served without
 * waiting for the upstream. */
static int64_t share_life_s(void *arg, struct slice repo, struct slice tag,
                            enum tag_mirrored mirrored)
{
    const struct api *api = arg;
    const struct api_snapshot *s = api_snapshot_now(api);
    struct freshness f = freshness_judge(s->freshness, repo, tag);
    int64_t ttl_s = f.ttl_s, life_s;

    if (mirrored == TAG_ABSENT)
        return api_negative_ttl_s(api, repo, s->settings.negative_tag_ttl_s);
    if (api_is_saving(api, repo) &&
        __builtin_mul_overflow(ttl_s, (int64_t)s->settings.quota_stretch, &ttl_s))
        ttl_s = FRESHNESS_FOR_EVER;
    return __builtin_add_overflow(ttl_s, f.grace_s, &life_s) ? FRESHNESS_FOR_EVER : life_s;
}

/* --- where it comes from ---------------------------------------------------------------------- */

const struct registry *api_registry_of(const struct api *api, struct slice repo)
{
    return registries_of(api->registries, repo);
}

struct fetch *api_fetch(const struct api *api, const struct fetch_spec *spec,
                        const struct fetch_ops *ops, void *arg)
{
    const struct registry *g = api_registry_of(api, spec->repo);
    struct fetch_spec theirs = *spec;

    CHECK(g->upstream);
    theirs.repo = registry_repo(g, spec->repo);
    return fetch_start(g->upstream, &theirs, ops, arg);
}

struct pull_tools api_pull_tools(const struct api *api, struct slice repo)
{
    return (struct pull_tools){.registry = api_registry_of(api, repo),
                               .links = api->links,
                               .objects = cache_objects(api->cache),
                               .settings = api_settings_now(api)};
}

void api_add_ns(const struct txn *txn, struct strbuf *query)
{
    struct slice ns = txn_namespace(txn);

    if (ns.len == 0)
        return;
    strbuf_add_str(query, query->len ? "&ns=" : "ns=");
    strbuf_add_slice(query, ns);
}

/* Upstreams learn of it without asking us. */
static void set_offline_flags(const struct api *api)
{
    const struct registry *g;

    for (size_t i = 0; api->offline && (g = registries_item(api->registries, i)); i++)
        for (struct upstream *u = g->upstream; u; u = upstream_fallback(u))
            upstream_set_offline_flag(u, offline_flag(api->offline));
}

/* --- life ------------------------------------------------------------------------------------- */

struct api *api_new(const struct api_config *config)
{
    struct api *api = xcalloc(1, sizeof(*api));

    CHECK(config->cache && config->pool && config->registries);
    api->cache = config->cache;
    api->store = cache_store(config->cache);
    api->fills = cache_fills(config->cache);
    api->manifests = cache_manifests(config->cache);
    api->tags = cache_tags(config->cache);
    api->repos = cache_repos(config->cache);
    api->links = cache_links(config->cache);
    api->vouches = cache_vouches(config->cache);
    api->pool = config->pool;
    api->registries = config->registries;
    api->offline = config->offline;
    set_offline_flags(api);
    pthread_mutex_init(&api->settings_lock, NULL);
    api_set_settings(api, &config->settings);
    tags_on_share(api->tags, share_life_s, api);
    api->resolver = resolver_new(api);
    api->refreshes = refresh_table();
    api->referrers_asked = referrers_ask_table();
    return api;
}

void api_free(struct api **aa)
{
    struct api *api = *aa;

    if (!api)
        return;
    *aa = NULL;
    flights_free(&api->referrers_asked);
    flights_free(&api->refreshes);
    resolver_free(&api->resolver);
    struct api_snapshot *s = atomic_load(&api->snapshot);
    while (s) {
        struct api_snapshot *older = s->older;
        free(s->issue);
        free(s->flavor);
        free(s->root_body);
        free(s->ping_body);
        push_rules_free(&s->push_rules);
        tag_rules_free(&s->precedence);
        freshness_free(&s->freshness);
        free(s);
        s = older;
    }
    pthread_mutex_destroy(&api->settings_lock);
    free(api);
}

/* --- requests --------------------------------------------------------------------------------- */

typedef void (*handler_fn)(const struct api_request *q);

/* Who answers what. A method that route_parse lets through and that has no handler is refused. */
struct handler_row {
    handler_fn read; /* GET and HEAD */
    handler_fn post, put, patch, delete;
};

/* clang-format off */
static const struct handler_row HANDLERS[ROUTE_MAX] = {
    [ROUTE_ROOT]     = {.read = api_root_handle},
    [ROUTE_PING]     = {.read = api_ping_handle},
    [ROUTE_VERSION]  = {.read = api_version_handle},
    [ROUTE_CATALOG]  = {.read = api_catalog_handle},
    [ROUTE_MANIFEST] = {.read = api_manifest_handle, .put = api_manifest_put_handle,
                        .delete = api_delete_handle},
    [ROUTE_BLOB]     = {.read = api_blob_handle, .delete = api_delete_handle},
    [ROUTE_TAGS]     = {.read = api_tags_handle},
    [ROUTE_REFERRERS] = {.read = api_referrers_handle},
    [ROUTE_UPLOADS]  = {.post = api_uploads_handle},
    [ROUTE_UPLOAD]   = {.read = api_upload_read_handle, .patch = api_upload_patch_handle,
                        .put = api_upload_put_handle, .delete = api_upload_delete_handle},
};
/* clang-format on */

static handler_fn handler_of(enum route_id id, enum http_method method)
{
    const struct handler_row *row = &HANDLERS[id];

    switch (method) {
    case HTTP_GET:
    case HTTP_HEAD:
        return row->read;
    case HTTP_POST:
        return row->post;
    case HTTP_PUT:
        return row->put;
    case HTTP_PATCH:
        return row->patch;
    case HTTP_DELETE:
        return row->delete;
    default:
        return NULL;
    }
}

/* Says what is wrong, with the part of the path that it is about. */
static void refuse(struct txn *txn, enum api_error error, const struct route *route)
{
    struct api_error_info info = {.allow = route->allow};

    if ((error == API_ERROR_NAME_INVALID || error == API_ERROR_NAME_UNKNOWN) && route->repo.ptr) {
        info.detail_key = "name";
        info.detail_value = route->repo;
    } else if (error == API_ERROR_DIGEST_INVALID) {
        info.detail_key = "digest";
        info.detail_value = route->reference;
    } else if (error == API_ERROR_TAG_INVALID) {
        info.detail_key = "Tag";
        info.detail_value = route->reference;
    }
    api_error_reply(txn, error, &info);
}

/* Whose the request is, and how the storage calls its repository. hot */
static enum api_error choose_registry(struct api_request *q, char repo[NAME_FULL_MAX])
{
    const struct head *head = txn_head(q->txn);
    const struct route *route = q->route;
    bool is_upload = route->id == ROUTE_UPLOADS || route->id == ROUTE_UPLOAD;
    bool is_read = head->method == HTTP_GET || head->method == HTTP_HEAD;
    struct registry_request request = {.query = head->query,
                                       .host = head->host,
                                       .listener = slice_of(txn_mark(q->txn)),
                                       .base = route->base,
                                       .repo = route->repo,
                                       .is_pull = is_read && !is_upload};
    struct registry_choice choice;

    enum api_error error = registry_route(q->api->registries, &request, repo, &choice);
    if (error != API_ERROR_NONE)
        return error;
    q->registry = choice.registry;
    q->is_registry_named = choice.is_named;
    q->repo = (struct slice){choice.repo_len ? repo : NULL, choice.repo_len};
    txn_set_namespace(q->txn, choice.base, choice.ns);
    return API_ERROR_NONE;
}

size_t api_store_name(const struct api *api, const struct txn *txn, struct slice repo,
                      char out[NAME_FULL_MAX])
{
    struct registry_request request = {.query = SLICE(""),
                                       .host = txn_head(txn)->host,
                                       .listener = slice_of(txn_mark(txn)),
                                       .base = txn_base(txn),
                                       .repo = repo};
    struct registry_choice choice;

    if (!repo.len || registry_route(api->registries, &request, out, &choice) != API_ERROR_NONE)
        return 0;
    return choice.repo_len;
}

static bool is_legacy(enum route_id id)
{
    return id == ROUTE_ROOT || id == ROUTE_PING;
}

void api_handle(struct txn *txn, void *ctx)
{
    const struct head *head = txn_head(txn);
    struct route route;
    char repo[NAME_FULL_MAX];
    struct api_request q = {.api = ctx,
                            .txn = txn,
                            .method = head->method,
                            .is_head = head->method == HTTP_HEAD,
                            .route = &route};

    enum api_error error = route_parse(head->method, head->path, head->query, &route);
    handler_fn handler = handler_of(route.id, head->method);

    if (error == API_ERROR_NONE && !handler)
        error = API_ERROR_METHOD;
    if (error == API_ERROR_NONE && !is_legacy(route.id))
        error = choose_registry(&q, repo);
    if (error != API_ERROR_NONE)
        refuse(txn, error, &route);
    else
        handler(&q);
}
