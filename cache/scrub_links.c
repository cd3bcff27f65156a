/* The walk over all links: whose the damaged blobs are, and whether the links are well. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "cache/disk.h"
#include "cache/link_file.h"
#include "cache/link_walk.h"
#include "cache/manifest_search.h"
#include "cache/scrub_private.h"

struct scrub_links {
    struct scrub_place place;
    struct scrub_suspects *suspects;
    bool wants_all;
    bool is_unknown;
    struct link_walk *links;
    const char *repo; /* of the manifest that is being read */
};

struct scrub_links *scrub_links_new(const struct scrub_place *place, struct scrub_suspects *ss,
                                    bool want_all)
{
    struct scrub_links *w = xcalloc(1, sizeof(*w));

    CHECK(place->layout && ss);
    w->place = *place;
    w->suspects = ss;
    w->wants_all = want_all;
    w->links = link_walk_new(place->layout, true);
    return w;
}

void scrub_links_free(struct scrub_links **ww)
{
    struct scrub_links *w = *ww;

    if (!w)
        return;
    link_walk_free(&w->links);
    free(w);
    *ww = NULL;
}

bool scrub_links_is_unknown(const struct scrub_links *w)
{
    return w->is_unknown;
}

static bool is_here(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* --- whose it is ------------------------------------------------------------------------------ */

static void set_repo(struct scrub_suspect *s, const char *repo)
{
    CHECK(repo);
    free(s->repo);
    s->repo = xstrdup(repo);
}

static void mark_pushed(struct scrub_suspect *s, const char *repo)
{
    s->is_pushed = true;
    if (!s->repo)
        set_repo(s, repo);
}

static void mark_link(struct scrub_suspect *s, const struct link_walk_item *item,
                      const struct origin *origin)
{
    if (origin->is_pushed) {
        mark_pushed(s, item->repo);
    } else if (!s->is_mirrored || item->kind == LINK_REVISION) {
        s->is_mirrored = true;
        s->kind = item->kind;
        set_repo(s, item->repo);
    }
}

static void on_reference(void *arg, const struct digest *d)
{
    struct scrub_links *w = arg;
    struct scrub_suspect *s = scrub_suspects_find(w->suspects, d);

    if (s)
        mark_pushed(s, w->repo);
}

/* A pushed manifest makes pushed what it references. Of a damaged one, here or aside, nobody knows
 * what that was: then any may be. */
static void search_pushed(struct scrub_links *w, const struct link_walk_item *item)
{
    char *path = layout_blob(w->place.layout, &item->digest);
    char *aside = layout_damaged(w->place.layout, &item->digest);

    w->repo = item->repo;
    int rc = manifest_search(path, &item->digest, on_reference, w);
    if (rc == -ENOENT || rc == -ENOTDIR) {
        int rc_aside = manifest_search(aside, &item->digest, on_reference, w);
        rc = rc_aside == -ENOENT || rc_aside == -ENOTDIR ? 0 : rc_aside;
    }
    if (rc < 0)
        w->is_unknown = true;
    free(aside);
    free(path);
}

/* --- whether the link is well ----------------------------------------------------------------- */

/* What the name of a link's folder says is what stands in the link. */
static void repair(struct scrub_links *w, struct scrub_desk *desk,
                   const struct link_walk_item *item, const char *path)
{
    char digest[DIGEST_TEXT_SIZE];
    struct error err;
    int rc = 0;

    digest_format(&item->digest, digest);
    if (!w->place.is_dry)
        rc = disk_write_file(w->place.layout, path, slice_of(digest), DISK_DURABLE, &err);
    if (rc < 0) {
        scrub_desk_note(desk, &err);
        return;
    }
    desk->report.n_links_repaired++;
    metric_inc(METRIC_SCRUB_LINKS);
    scrub_desk_tell(desk, SCRUB_NEWS_LINK, &item->digest, item->repo);
}

/* Mirrored layers are linked before they are fetched. What lies aside is told as damaged. */
static void look_for_content(struct scrub_links *w, struct scrub_desk *desk,
                             const struct link_walk_item *item, const struct origin *origin)
{
    char *path = layout_blob(w->place.layout, &item->digest);
    char *aside = layout_damaged(w->place.layout, &item->digest);

    if ((item->kind == LINK_REVISION || origin->is_pushed) && !is_here(path) && !is_here(aside)) {
        desk->report.n_missing++;
        scrub_desk_tell(desk, SCRUB_NEWS_MISSING, &item->digest, item->repo);
    }
    free(aside);
    free(path);
}

static char *path_of(const struct scrub_links *w, const struct link_walk_item *item)
{
    struct slice repo = slice_of(item->repo);

    return item->kind == LINK_REVISION ? layout_revision_link(w->place.layout, repo, &item->digest)
                                       : layout_layer_link(w->place.layout, repo, &item->digest);
}

static void visit(struct scrub_links *w, struct scrub_desk *desk, const struct link_walk_item *item)
{
    struct link_name name = {item->kind, slice_of(item->repo), &item->digest};
    struct scrub_suspect *s = scrub_suspects_find(w->suspects, &item->digest);
    char *path = path_of(w, item);
    struct origin origin = {.is_pushed = true};
    int rc = link_file_load(w->place.layout, &name, &origin);

    if (rc == -ENOENT && is_here(path) && w->wants_all) {
        repair(w, desk, item, path);
        rc = link_file_load(w->place.layout, &name, &origin);
    }
    /* A damaged link is one all the same, and whoever it was. */
    if (rc == -ENOENT && is_here(path))
        rc = 0;
    free(path);
    if (rc == -ENOENT)
        return;
    w->is_unknown = w->is_unknown || rc < 0;
    if (s)
        mark_link(s, item, &origin);
    if (item->kind == LINK_REVISION && origin.is_pushed && w->suspects->n > 0)
        search_pushed(w, item);
    if (w->wants_all && rc == 0) {
        desk->report.n_links++;
        look_for_content(w, desk, item, &origin);
    }
}

bool scrub_links_turn(struct scrub_links *w, struct scrub_desk *desk, unsigned n)
{
    struct link_walk_item item;
    struct error err;

    for (unsigned i = 0; i < n; i++) {
        int rc = link_walk_next(w->links, &item, &err);
        if (rc == 0)
            return false;
        if (rc == 1)
            visit(w, desk, &item);
        if (rc >= 0)
            continue;
        w->is_unknown = true;
        if (w->wants_all)
            scrub_desk_note(desk, &err);
    }
    return true;
}
