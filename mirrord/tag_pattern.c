#include "config.h"

#include "mirrord/tag_pattern.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/glob.h"

static bool is_valid_tag(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            (c == '\0' || !strchr("._-*?", c)))
            return false;
    }
    return s.len > 0;
}

/* Cuts the tag off, at a colon that is not that of a port: behind that comes a slash. */
static struct slice cut_tag(struct slice *repo)
{
    const char *end = repo->ptr + repo->len;
    const char *colon = repo->len ? memrchr(repo->ptr, ':', repo->len) : NULL;

    if (!colon || memchr(colon, '/', (size_t)(end - colon)))
        return SLICE_NONE;
    repo->len = (size_t)(colon - repo->ptr);
    return (struct slice){colon + 1, (size_t)(end - colon - 1)};
}

int tag_pattern_read(struct slice text, const struct tag_pattern_names *names,
                     struct tag_pattern *out, struct error *err)
{
    struct slice repo = text;
    struct slice tag = cut_tag(&repo);

    if (!repo_pattern_is_valid(repo))
        return error_set(err, -EINVAL, "a pattern that no name of a repository can match");
    if (tag.ptr && !is_valid_tag(tag))
        return error_set(err, -EINVAL, "a pattern that no tag can match");
    *out = (struct tag_pattern){
        repo_pattern_of(repo, names ? names->registries : NULL, names && names->is_hub), tag};
    return 0;
}

bool tag_pattern_matches(const struct tag_pattern *p, struct slice repo, struct slice tag)
{
    CHECK(p->repo.glob.ptr);
    if (p->tag.ptr && (tag.len == 0 || !glob_match(p->tag, tag)))
        return false;
    return repo_pattern_matches(&p->repo, repo);
}
