#include "config.h"

#include "cache/fill_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/strbuf.h"
#include "cache/disk.h"
#include "cache/fill.h"
#include "cache/fill_map.h"

/* Reads the map; nothing is trusted that the file is too short for. */
static void load_map(const struct layout *l, const struct digest *d, uint64_t file_size,
                     struct segments *present, uint64_t *size_out)
{
    struct strbuf text = STRBUF_INIT;
    char *path = layout_fill_map(l, d);

    *size_out = FILL_SIZE_UNKNOWN;
    segments_clear(present);
    if (disk_read_file(path, FILL_MAP_MAX_BYTES, &text) == 0 &&
        fill_map_parse((struct slice){text.ptr, text.len}, present, size_out))
        segments_cut(present, file_size);
    strbuf_fini(&text);
    free(path);
}

static int open_part(const char *path, struct stat *st, struct error *err)
{
    int fd = disk_open_new(path, O_RDWR, err);

    if (fd < 0)
        return fd;
    int rc = 0;
    /* Another process on the same storage would mix its bytes with ours. */
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        rc = error_set(err, -EBUSY, "lock %s: another process writes it", path);
    else if (fstat(fd, st) < 0)
        rc = error_sys(err, -errno, "stat %s", path);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

int fill_file_open(const struct layout *l, const struct digest *d, struct segments *present,
                   uint64_t *size_out, struct error *err)
{
    struct stat st;
    char *path = layout_fill_part(l, d);

    CHECK(present->n == 0);
    int fd = open_part(path, &st, err);

    if (fd >= 0)
        load_map(l, d, (uint64_t)st.st_size, present, size_out);
    /* Without a map the bytes mean nothing. */
    if (fd >= 0 && present->n == 0 && st.st_size > 0 && ftruncate(fd, 0) < 0) {
        int rc = error_sys(err, -errno, "truncate %s", path);
        close(fd);
        fd = rc;
    }
    free(path);
    return fd;
}

int fill_file_save_map(struct layout *l, const struct digest *d, const struct segments *present,
                       uint64_t size, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char *path = layout_fill_map(l, d);

    fill_map_print(present, size, &text);
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, DISK_WHOLE, err);
    strbuf_fini(&text);
    free(path);
    return rc;
}

int fill_file_publish(const struct layout *l, const struct digest *d, int fd, uint64_t size,
                      struct error *err)
{
    char *part = layout_fill_part(l, d);
    char *map = layout_fill_map(l, d);
    char *path = layout_blob(l, d);
    int rc = disk_make_durable(fd, part, size, err);

    if (rc == 0)
        rc = disk_publish(part, path, err);
    if (rc == 0) {
        /* From now on it is a blob like any other; the next process may lock what it opens. */
        flock(fd, LOCK_UN);
        unlink(map);
    }
    free(path);
    free(map);
    free(part);
    return rc;
}

void fill_file_remove(const struct layout *l, const struct digest *d)
{
    char *part = layout_fill_part(l, d);
    char *map = layout_fill_map(l, d);

    /* The map first: a file without one is worth nothing, a map without its file neither. */
    unlink(map);
    unlink(part);
    free(map);
    free(part);
}
