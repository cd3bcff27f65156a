/*
 * Manifests: small JSON documents addressed by digest, kept byte for byte. A struct manifest is
 * immutable and counted; the bodies of the most recently used ones stay in memory (sharded, LRU,
 * bounded in bytes), all of them are blobs of the store plus a revision link of their repository.
 */
#ifndef CACHE_MANIFEST_H
#define CACHE_MANIFEST_H

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "cache/origin.h"

struct manifest;
struct manifests;

/* Copies the bytes. A media type that is empty or cannot stand in a header is replaced by what the
 * body says. header_lines: what every answer with this manifest says, made once:
 * Content-Type, X-Content-Type-Options, Docker-Content-Digest, ETag, each with CRLF. */
struct manifest *manifest_new(const struct digest *d, struct slice media_type, struct slice body);
struct manifest *manifest_ref(struct manifest *m);
void manifest_unref(struct manifest **m);
const struct digest *manifest_digest(const struct manifest *m);
struct slice manifest_media_type(const struct manifest *m);
struct slice manifest_body(const struct manifest *m);
struct slice manifest_header_lines(const struct manifest *m);

/* Any thread, one short lock; the memory front only. A reference, or NULL. */
struct manifest *manifests_find(struct manifests *ms, const struct digest *d);

/* It is not in memory from now on. Any thread. */
void manifests_forget(struct manifests *ms, const struct digest *d);

/* rc 0 with a reference, -ENOENT, or another negative errno; on the worker that asked. */
typedef void (*manifest_load_fn)(void *arg, int rc, struct manifest *m);
/* Memory, then the shared cache of small objects if there is one, then (off the loop) the store.
 * What another process has put into that cache is used when it has its digest. Anything in the
 * store that is larger than max_bytes is not a manifest: -EFBIG. The media type comes from the
 * repository's record of the revision, else from the body ("mediaType", or its shape). A worker's
 * thread only. */
void manifests_load(struct manifests *ms, struct slice repo, const struct digest *d,
                    size_t max_bytes, manifest_load_fn done, void *arg);

/* What HEAD tells about a manifest that need not be here: from the metadata cache. rc 0 with facts
 * (valid during the call), or a negative errno; on the worker that asked. */
struct meta_facts;
typedef void (*manifest_facts_fn)(void *arg, int rc, const struct meta_facts *facts);
/* As meta_get (cache/meta.h): negative when nothing is known at once. A worker's thread only. */
int manifests_find_facts(struct manifests *ms, const struct digest *d, manifest_facts_fn done,
                         void *arg);
/* An upstream said so. Any thread. */
void manifests_note_facts(struct manifests *ms, const struct digest *d,
                          const struct meta_facts *facts);

/* Of a mirrored one. Puts it and its link into memory at once; off the loop into the store and the
 * repository (revision link, media type), durably; then links the blobs it references into the
 * repository, so that the whole image can be read through it. done may be NULL; rc is 0 or a
 * negative errno, -ECANCELED when it was deleted meanwhile. */
typedef void (*manifest_kept_fn)(void *arg, int rc);
void manifests_keep(struct manifests *ms, struct slice repo, struct manifest *m,
                    const char *upstream, manifest_kept_fn done, void *arg);

/* Pool threads. Puts it into the store and links it into the repository as a revision, both
 * durably, then into the memory front. Idempotent. */
int manifests_put_now(struct manifests *ms, struct slice repo, struct manifest *m,
                      const struct origin *origin, struct error *err);

#endif
