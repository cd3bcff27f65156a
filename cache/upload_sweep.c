/* Uploads that nobody goes on with: their files are removed by age. */
#include "config.h"

#include "cache/upload_private.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/check.h"
#include "cache/repo_walk.h"
#include "cache/upload_file.h"

struct sweep {
    struct uploads *uploads;
    int64_t oldest_s;
};

static bool is_too_old(struct sweep *sw, struct slice repo, struct slice id)
{
    int64_t mtime_s;
    char *folder = layout_upload(uploads_layout(sw->uploads), repo, id);
    bool is_old = upload_file_mtime(folder, &mtime_s) && mtime_s < sw->oldest_s;

    free(folder);
    return is_old;
}

static void sweep_one(struct sweep *sw, struct slice repo, struct slice id)
{
    if (!is_too_old(sw, repo, id))
        return;
    struct upload *u = uploads_claim_old(sw->uploads, repo, id, sw->oldest_s);
    if (u)
        upload_work_sweep(u, sw->oldest_s);
}

static void sweep_repo(struct sweep *sw, const char *name)
{
    char *all = layout_upload(uploads_layout(sw->uploads), slice_of(name), SLICE_NONE);
    DIR *folder = opendir(all);
    const struct dirent *entry;

    /* What has another name is not ours to remove. */
    while (folder && (entry = readdir(folder))) {
        if (upload_id_is_valid(slice_of(entry->d_name)))
            sweep_one(sw, slice_of(name), slice_of(entry->d_name));
    }
    if (folder)
        closedir(folder);
    free(all);
}

void upload_sweep_run(struct uploads *us, int64_t oldest_s)
{
    struct sweep sw = {.uploads = us, .oldest_s = oldest_s};
    const char *name;
    int rc;

    CHECK(us);
    struct repo_walk *walk = repo_walk_new(uploads_layout(us));
    /* What cannot be read is left alone. */
    while ((rc = repo_walk_next(walk, &name, NULL)) != 0) {
        if (rc > 0)
            sweep_repo(&sw, name);
    }
    repo_walk_free(&walk);
}
