#include "config.h"

#include "mirrord/registries_make.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/configuration.h"
#include "mirrord/registries.h"
#include "mirrord/registry_host.h"
#include "mirrord/settings.h"
#include "upstream/upstream.h"

/* A registry being put together. */
struct draft {
    struct upstream *upstream;
    const char *host;
    bool is_default, is_hub;
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
}

/* All names of a registry are names of it: Docker Hub has several. */
static void add_names(struct draft *d)
{
    if (!d->is_hub)
        add_name(d, d->host);
    for (size_t i = 0; d->is_hub && REGISTRY_HOST_HUB[i]; i++)
        add_name(d, REGISTRY_HOST_HUB[i]);
}

/* What clients mean by ns when they mean the source. */
static void add_source_ns(struct draft *d, const struct config *config)
{
    for (size_t i = 0; i < config_list_len(config, OPT_MIRRORING_SOURCE_NS); i++) {
        const char *ns = config_list_item(config, OPT_MIRRORING_SOURCE_NS, i);
        bool is_hub = registry_host_is_hub(slice_of(ns));
        for (size_t j = 0; is_hub && !d->is_hub && REGISTRY_HOST_HUB[j]; j++)
            add_way(d, REGISTRY_BY_NS, xstrdup(REGISTRY_HOST_HUB[j]));
        if (!is_hub)
            add_way(d, REGISTRY_BY_NS, xstrdup(ns));
    }
}

static int draft_source(struct draft *d, const struct config *config, struct error *err)
{
    struct upstream_config upstream = settings_upstream(config);

    d->is_default = true;
    if (!upstream.url)
        return 0;
    int rc = upstream_new(&upstream, &d->upstream, err);
    if (rc < 0)
        return rc;
    d->is_hub = upstream_is_docker_hub(d->upstream);
    d->host = d->is_hub ? REGISTRY_HOST_HUB[0] : upstream_name(d->upstream);
    add_names(d);
    return 0;
}

static struct registry_config finish(const struct draft *d)
{
    struct registry_config c = {
        .host = d->host, .is_default = d->is_default, .upstream = d->upstream, .is_hub = d->is_hub};

    for (int way = 0; way < REGISTRY_WAY_MAX; way++)
        c.ways[way] = (const char *const *)d->ways[way];
    return c;
}

int registries_make(const struct config *config, struct registries **out, struct error *err)
{
    struct draft source = {.upstream = NULL};

    int rc = draft_source(&source, config, err);
    if (rc == 0) {
        add_source_ns(&source, config);
        struct registry_config c = finish(&source);
        *out = registries_new(&c, 1);
        CHECK(registries_default(*out)->upstream == source.upstream);
    }
    draft_fini(&source);
    return rc;
}
