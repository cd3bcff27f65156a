#include "config.h"

#include "cache/scrub_check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/quiet_file.h"

struct scrub_check {
    struct digest digest;
    char *path;
    struct quiet_file *file; /* NULL before the first step */
    struct hasher *hasher;
    struct stat st;
    bool has_retried; /* what could not be read: once, a bus may have hiccuped */
    int error;
};

struct scrub_check *scrub_check_path(const char *path, const struct digest *d)
{
    struct scrub_check *c = xcalloc(1, sizeof(*c));

    c->digest = *d;
    c->path = xstrdup(path);
    return c;
}

struct scrub_check *scrub_check_new(const struct layout *l, const struct digest *d)
{
    char *path = layout_blob(l, d);
    struct scrub_check *c = scrub_check_path(path, d);

    free(path);
    return c;
}

void scrub_check_free(struct scrub_check **cc)
{
    struct scrub_check *c = *cc;

    if (!c)
        return;
    quiet_file_close(&c->file);
    hasher_free(&c->hasher);
    free(c->path);
    free(c);
    *cc = NULL;
}

const struct digest *scrub_check_digest(const struct scrub_check *c)
{
    return &c->digest;
}

const struct stat *scrub_check_stat(const struct scrub_check *c)
{
    return &c->st;
}

int scrub_check_error(const struct scrub_check *c)
{
    return c->error;
}

static enum scrub_verdict fail(struct scrub_check *c, int rc)
{
    c->error = rc;
    if (rc == -ENOENT || rc == -ENOTDIR)
        return SCRUB_GONE;
    /* The medium has lost it; whatever else it is says nothing about what is stored. */
    return rc == -EIO && c->file ? SCRUB_DAMAGED : SCRUB_UNREADABLE;
}

static enum scrub_verdict finish(struct scrub_check *c)
{
    struct digest found;

    hasher_final(c->hasher, &found);
    if (digest_equal(&found, &c->digest))
        return SCRUB_WHOLE;
    c->error = -EBADMSG;
    return SCRUB_DAMAGED;
}

enum scrub_verdict scrub_check_step(struct scrub_check *c, void *buffer, uint64_t *n_out)
{
    CHECK(c->error == 0);
    if (!c->file) {
        int rc = quiet_file_open(c->path, &c->file);
        if (rc < 0)
            return fail(c, rc);
        c->st = *quiet_file_stat(c->file);
        c->hasher = hasher_new(c->digest.alg);
    }
    ssize_t n = quiet_file_read(c->file, buffer);
    if (n == -EIO && !c->has_retried) {
        c->has_retried = true;
        return SCRUB_MORE;
    }
    if (n < 0)
        return fail(c, (int)n);
    if (n == 0)
        return finish(c);
    hasher_update(c->hasher, buffer, (size_t)n);
    *n_out += (uint64_t)n;
    return SCRUB_MORE;
}
