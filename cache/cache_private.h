/*
 * How cache.c makes and ends the parts of the cache. Nobody outside of this folder includes it.
 * Parts borrow the layout and the errands; both outlive them.
 */
#ifndef CACHE_CACHE_PRIVATE_H
#define CACHE_CACHE_PRIVATE_H

#include "cache/cache.h"
#include "cache/errand.h"
#include "cache/layout.h"

struct meta;
struct news;
struct objects;
struct storage_lock;

/* The values live in meta, which outlives it. */
struct objects *objects_new(struct meta *meta, struct errands *errands, size_t max_bytes);
void objects_free(struct objects **os);

struct vouches *vouches_new(const struct layout *l, unsigned grace_s);
void vouches_free(struct vouches **vs);

struct gc_place;
/* The place is copied; all that it points to outlives the collector. */
struct gc *gc_new(const struct gc_place *place, struct errands *errands, unsigned n_batch);
void gc_free(struct gc **g);

struct scrub_place;
/* The place is copied; all that it points to outlives the scrub. */
struct scrub *scrub_new(const struct scrub_place *place);
void scrub_free(struct scrub **s);
struct pins *pins_new(struct layout *l);
/* Before anything is pinned. */
void pins_set_ledger(struct pins *ps, struct ledger *ledger);
void pins_free(struct pins **ps);

/* What eviction works on; all of it outlives it, and is copied. */
struct evict_place {
    struct errands *errands;
    struct ledger *ledger;
    struct store *store;
    struct links *links;
    struct tags *tags;
    struct manifests *manifests;
    struct fills *fills;
    struct vouches *vouches;
    struct storage_lock *lock; /* NULL: not to be had, and nothing is evicted */
};
struct evict *evict_new(const struct evict_place *place);
void evict_free(struct evict **e);

struct store *store_new(struct layout *l, struct errands *errands, struct vouches *vouches,
                        const struct cache_config *config);
void store_free(struct store **s);

struct fills *fills_new(struct layout *l, struct errands *errands, struct store *store,
                        const struct cache_config *config);
/* Writes down what the running ones have, then forgets them. */
void fills_free(struct fills **fs);

/* What manifests are kept with; all of it outlives them. */
struct manifest_tools {
    struct errands *errands;
    struct store *store;
    struct links *links;
    struct vouches *vouches;
    struct meta *meta;       /* facts */
    struct objects *objects; /* bodies; NULL: not shared */
};
struct manifests *manifests_new(const struct manifest_tools *tools, size_t memory_bytes);
void manifests_free(struct manifests **ms);

/* lock and news may be NULL. */
struct links *links_new(struct layout *l, struct errands *errands, size_t memory_bytes,
                        struct storage_lock *lock, struct news *news);
/* Before anything is linked. */
void links_set_ledger(struct links *ls, struct ledger *ledger);
void links_free(struct links **ls);

/* meta is used when it is shared; lock, meta and news may be NULL. */
struct tags *tags_new(struct layout *l, struct errands *errands, size_t memory_bytes,
                      struct storage_lock *lock, struct meta *meta, struct news *news);
/* Before anything is tagged. */
void tags_set_ledger(struct tags *ts, struct ledger *ledger);
void tags_free(struct tags **ts);

struct repos *repos_new(struct layout *l, struct errands *errands);
void repos_free(struct repos **rs);

struct referrers *referrers_new(struct layout *l, struct errands *errands, size_t memory_bytes);
void referrers_free(struct referrers **rs);

struct uploads *uploads_new(struct layout *l, struct errands *errands, struct store *store,
                            struct links *links, struct vouches *vouches,
                            const struct cache_config *config);
/* Open ones are closed; their files stay. */
void uploads_free(struct uploads **us);

struct sweep_ages {
    unsigned partial_max_s; /* of partial downloads and temporary files */
    unsigned upload_max_s;
};
/* Pool threads: removes what nobody has written to for that long. */
void sweep_run(struct layout *l, struct fills *fs, struct uploads *us,
               const struct sweep_ages *ages);

#endif
