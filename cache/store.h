/*
 * The content store on the local disk: blobs by digest, in the layout of registry:2
 * (docker/registry/v2/blobs/<alg>/<first two hex>/<hex>/data). A blob file is complete, verified
 * and immutable from the moment its name exists; it is only ever unlinked.
 *
 * struct blob is an open one: a descriptor and a size, counted, shared by all workers. The store
 * keeps the most recently used open (bounded by open_files_max), so that a warm read does no
 * metadata operation on the disk; a blob older in memory than open_files_valid_s is looked up on
 * disk again before it is handed out, so a file that vanished is noticed.
 */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/worker.h"

struct store;
struct blob;

/* Any thread, one short lock. NULL: not open here, ask store_open_blob(). The caller gets a
 * reference. */
struct blob *store_find(struct store *s, const struct digest *d);

/* rc 0 with a reference in *blob (the callee's), -ENOENT when it is not stored, or another
 * negative errno. Runs on the worker that asked. */
typedef void (*store_open_fn)(void *arg, int rc, struct blob *blob);
/* Opens it off the loop. A worker's thread only. */
void store_open_blob(struct store *s, const struct digest *d, store_open_fn done, void *arg);

/* Pool threads and tests: the blocking form. Returns 0 or a negative errno. */
int store_open_now(struct store *s, const struct digest *d, struct blob **out);
/* Pool threads: writes n verified bytes under their final name (temporary file, fsync, rename,
 * fsync of the folder). The caller has checked the digest. Idempotent. */
int store_put_now(struct store *s, const struct digest *d, const void *p, size_t n,
                  struct error *err);
/* Pool threads. Whoever relies on a blob that was found here, and not put here by himself: its name
 * may be just a moment old and not yet durable; after this it is. */
int store_settle_now(struct store *s, const struct digest *d, struct error *err);
/* Forgets an open blob whose file was found wrong or gone. Any thread. */
void store_forget(struct store *s, const struct digest *d);

int blob_fd(const struct blob *b);
uint64_t blob_size(const struct blob *b);
const struct digest *blob_digest(const struct blob *b);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob **b);

#endif
