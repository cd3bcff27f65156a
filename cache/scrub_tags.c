/* The walk over all tags, at the end of a pass. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "cache/repo_walk.h"
#include "cache/scrub_private.h"
#include "cache/tag_check.h"

struct scrub_tags {
    struct scrub_place place;
    struct repo_walk *repos;
    char *repo;  /* whose tags are looked at */
    DIR *folder; /* of them; NULL: between two repositories */
};

struct scrub_tags *scrub_tags_new(const struct scrub_place *place)
{
    struct scrub_tags *w = xcalloc(1, sizeof(*w));

    CHECK(place->layout && (place->tags || place->is_dry));
    w->place = *place;
    w->repos = repo_walk_new(place->layout);
    return w;
}

void scrub_tags_free(struct scrub_tags **ww)
{
    struct scrub_tags *w = *ww;

    if (!w)
        return;
    if (w->folder)
        closedir(w->folder);
    repo_walk_free(&w->repos);
    free(w->repo);
    free(w);
    *ww = NULL;
}

/* What was found and, but in a dry run, done. */
static void tell(struct scrub_desk *desk, const struct tag_finding *f, const char *name)
{
    char *detail = xasprintf("tag %s: %s", name, f->what);

    CHECK(f->health < TAG_HEALTH_MAX && f->health != TAG_UNREADABLE);
    if (f->health == TAG_MENDABLE) {
        const struct tag_record *r = &f->record;
        desk->report.n_links_repaired++;
        metric_inc(METRIC_SCRUB_LINKS);
        scrub_desk_tell(desk, SCRUB_NEWS_LINK, r->is_pushed ? &r->pushed : &r->digest, detail);
    } else if (f->health == TAG_WORTHLESS) {
        desk->report.n_tags_removed++;
        metric_inc(METRIC_SCRUB_TAGS_REMOVED);
        scrub_desk_tell(desk, SCRUB_NEWS_TAG_REMOVED, NULL, detail);
    } else if (f->health == TAG_LOST) {
        desk->report.n_bad_tags++;
        scrub_desk_tell(desk, SCRUB_NEWS_BAD_TAG, NULL, detail);
    }
    free(detail);
}

static void visit(struct scrub_tags *w, struct scrub_desk *desk, const char *tag)
{
    struct slice repo = slice_of(w->repo);
    struct tag_finding found;
    struct error err;
    int rc = 0;

    char *name = xasprintf("%s:%s", w->repo, tag);
    desk->report.n_tags++;
    tag_check(w->place.layout, repo, slice_of(tag), &found);
    if (found.health != TAG_WELL && !w->place.is_dry)
        rc = tags_mend_now(w->place.tags, repo, slice_of(tag), &found, &err);
    if (found.health == TAG_UNREADABLE)
        rc = error_sys(&err, found.error, "tag %s", name);
    if (rc < 0)
        scrub_desk_note(desk, &err);
    else
        tell(desk, &found, name);
    free(name);
}

/* False: there is no further repository. */
static bool next_repo(struct scrub_tags *w, struct scrub_desk *desk)
{
    const char *name;
    struct error err;

    CHECK(!w->folder);
    int rc = repo_walk_next(w->repos, &name, &err);

    if (rc < 0)
        scrub_desk_note(desk, &err);
    if (rc != 1)
        return rc != 0;
    char *path = layout_tags(w->place.layout, slice_of(name));
    w->folder = opendir(path);
    if (!w->folder && errno != ENOENT && errno != ENOTDIR) {
        error_sys(&err, -errno, "open folder %s", path);
        scrub_desk_note(desk, &err);
    }
    free(path);
    free(w->repo);
    w->repo = xstrdup(name);
    return true;
}

bool scrub_tags_turn(struct scrub_tags *w, struct scrub_desk *desk, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct dirent *entry = w->folder ? readdir(w->folder) : NULL;
        if (!entry && w->folder) {
            closedir(w->folder);
            w->folder = NULL;
        }
        if (entry && layout_tag_is_valid(slice_of(entry->d_name)))
            visit(w, desk, entry->d_name);
        else if (!entry && !next_repo(w, desk))
            return false;
    }
    return true;
}
