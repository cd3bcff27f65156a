#include "config.h"

#include "cache/quiet_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define SIZE ((size_t)1000001)

/* The first direct read of a file system that does not do it. */
static bool refuses_direct;

ssize_t __real_pread(int fd, void *p, size_t n, off_t off);
ssize_t __wrap_pread(int fd, void *p, size_t n, off_t off);
ssize_t __wrap_pread(int fd, void *p, size_t n, off_t off)
{
    if (refuses_direct && (fcntl(fd, F_GETFL) & O_DIRECT)) {
        errno = EINVAL;
        return -1;
    }
    return __real_pread(fd, p, n, off);
}

static size_t n_cached(const char *path)
{
    unsigned char cached[SIZE / 4096 + 1];
    int fd = open(path, O_RDONLY);
    void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    size_t n = 0;

    assert_true(fd >= 0 && map != MAP_FAILED);
    assert_int_equal(mincore(map, SIZE, cached), 0);
    munmap(map, SIZE);
    close(fd);
    for (size_t i = 0; i < sizeof(cached); i++)
        n += cached[i] & 1;
    return n;
}

static void drop(const char *path)
{
    int fd = open(path, O_RDONLY);

    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
}

/* Brings the pages that hold [off, off + n) into the cache, and none else. */
static void touch(const char *path, off_t off, size_t n)
{
    int fd = open(path, O_RDONLY);
    char *p = malloc(n);

    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    assert_int_equal(__real_pread(fd, p, n, off), (ssize_t)n);
    free(p);
    close(fd);
}

static void check_content(const char *path, const uint8_t *content)
{
    struct quiet_file *f = NULL;
    uint8_t *piece = quiet_file_buffer();
    size_t at = 0;
    ssize_t n;

    assert_int_equal(quiet_file_open(path, &f), 0);
    assert_int_equal(quiet_file_stat(f)->st_size, SIZE);
    while ((n = quiet_file_read(f, piece)) > 0) {
        assert_true((size_t)n <= QUIET_FILE_PIECE && at + (size_t)n <= SIZE);
        assert_memory_equal(piece, content + at, (size_t)n);
        at += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, SIZE);
    quiet_file_close(&f);
    free(piece);
}

/* Both ways: what is cached stays so, what is not does not become so. */
static void test_cache(void **state)
{
    struct place p;
    struct digest d;
    uint8_t *content = place_content(SIZE, 3, &d);

    (void)state;
    place_init(&p);
    place_write(&p, place_path(&p, "file"), content, SIZE);
    const char *path = place_path(&p, "file");
    drop(path);
    bool can_drop = n_cached(path) == 0;
    for (unsigned turn = 0; turn < 2; turn++) {
        refuses_direct = turn == 1;
        if (can_drop) {
            drop(path);
            check_content(path, content);
            assert_int_equal(n_cached(path), 0);
            touch(path, 300000, 100000);
        }
        size_t n = n_cached(path);
        assert_true(n > 0);
        check_content(path, content);
        assert_int_equal(n_cached(path), n);
    }
    refuses_direct = false;
    free(content);
    place_fini(&p);
}

/* tmpfs, which older kernels refuse to open for direct reads. */
static void test_tmpfs(void **state)
{
    struct place p;
    struct digest d;
    uint8_t *content = place_content(SIZE, 4, &d);

    (void)state;
    place_init(&p);
    if (place_mount(&p, 4 * SIZE)) {
        place_write(&p, place_path(&p, "file"), content, SIZE);
        check_content(place_path(&p, "file"), content);
    }
    free(content);
    place_fini(&p);
}

static void test_odd(void **state)
{
    struct place p;
    struct quiet_file *f = NULL;

    (void)state;
    place_init(&p);
    place_write(&p, place_path(&p, "folder/empty"), "", 0);
    assert_int_equal(quiet_file_open(place_path(&p, "none"), &f), -ENOENT);
    assert_int_equal(quiet_file_open(place_path(&p, "folder"), &f), -EISDIR);
    assert_int_equal(quiet_file_open("/dev/null", &f), -EINVAL);
    assert_int_equal(quiet_file_open(place_path(&p, "folder/empty"), &f), 0);
    void *piece = quiet_file_buffer();
    assert_int_equal(quiet_file_read(f, piece), 0);
    free(piece);
    quiet_file_close(&f);
    quiet_file_close(&f);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_odd),
        cmocka_unit_test(test_tmpfs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
