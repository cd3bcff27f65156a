/*
 * Threads of ours. Signals are for the thread that runs the control loop: all others block them, so
 * that a handler never runs where it is not expected. Any thread may start one; whoever starts it
 * joins it.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* Cannot fail: without its threads the daemon is nothing. */
void thread_start(pthread_t *thread_out, void *(*run)(void *arg), void *arg);

#endif
