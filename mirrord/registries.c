#include "config.h"

#include "mirrord/registries.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/origin.h"
#include "upstream/upstream.h"

/* One text by which a registry is chosen. */
struct entry {
    struct slice text;
    const struct registry *registry;
};

struct registries {
    struct registry *items; /* the default first */
    size_t n_items;
    struct registry nobody; /* names that no registry we mirror can have */
    struct {
        struct entry *entries; /* sorted by text */
        size_t n;
    } ways[REGISTRY_WAY_MAX];
};

/* --- making ----------------------------------------------------------------------------------- */

static int compare_texts(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;

    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_entries(const void *a, const void *b)
{
    return compare_texts(((const struct entry *)a)->text, ((const struct entry *)b)->text);
}

static void add_entry(struct registries *r, enum registry_way way, const char *text,
                      const struct registry *g)
{
    size_t n = r->ways[way].n++;

    r->ways[way].entries = xrealloc(r->ways[way].entries, (n + 1) * sizeof(*r->ways[way].entries));
    r->ways[way].entries[n] = (struct entry){slice_of(xstrdup(text)), g};
}

static char *copy_of(const char *text)
{
    return xstrdup(text ? text : "");
}

/* What stands before its names in the storage: a port is no part of any name there. */
static char *make_prefix(const struct registry_config *config)
{
    char *prefix = config->is_default ? xstrdup("") : xasprintf("%s/", config->host);

    for (char *c = prefix; *c; c++)
        if (*c == ':')
            *c = '_';
    return prefix;
}

static void init_item(struct registry *g, const struct registry_config *config)
{
    *g = (struct registry){
        .host = slice_of(copy_of(config->host)),
        .prefix = slice_of(make_prefix(config)),
        .upstream = config->upstream ? upstream_ref(config->upstream) : NULL,
        .origin = config->upstream ? origin_upstream(slice_of(config->host)) : NULL,
        .is_hub = config->is_hub,
        .times = config->times,
        .cost = config->cost,
    };
}

struct registries *registries_new(const struct registry_config *configs, size_t n)
{
    struct registries *r = xcalloc(1, sizeof(*r));
    size_t next = 1, n_defaults = 0;

    r->nobody.host = r->nobody.prefix = SLICE("");
    r->nobody.times = REGISTRY_TIMES_DEFAULT;
    r->items = xcalloc(n + 1, sizeof(*r->items));
    r->n_items = n;
    for (size_t i = 0; i < n; i++) {
        size_t at = configs[i].is_default ? 0 : next++;
        n_defaults += configs[i].is_default;
        CHECK(at < n && (configs[i].host || configs[i].is_default));
        init_item(&r->items[at], &configs[i]);
        for (int way = 0; way < REGISTRY_WAY_MAX; way++)
            for (const char *const *t = configs[i].ways[way]; t && *t; t++)
                add_entry(r, (enum registry_way)way, *t, &r->items[at]);
    }
    CHECK(n_defaults == 1);
    for (int way = 0; way < REGISTRY_WAY_MAX; way++)
        if (r->ways[way].n > 0)
            qsort(r->ways[way].entries, r->ways[way].n, sizeof(struct entry), compare_entries);
    return r;
}

void registries_free(struct registries **rr)
{
    struct registries *r = *rr;

    if (!r)
        return;
    *rr = NULL;
    for (int way = 0; way < REGISTRY_WAY_MAX; way++) {
        for (size_t i = 0; i < r->ways[way].n; i++)
            free((char *)(uintptr_t)r->ways[way].entries[i].text.ptr);
        free(r->ways[way].entries);
    }
    for (size_t i = 0; i < r->n_items; i++) {
        free((char *)(uintptr_t)r->items[i].host.ptr);
        free((char *)(uintptr_t)r->items[i].prefix.ptr);
        upstream_unref(&r->items[i].upstream);
    }
    free(r->items);
    free(r);
}

/* --- looking up ------------------------------------------------------------------------------- */

const struct registry *registries_default(const struct registries *r)
{
    return &r->items[0];
}

const struct registry *registries_item(const struct registries *r, size_t i)
{
    return i < r->n_items ? &r->items[i] : NULL;
}

const struct registry *registries_find(const struct registries *r, enum registry_way way,
                                       struct slice *text)
{
    const struct entry *entries = r->ways[way].entries;
    size_t begin = 0, end = r->ways[way].n;

    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        int order = compare_texts(*text, entries[middle].text);
        if (order == 0) {
            *text = entries[middle].text;
            return entries[middle].registry;
        }
        if (order < 0)
            end = middle;
        else
            begin = middle + 1;
    }
    return NULL;
}

/* No namespace of Docker Hub has a dot: what looks like a host there is another registry's, and
 * asking the Hub for it would be in vain, or worse, find somebody else's. */
static bool is_foreign(const struct registry *g, struct slice first)
{
    return g->is_hub && memchr(first.ptr, '.', first.len);
}

const struct registry *registries_of(const struct registries *r, struct slice repo)
{
    struct slice rest = repo;
    struct slice first = slice_cut(&rest, '/');

    if (!rest.ptr)
        return &r->items[0];
    for (size_t i = 1; i < r->n_items; i++)
        if (slice_starts(repo, r->items[i].prefix))
            return &r->items[i];
    return is_foreign(&r->items[0], first) ? &r->nobody : &r->items[0];
}

struct slice registry_repo(const struct registry *g, struct slice repo)
{
    CHECK(slice_starts(repo, g->prefix));
    return (struct slice){repo.ptr + g->prefix.len, repo.len - g->prefix.len};
}

size_t registry_store_name(const struct registry *g, struct slice repo, char out[NAME_FULL_MAX])
{
    char name[NAME_HUB_SIZE];
    size_t n = repo.len ? name_canonical(repo, g->is_hub, name) : 0;

    if (n > NAME_REPO_MAX || g->prefix.len + n > NAME_FULL_MAX)
        return 0;
    memcpy(out, g->prefix.ptr, g->prefix.len);
    memcpy(out + g->prefix.len, name, n);
    return g->prefix.len + n;
}
