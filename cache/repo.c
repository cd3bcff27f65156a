#include "config.h"

#include "cache/repo.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/cache_private.h"
#include "cache/names.h"
#include "cache/repo_walk.h"
#include "cache/tag_file.h"

struct repos {
    struct layout *layout;
    struct errands *errands;
};

/* One list or link under way. */
struct story {
    struct errand errand; /* first */
    struct repos *repos;
    char *repo;
    char *last;
    size_t n_max;
    enum repo_tags which;
    int rc;
    struct repo_names *names;
    repo_names_fn listed;
    void *arg;
};

struct repos *repos_new(struct layout *l, struct errands *errands)
{
    struct repos *rs = xcalloc(1, sizeof(*rs));

    rs->layout = l;
    rs->errands = errands;
    return rs;
}

void repos_free(struct repos **rrs)
{
    free(*rrs);
    *rrs = NULL;
}

static struct story *story_new(struct repos *rs, struct slice repo, struct slice last)
{
    struct story *s = xcalloc(1, sizeof(*s));

    s->repos = rs;
    s->repo = xmemdup0(repo.ptr ? repo.ptr : "", repo.len);
    s->last = xmemdup0(last.ptr ? last.ptr : "", last.len);
    return s;
}

static void story_free(struct story *s)
{
    repo_names_free(&s->names);
    free(s->repo);
    free(s->last);
    free(s);
}

static void on_listed(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct repo_names *names = s->names;

    CHECK((s->rc == 0) == (names != NULL));
    s->names = NULL;
    s->listed(s->arg, s->rc, names);
    story_free(s);
}

/* A tag is a folder with a link: one whose writing was cut off has none. */
static bool has_link(struct story *s, const char *tag)
{
    char *link = layout_tag_link(s->repos->layout, slice_of(s->repo), slice_of(tag));
    bool is_there = access(link, F_OK) == 0;

    free(link);
    return is_there;
}

/* Whether it is one of those that are asked for. */
static bool is_wanted(struct story *s, const char *tag)
{
    struct tag_record record = {0};

    CHECK(s->which < REPO_TAGS_MAX);
    if (s->which == REPO_TAGS_ALL)
        return has_link(s, tag);
    if (tag_file_load(s->repos->layout, slice_of(s->repo), slice_of(tag), &record) < 0)
        return false;
    return s->which == REPO_TAGS_PUSHED ? record.is_pushed : record.mirrored == TAG_MIRRORED;
}

static void offer_tags(struct story *s, DIR *folder, struct names *names)
{
    const struct dirent *entry;

    while ((entry = readdir(folder))) {
        if (layout_tag_is_valid(slice_of(entry->d_name)) && strcmp(entry->d_name, s->last) > 0 &&
            is_wanted(s, entry->d_name))
            names_offer(names, entry->d_name);
    }
}

static void do_list_tags(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct names names;

    s->rc = -ENOENT;
    if (!layout_repo_is_valid(slice_of(s->repo)))
        return;
    char *repo = layout_repo(s->repos->layout, slice_of(s->repo));
    char *path = layout_tags(s->repos->layout, slice_of(s->repo));
    DIR *folder = opendir(path);
    /* A repository without tags is an empty list. */
    if (folder || (errno == ENOENT && access(repo, F_OK) == 0)) {
        names_init(&names, s->last, s->n_max);
        if (folder)
            offer_tags(s, folder, &names);
        s->names = names_take(&names);
        s->rc = 0;
    } else if (errno != ENOTDIR)
        s->rc = -errno;
    if (folder)
        closedir(folder);
    free(path);
    free(repo);
}

void repos_list_tags(struct repos *rs, const struct repo_page *page, repo_names_fn done, void *arg)
{
    struct story *s = story_new(rs, page->repo, page->last);

    s->n_max = page->n_max;
    s->which = page->which;
    s->listed = done;
    s->arg = arg;
    errand_submit(rs->errands, &s->errand, do_list_tags, on_listed);
}

static bool has_folder(const char *path, const char *name)
{
    struct stat st;
    char *sub = xasprintf("%s/%s", path, name);
    bool is_there = stat(sub, &st) == 0 && S_ISDIR(st.st_mode);

    free(sub);
    return is_there;
}

/* One folder below repositories: perhaps a repository, perhaps others below it. */
static void visit(struct story *s, struct names *names, struct repo_walk *walk, const char *name)
{
    char *below = xasprintf("%s/", name);
    char *path = xasprintf("%s/%s", layout_repositories(s->repos->layout), name);

    if (has_folder(path, "_manifests") || has_folder(path, "_layers"))
        names_offer(names, name);
    if (names_refuses_prefix(names, below))
        repo_walk_skip(walk);
    free(path);
    free(below);
}

static void do_list(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct names names;
    struct repo_walk *walk = repo_walk_new(s->repos->layout);
    const char *name;
    int rc;

    names_init(&names, s->last, s->n_max);
    /* What cannot be read is not in the list. */
    while ((rc = repo_walk_next(walk, &name, NULL)) != 0) {
        if (rc > 0)
            visit(s, &names, walk, name);
    }
    repo_walk_free(&walk);
    s->names = names_take(&names);
}

void repos_list(struct repos *rs, struct slice last, size_t n_max, repo_names_fn done, void *arg)
{
    struct story *s = story_new(rs, SLICE_NONE, last);

    s->n_max = n_max;
    s->listed = done;
    s->arg = arg;
    errand_submit(rs->errands, &s->errand, do_list, on_listed);
}

bool repos_have_now(const struct repos *rs, struct slice repo)
{
    if (!layout_repo_is_valid(repo))
        return false;
    char *path = layout_repo(rs->layout, repo);
    bool is_there = access(path, F_OK) == 0;
    free(path);
    return is_there;
}
