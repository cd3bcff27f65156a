/* Removes what was begun and never ended: partial downloads, temporary files and uploads, by age.
 */
#include "config.h"

#include "cache/cache_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/fill_private.h"
#include "cache/upload_private.h"

struct sweep {
    struct fills *fills; /* NULL in the folder of temporary files */
    struct uploads *uploads;
    int64_t oldest_s; /* what changed before that goes */
    unsigned n_removed;
};

static bool is_too_old(const struct sweep *sw, int folder_fd, const char *name)
{
    struct stat st;

    return fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_mtime < sw->oldest_s;
}

/* Owns the files of a partial download while it removes one, so that no fill begins with it. */
static void remove_one(struct sweep *sw, int folder_fd, const char *name)
{
    struct digest d;
    struct fill *owner = NULL;

    CHECK(name[0] != '.');
    /* An upload of one request, from a client that has not sent anything for long. */
    if (!sw->fills && uploads_own_file(sw->uploads, name))
        return;
    if (sw->fills && layout_fill_name_parse(slice_of(name), &d)) {
        owner = fills_own_unused(sw->fills, &d);
        if (!owner)
            return;
    }
    if (is_too_old(sw, folder_fd, name) && unlinkat(folder_fd, name, 0) == 0)
        sw->n_removed++;
    if (owner) {
        fills_disown(owner);
        fill_release(owner);
    }
}

static void sweep_folder(struct sweep *sw, const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    if (!folder)
        return;
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] != '.' && is_too_old(sw, dirfd(folder), entry->d_name))
            remove_one(sw, dirfd(folder), entry->d_name);
    }
    closedir(folder);
}

void sweep_run(struct layout *l, struct fills *fs, struct uploads *us,
               const struct sweep_ages *ages)
{
    int64_t now_s = clock_wall_s();
    struct sweep sw = {.uploads = us, .oldest_s = now_s - (int64_t)ages->partial_max_s};

    sweep_folder(&sw, layout_tmp(l));
    sw.fills = fs;
    sweep_folder(&sw, layout_fills(l));
    metric_add(METRIC_STORE_SWEPT, sw.n_removed);
    if (sw.n_removed > 0)
        log_info("store", "%u old partial and temporary files removed", sw.n_removed);
    upload_sweep_run(us, now_s - (int64_t)ages->upload_max_s);
}
