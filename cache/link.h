/*
 * Links: which repository has which blob (_layers/<alg>/<hex>/link) and which manifest revision
 * (_manifests/revisions/<alg>/<hex>/link), as registry:2 keeps them. Content is stored once and may
 * only be read through a repository that has a link to it.
 *
 * A link without a record of ours beside it (mirrord.json) is a pushed one: another program or an
 * earlier push made it. A mirrored link has a record with its upstream and time; a revision's
 * record also tells the media type, whoever brought it.
 *
 * The memory front (sharded, LRU, bounded) answers the hot path; the storage is the truth.
 */
#ifndef CACHE_LINK_H
#define CACHE_LINK_H

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/origin.h"

struct links;

enum link_kind { LINK_LAYER, LINK_REVISION, LINK_KIND_MAX };

enum link_state {
    LINK_UNKNOWN, /* not in memory: ask links_load */
    LINK_YES,
    LINK_PENDING, /* layer: a fill through this repository is being asked of the upstream */
    LINK_STATE_MAX
};

/* Any thread, one short lock; the memory front only. hot */
enum link_state links_find(struct links *ls, enum link_kind kind, struct slice repo,
                           const struct digest *d);
/* Any thread, one short lock; the memory front only. True: linked, and *out says whence. hot */
bool links_find_origin(struct links *ls, enum link_kind kind, struct slice repo,
                       const struct digest *d, struct origin *out);
/* rc 0: linked; -ENOENT, or another negative errno; on the worker that asked. */
typedef void (*link_load_fn)(void *arg, int rc);
/* Memory, then the storage, off the loop. A worker's thread only. */
void links_load(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d,
                link_load_fn done, void *arg);
/* Pool threads: the same; *out (may be NULL) says where it came from. */
int links_load_now(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d,
                   struct origin *out);

/* Pool threads. Durable when pushed. A pushed link takes over a mirrored one; a mirrored one
 * leaves what is there as it is. -EINVAL for a repository name that cannot be stored. */
int links_add_layer_now(struct links *ls, struct slice repo, const struct digest *d,
                        const struct origin *origin, struct error *err);
/* The same for a manifest revision, durable whoever brought it; its record tells the media type. */
int links_add_revision_now(struct links *ls, struct slice repo, const struct digest *d,
                           const struct origin *origin, struct slice media_type, struct error *err);
/* A mirrored revision that was noted (links_note) when links_removals was n_removals. */
struct link_kept {
    struct origin origin;
    struct slice media_type;
    uint32_t n_removals;
};
/* Changes when this link is removed by links_remove_now, and now and then when another one is. Any
 * thread. */
uint32_t links_removals(struct links *ls, enum link_kind kind, struct slice repo,
                        const struct digest *d);
/* Adds it; -ECANCELED when it has been removed meanwhile: it stays so. Pool threads. */
int links_keep_revision_now(struct links *ls, struct slice repo, const struct digest *d,
                            const struct link_kept *kept, struct error *err);
/* Any worker: a mirrored layer link, at once in memory and off the loop in the storage. A failure
 * is logged only. */
void links_add(struct links *ls, struct slice repo, const struct digest *d, const char *upstream);
/* Any worker: a mirrored link that is about to be added off the loop, at once in memory: who asks
 * right after the answer that caused it finds it. */
void links_note(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d,
                const char *upstream);
/* Pool threads. Durable. 0, -ENOENT when there was none, not even one that is about to be added; or
 * another negative errno. */
int links_remove_now(struct links *ls, enum link_kind kind, struct slice repo,
                     const struct digest *d, struct error *err);

/* Pool threads. The same for a mirrored link that is to be evicted, and not durable: -EEXIST when
 * it is a pushed one. The ledger is not told: it asks. */
int links_drop_mirrored_now(struct links *ls, enum link_kind kind, struct slice repo,
                            const struct digest *d, struct error *err);
/* Another process has changed this link, or may have changed any: the storage is asked again. Any
 * thread. */
void links_doubt(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d);
void links_doubt_all(struct links *ls);

/* Pool threads. The media type a revision's record tells, appended to *out; perhaps nothing. */
void links_media_type_now(struct links *ls, struct slice repo, const struct digest *d,
                          struct strbuf *out);

/* A fill is going to run through this repository; it has ended, or runs through another one. Each
 * note is dropped once. Memory only: one small entry per running fill. */
void links_note_pending(struct links *ls, struct slice repo, const struct digest *d);
void links_drop_pending(struct links *ls, struct slice repo, const struct digest *d);

#endif
