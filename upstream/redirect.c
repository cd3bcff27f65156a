#include "config.h"

#include "upstream/redirect.h"

#include <errno.h>
#include <stdbool.h>

#include "base/check.h"

/* FNV-1a, to know a URL again. A collision would end a chain early, no more. */
static uint64_t hash_of(const struct url *u)
{
    uint64_t h = 14695981039346656037u;

    for (const char *s = u->text; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

void redirect_begin(struct redirect_chain *chain, const struct url *origin)
{
    chain->n = 1;
    chain->visited[0] = hash_of(origin);
}

static bool has_visited(const struct redirect_chain *chain, uint64_t hash)
{
    for (unsigned i = 0; i < chain->n; i++)
        if (chain->visited[i] == hash)
            return true;
    return false;
}

int redirect_follow(struct redirect_chain *chain, const struct url *from, struct slice location,
                    struct url *out, struct error *err)
{
    struct url target;
    int rc = url_resolve(from, location, &target, NULL);

    CHECK(chain->n > 0);
    if (rc < 0)
        return error_set(err, -EINVAL, "redirect to what is no http URL");
    if (chain->n > REDIRECTS_MAX)
        rc = error_set(err, -ELOOP, "more than %d redirects", REDIRECTS_MAX);
    else if (from->is_https && !target.is_https)
        rc = error_set(err, -EPERM, "redirect from https to http");
    else if (has_visited(chain, hash_of(&target)))
        rc = error_set(err, -ELOOP, "redirects in a circle");
    if (rc < 0) {
        url_fini(&target);
        return rc;
    }
    chain->visited[chain->n++] = hash_of(&target);
    *out = target;
    return 0;
}
