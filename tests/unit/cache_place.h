/*
 * What tests of the cache stand on: a folder, a pool, workers with real threads, and a cache.
 * The test's own thread asserts; work on workers reports its results to it.
 */
#ifndef TESTS_UNIT_CACHE_PLACE_H
#define TESTS_UNIT_CACHE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"

#define PLACE_WORKERS 3

struct place {
    char root[64];
    bool is_mounted;
    struct cache_config config;
    struct pool *pool;
    struct worker *workers[PLACE_WORKERS];
    struct cache *cache;
};

/* Small bounds, so that tests reach them; change config between place_init and place_open. */
void place_init(struct place *p);
/* A file system of its own with so many bytes; false when the machine does not allow it. To be
 * called before any thread runs. */
bool place_mount(struct place *p, size_t n_bytes);
void place_open(struct place *p);
void place_close(struct place *p);
/* As after a restart: all memory is gone. */
void place_reopen(struct place *p);
/* Removes the folder. */
void place_fini(struct place *p);

/* Runs fn(arg) on a worker and waits for it. */
void place_run(struct place *p, unsigned worker, worker_fn fn, void *arg);
/* Until neither errands nor mails are under way. */
void place_settle(struct place *p);

/* A path below the root, in a buffer that is reused after eight calls. */
const char *place_path(struct place *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool place_has(struct place *p, const char *path);
/* How many files and folders are in a folder below the root. */
size_t place_count(struct place *p, const char *path);
void place_write(struct place *p, const char *path, const void *content, size_t n);
/* At most n bytes; returns how many, or -1. */
long place_read(struct place *p, const char *path, void *out, size_t n);

/* The same bytes for the same seed, none of them zero. */
uint8_t *place_content(size_t n, unsigned seed, struct digest *digest_out);
/* docker/registry/v2/blobs/…/data */
const char *place_blob(struct place *p, const struct digest *d);
/* _mirrord/fills/<alg>-<hex>.<suffix> */
const char *place_partial(struct place *p, const struct digest *d, const char *suffix);

/* A moment another thread waits for; give up after a minute. */
struct moment {
    void *impl;
};
void moment_init(struct moment *m);
void moment_fini(struct moment *m);
void moment_come(struct moment *m);
bool moment_wait(struct moment *m);

#endif
