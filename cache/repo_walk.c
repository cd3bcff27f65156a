#include "config.h"

#include "cache/repo_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"

/* A folder that is being read. */
struct level {
    struct level *above;
    DIR *folder;
    size_t name_len; /* of the walk's name, so much is its own */
};

struct repo_walk {
    const struct layout *layout;
    struct level *top;
    struct strbuf name; /* of what was told last */
    bool has_begun;
    bool want_below; /* the next step goes into what was told last */
};

struct repo_walk *repo_walk_new(const struct layout *l)
{
    struct repo_walk *w = xcalloc(1, sizeof(*w));

    w->layout = l;
    return w;
}

static void leave(struct repo_walk *w)
{
    struct level *level = w->top;

    CHECK(level);
    w->top = level->above;
    closedir(level->folder);
    free(level);
}

void repo_walk_free(struct repo_walk **ww)
{
    struct repo_walk *w = *ww;

    if (!w)
        return;
    while (w->top)
        leave(w);
    strbuf_fini(&w->name);
    free(w);
    *ww = NULL;
}

/* Begins to read the folder of the current name. One that has gone meanwhile is empty. */
static int enter(struct repo_walk *w, struct error *err)
{
    const char *all = layout_repositories(w->layout);
    char *path = w->name.len > 0 ? xasprintf("%s/%s", all, w->name.ptr) : xstrdup(all);
    DIR *folder = opendir(path);
    int rc = folder ? 0 : -errno;

    if (folder) {
        struct level *level = xcalloc(1, sizeof(*level));
        level->above = w->top;
        level->folder = folder;
        level->name_len = w->name.len;
        w->top = level;
    } else if (w->name.len > 0 && (rc == -ENOENT || rc == -ENOTDIR))
        rc = 0;
    else
        error_sys(err, rc, "open folder %s", path);
    free(path);
    return rc;
}

/* 1: a folder to be told; 0: of no interest; -ELOOP: a link, which is not followed, so what is
 * behind it is not known. */
static int judge(const struct repo_walk *w, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_name[0] == '.' || entry->d_name[0] == '_')
        return 0;
    if (entry->d_type == DT_DIR)
        return 1;
    if (entry->d_type == DT_LNK)
        return -ELOOP;
    if (entry->d_type != DT_UNKNOWN)
        return 0;
    if (fstatat(dirfd(w->top->folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISLNK(st.st_mode) ? -ELOOP : S_ISDIR(st.st_mode);
}

/* The name becomes that of an entry of the top folder. */
static void set_name(struct repo_walk *w, const char *entry)
{
    struct strbuf name = STRBUF_INIT;

    strbuf_add(&name, w->name.ptr ? w->name.ptr : "", w->top->name_len);
    if (name.len > 0)
        strbuf_add_char(&name, '/');
    strbuf_add_str(&name, entry);
    strbuf_fini(&w->name);
    w->name = name;
}

/* 1 with the next name of the top folder, 0 at its end, or a negative errno. */
static int read_entry(struct repo_walk *w, struct error *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(w->top->folder);
        if (!entry && errno == 0)
            return 0;
        int rc = entry ? judge(w, entry) : -errno;
        if (rc == 0)
            continue;
        if (!entry)
            leave(w);
        else
            set_name(w, entry->d_name);
        if (rc < 0)
            return error_sys(err, rc, "read %s/%s", layout_repositories(w->layout),
                             w->name.ptr ? w->name.ptr : "");
        if (layout_repo_is_valid((struct slice){w->name.ptr, w->name.len}))
            return 1;
    }
}

int repo_walk_next(struct repo_walk *w, const char **name_out, struct error *err)
{
    bool can_enter = w->want_below || !w->has_begun;
    int rc = 0;

    w->has_begun = true;
    w->want_below = false;
    if (can_enter)
        rc = enter(w, err);
    while (rc == 0 && w->top) {
        rc = read_entry(w, err);
        if (rc == 0)
            leave(w);
    }
    if (rc == 1) {
        w->want_below = true;
        *name_out = w->name.ptr;
    }
    return rc;
}

void repo_walk_skip(struct repo_walk *w)
{
    w->want_below = false;
}
