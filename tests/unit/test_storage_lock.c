#include "config.h"

#include "cache/storage_lock.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

/* Another process that is present until it is killed; returns when it is. */
static pid_t start_other(const struct layout *l)
{
    int ends[2];
    char byte;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct storage_lock *k = storage_lock_new(l, NULL);
        if (k && write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

static void kill_other(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_presence(void **state)
{
    struct place p;
    struct error err;

    (void)state;
    place_init(&p);
    struct layout *l = layout_new(p.root);
    struct storage_lock *k = storage_lock_new(l, &err);
    assert_non_null(k);
    assert_int_equal(storage_lock_enter(k), 0);
    storage_lock_leave(k);
    pid_t other = start_other(l);
    assert_int_equal(storage_lock_enter(k), -EBUSY);
    assert_int_equal(storage_lock_enter(k), -EBUSY);
    kill_other(other);
    assert_int_equal(storage_lock_enter(k), 0);
    /* What it did while it was there is known once. */
    assert_true(storage_lock_had_company(k));
    assert_false(storage_lock_had_company(k));
    storage_lock_leave(k);
    /* Two of one process count as well. */
    struct storage_lock *second = storage_lock_new(l, &err);
    assert_int_equal(storage_lock_enter(k), -EBUSY);
    storage_lock_free(&second);
    assert_int_equal(storage_lock_enter(k), 0);
    storage_lock_leave(k);
    storage_lock_free(&k);
    layout_free(&l);
    place_fini(&p);
}

/* Who comes while another is in its section waits for its end, and is known from then on. */
static void test_arrival(void **state)
{
    struct place p;
    int ends[2];
    char byte;
    int status;

    (void)state;
    place_init(&p);
    struct layout *l = layout_new(p.root);
    struct storage_lock *k = storage_lock_new(l, NULL);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(storage_lock_enter(k), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct storage_lock *mine = storage_lock_new(l, NULL);
        if (mine && write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    /* It is present at once, as one of the next sections finds. */
    do {
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        storage_lock_leave(k);
    } while (storage_lock_enter(k) != -EBUSY);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    kill_other(pid);
    close(ends[0]);
    close(ends[1]);
    storage_lock_free(&k);
    layout_free(&l);
    place_fini(&p);
}

static void test_no_file(void **state)
{
    struct place p;
    struct error err;

    (void)state;
    place_init(&p);
    struct layout *l = layout_new(p.root);
    assert_int_equal(mkdir(place_path(&p, "_mirrord"), 0755), 0);
    assert_int_equal(mkdir(place_path(&p, "_mirrord/lock"), 0755), 0);
    assert_null(storage_lock_new(l, &err));
    assert_int_equal(err.code, -EISDIR);
    layout_free(&l);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presence),
        cmocka_unit_test(test_arrival),
        cmocka_unit_test(test_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
