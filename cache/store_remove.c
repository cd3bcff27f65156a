/*
 * How a blob leaves the store, for the garbage collector and for eviction: the look that counts and
 * the removal happen under the lock of its digest, so that nobody who is about to reference it
 * looks meanwhile (docs/design/garbage.md).
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/worker.h"
#include "cache/disk.h"
#include "cache/ledger.h"
#include "cache/store_private.h"
#include "cache/vouch_private.h"

#define SMALL_BYTES (1024 * 1024)

/* The folder of a blob that is gone, under the lock: who publishes into it has vouched before. */
void store_remove_folder_locked(const char *path)
{
    char *folder = xmemdup0(path, (size_t)(strrchr(path, '/') - path));

    rmdir(folder);
    free(folder);
}

/* A client may have been told that the blob is here by somebody who looked before it was renamed,
 * without a lock; then that one vouched before he looked, and it is seen here. */
static bool take_back(const struct store_removal *r, const struct stat *st, const char *away,
                      const char *path, struct error *err)
{
    if (r->may_go(r->arg, r->digest, st))
        return false;
    disk_publish(away, path, err);
    return true;
}

/* It is there: *size says how large. May it go? */
static int look_locked(const struct store_removal *r, const char *path, struct stat *st,
                       uint64_t *size, struct error *err)
{
    *size = r->size;
    if (r->has_size)
        return r->may_go(r->arg, r->digest, NULL) ? 0 : -EBUSY;
    if (stat(path, st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? -ENOENT
                                                   : error_sys(err, -errno, "look at %s", path);
    *size = (uint64_t)st->st_size;
    return r->may_go(r->arg, r->digest, st) ? 0 : -EBUSY;
}

/* The file only gets another name here, since unlinking a large one takes its time. 1: it was a
 * small one, and has gone. */
static int move_away_locked(struct store *s, const struct store_removal *r, const char *path,
                            const char *away, struct error *err)
{
    struct stat st;
    uint64_t size;

    *r->size_out = 0;
    int rc = look_locked(r, path, &st, &size, err);
    if (rc < 0)
        return rc;
    bool is_small = r->is_final && size <= SMALL_BYTES;
    if ((is_small ? unlink(path) : rename(path, away)) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? -ENOENT
                   : error_sys(err, -errno, "%s %s", is_small ? "remove" : "move away", path);
    store_forget(s, r->digest);
    if (!r->is_final && take_back(r, &st, away, path, err))
        return -EBUSY;
    store_remove_folder_locked(path);
    *r->size_out = size;
    return is_small ? 1 : 0;
}

int store_remove_now(struct store *s, const struct store_removal *r, struct error *err)
{
    struct layout *l = store_layout(s);
    char *path = layout_blob(l, r->digest);
    char *away = layout_tmp_file(l);

    CHECK(r->digest && r->may_go && r->size_out && !worker_current());
    CHECK(!r->has_size || r->is_final);
    err->code = 0;
    vouch_lock(store_vouches(s), r->digest);
    int rc = move_away_locked(s, r, path, away, err);
    /* Under the lock, so that whoever stores it again notes that later. */
    if (rc >= 0 && (!r->is_in_ledger_batch || ledger_has_new_blobs(store_ledger(s))))
        ledger_note_blob_gone(store_ledger(s), r->digest);
    vouch_unlock(store_vouches(s), r->digest);
    if (rc == 0 && unlink(away) < 0)
        error_sys(err, -errno, "remove %s", away);
    free(away);
    free(path);
    return rc < 0 ? rc : 0;
}
