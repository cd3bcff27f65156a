/*
 * How long to wait before trying again: exponential with full jitter (each wait is uniform between
 * nothing and the doubled base), so that mirrors that failed together do not return together. Pure.
 */
#ifndef UPSTREAM_BACKOFF_H
#define UPSTREAM_BACKOFF_H

#include <stdint.h>

/* `failures` counts from 1; `random` is any number with random low bits. At most max_ms. */
unsigned backoff_delay_ms(unsigned base_ms, unsigned max_ms, unsigned failures, uint64_t random);
/* A random number for it. Any thread. */
uint64_t backoff_random(void);

#endif
