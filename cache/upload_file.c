#include "config.h"

#include "cache/upload_file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "cache/disk.h"

#define N_FOLDERS_OPEN 8 /* descriptors that removing a folder may use at once */

static int make_folder(const char *folder, struct error *err)
{
    int rc = mkdir(folder, 0755) < 0 ? -errno : 0;

    if (rc == -ENOENT) {
        rc = disk_make_parent(folder, err);
        if (rc < 0)
            return rc;
        rc = mkdir(folder, 0755) < 0 ? -errno : 0;
    }
    return rc < 0 ? error_sys(err, rc, "make folder %s", folder) : 0;
}

/* RFC 3339: registry:2 needs it, to go on with the upload and to purge old ones. */
static int write_startedat(const char *folder, struct error *err)
{
    char text[sizeof("2000-01-01T00:00:00Z") + 8];
    time_t now = (time_t)clock_wall_s();
    struct tm tm;
    char *path = xasprintf("%s/startedat", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int rc = fd < 0 ? -errno : 0;

    if (fd >= 0) {
        gmtime_r(&now, &tm);
        size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
        CHECK(n > 0);
        rc = disk_pwrite(fd, text, n, 0);
        close(fd);
    }
    if (rc < 0)
        error_sys(err, rc, "write %s", path);
    free(path);
    return rc;
}

int upload_file_create(const char *folder, const char *path, struct error *err)
{
    CHECK(path);
    if (!folder)
        return disk_open_new(path, O_RDWR | O_EXCL, err);
    int rc = make_folder(folder, err);
    if (rc < 0)
        return rc;
    rc = write_startedat(folder, err);
    int fd = rc < 0 ? rc : disk_open_new(path, O_RDWR | O_EXCL, err);
    if (fd < 0)
        upload_file_remove(folder, path, NULL);
    return fd;
}

int upload_file_open(const char *path, uint64_t *size_out, int64_t *mtime_s_out, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0) {
        bool is_other = errno == ENOTDIR || errno == EISDIR || errno == ELOOP;
        return error_sys(err, is_other ? -ENOENT : -errno, "open %s", path);
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return error_set(err, -ENOENT, "open %s: not a file", path);
    }
    *size_out = (uint64_t)st.st_size;
    *mtime_s_out = st.st_mtime;
    return fd;
}

int upload_file_size(const char *path, uint64_t *size_out)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    *size_out = (uint64_t)st.st_size;
    return 0;
}

bool upload_file_mtime(const char *folder, int64_t *mtime_s_out)
{
    struct stat st;
    char *path = xasprintf("%s/data", folder);
    bool is_there = lstat(path, &st) == 0 || (lstat(folder, &st) == 0 && S_ISDIR(st.st_mode));

    if (is_there)
        *mtime_s_out = st.st_mtime;
    free(path);
    return is_there;
}

int upload_file_publish(const struct layout *l, const struct upload_file *f, const struct digest *d,
                        bool *is_published_out, struct error *err)
{
    char *blob = layout_blob(l, d);
    int rc = disk_make_durable(f->fd, f->path, f->size, err);

    *is_published_out = false;
    if (rc == 0) {
        rc = disk_publish(f->path, blob, err);
        *is_published_out = rc == 0 || (access(f->path, F_OK) < 0 && access(blob, F_OK) == 0);
    }
    free(blob);
    return rc;
}

int upload_file_adopt(const struct layout *l, const struct digest *d, struct error *err)
{
    char *blob = layout_blob(l, d);
    int rc = disk_sync_parent(blob, err);

    free(blob);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Nearly always there is nothing else in it. */
static int remove_folder(const char *folder, struct error *err)
{
    char *startedat = xasprintf("%s/startedat", folder);

    unlink(startedat);
    free(startedat);
    if (rmdir(folder) == 0 || errno == ENOENT)
        return 0;
    if ((errno != ENOTEMPTY && errno != EEXIST) ||
        nftw(folder, remove_one, N_FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS) != 0)
        return error_sys(err, -errno, "remove %s", folder);
    return 0;
}

int upload_file_remove(const char *folder, const char *path, struct error *err)
{
    /* The bytes first: without them it is no upload any more. */
    if (unlink(path) < 0 && errno != ENOENT)
        return error_sys(err, -errno, "remove %s", path);
    return folder ? remove_folder(folder, err) : 0;
}
