#include "config.h"

#include "mirrord/tag_pattern.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/glob.h"

static bool has_only(struct slice s, const char *more)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (c == '\0' || !strchr(more, c)))
            return false;
    }
    return s.len > 0;
}

int tag_pattern_read(struct slice text, struct tag_pattern *out, struct error *err)
{
    struct slice rest = text;
    struct tag_pattern p = {.repo = slice_cut(&rest, ':')};

    p.tag = rest;
    if (!has_only(p.repo, "._-/*?"))
        return error_set(err, -EINVAL, "a pattern that no name of a repository can match");
    if (p.tag.ptr && !has_only(p.tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-*?"))
        return error_set(err, -EINVAL, "a pattern that no tag can match");
    *out = p;
    return 0;
}

/* Under its canonical name, or under the short one that a Docker Hub knows it by. */
static bool is_meant(struct slice pattern, bool is_hub, struct slice repo)
{
    static const struct slice LIBRARY = {"library/", 8};

    CHECK(pattern.len > 0);
    if (glob_match(pattern, repo))
        return true;
    if (!is_hub || !slice_starts(repo, LIBRARY))
        return false;
    return glob_match(pattern, (struct slice){repo.ptr + LIBRARY.len, repo.len - LIBRARY.len});
}

bool tag_pattern_matches(const struct tag_pattern *p, bool is_hub, struct slice repo,
                         struct slice tag)
{
    CHECK(p->repo.len > 0);
    if (p->tag.ptr && (tag.len == 0 || !glob_match(p->tag, tag)))
        return false;
    return is_meant(p->repo, is_hub, repo);
}
