#include "config.h"

#include "mirrord/registry_route.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/query.h"

#define HOST_SIZE 260 /* of a host name with a port; what is longer is in no table */

static void lower(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] - 'A' + 'a');
}

/* ns once, or not at all, or it is nobody's. */
static enum api_error choose_by_ns(const struct registries *r, struct slice query,
                                   struct registry_choice *out)
{
    char text[HOST_SIZE];
    int len = query_next(&query, "ns", text, sizeof(text));

    if (len == -ENOENT)
        return API_ERROR_NONE;
    if (len <= 0 || query_next(&query, "ns", (char[1]){0}, 1) != -ENOENT)
        return API_ERROR_NAME_UNKNOWN;
    lower(text, (size_t)len);
    out->ns = (struct slice){text, (size_t)len};
    out->registry = registries_find(r, REGISTRY_BY_NS, &out->ns);
    if (!out->registry)
        out->ns = SLICE_NONE;
    return out->registry ? API_ERROR_NONE : API_ERROR_NAME_UNKNOWN;
}

/* The host, with its port and without. */
static const struct registry *find_host(const struct registries *r, struct slice host)
{
    char text[HOST_SIZE];

    if (host.len == 0 || host.len > sizeof(text))
        return NULL;
    memcpy(text, host.ptr, host.len);
    lower(text, host.len);
    struct slice whole = {text, host.len};
    const struct registry *g = registries_find(r, REGISTRY_BY_HOST, &whole);
    const char *colon = memrchr(text, ':', host.len);
    if (g || !colon || text[host.len - 1] == ']')
        return g;
    struct slice bare = {text, (size_t)(colon - text)};
    return registries_find(r, REGISTRY_BY_HOST, &bare);
}

/* The whole order but the first component. */
static enum api_error choose(const struct registries *r, const struct registry_request *q,
                             struct registry_choice *out)
{
    const struct registry *by_base = NULL;

    if (q->base.len) {
        out->base = q->base;
        by_base = registries_find(r, REGISTRY_BY_PREFIX, &out->base);
        if (!by_base)
            return API_ERROR_PATH_UNKNOWN;
    }
    if (q->is_pull && q->query.len) {
        enum api_error error = choose_by_ns(r, q->query, out);
        if (error != API_ERROR_NONE)
            return error;
    }
    if (!out->registry)
        out->registry = find_host(r, q->host);
    if (!out->registry && q->listener.len)
        out->registry = find_host(r, q->listener);
    if (!out->registry)
        out->registry = by_base;
    out->is_named = out->registry != NULL;
    return API_ERROR_NONE;
}

const struct registry *registry_route_cut(const struct registries *r, struct slice *repo)
{
    struct slice rest = *repo;
    struct slice first = slice_cut(&rest, '/');
    const struct registry *g = rest.ptr ? registries_find(r, REGISTRY_BY_NAME, &first) : NULL;

    if (g)
        *repo = rest;
    return g;
}

/* The storage name under the registry that is chosen, or that the first component chooses. */
static size_t store_name(const struct registries *r, const struct registry **g, struct slice repo,
                         char out[NAME_FULL_MAX])
{
    struct slice rest = repo;
    const struct registry *first = registry_route_cut(r, &rest);

    /* Who names the registry twice means it once. */
    if (first && (!*g || *g == first))
        repo = rest;
    if (!*g)
        *g = first ? first : registries_default(r);
    return name_is_repo(repo) ? registry_store_name(*g, repo, out) : 0;
}

/* What the default calls "ghcr.io/x" has no name in the storage when that is another's. */
static enum api_error check_whose(const struct registries *r, const char *repo,
                                  struct registry_choice *out)
{
    const struct registry *whose = registries_of(r, (struct slice){repo, out->repo_len});

    if (whose != out->registry && whose->prefix.len)
        return API_ERROR_NAME_UNKNOWN;
    out->registry = whose;
    return API_ERROR_NONE;
}

enum api_error registry_route(const struct registries *r, const struct registry_request *q,
                              char repo_out[NAME_FULL_MAX], struct registry_choice *out)
{
    *out = (struct registry_choice){.ns = SLICE_NONE};
    enum api_error error = choose(r, q, out);
    if (error != API_ERROR_NONE)
        return error;
    if (q->repo.len) {
        out->repo_len = store_name(r, &out->registry, q->repo, repo_out);
        return out->repo_len ? check_whose(r, repo_out, out) : API_ERROR_NAME_INVALID;
    }
    if (!out->registry)
        out->registry = registries_default(r);
    CHECK(out->registry);
    return API_ERROR_NONE;
}

size_t registry_route_name(const struct registries *r, struct slice repo, char out[NAME_FULL_MAX])
{
    const struct registry *g = NULL;

    return repo.len ? store_name(r, &g, repo, out) : 0;
}
