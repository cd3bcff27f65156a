#include "config.h"

#include "cache/quiet_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"

#define ALIGNMENT 4096 /* no medium asks for more */
#define PAGES_MAX (QUIET_FILE_PIECE / 4096)

struct quiet_file {
    int fd;
    off_t off;
    bool is_direct;
    struct stat st;
};

/* From here on by ordinary reads; each reads what it asks for and nothing ahead. */
static void become_ordinary(struct quiet_file *f)
{
    int flags = fcntl(f->fd, F_GETFL);

    if (flags >= 0 && (flags & O_DIRECT))
        fcntl(f->fd, F_SETFL, flags & ~O_DIRECT);
    posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
    f->is_direct = false;
}

int quiet_file_open(const char *path, struct quiet_file **out)
{
    const int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;
    struct stat st;
    int fd = open(path, flags | O_DIRECT);
    bool is_direct = fd >= 0;

    if (fd < 0 && errno == EINVAL)
        fd = open(path, flags);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && !S_ISREG(st.st_mode))
        rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    struct quiet_file *f = xcalloc(1, sizeof(*f));
    f->fd = fd;
    f->st = st;
    f->is_direct = is_direct;
    if (!is_direct)
        become_ordinary(f);
    *out = f;
    return 0;
}

void quiet_file_close(struct quiet_file **ff)
{
    struct quiet_file *f = *ff;

    if (!f)
        return;
    close(f->fd);
    free(f);
    *ff = NULL;
}

const struct stat *quiet_file_stat(const struct quiet_file *f)
{
    return &f->st;
}

void *quiet_file_buffer(void)
{
    void *buffer = NULL;

    CHECK(posix_memalign(&buffer, ALIGNMENT, QUIET_FILE_PIECE) == 0);
    return buffer;
}

/* Which pages of the next piece are cached, a byte each; how many pages. 0: it cannot be told, and
 * nothing is dropped. The mapping is only asked about, never read: no fault can happen. */
static size_t look_at_pages(const struct quiet_file *f, unsigned char *cached)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK(f->off < f->st.st_size);
    size_t left = (size_t)(f->st.st_size - f->off);
    size_t n = left < QUIET_FILE_PIECE ? left : QUIET_FILE_PIECE;

    if (n == 0 || page < 4096)
        return 0;
    void *map = mmap(NULL, n, PROT_READ, MAP_SHARED, f->fd, f->off);
    if (map == MAP_FAILED)
        return 0;
    bool is_known = mincore(map, n, cached) == 0;
    munmap(map, n);
    return is_known ? (n + page - 1) / page : 0;
}

/* Runs of pages that were not cached go again. */
static void drop_pages(const struct quiet_file *f, off_t off, const unsigned char *cached, size_t n)
{
    off_t page = (off_t)sysconf(_SC_PAGESIZE);
    size_t begin = 0;

    for (size_t i = 0; i <= n; i++) {
        if (i < n && !(cached[i] & 1))
            continue;
        if (i > begin)
            posix_fadvise(f->fd, off + (off_t)begin * page, (off_t)(i - begin) * page,
                          POSIX_FADV_DONTNEED);
        begin = i + 1;
    }
}

static ssize_t read_once(const struct quiet_file *f, void *buffer)
{
    ssize_t n;

    do
        n = pread(f->fd, buffer, QUIET_FILE_PIECE, f->off);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t read_ordinary(const struct quiet_file *f, void *buffer)
{
    unsigned char cached[PAGES_MAX];
    size_t n_pages = look_at_pages(f, cached);
    ssize_t n = read_once(f, buffer);

    drop_pages(f, f->off, cached, n_pages);
    return n;
}

ssize_t quiet_file_read(struct quiet_file *f, void *buffer)
{
    ssize_t n = -EINVAL;

    CHECK((uintptr_t)buffer % ALIGNMENT == 0);
    /* Direct reads end at the last, broken block. */
    if (f->off >= f->st.st_size)
        return 0;
    if (f->is_direct)
        n = read_once(f, buffer);
    /* Some file systems only say here that they do not read directly, or not at this place. */
    if (f->is_direct && n == -EINVAL)
        become_ordinary(f);
    if (!f->is_direct)
        n = read_ordinary(f, buffer);
    if (n > 0)
        f->off += n;
    return n;
}
