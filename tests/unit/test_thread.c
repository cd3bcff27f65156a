#include "config.h"

#include "base/thread.h"

#include <signal.h>

#include "tests/unit/unit.h"

static void *note_mask(void *arg)
{
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, arg), 0);
    return NULL;
}

/* Signals go to the thread that handles them; faults stay where they happen. */
static void test_signals(void **state)
{
    sigset_t before, mask, after;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    thread_start(&thread, note_mask, &mask);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP));
    assert_true(sigismember(&mask, SIGINT) && sigismember(&mask, SIGPIPE));
    assert_false(sigismember(&mask, SIGSEGV) || sigismember(&mask, SIGABRT));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
