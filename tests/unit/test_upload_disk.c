/* Uploads on a disk that is full, that refuses, that somebody else has changed; and sweeping. */
#include "config.h"

#include "cache/upload.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/metric.h"
#include "tests/unit/unit.h"
#include "tests/unit/upload_desk.h"

#define MIB (1024 * 1024)

static void finish(struct place *p, struct desk *d)
{
    desk_fini(d);
    place_settle(p);
    assert_int_equal(place_count(p, place_path(p, "_mirrord/tmp")), 0);
    place_close(p);
    assert_int_equal(metric_get(METRIC_UPLOADS_OPEN), 0);
    place_fini(p);
}

static void start(struct place *p, struct desk *d)
{
    place_init(p);
    place_open(p);
    desk_init(d, p, 0, "team/app");
}

/* A file system of 2 MiB; all of it but so many bytes is taken. Runs before any thread. */
static bool start_full(struct place *p, struct desk *d, size_t n_left)
{
    place_init(p);
    if (!place_mount(p, 2 * MIB)) {
        place_fini(p);
        print_message("no file system of its own allowed here, left out\n");
        return false;
    }
    char *filler = calloc(1, 2 * MIB - n_left);
    place_write(p, place_path(p, "filler"), filler, 2 * MIB - n_left);
    free(filler);
    place_open(p);
    desk_init(d, p, 0, "team/app");
    return true;
}

/* What was written before the disk was full is good, and it goes on when there is space again. */
static void test_full_while_writing(void **state)
{
    enum { SIZE = MIB };
    struct place p;
    struct desk d;
    struct digest digest;
    char id[UPLOAD_ID_SIZE];
    uint8_t *content = place_content(SIZE, 1, &digest);

    (void)state;
    if (start_full(&p, &d, MIB / 2)) {
        assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
        strcpy(id, d.id);
        assert_int_equal(desk_write(&d, content, SIZE), -ENOSPC);
        uint64_t taken = d.size;
        assert_true(taken > 0 && taken < SIZE);
        assert_int_equal(desk_write(&d, content + taken, SIZE - taken), -ENOSPC);
        desk_release(&d);
        assert_int_equal(desk_ask_size(&d, id), 0);
        assert_int_equal(d.size, taken);
        assert_int_equal(truncate(place_path(&p, "filler"), 0), 0);
        place_reopen(&p);
        assert_int_equal(desk_open(&d, id), 0);
        assert_int_equal(d.size, taken);
        assert_int_equal(desk_write(&d, content + taken, SIZE - taken), 0);
        assert_int_equal(desk_commit(&d, &digest), 0);
        assert_true(desk_has_blob(&d, &digest, content, SIZE));
        finish(&p, &d);
    }
    free(content);
}

/* The bytes get their name, which needs no space, but not their link: only the same commit can
 * follow, and it works when there is space again. */
static void test_full_while_committing(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest, other;
    struct stat st;
    char id[UPLOAD_ID_SIZE];
    uint8_t *content = place_content(MIB / 4, 2, &digest);

    (void)state;
    free(place_content(3, 3, &other));
    if (start_full(&p, &d, MIB / 2)) {
        assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
        strcpy(id, d.id);
        assert_int_equal(desk_write(&d, content, MIB / 4), 0);
        FILE *filler = fopen(place_path(&p, "filler"), "ab");
        while (fwrite(content, 4096, 1, filler) == 1 && fflush(filler) == 0)
            continue;
        fclose(filler);
        assert_int_equal(desk_commit(&d, &digest), -ENOSPC);
        assert_false(place_has(&p, desk_link(&d, &digest)));
        assert_int_equal(desk_open(&d, id), 0);
        assert_int_equal(d.size, MIB / 4);
        assert_int_equal(desk_write(&d, "x", 1), -ESTALE);
        assert_int_equal(d.size, MIB / 4);
        assert_int_equal(stat(place_blob(&p, &digest), &st), 0);
        assert_int_equal(st.st_size, MIB / 4);
        assert_int_equal(truncate(place_path(&p, "filler"), 0), 0);
        assert_int_equal(desk_commit(&d, &digest), 0);
        assert_true(desk_has_blob(&d, &digest, content, MIB / 4));
        assert_false(place_has(&p, desk_folder(&d, id)));
        finish(&p, &d);
    }
    free(content);
}

/* Nothing of it is lost: it is tried again, or goes on first. */
static void test_refused_commit(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest, longer;
    char id[UPLOAD_ID_SIZE];
    uint8_t *content = place_content(MIB, 4, &longer);

    (void)state;
    digest_of(DIGEST_SHA256, content, MIB / 2, &digest);
    start(&p, &d);
    const char *folder = place_path(&p, "docker/registry/v2/blobs/sha256");
    place_write(&p, folder, "in the way", 10);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    assert_int_equal(desk_write(&d, content, MIB / 2), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(desk_commit(&d, &digest), -ENOTDIR);
        assert_int_equal(desk_open(&d, id), 0);
        assert_int_equal(d.size, MIB / 2);
    }
    assert_int_equal(unlink(folder), 0);
    assert_int_equal(desk_write(&d, content + MIB / 2, MIB / 2), 0);
    assert_int_equal(desk_commit(&d, &longer), 0);
    assert_true(desk_has_blob(&d, &longer, content, MIB));
    /* Of a single one nothing is kept. */
    assert_int_equal(rename(place_path(&p, "docker/registry/v2/blobs"), place_path(&p, "away")), 0);
    place_write(&p, place_path(&p, "docker/registry/v2/blobs"), "", 0);
    assert_int_equal(desk_create(&d, true, DIGEST_SHA256), 0);
    assert_int_equal(desk_write(&d, content, MIB / 2), 0);
    assert_int_equal(desk_commit(&d, &digest), -ENOTDIR);
    finish(&p, &d);
    free(content);
}

/* Somebody empties the folder, or cuts the file, below an upload. */
static void test_changed_below(void **state)
{
    struct place p;
    struct desk d;
    struct digest digest;
    char id[UPLOAD_ID_SIZE];
    uint8_t *content = place_content(MIB, 5, &digest);

    (void)state;
    start(&p, &d);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    assert_int_equal(desk_write(&d, content, MIB), 0);
    assert_int_equal(unlink(desk_file(&d, id, "data")), 0);
    assert_int_equal(desk_commit(&d, &digest), -ENOENT);
    assert_int_equal(desk_open(&d, id), -ENOENT);
    assert_false(place_has(&p, desk_folder(&d, id)));
    assert_false(place_has(&p, place_blob(&p, &digest)));

    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    assert_int_equal(desk_write(&d, content, 1000), 0);
    assert_int_equal(truncate(desk_file(&d, id, "data"), 500), 0);
    digest_of(DIGEST_SHA256, content, 1000, &digest);
    assert_int_equal(desk_commit(&d, &digest), -EIO);
    /* Others have nothing to fear from it, and it can go. */
    assert_int_equal(desk_open(&d, id), 0);
    desk_cancel(&d);
    assert_false(place_has(&p, desk_folder(&d, id)));
    finish(&p, &d);
    free(content);
}

static void make_old(const char *path)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void make_all_old(const char *path)
{
    char file[512];
    DIR *folder = opendir(path);
    const struct dirent *entry;

    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            make_old(file);
    }
    closedir(folder);
}

static void sweep(struct place *p)
{
    cache_sweep(p->cache);
    place_settle(p);
}

/* What nobody wrote to for long goes, unless a request holds it. */
static void test_sweep(void **state)
{
    static const char old[] = "0a000000-0000-4000-8000-000000000001";
    static const char young[] = "0b000000-0000-4000-8000-000000000002";
    static const char bare[] = "0c000000-0000-4000-8000-000000000003";
    struct place p;
    struct desk d, held, single, deep;

    (void)state;
    start(&p, &d);
    desk_init(&held, &p, 1, "team/app");
    desk_init(&single, &p, 1, "team/app");
    desk_init(&deep, &p, 1, "team/app/deep/below");
    int64_t n_swept = metric_get(METRIC_UPLOADS_SWEPT);
    /* Not open. */
    place_write(&p, desk_file(&d, old, "data"), "x", 1);
    place_write(&p, desk_file(&d, old, "hashstates/sha256/1"), "x", 1);
    place_write(&p, desk_file(&d, old, "startedat"), "2020-01-01T00:00:00Z", 20);
    place_write(&p, desk_file(&deep, old, "data"), "x", 1);
    place_write(&p, desk_file(&d, young, "data"), "x", 1);
    place_write(&p, desk_file(&d, bare, "startedat"), "x", 1);
    place_write(&p, desk_file(&d, "notes", "data"), "x", 1);
    make_old(desk_file(&d, old, "data"));
    make_old(desk_file(&deep, old, "data"));
    make_old(desk_file(&d, "notes", "data"));
    make_old(desk_folder(&d, young));
    make_old(desk_folder(&d, bare));
    /* In use. */
    assert_int_equal(desk_create(&held, false, DIGEST_SHA256), 0);
    assert_int_equal(desk_write(&held, "abc", 3), 0);
    make_old(desk_file(&held, held.id, "data"));
    assert_int_equal(desk_create(&single, true, DIGEST_SHA256), 0);
    char *tmp = strdup(place_path(&p, "_mirrord/tmp/0000000000000000-1"));
    place_write(&p, tmp, "x", 1);
    make_old(tmp);
    sweep(&p);
    assert_false(place_has(&p, tmp));
    assert_false(place_has(&p, desk_folder(&d, old)));
    assert_false(place_has(&p, desk_folder(&deep, old)));
    assert_false(place_has(&p, desk_folder(&d, bare)));
    assert_true(place_has(&p, desk_file(&d, young, "data")));
    assert_true(place_has(&p, desk_file(&d, "notes", "data")));
    assert_true(place_has(&p, desk_file(&held, held.id, "data")));
    assert_int_equal(metric_get(METRIC_UPLOADS_SWEPT), n_swept + 3);
    desk_release(&held);
    desk_release(&single);
    free(tmp);
    desk_fini(&held);
    desk_fini(&single);
    desk_fini(&deep);
    finish(&p, &d);
}

/* A single one that waits for its client, and one that is open but idle. */
static void test_sweep_open(void **state)
{
    struct place p;
    struct desk d, single;
    struct digest digest;
    char id[UPLOAD_ID_SIZE];
    uint8_t *content = place_content(5000, 7, &digest);

    (void)state;
    place_init(&p);
    p.config.upload_max_age_s = 0;
    p.config.partial_max_age_s = 0;
    place_open(&p);
    desk_init(&d, &p, 0, "team/app");
    desk_init(&single, &p, 1, "team/app");
    assert_int_equal(desk_create(&single, true, DIGEST_SHA256), 0);
    assert_int_equal(desk_write(&single, content, 5000), 0);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    strcpy(id, d.id);
    desk_release(&d);
    place_reopen(&p);
    /* Loaded with the age that it has. */
    make_old(desk_file(&d, id, "data"));
    assert_int_equal(desk_open(&d, id), 0);
    sweep(&p);
    assert_true(place_has(&p, desk_folder(&d, id)));
    desk_release(&d);
    sweep(&p);
    assert_false(place_has(&p, desk_folder(&d, id)));
    assert_int_equal(desk_open(&d, id), -ENOENT);
    assert_int_equal(desk_create(&single, true, DIGEST_SHA256), 0);
    assert_int_equal(desk_write(&single, content, 5000), 0);
    assert_int_equal(place_count(&p, place_path(&p, "_mirrord/tmp")), 1);
    make_all_old(place_path(&p, "_mirrord/tmp"));
    sweep(&p);
    assert_int_equal(desk_commit(&single, &digest), 0);
    assert_true(desk_has_blob(&single, &digest, content, 5000));
    desk_fini(&single);
    finish(&p, &d);
    free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_while_writing),
        cmocka_unit_test(test_full_while_committing),
        cmocka_unit_test(test_refused_commit),
        cmocka_unit_test(test_changed_below),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_sweep_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
