#include "config.h"

#include "mirrord/registries_make.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/config_upstreams.h"
#include "mirrord/configuration.h"
#include "mirrord/registries.h"
#include "mirrord/registry_host.h"
#include "mirrord/settings.h"
#include "upstream/upstream.h"

/* A registry being put together. */
struct draft {
    struct upstream *upstream;
    const char *host;
    char *own_host; /* when it is the source's */
    bool is_default, is_hub;
    bool has_prefix; /* of its own, in place of its names */
    struct registry_times times;
    unsigned cost;                 /* 0: not said */
    char **ways[REGISTRY_WAY_MAX]; /* texts, NULL-terminated */
    size_t n_ways[REGISTRY_WAY_MAX];
};

/* Takes the text over. */
static void add_way(struct draft *d, enum registry_way way, char *text)
{
    size_t n = d->n_ways[way]++;

    d->ways[way] = xrealloc(d->ways[way], (n + 2) * sizeof(*d->ways[way]));
    d->ways[way][n] = text;
    d->ways[way][n + 1] = NULL;
}

static void add_name(struct draft *d, const char *name)
{
    add_way(d, REGISTRY_BY_NS, xstrdup(name));
    add_way(d, REGISTRY_BY_NAME, xstrdup(name));
    if (!d->has_prefix)
        add_way(d, REGISTRY_BY_PREFIX, xasprintf("/%s", name));
}

static void draft_fini(struct draft *d)
{
    for (int way = 0; way < REGISTRY_WAY_MAX; way++) {
        for (size_t i = 0; i < d->n_ways[way]; i++)
            free(d->ways[way][i]);
        free(d->ways[way]);
    }
    upstream_unref(&d->upstream);
    free(d->own_host);
}

/* Docker Hub has several names; a port cannot stand in a name of the storage. */
static void add_names(struct draft *d)
{
    if (!d->is_hub)
        add_name(d, d->host);
    for (size_t i = 0; d->is_hub && REGISTRY_HOST_HUB[i]; i++)
        add_name(d, REGISTRY_HOST_HUB[i]);
    if (d->is_default || !strchr(d->host, ':'))
        return;
    char *stored = xstrdup(d->host);
    *strchr(stored, ':') = '_';
    add_way(d, REGISTRY_BY_NAME, stored);
}

/* For the source, unless it means a registry already. */
static void add_free_ns(struct draft *drafts, size_t n, const char *ns)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < drafts[i].n_ways[REGISTRY_BY_NS]; j++)
            if (strcmp(drafts[i].ways[REGISTRY_BY_NS][j], ns) == 0)
                return;
    add_way(&drafts[0], REGISTRY_BY_NS, xstrdup(ns));
}

/* What clients mean by ns when they mean the source. */
static void add_source_ns(struct draft *drafts, size_t n, const struct config *config)
{
    for (size_t i = 0; i < config_list_len(config, OPT_MIRRORING_SOURCE_NS); i++) {
        const char *ns = config_list_item(config, OPT_MIRRORING_SOURCE_NS, i);
        bool is_hub = registry_host_is_hub(slice_of(ns));
        for (size_t j = 0; is_hub && REGISTRY_HOST_HUB[j]; j++)
            add_free_ns(drafts, n, REGISTRY_HOST_HUB[j]);
        if (!is_hub)
            add_free_ns(drafts, n, ns);
    }
}

/* One URL after the other; the first goes into d->upstream, each has the next as its fallback. */
static int make_chain(struct draft *d, struct upstream_config *c, const struct upstream_entry *e,
                      struct error *err)
{
    struct upstream *next = NULL;

    for (size_t i = e->n_urls; i > 0; i--) {
        struct upstream *u;
        c->url = e->urls[i - 1].url;
        c->username = e->urls[i - 1].username;
        c->password = e->urls[i - 1].password;
        int rc = upstream_new(c, &u, err);
        if (rc == 0 && next)
            upstream_set_fallback(u, next);
        upstream_unref(&next);
        if (rc < 0)
            return error_wrap(err, "mirroring.upstreams: %s", e->host);
        next = u;
    }
    d->upstream = next;
    return 0;
}

/* What an entry does not say is not taken over from the source, but for times and limits: it is
 * somebody else's registry. */
static void set_own(struct upstream_config *c, const struct upstream_entry *e)
{
    const struct config_value *v = e->values;

    c->ca_file = v[UPSTREAM_CA_FILE].text;
    c->tls_verify = v[UPSTREAM_TLS_VERIFY].is_null || v[UPSTREAM_TLS_VERIFY].boolean;
    c->realms = (const char *const *)v[UPSTREAM_REALMS].items;
}

/* The same of the entry that says more about the source, which has options of its own. */
static void set_of_source(struct upstream_config *c, const struct upstream_entry *e)
{
    const struct config_value *v = e->values;

    if (!v[UPSTREAM_CA_FILE].is_null)
        c->ca_file = v[UPSTREAM_CA_FILE].text;
    if (!v[UPSTREAM_TLS_VERIFY].is_null)
        c->tls_verify = v[UPSTREAM_TLS_VERIFY].boolean;
    if (v[UPSTREAM_REALMS].n_items)
        c->realms = (const char *const *)v[UPSTREAM_REALMS].items;
}

static int64_t seconds_of(const struct upstream_entry *e, enum upstream_key key)
{
    return e->values[key].is_null ? -1 : e->values[key].number / 1000;
}

static void set_rules(struct draft *d, const struct upstream_entry *e)
{
    d->times = (struct registry_times){.ttl_s = seconds_of(e, UPSTREAM_TTL),
                                       .grace_s = seconds_of(e, UPSTREAM_GRACE),
                                       .keep_s = seconds_of(e, UPSTREAM_KEEP),
                                       .negative_ttl_s = seconds_of(e, UPSTREAM_NEGATIVE_TTL)};
    if (!e->values[UPSTREAM_COST].is_null)
        d->cost = (unsigned)e->values[UPSTREAM_COST].number;
}

/* The paths, hosts and names that an entry adds. */
static void add_ways(struct draft *d, const struct upstream_entry *e)
{
    const struct config_value *aliases = &e->values[UPSTREAM_ALIASES];
    const struct config_value *hosts = &e->values[UPSTREAM_HOSTS];
    const struct config_value *listen = &e->values[UPSTREAM_LISTEN];
    const char *prefix = e->values[UPSTREAM_PREFIX].text;

    set_rules(d, e);
    d->has_prefix = prefix != NULL;
    add_names(d);
    for (size_t i = 0; i < aliases->n_items; i++)
        add_name(d, aliases->items[i]);
    for (size_t i = 0; i < hosts->n_items; i++)
        add_way(d, REGISTRY_BY_HOST, xstrdup(hosts->items[i]));
    for (size_t i = 0; i < listen->n_items; i++)
        add_way(d, REGISTRY_BY_HOST, xstrdup(listen->items[i]));
    if (prefix)
        add_way(d, REGISTRY_BY_PREFIX, xasprintf("/%s", prefix));
}

/* The entry is about the registry of mirroring.source. */
static bool is_of_source(const struct draft *source, const struct upstream_entry *e)
{
    return source->host && strcmp(source->host, e->host) == 0;
}

static struct upstream_entry *find_of_source(const struct draft *source,
                                             const struct config_upstreams *more)
{
    for (size_t i = 0; i < more->n; i++)
        if (is_of_source(source, &more->entries[i]))
            return &more->entries[i];
    return NULL;
}

/* The credentials of the source go to its URL in the entry, too, if that has none of its own. */
static void give_credentials(const struct upstream_config *c, struct upstream_entry *e)
{
    for (size_t i = 0; c->username && c->password && i < e->n_urls; i++) {
        struct upstream_url *u = &e->urls[i];
        if (u->username || strcmp(u->url, c->url) != 0)
            continue;
        u->username = xstrdup(c->username);
        u->password = xstrdup(c->password);
    }
}

static int draft_source(struct draft *d, const struct config *config,
                        const struct config_upstreams *more, struct error *err)
{
    struct upstream_config upstream = settings_upstream(config);

    d->is_default = true;
    d->times = REGISTRY_TIMES_DEFAULT;
    if (!upstream.url)
        return 0;
    int rc = upstream_new(&upstream, &d->upstream, err);
    if (rc < 0)
        return rc;
    d->is_hub = upstream_is_docker_hub(d->upstream);
    d->host = d->own_host = xstrdup(d->is_hub ? REGISTRY_HOST_HUB[0] : upstream_name(d->upstream));
    struct upstream_entry *e = find_of_source(d, more);
    if (!e)
        add_names(d);
    if (!e)
        return 0;
    upstream_unref(&d->upstream);
    give_credentials(&upstream, e);
    set_of_source(&upstream, e);
    add_ways(d, e);
    return make_chain(d, &upstream, e, err);
}

static int draft_entry(struct draft *d, const struct config *config, const struct upstream_entry *e,
                       struct error *err)
{
    struct upstream_config upstream = settings_upstream(config);

    d->host = e->host;
    d->is_hub = registry_host_is_hub(slice_of(e->host));
    set_own(&upstream, e);
    add_ways(d, e);
    return make_chain(d, &upstream, e, err);
}

static struct registry_config finish(const struct draft *d)
{
    struct registry_config c = {.host = d->host,
                                .is_default = d->is_default,
                                .upstream = d->upstream,
                                .is_hub = d->is_hub,
                                .times = d->times,
                                .cost = d->cost > 0 ? d->cost : 1};

    for (int way = 0; way < REGISTRY_WAY_MAX; way++)
        c.ways[way] = (const char *const *)d->ways[way];
    return c;
}

/* All of them; `drafts` has room for one more than there are entries. Returns how many. */
static int make_drafts(const struct config *config, const struct config_upstreams *more,
                       struct draft *drafts, struct error *err)
{
    int n = 1;

    int rc = draft_source(&drafts[0], config, more, err);
    for (size_t i = 0; rc == 0 && i < more->n; i++) {
        if (is_of_source(&drafts[0], &more->entries[i]))
            continue;
        rc = draft_entry(&drafts[n++], config, &more->entries[i], err);
    }
    if (rc == 0)
        add_source_ns(drafts, (size_t)n, config);
    return rc < 0 ? rc : n;
}

int registries_make(const struct config *config, struct registries **out, struct error *err)
{
    struct config_upstreams more;

    config_upstreams_parse(config_str(config, OPT_MIRRORING_UPSTREAMS), &more);
    struct draft *drafts = xcalloc(more.n + 1, sizeof(*drafts));
    struct registry_config *items = xcalloc(more.n + 1, sizeof(*items));
    int n = make_drafts(config, &more, drafts, err);
    for (int i = 0; i < n; i++)
        items[i] = finish(&drafts[i]);
    if (n > 0) {
        *out = registries_new(items, (size_t)n);
        CHECK(registries_default(*out)->upstream == drafts[0].upstream);
    }
    for (size_t i = 0; i <= more.n; i++)
        draft_fini(&drafts[i]);
    free(items);
    free(drafts);
    config_upstreams_fini(&more);
    return n < 0 ? n : 0;
}
