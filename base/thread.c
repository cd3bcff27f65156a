#include "config.h"

#include "base/thread.h"

#include <signal.h>

#include "base/check.h"

void thread_start(pthread_t *thread_out, void *(*run)(void *arg), void *arg)
{
    /* What a fault of the thread itself raises cannot wait. */
    static const int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t blocked, before;

    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++)
        sigdelset(&blocked, FAULTS[i]);
    /* The new thread inherits the mask. */
    CHECK(pthread_sigmask(SIG_SETMASK, &blocked, &before) == 0);
    CHECK(pthread_create(thread_out, NULL, run, arg) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}
