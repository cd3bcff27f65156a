/*
 * The hash that follows a growing file, off the loop: what fills and uploads share. Whoever calls
 * owns the hasher and goes on, step by step, from where the last call ended. Pool threads only; 64
 * KiB of stack.
 */
#ifndef CACHE_HASH_RUN_H
#define CACHE_HASH_RUN_H

#include <stdint.h>

#include "base/digest.h"

#define HASH_RUN_DUE_BYTES (256 * 1024)       /* fewer bytes are not worth a step */
#define HASH_RUN_STEP_BYTES (8 * 1024 * 1024) /* more would keep others waiting for the thread */

/* Reads and hashes [off, end) of a file. 0, or a negative errno; then the hasher is of no use any
 * more. */
int hash_run(struct hasher *h, int fd, uint64_t off, uint64_t end);
/* Asks the kernel to begin writing [off, end) to the disk, which makes the last fsync short. May
 * wait for the disk: not while somebody waits for the hash. */
void hash_run_write_out(int fd, uint64_t off, uint64_t end);

#endif
