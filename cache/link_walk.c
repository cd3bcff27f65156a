#include "config.h"

#include "cache/link_walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/repo_walk.h"

/* From a repository's folder of one kind, to an algorithm, to one digest. */
struct link_walk {
    const struct layout *layout;
    struct repo_walk *repos;
    const char *repo; /* of the repository walk; NULL before the first */
    bool want_revisions;
    uint64_t n_repositories;
    bool is_counted;     /* this one */
    enum link_kind kind; /* of those that are open */
    DIR *algorithms;
    DIR *digests;
    enum digest_alg alg; /* of the open digests */
};

static const char *const FOLDERS[] = {
    [LINK_LAYER] = "_layers",
    [LINK_REVISION] = "_manifests/revisions",
};
_Static_assert(sizeof(FOLDERS) / sizeof(FOLDERS[0]) == LINK_KIND_MAX, "one row per kind");

struct link_walk *link_walk_new(const struct layout *l, bool want_revisions)
{
    struct link_walk *w = xcalloc(1, sizeof(*w));

    w->layout = l;
    w->want_revisions = want_revisions;
    w->repos = repo_walk_new(l);
    return w;
}

static void close_folder(DIR **folder)
{
    if (*folder)
        closedir(*folder);
    *folder = NULL;
}

void link_walk_free(struct link_walk **ww)
{
    struct link_walk *w = *ww;

    if (!w)
        return;
    close_folder(&w->digests);
    close_folder(&w->algorithms);
    repo_walk_free(&w->repos);
    free(w);
    *ww = NULL;
}

/* Opens a folder of the present kind; one that is not there is no error and leaves NULL. */
static int open_folder(struct link_walk *w, const char *alg, DIR **out, struct error *err)
{
    char *path =
        xasprintf("%s/%s/%s/%s", layout_repositories(w->layout), w->repo, FOLDERS[w->kind], alg);
    int rc = 0;

    CHECK(!*out);
    *out = opendir(path);
    if (!*out && errno != ENOENT && errno != ENOTDIR)
        rc = error_sys(err, -errno, "open folder %s", path);
    free(path);
    return rc;
}

/* The next name in a folder: 1, or 0 at its end. Hidden ones are nobody's. */
static int read_name(struct link_walk *w, DIR *folder, const char **name, struct error *err)
{
    const struct dirent *entry;

    do {
        errno = 0;
        entry = readdir(folder);
    } while (entry && entry->d_name[0] == '.');
    if (!entry && errno != 0)
        return error_sys(err, -errno, "read %s of %s", FOLDERS[w->kind], w->repo);
    if (entry)
        *name = entry->d_name;
    return entry != NULL;
}

static int next_digest(struct link_walk *w, struct link_walk_item *out, struct error *err)
{
    const char *name;
    int rc = read_name(w, w->digests, &name, err);

    if (rc != 1) {
        close_folder(&w->digests);
        return rc == 0 ? 2 : rc;
    }
    w->n_repositories += !w->is_counted;
    w->is_counted = true;
    *out = (struct link_walk_item){.kind = w->kind, .repo = w->repo};
    return digest_parse_hex(w->alg, slice_of(name), &out->digest) ? 1 : 2;
}

/* A manifest under a digest that we cannot compute may reference anything. */
static int refuse_unknown(struct link_walk *w, const char *alg, struct error *err)
{
    if (w->kind == LINK_LAYER)
        return 2;
    return error_set(err, -ENOTSUP, "%s/%s of %s: unknown digest algorithm", FOLDERS[w->kind], alg,
                     w->repo);
}

static int next_algorithm(struct link_walk *w, struct error *err)
{
    const char *name;
    int rc = read_name(w, w->algorithms, &name, err);

    if (rc != 1) {
        close_folder(&w->algorithms);
        return rc == 0 ? 2 : rc;
    }
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        if (strcmp(name, digest_alg_name(alg)) != 0)
            continue;
        w->alg = alg;
        rc = open_folder(w, name, &w->digests, err);
        return rc == 0 ? 2 : rc;
    }
    return refuse_unknown(w, name, err);
}

static int next_repo(struct link_walk *w, struct error *err)
{
    int rc = repo_walk_next(w->repos, &w->repo, err);

    if (rc != 1) {
        w->repo = NULL;
        return rc;
    }
    w->is_counted = false;
    w->kind = w->want_revisions ? LINK_REVISION : LINK_LAYER;
    rc = open_folder(w, "", &w->algorithms, err);
    return rc == 0 ? 2 : rc;
}

uint64_t link_walk_repositories(const struct link_walk *w)
{
    return w->n_repositories;
}

int link_walk_next(struct link_walk *w, struct link_walk_item *out, struct error *err)
{
    if (w->digests)
        return next_digest(w, out, err);
    if (w->algorithms)
        return next_algorithm(w, err);
    if (w->repo && w->kind == LINK_REVISION) {
        w->kind = LINK_LAYER;
        int rc = open_folder(w, "", &w->algorithms, err);
        return rc == 0 ? 2 : rc;
    }
    return next_repo(w, err);
}
