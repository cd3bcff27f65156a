/*
 * "HOST SP PATH?QUERY" as they come from a client: whatever registry is chosen, the storage name is
 * one, is not too long, and belongs to that registry.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "mirrord/registry_route.h"
#include "mirrord/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct registries *make_table(void)
{
    static const char *const hub[] = {"docker.io", "index.docker.io", NULL};
    static const char *const ghcr[] = {"ghcr.io", NULL};
    static const char *const hosts[] = {"ghcr.lan", NULL};
    static const char *const bases[] = {"/ghcr.io", "/a/b", NULL};
    static const char *const port[] = {"corp:5000", "corp_5000", NULL};
    static const struct registry_config configs[] = {
        {.host = "docker.io", .is_default = true, .is_hub = true, .ways = {hub, NULL, NULL, hub}},
        {.host = "ghcr.io", .ways = {ghcr, hosts, bases, ghcr}},
        {.host = "corp:5000", .ways = {port, NULL, NULL, port}},
    };

    return registries_new(configs, sizeof(configs) / sizeof(configs[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct registries *table;
    struct slice path = {(const char *)data, size};
    struct slice host = slice_cut(&path, ' ');
    struct slice query = path;
    struct registry_choice choice;
    char repo[NAME_FULL_MAX];
    struct route route;

    if (!table)
        table = make_table();
    path = slice_cut(&query, '?');
    if (!path.ptr || route_parse(HTTP_GET, path, query, &route) != API_ERROR_NONE)
        return 0;
    struct registry_request q = {.query = query.ptr ? query : SLICE(""),
                                 .host = host,
                                 .base = route.base,
                                 .repo = route.repo,
                                 .is_pull = true};
    if (registry_route(table, &q, repo, &choice) != API_ERROR_NONE)
        return 0;
    struct slice stored = {repo, choice.repo_len};
    if (!choice.registry || choice.repo_len > sizeof(repo) ||
        (route.repo.len > 0) != (stored.len > 0))
        abort();
    if (stored.len && (registries_of(table, stored) != choice.registry ||
                       !name_is_repo(registry_repo(choice.registry, stored))))
        abort();
    if (choice.ns.len && !memmem(query.ptr, query.len, "ns=", 3))
        abort();
    return 0;
}
