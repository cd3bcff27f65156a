#include "config.h"

#include "mirrord/repo_pattern.h"

#include "base/check.h"
#include "base/glob.h"
#include "mirrord/name.h"

/* The port of a registry in front, with which only the first of several components can end. */
static void cut_port(struct slice *first)
{
    struct slice port = *first;
    struct slice host = slice_cut(&port, ':');
    uint64_t number;

    if (port.ptr && slice_to_u64(port, &number))
        *first = host;
}

bool repo_pattern_is_valid(struct slice text)
{
    struct slice rest = text;
    struct slice first = slice_cut(&rest, '/');

    if (!rest.ptr)
        return name_has_only(text, "._-*?");
    cut_port(&first);
    return (first.len == 0 || name_has_only(first, "._-*?")) &&
           (rest.len == 0 || name_has_only(rest, "._-/*?"));
}

struct repo_pattern repo_pattern_of(struct slice text, const struct registries *registries,
                                    bool is_hub)
{
    struct repo_pattern p = {.glob = text, .registries = registries, .is_hub = is_hub};
    struct slice rest = text;
    struct slice first = slice_cut(&rest, '/');

    if (!registries || !rest.ptr)
        return p;
    p.registry = registries_find(registries, REGISTRY_BY_NAME, &first);
    if (p.registry) {
        p.glob = rest;
        p.is_hub = p.registry->is_hub;
    }
    return p;
}

bool repo_pattern_matches(const struct repo_pattern *p, struct slice repo)
{
    static const struct slice LIBRARY = {"library/", 8};

    CHECK(p->glob.ptr && repo.len > 0);
    if (p->registry) {
        if (registries_of(p->registries, repo) != p->registry)
            return false;
        repo = registry_repo(p->registry, repo);
    }
    if (glob_match(p->glob, repo))
        return true;
    if (!p->is_hub || !slice_starts(repo, LIBRARY))
        return false;
    return glob_match(p->glob, (struct slice){repo.ptr + LIBRARY.len, repo.len - LIBRARY.len});
}
