/* The second half of a run: removes what nobody references and nobody has vouched for. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/disk.h"
#include "cache/gc_private.h"
#include "cache/vouch_private.h"

#define N_FOLDERS (DIGEST_ALG_MAX * 256)

static bool is_vouched(const struct gc_run *run, const struct digest *d)
{
    return run->place.vouches && vouch_is_held(run->place.vouches, d);
}

static void lock(struct gc_run *run, const struct digest *d)
{
    if (run->place.vouches)
        vouch_lock(run->place.vouches, d);
}

static void unlock(struct gc_run *run, const struct digest *d)
{
    if (run->place.vouches)
        vouch_unlock(run->place.vouches, d);
}

static void note_failure(struct gc_run *run, int rc, const char *what, const char *path)
{
    struct error err;

    error_sys(&err, rc, "%s %s", what, path);
    gc_run_note(run, &err);
}

/* Between the processes that use this storage. False: the run has to end. */
static bool enter(struct gc_run *run)
{
    struct error err;

    if (run->place.is_dry)
        return true;
    int rc = storage_lock_enter(run->place.lock);
    if (rc == 0)
        return true;
    if (rc == -EBUSY)
        error_set(&err, rc, "another process uses this storage; only one that is alone collects");
    else
        error_sys(&err, rc, "lock the storage");
    gc_run_give_up(run, &err);
    return false;
}

static void leave(struct gc_run *run)
{
    if (!run->place.is_dry)
        storage_lock_leave(run->place.lock);
}

/* --- one blob --------------------------------------------------------------------------------- */

/* A client may have been told that the blob is here by somebody who looked before it was renamed,
 * without a lock; then that one vouched before he looked, and it is seen here. */
static bool take_back(struct gc_run *run, const struct digest *d, const char *away,
                      const char *path)
{
    struct error err;

    if (!is_vouched(run, d))
        return false;
    if (disk_publish(away, path, &err) < 0)
        gc_run_note(run, &err);
    return true;
}

/* The folder of a blob that is gone, under the lock: who publishes into it has vouched before. */
static void remove_folder(const char *path)
{
    char *folder = xmemdup0(path, (size_t)(strrchr(path, '/') - path));

    rmdir(folder);
    free(folder);
}

/* Of a publication that was cut off. */
static void remove_empty(struct gc_run *run, const struct digest *d, const char *path)
{
    lock(run, d);
    if (!is_vouched(run, d))
        remove_folder(path);
    unlock(run, d);
}

/* The look that counts, and the removal: nobody who is about to reference it looks meanwhile. The
 * file only gets another name here, since unlinking a large one takes its time. */
static bool move_away_locked(struct gc_run *run, const struct digest *d, const char *path,
                             const char *away)
{
    struct stat st;

    if (is_vouched(run, d) || stat(path, &st) < 0)
        return false;
    if (!gc_run_is_old(run, st.st_mtime))
        return false;
    if (rename(path, away) < 0) {
        note_failure(run, -errno, "move away", path);
        return false;
    }
    store_forget(run->place.store, d);
    if (take_back(run, d, away, path))
        return false;
    remove_folder(path);
    return true;
}

static void remove_blob(struct gc_run *run, const struct digest *d, const char *path, uint64_t size)
{
    char *away = layout_tmp_file(run->place.layout);
    bool is_away;

    lock(run, d);
    is_away = move_away_locked(run, d, path, away);
    unlock(run, d);
    if (is_away) {
        if (unlink(away) < 0)
            note_failure(run, -errno, "remove", away);
        run->report.n_removed++;
        run->report.bytes_removed += size;
        metric_inc(METRIC_GC_BLOBS_REMOVED);
        metric_add(METRIC_GC_BYTES_REMOVED, (int64_t)size);
        if (run->tell)
            run->tell(run->arg, d, size);
    }
    free(away);
}

/* Not marked: everything else is asked here, and asked again under the lock before it goes. */
static void consider(struct gc_run *run, const struct digest *d)
{
    struct stat st;
    char *path = layout_blob(run->place.layout, d);

    if (stat(path, &st) < 0) {
        if (errno == ENOENT && !run->place.is_dry)
            remove_empty(run, d, path);
        else if (errno != ENOENT)
            note_failure(run, -errno, "look at", path);
    } else if (!gc_run_is_old(run, st.st_mtime) || is_vouched(run, d)) {
        run->report.n_young++;
    } else if (!run->place.is_dry) {
        remove_blob(run, d, path, (uint64_t)st.st_size);
    } else {
        run->report.n_removed++;
        run->report.bytes_removed += (uint64_t)st.st_size;
        if (run->tell)
            run->tell(run->arg, d, (uint64_t)st.st_size);
    }
    free(path);
}

/* --- all blobs -------------------------------------------------------------------------------- */

static void open_next_folder(struct gc_run *run)
{
    unsigned n = run->next_folder++;

    CHECK(!run->folder && n < N_FOLDERS);
    run->folder_alg = n / 256;
    char *path = xasprintf("%s/%s/%02x", layout_blobs(run->place.layout),
                           digest_alg_name(run->folder_alg), n % 256);
    run->folder = opendir(path);
    if (!run->folder && errno != ENOENT)
        note_failure(run, -errno, "open folder", path);
    free(path);
}

/* One entry of the open folder. */
static void visit(struct gc_run *run, const char *name)
{
    char folder[3];
    struct digest d;

    if (!digest_parse_hex(run->folder_alg, slice_of(name), &d))
        return;
    snprintf(folder, sizeof(folder), "%02x", (run->next_folder - 1) % 256);
    if (strncmp(folder, name, 2) != 0)
        return;
    run->report.n_blobs++;
    if (!bloom_has(run->marks, &d))
        consider(run, &d);
}

static bool sweep_step(struct gc_run *run)
{
    if (!run->folder && run->next_folder == N_FOLDERS)
        return false;
    if (!run->folder) {
        open_next_folder(run);
        return true;
    }
    const struct dirent *entry = readdir(run->folder);
    if (entry) {
        visit(run, entry->d_name);
    } else {
        closedir(run->folder);
        run->folder = NULL;
    }
    return true;
}

bool gc_sweep_turn(struct gc_run *run, unsigned n_max)
{
    bool has_more = true;

    CHECK(run->marks);
    if (!enter(run))
        return false;
    for (unsigned i = 0; i < n_max && has_more; i++)
        has_more = sweep_step(run);
    leave(run);
    return has_more;
}

/* --- links ------------------------------------------------------------------------------------ */

/* What a push brought and nobody referenced: the blob went, its link follows; but not when the
 * scrub has it aside. Under the lock of the
 * blob, because a push that brings it again vouches before it links. */
static void tidy_link(struct gc_run *run, const struct link_walk_item *item)
{
    struct slice repo = slice_of(item->repo);
    char *blob = layout_blob(run->place.layout, &item->digest);
    char *record = layout_layer_record(run->place.layout, repo, &item->digest);
    char *link = layout_layer_link(run->place.layout, repo, &item->digest);
    char *aside = layout_damaged(run->place.layout, &item->digest);
    struct stat st;
    struct error err;

    lock(run, &item->digest);
    bool is_dangling = stat(blob, &st) < 0 && errno == ENOENT && stat(record, &st) < 0 &&
                       errno == ENOENT && stat(aside, &st) < 0 && errno == ENOENT &&
                       stat(link, &st) == 0 && gc_run_is_old(run, st.st_mtime) &&
                       !is_vouched(run, &item->digest);
    int rc = 0;
    if (is_dangling)
        rc = links_remove_now(run->place.links, LINK_LAYER, repo, &item->digest, &err);
    unlock(run, &item->digest);
    if (is_dangling && rc == 0)
        run->report.n_links_removed++;
    else if (rc < 0 && rc != -ENOENT)
        gc_run_note(run, &err);
    free(aside);
    free(link);
    free(record);
    free(blob);
}

bool gc_tidy_turn(struct gc_run *run, unsigned n_max)
{
    struct link_walk_item item;
    struct error err;
    int rc = 1;

    /* A storage without any blob has more likely lost a mount than all its blobs. */
    if (run->place.is_dry || run->n_dangling + run->report.n_removed == 0 ||
        run->report.n_blobs == 0)
        return false;
    if (!run->links)
        run->links = link_walk_new(run->place.layout, false);
    if (!enter(run))
        return false;
    for (unsigned i = 0; i < n_max && rc != 0; i++) {
        rc = link_walk_next(run->links, &item, &err);
        if (rc == 1)
            tidy_link(run, &item);
        else if (rc < 0)
            gc_run_note(run, &err);
    }
    leave(run);
    return rc != 0;
}
