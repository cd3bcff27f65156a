#include "config.h"

#include "mirrord/image_pattern.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/glob.h"

static bool has_wildcard(struct slice s)
{
    return memchr(s.ptr, '*', s.len) || memchr(s.ptr, '?', s.len);
}

static int read_reference(struct image_pattern *p, struct error *err)
{
    struct digest d;

    if (p->is_digest && !digest_parse(p->reference, &d))
        return error_set(err, -EINVAL, "no digest stands behind the @");
    if (!p->is_digest && !name_has_only(p->reference, "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-*?"))
        return error_set(err, -EINVAL, "no tag can match what stands behind the colon");
    if (!p->is_digest && !has_wildcard(p->reference) && !name_is_tag(p->reference))
        return error_set(err, -EINVAL, "no tag stands behind the colon");
    return 0;
}

int image_pattern_read(struct slice text, bool is_hub, struct image_pattern *out, struct error *err)
{
    struct image_pattern p = {.repo = text, .reference = SLICE_NONE, .is_hub = is_hub};

    if (text.len == 0)
        return error_set(err, -EINVAL, "no image is named");
    const char *at = memchr(text.ptr, '@', text.len);
    /* A port in front of the name has a slash behind it; a tag has none. */
    const char *colon = at ? NULL : memrchr(text.ptr, ':', text.len);

    p.is_digest = at != NULL;
    if (!at && colon && !memchr(colon, '/', (size_t)(text.ptr + text.len - colon)))
        at = colon;
    if (at) {
        p.repo.len = (size_t)(at - text.ptr);
        p.reference = (struct slice){at + 1, text.len - p.repo.len - 1};
    }
    if (!name_has_only(p.repo, "._-/*?:"))
        return error_set(err, -EINVAL, "no repository can have such a name");
    if (p.repo.len > NAME_FULL_MAX || p.reference.len >= DIGEST_TEXT_SIZE)
        return error_set(err, -EINVAL, "too long for a name");
    int rc = at ? read_reference(&p, err) : 0;
    if (rc == 0)
        *out = p;
    return rc;
}

bool image_pattern_is_one_repo(const struct image_pattern *p)
{
    return !has_wildcard(p->repo);
}

bool image_pattern_is_exact(const struct image_pattern *p)
{
    CHECK(p->repo.len > 0);
    return p->reference.ptr && !has_wildcard(p->repo) && !has_wildcard(p->reference);
}

/* Under its canonical name, or under the short one that a Docker Hub knows it by. */
static bool is_repo(const struct image_pattern *p, struct slice repo)
{
    static const struct slice LIBRARY = {"library/", 8};

    CHECK(p->repo.len > 0);
    if (glob_match(p->repo, repo))
        return true;
    if (!p->is_hub || !slice_starts(repo, LIBRARY))
        return false;
    return glob_match(p->repo, (struct slice){repo.ptr + LIBRARY.len, repo.len - LIBRARY.len});
}

bool image_pattern_match(const struct image_pattern *p, struct slice repo, struct slice tag,
                         const struct digest *d)
{
    struct digest wanted;

    if (!is_repo(p, repo))
        return false;
    if (!p->reference.ptr)
        return true;
    if (!p->is_digest)
        return tag.len > 0 && glob_match(p->reference, tag);
    CHECK(digest_parse(p->reference, &wanted));
    return digest_equal(&wanted, d);
}
