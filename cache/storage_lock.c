#include "config.h"

#include "cache/storage_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/worker.h"
#include "cache/disk.h"

/* One byte each of the file, which is empty. */
enum place {
    PLACE_PRESENCE,  /* read-locked by all who are present, never write-locked */
    PLACE_SECTION,   /* write-locked between enter and leave */
    PLACE_FIRST = 16 /* of those that are held; write-locked */
};

struct storage_lock {
    int fd;
};

/* Open file description locks: they belong to the descriptor, not to whichever thread or other
 * descriptor of the process happens to close the file, and can be asked for without being taken. */
static int lock(int fd, unsigned place, short type, int command)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};
    int rc;

    do
        rc = fcntl(fd, command, &range);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return errno == EACCES ? -EAGAIN : -errno;
    return command == F_OFD_GETLK && range.l_type != F_UNLCK ? -EBUSY : 0;
}

struct storage_lock *storage_lock_new(const struct layout *l, struct error *err)
{
    char *path = xasprintf("%s/_mirrord/lock", layout_root(l));
    int fd = disk_open_new(path, O_RDWR, err);
    int rc = fd;

    if (fd >= 0) {
        rc = lock(fd, PLACE_PRESENCE, F_RDLCK, F_OFD_SETLK);
        /* Who entered before we were present cannot have known of us: let them leave first. */
        if (rc == 0)
            rc = lock(fd, PLACE_SECTION, F_RDLCK, F_OFD_SETLKW);
        if (rc == 0)
            rc = lock(fd, PLACE_SECTION, F_UNLCK, F_OFD_SETLK);
        if (rc < 0) {
            error_sys(err, rc, "lock %s", path);
            close(fd);
        }
    }
    free(path);
    if (rc < 0)
        return NULL;
    struct storage_lock *k = xcalloc(1, sizeof(*k));
    k->fd = fd;
    return k;
}

void storage_lock_free(struct storage_lock **kk)
{
    struct storage_lock *k = *kk;

    if (!k)
        return;
    close(k->fd);
    free(k);
    *kk = NULL;
}

int storage_lock_enter(struct storage_lock *k)
{
    int rc = lock(k->fd, PLACE_SECTION, F_WRLCK, F_OFD_SETLK);

    /* Another collector is in its section, or somebody is just arriving. */
    if (rc == -EAGAIN)
        return -EBUSY;
    if (rc == 0)
        rc = lock(k->fd, PLACE_PRESENCE, F_WRLCK, F_OFD_GETLK);
    if (rc < 0)
        storage_lock_leave(k);
    return rc;
}

void storage_lock_leave(struct storage_lock *k)
{
    CHECK(lock(k->fd, PLACE_SECTION, F_UNLCK, F_OFD_SETLK) == 0);
}

void storage_lock_hold(struct storage_lock *k, unsigned place)
{
    CHECK(place < STORAGE_PLACES && !worker_current());
    if (k)
        lock(k->fd, PLACE_FIRST + place, F_WRLCK, F_OFD_SETLKW);
}

void storage_lock_release(struct storage_lock *k, unsigned place)
{
    CHECK(place < STORAGE_PLACES);
    if (k)
        lock(k->fd, PLACE_FIRST + place, F_UNLCK, F_OFD_SETLK);
}
