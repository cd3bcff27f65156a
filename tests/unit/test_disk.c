#include "config.h"

#include "cache/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

static void test_write_file(void **state)
{
    struct place p;
    struct error err;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    place_init(&p);
    struct layout *l = layout_new(p.root);
    assert_int_equal(disk_make_folders(layout_tmp(l), &err), 0);
    assert_int_equal(disk_make_folders(layout_tmp(l), &err), 0);
    const char *path = place_path(&p, "a/b/c/file");
    assert_int_equal(disk_write_file(l, path, SLICE("one"), DISK_DURABLE, &err), 0);
    assert_int_equal(disk_read_file(path, 3, &text), 0);
    assert_string_equal(text.ptr, "one");
    strbuf_clear(&text);
    assert_int_equal(disk_read_file(path, 2, &text), -EFBIG);
    strbuf_clear(&text);
    assert_int_equal(disk_write_file(l, path, SLICE("two!"), DISK_WHOLE, &err), 0);
    assert_int_equal(disk_read_file(path, 100, &text), 0);
    assert_string_equal(text.ptr, "two!");
    assert_int_equal(disk_read_file(place_path(&p, "none"), 100, &text), -ENOENT);

    strbuf_clear(&text);
    const char *pipe = place_path(&p, "pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(disk_read_file(pipe, 100, &text), 0);
    assert_int_equal(text.len, 0);

    /* A file where a folder should be: the old content stays, no temporary file does. */
    const char *below = place_path(&p, "a/b/c/file/x");
    assert_int_equal(disk_write_file(l, below, SLICE("x"), DISK_DURABLE, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "a/b/c/file"));
    assert_int_equal(place_count(&p, layout_tmp(l)), 0);
    strbuf_fini(&text);
    layout_free(&l);
    place_fini(&p);
}

static void test_pread(void **state)
{
    struct place p;
    char piece[10];

    (void)state;
    place_init(&p);
    place_write(&p, place_path(&p, "file"), "0123456789", 10);
    int fd = open(place_path(&p, "file"), O_RDWR);
    assert_int_equal(disk_pread(fd, piece, 5, 5), 0);
    assert_memory_equal(piece, "56789", 5);
    assert_int_equal(disk_pread(fd, piece, 5, 6), -EIO);
    assert_int_equal(disk_pwrite(fd, "xyz", 3, 9), 0);
    assert_int_equal(disk_pread(fd, piece, 4, 8), 0);
    assert_memory_equal(piece, "8xyz", 4);
    close(fd);
    fd = open("/dev/full", O_WRONLY);
    if (fd >= 0) {
        assert_int_equal(disk_pwrite(fd, "x", 1, 0), -ENOSPC);
        close(fd);
    }
    place_fini(&p);
}

/* A file that grows gets its size, then its name in folders that are not there yet. */
static void test_publish(void **state)
{
    struct place p;
    struct error err;
    struct strbuf text = STRBUF_INIT;
    uint64_t end = 0;

    (void)state;
    place_init(&p);
    const char *tmp = place_path(&p, "tmp");
    const char *path = place_path(&p, "x/y/z/data");
    int fd = disk_open_new(tmp, O_RDWR | O_EXCL, &err);
    assert_true(fd >= 0);
    assert_int_equal(disk_append(fd, "one", 3, &end), 0);
    assert_int_equal(disk_append(fd, "two", 3, &end), 0);
    assert_int_equal(end, 6);
    assert_int_equal(disk_make_durable(fd, tmp, 7, &err), -EIO);
    assert_int_equal(disk_make_durable(fd, tmp, 5, &err), 0);
    assert_int_equal(disk_publish(tmp, path, &err), 0);
    assert_int_equal(disk_read_file(path, 100, &text), 0);
    assert_string_equal(text.ptr, "onetw");
    assert_int_equal(disk_publish(tmp, path, &err), -ENOENT);
    close(fd);
    strbuf_clear(&text);
    /* It replaces what is there; where it cannot, tmp stays. */
    place_write(&p, tmp, "three", 5);
    assert_int_equal(disk_publish(tmp, place_path(&p, "x/y/z/data/below"), &err), -ENOTDIR);
    assert_int_equal(disk_publish(tmp, path, &err), 0);
    assert_int_equal(disk_read_file(path, 100, &text), 0);
    assert_string_equal(text.ptr, "three");
    strbuf_fini(&text);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_file),
        cmocka_unit_test(test_pread),
        cmocka_unit_test(test_publish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
