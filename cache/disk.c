#include "config.h"

#include "cache/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/fresh_folders.h"

#define RENAME_TRIES 8

/* The folder of a path, for the caller to free. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xmemdup0(path, (size_t)(slash - path));
}

static int sync_folder(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return error_sys(err, -errno, "open folder %s", path);
    /* Some file systems cannot sync folders and say EINVAL; there is nothing else to be done. */
    if (fsync(fd) < 0 && errno != EINVAL)
        rc = error_sys(err, -errno, "sync folder %s", path);
    close(fd);
    return rc;
}

/* 0: it is made, and one of mine; or a negative errno. */
static int make_folder(const char *path, struct fresh_folder **mine)
{
    fresh_folders_add(mine, path);
    if (mkdir(path, 0755) == 0)
        return 0;
    int rc = -errno;
    fresh_folders_drop(mine);
    return rc;
}

/* The folder and those above it, not yet durable. */
static int make_folders(const char *path, struct fresh_folder **mine, struct error *err)
{
    int rc = make_folder(path, mine);

    if (rc == -ENOENT && strcmp(path, "/") != 0 && strcmp(path, ".") != 0) {
        char *parent = parent_of(path);
        rc = make_folders(parent, mine, err);
        free(parent);
        if (rc < 0)
            return rc;
        rc = make_folder(path, mine);
    }
    return rc == 0 || rc == -EEXIST ? 0 : error_sys(err, rc, "make folder %s", path);
}

/* Makes durable the names of path and of all folders above it that are fresh, whoever made them;
 * that of path itself only if it is fresh, too, or must_be. From below, so that a journal has most
 * of it on disk after the first. */
static int sync_names(const char *path, bool must_be, struct error *err)
{
    char *at = xstrdup(path);
    int rc = 0;

    while (rc == 0 && strcmp(at, "/") != 0 && strcmp(at, ".") != 0) {
        char *parent = parent_of(at);
        if (must_be || fresh_folders_have(at))
            rc = sync_folder(parent, err);
        must_be = false;
        free(at);
        at = parent;
    }
    free(at);
    return rc;
}

int disk_sync_parent(const char *path, struct error *err)
{
    return sync_names(path, true, err);
}

int disk_make_folders(const char *path, struct error *err)
{
    struct fresh_folder *mine = NULL;
    int rc = make_folders(path, &mine, err);

    if (rc == 0)
        rc = sync_names(path, false, err);
    fresh_folders_forget(&mine);
    return rc;
}

int disk_make_parent(const char *path, struct error *err)
{
    char *parent = parent_of(path);
    int rc = disk_make_folders(parent, err);

    free(parent);
    return rc;
}

int disk_open_new(const char *path, int flags, struct error *err)
{
    CHECK(flags & (O_WRONLY | O_RDWR));
    int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0644);
    int code = fd < 0 ? -errno : 0;

    if (code == -ENOENT && disk_make_parent(path, NULL) == 0) {
        fd = open(path, flags | O_CREAT | O_CLOEXEC, 0644);
        code = fd < 0 ? -errno : 0;
    }
    return fd >= 0 ? fd : error_sys(err, code, "create %s", path);
}

/* Makes the folder when it is missing; again when the garbage collector, or who empties a cache by
 * hand, removed it as an empty one meanwhile. */
static int rename_into(const char *tmp, const char *path, struct fresh_folder **mine,
                       struct error *err)
{
    for (unsigned turn = 0; turn < RENAME_TRIES; turn++) {
        if (rename(tmp, path) == 0)
            return 0;
        if (errno != ENOENT)
            break;
        char *parent = parent_of(path);
        int rc = make_folders(parent, mine, err);
        free(parent);
        if (rc < 0)
            return rc;
        errno = ENOENT;
    }
    return error_sys(err, -errno, "rename to %s", path);
}

int disk_publish(const char *tmp, const char *path, struct error *err)
{
    struct fresh_folder *mine = NULL;
    int rc = rename_into(tmp, path, &mine, err);

    if (rc == 0)
        rc = sync_names(path, true, err);
    fresh_folders_forget(&mine);
    return rc;
}

int disk_make_durable(int fd, const char *path, uint64_t size, struct error *err)
{
    struct stat st;

    CHECK(fd >= 0);
    if (fstat(fd, &st) < 0)
        return error_sys(err, -errno, "stat %s", path);
    /* Somebody else cut our file. */
    if ((uint64_t)st.st_size < size)
        return error_set(err, -EIO, "%s has lost its end", path);
    if ((uint64_t)st.st_size > size && ftruncate(fd, (off_t)size) < 0)
        return error_sys(err, -errno, "truncate %s", path);
    if (fsync(fd) < 0)
        return error_sys(err, -errno, "sync %s", path);
    return 0;
}

/* Makes tmp with this content. */
static int write_new(const char *tmp, struct slice content, enum disk_care care, struct error *err)
{
    int fd = disk_open_new(tmp, O_WRONLY | O_TRUNC, err);

    if (fd < 0)
        return fd;
    int rc = disk_pwrite(fd, content.ptr, content.len, 0);
    if (rc == 0 && care == DISK_DURABLE && fsync(fd) < 0)
        rc = -errno;
    if (rc < 0)
        error_sys(err, rc, "write %s", tmp);
    if (close(fd) < 0 && rc == 0)
        rc = error_sys(err, -errno, "close %s", tmp);
    return rc;
}

/* Gives tmp its final name, which need not survive. Of folders that are new only those above the
 * file's own are synced: others will rely on them. */
static int publish_loosely(const char *tmp, const char *path, struct error *err)
{
    struct fresh_folder *mine = NULL;
    int rc = rename_into(tmp, path, &mine, err);

    if (rc == 0 && mine) {
        char *parent = parent_of(path);
        char *above = parent_of(parent);
        rc = sync_names(above, false, err);
        free(above);
        free(parent);
    }
    fresh_folders_forget(&mine);
    return rc;
}

int disk_write_file(struct layout *l, const char *path, struct slice content, enum disk_care care,
                    struct error *err)
{
    char *tmp = layout_tmp_file(l);
    int rc = write_new(tmp, content, care, err);

    if (rc == 0)
        rc = care == DISK_DURABLE ? disk_publish(tmp, path, err) : publish_loosely(tmp, path, err);
    if (rc < 0)
        unlink(tmp);
    free(tmp);
    return rc;
}

int disk_read_file(const char *path, size_t max_bytes, struct strbuf *out)
{
    char piece[4096];
    /* A pipe that somebody put there must not keep the thread: it is read as empty. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int rc = 0;
    size_t total = 0;

    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = n < 0 ? -errno : 0;
            break;
        }
        total += (size_t)n;
        if (total > max_bytes) {
            rc = -EFBIG;
            break;
        }
        strbuf_add(out, piece, (size_t)n);
    }
    close(fd);
    return rc;
}

int disk_append(int fd, const void *p, size_t n, uint64_t *end)
{
    const char *from = p;

    CHECK(fd >= 0);
    while (n > 0) {
        ssize_t done = pwrite(fd, from, n, (off_t)*end);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        from += done;
        *end += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

int disk_pwrite(int fd, const void *p, size_t n, uint64_t off)
{
    return disk_append(fd, p, n, &off);
}

int disk_pread(int fd, void *p, size_t n, uint64_t off)
{
    char *to = p;

    CHECK(fd >= 0);
    while (n > 0) {
        ssize_t done = pread(fd, to, n, (off_t)off);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        to += done;
        off += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}
