/*
 * Uploads: blobs on their way in from clients, in the layout of registry:2
 * (repositories/<name>/_uploads/<id>/data and startedat). An upload survives a restart of the
 * daemon: its size is that of its file, its hash is computed again off the loop.
 *
 * One request holds an upload at a time; what it holds it must give back, by release, commit or
 * cancel. The holder calls from its own worker; callbacks come there. Bytes go to the file as they
 * come; the hash follows them on the pool, and a holder that gets too far ahead of it is told to
 * pause. Memory per upload is constant. What a request has brought survives the end of the
 * process, not a power loss: only commits are acknowledged for good.
 *
 * At most n_open_max stay open; idle ones beyond that are closed, and loaded again when somebody
 * asks for them.
 *
 * Life: LOADING → IDLE ↔ HELD → COMMITTING → gone; or cancelled, or swept by age.
 */
#ifndef CACHE_UPLOAD_H
#define CACHE_UPLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"

struct upload;
struct uploads;

#define UPLOAD_ID_SIZE 37 /* a random UUID (RFC 9562) in lower case, and NUL */

/* Whether this can be an upload's id; what cannot never becomes part of a path. */
bool upload_id_is_valid(struct slice id);

/* rc 0 with the upload, held by the caller; else a negative errno. On the worker that asked, never
 * from inside the call. It always comes: who does not want it any more gives it back then. */
typedef void (*upload_open_fn)(void *arg, int rc, struct upload *u);

/* A new one. is_single: one request brings all of it and commits it; it has no folder, cannot be
 * found by its id, and does not survive a restart. alg: which digest is expected (another one
 * costs hashing again). -ENOENT for a repository name that cannot be stored. A worker's thread
 * only. */
void uploads_create(struct uploads *us, struct slice repo, bool is_single, enum digest_alg alg,
                    upload_open_fn done, void *arg);
/* An existing one. -ENOENT: there is none of this id in this repository; -EBUSY: another request
 * holds it, or is about to, or to end it. */
void uploads_open(struct uploads *us, struct slice repo, struct slice id, upload_open_fn done,
                  void *arg);
/* Its size without holding it, for status: -ENOENT, or 0 with *size. Comes on the caller's worker.
 * Counts what a running request has written so far. */
typedef void (*upload_size_fn)(void *arg, int rc, uint64_t size);
void uploads_ask_size(struct uploads *us, struct slice repo, struct slice id, upload_size_fn done,
                      void *arg);

/* --- the holder ------------------------------------------------------------------------------ */

const char *upload_id(const struct upload *u);
uint64_t upload_size(const struct upload *u);
/* Appends n bytes. 0: more please. 1: taken, but pause until `room` ran. Negative errno: the disk
 * refused (-ENOSPC, -EDQUOT, -EIO, …); upload_size tells how much was taken, all of it is good.
 * -ESTALE: a commit failed after the bytes had become a blob; only the same commit may follow. */
int upload_write(struct upload *u, const void *p, size_t n);
/* room(arg) on the holder's worker, once for each 1 of upload_write. */
void upload_on_room(struct upload *u, void (*room)(void *arg), void *arg);
/* Gives it back as it is; a single one is removed. */
void upload_release(struct upload **u);

/* rc 0: the blob is durable under its digest and linked into the repository, the upload is gone.
 * -EBADMSG: the digest is another one (in *found); the upload is gone. -ENOENT: somebody removed
 * its file; it is gone. Another errno: the storage failed; the upload has been released as it was,
 * and may be tried again (a single one is removed). err is valid during the call. */
typedef void (*upload_commit_fn)(void *arg, int rc, const struct digest *found,
                                 const struct error *err);
void upload_commit(struct upload **u, const struct digest *d, upload_commit_fn done, void *arg);
/* Removes it and its files, off the loop; done may be NULL. */
void upload_cancel(struct upload **u, void (*done)(void *arg), void *arg);

#endif
