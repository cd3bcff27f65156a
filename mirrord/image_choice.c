#include "config.h"

#include "mirrord/image_choice.h"

#include <errno.h>

#include "base/check.h"
#include "mirrord/registry_route.h"

int image_choice_read(const struct registries *r, struct slice text, struct image_choice *out,
                      struct error *err)
{
    struct image_pattern *p = &out->pattern;

    out->registry = NULL;
    out->repo_len = 0;
    int rc = image_pattern_read(text, registries_default(r)->is_hub, p, err);
    if (rc < 0)
        return rc;
    if (!image_pattern_is_one_repo(p)) {
        out->registry = registry_route_cut(r, &p->repo);
        if (out->registry)
            p->is_hub = out->registry->is_hub;
        return 0;
    }
    out->repo_len = registry_route_name(r, p->repo, out->repo);
    if (out->repo_len == 0)
        return error_set(err, -EINVAL, "no repository can have such a name");
    p->repo = (struct slice){out->repo, out->repo_len};
    return 0;
}

bool image_choice_matches(const struct registries *r, const struct image_choice *c,
                          struct slice repo, struct slice tag, const struct digest *d)
{
    CHECK(repo.len > 0);
    if (!c->registry)
        return image_pattern_match(&c->pattern, repo, tag, d);
    return registries_of(r, repo) == c->registry &&
           image_pattern_match(&c->pattern, registry_repo(c->registry, repo), tag, d);
}
