/*
 * What is kept: the public face of the folder.
 *
 *   store      blobs on disk under their final names, and the open ones     cache/store.h
 *   fills      blobs being fetched, with their readers                      cache/fill.h
 *   uploads    blobs being pushed                                           cache/upload.h
 *   manifests  manifest bodies in memory, backed by the store               cache/manifest.h
 *   tags       which digest a tag has, pushed or mirrored                   cache/tag.h
 *   links      which repository has which blob and which manifest           cache/link.h
 *   referrers  which manifests refer to another                             cache/referrers.h
 *   repos      lists of what is there                                       cache/repo.h
 *   vouches    what the garbage collector must leave alone                  cache/vouch.h
 *   gc         the garbage collector                                        cache/gc.h
 *   scrub      hashes again what is stored                                  cache/scrub.h
 *   ledger     size, last use, origin of what is stored: an index           cache/ledger.h
 *   pins       images that are never evicted                                cache/pin.h
 *   evict      keeps what is mirrored within its limit                      cache/evict.h
 *   objects    small objects that mirrors share                             cache/objects.h
 *
 * One struct cache per process, made at start, shared by all workers; each part says at its
 * functions which thread may call them. Storage is the only truth: all that is in memory here may
 * be lost at any moment without harm.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"
#include "base/strbuf.h"

struct cache;
struct redis;
struct store;
struct fills;
struct manifests;
struct tags;
struct repos;
struct links;
struct vouches;
struct uploads;
struct referrers;
struct gc;
struct scrub;
struct ledger;
struct pins;
struct evict;
struct objects;

struct cache_config {
    const char *storage_path;     /* the root; made when missing */
    struct pool *pool;            /* outlives the cache */
    size_t manifest_memory_bytes; /* bound of manifest bodies and tag records in memory */
    unsigned open_files_max;      /* blobs kept open for the next reader */
    unsigned open_files_valid_s;  /* after this an open blob is looked up on disk again */
    unsigned fill_running_max;    /* while more run, one that nobody reads is suspended */
    uint64_t fill_near_bytes;     /* a reader this close ahead of a writer waits for it */
    uint64_t fill_memory_bytes;   /* window of a fill that the disk cannot hold */
    unsigned partial_max_age_s;   /* older partial downloads are swept */
    unsigned upload_max_age_s;    /* uploads that nobody wrote to for this long are swept */
    unsigned uploads_open_max;    /* idle ones beyond that are closed, to be opened again */
    unsigned gc_grace_s;          /* nothing younger, or vouched for since, is garbage */
    unsigned gc_batch;            /* files the collector looks at in one go */
    /* Shared caches; they outlive the cache. */
    struct redis *redis;           /* tags and facts; NULL: this process' memory */
    struct redis *redis_objects;   /* small objects; NULL: not shared */
    const char *redis_prefix;      /* of all keys; with redis or redis_objects */
    const char *redis_scope;       /* what else must be the same where tags are shared */
    unsigned redis_unheard_ms;     /* without news what is remembered is read again after this */
    size_t redis_object_max_bytes; /* of one small object */
};

/* Makes the folders; does not walk them. Blocking: call at start, before the loops run. */
int cache_open(const struct cache_config *config, struct cache **out, struct error *err);
/* On every worker, before and after its work: connects to the shared caches, and ends that. On the
 * herald of config.redis also what other processes change is heard. */
void cache_open_here(struct cache *c);
void cache_close_here(struct cache *c);
/* Any thread: appends members of a JSON object, each after a comma: how the shared caches are. */
void cache_print_shared_json(const struct cache *c, struct strbuf *out);
/* Blocks until nothing of the cache runs off the loop or is on its way home. Not on a worker's
 * thread. Call it when the work is over and before workers end: an errand that comes home needs its
 * worker. */
void cache_drain(struct cache *c);
/* After all workers ended, before the pool does. Partial downloads stay on disk, to be resumed. */
void cache_close(struct cache **cache);

struct store *cache_store(struct cache *c);
struct fills *cache_fills(struct cache *c);
struct manifests *cache_manifests(struct cache *c);
struct tags *cache_tags(struct cache *c);
struct repos *cache_repos(struct cache *c);
struct links *cache_links(struct cache *c);
struct vouches *cache_vouches(struct cache *c);
struct uploads *cache_uploads(struct cache *c);
struct referrers *cache_referrers(struct cache *c);
struct gc *cache_gc(struct cache *c);
struct scrub *cache_scrub(struct cache *c);
struct ledger *cache_ledger(struct cache *c);
struct pins *cache_pins(struct cache *c);
struct evict *cache_evict(struct cache *c);
/* NULL: not shared. */
struct objects *cache_objects(struct cache *c);

/* Removes partial downloads older than partial_max_age_s, off the loop. Call at start and then
 * now and again; any thread. */
void cache_sweep(struct cache *c);
struct ledger_report;
/* For the command line, blocking; this process serves nobody: makes the ledger anew. -EBUSY when
 * another process uses the storage, or another negative errno. */
int cache_reindex_now(struct cache *c, struct ledger_report *out, struct error *err);
/* Each second: what the ledger and eviction do now and then (ledger_tend, evict_start). Any thread;
 * cheap when nothing is due. */
void cache_tend(struct cache *c);

#endif
