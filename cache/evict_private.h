/* What the files of eviction share. */
#ifndef CACHE_EVICT_PRIVATE_H
#define CACHE_EVICT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "cache/cache_private.h"
#include "cache/evict.h"
#include "cache/ledger_private.h"
#include "cache/storage_lock.h"
#include "cache/team.h"

#define EVICT_PREFIX "evict"

/* Something that may go by itself: an image, a layer that no image needs (kind LINK_LAYER), or a
 * blob that nobody links any more (repo 0). */
struct evict_root {
    int64_t id; /* 0: of no row */
    int64_t repo, blob, used;
    enum link_kind kind;
    double due; /* the lower this, the less it is worth */
};

#define EVICT_WINDOW 4096 /* roots that are compared with each other */

/* Those that were looked at and not taken: a heap, the least valuable first. */
struct evict_window {
    struct evict_root *roots; /* EVICT_WINDOW; NULL: no run */
    size_t n;
    int64_t after_used, after_id; /* rows up to these were looked at */
    int64_t cutoff;               /* what was not used since goes, whatever it is worth */
    unsigned n_to_read;           /* so many rows may yet be read in this batch */
    bool is_at_end;               /* there are no more rows */
};

struct evict {
    struct evict_place place;
    struct errand turn; /* of the run, while there is one */
    evict_cost_fn cost; /* NULL: all costs the same */
    void *cost_arg;
    /* Of who set is_running. */
    struct evict_window window;
    bool has_gone;      /* something, since the window began */
    struct team *team;  /* of who has begun a batch: guarded by the ledger's lock */
    size_t batch_blobs; /* … likewise */
    _Atomic uint64_t high_bytes, low_bytes, rest_until_ms, aged_at_ms;
    _Atomic int64_t max_age_s;
    atomic_bool is_running, is_stopping, is_for_room;
    pthread_mutex_t lock; /* guards what follows */
    struct evict_report report;
};

/* What becomes of a blob. */
enum evict_fate {
    EVICT_STAYS, /* something else needs it */
    EVICT_GOES,
    EVICT_BUSY,  /* wanted just now: a later run looks again */
    EVICT_FAILED /* its file could not be removed */
};

struct evict_item {
    int64_t blob;
    struct digest digest;
    enum evict_fate fate;
    bool is_unlinked; /* its link in the repository goes */
    bool has_size;
    uint64_t size; /* as the ledger says */
};

/* One of the mirrored halves that point to a manifest. */
struct evict_tag {
    size_t i_manifest;
    char *name;
};

/* What goes with it. */
struct evict_plan {
    int64_t repo;
    char *repo_name;          /* NULL: blobs only */
    struct evict_item *items; /* manifests, the root first, then layers */
    size_t n, n_manifests, n_room;
    struct evict_tag *tags;
    size_t n_tags;
    bool has_pins;     /* something in the repository is pinned */
    bool leaves_roots; /* something stays in it that nothing else there references */
    enum evict_reason reason;
    /* Of the files. */
    bool is_other; /* not all went as the rows say */
    struct evict_result gone;
};

/* Images whose rows went; then their files do. */
struct evict_batch {
    struct evict_plan **plans;
    size_t n, n_room;
    uint64_t n_blobs, bytes; /* that ought to go */
};

/* --- evict_choose.c: within a transaction of the ledger --------------------------------------- */

/* At the beginning of a run, and from the first row again. */
void evict_window_begin(struct evict_window *w);
void evict_window_end(struct evict_window *w);
/* At the beginning of each batch. */
void evict_window_turn(struct evict_window *w, int64_t cutoff);
/* Takes the least valuable root of all; *has_more when false: a later batch may find one. */
bool evict_next_root(struct evict *e, struct evict_root *out, bool *has_more);
/* NULL with *why: it does not go now; *is_root false: nor by itself ever, its row is of no use. */
struct evict_plan *evict_plan_new(struct ledger *l, const struct evict_root *root, const char **why,
                                  bool *is_root);
void evict_plan_free(struct evict_plan **plan);

/* --- evict_rows.c: likewise ------------------------------------------------------------------- */

/* Drops what the plan says from the rows, in the hope that the files will go, and notes in the plan
 * which these are. */
void evict_drop_rows(struct ledger *l, struct evict_plan *plan);
/* The same from the rows as they were before, for what has really gone. */
void evict_redo_rows(struct ledger *l, const struct evict_plan *plan);

/* --- evict_remove.c --------------------------------------------------------------------------- */

/* Somebody reads, fills or pushes a part of it. */
bool evict_is_busy(struct evict *e, const struct evict_plan *plan);
/* Removes the files of all, from the storage and the memory; notes in the plans what has gone. */
void evict_remove(struct evict *e, struct evict_batch *batch);
enum link_kind evict_kind_of(const struct evict_plan *plan, size_t i);

#endif
