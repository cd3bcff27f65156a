/*
 * One run of the garbage collector, whoever asked for it: the daemon's (gc.c) in turns on the pool,
 * the command line's (gc_command.c) in one go. One thread at a time.
 * Memory: the marks, sized by what the storage holds, at most MARKS_MAX_BYTES (gc_mark.c).
 */
#ifndef CACHE_GC_PRIVATE_H
#define CACHE_GC_PRIVATE_H

#include <dirent.h>

#include "cache/bloom.h"
#include "cache/gc.h"
#include "cache/layout.h"
#include "cache/link.h"
#include "cache/link_walk.h"
#include "cache/storage_lock.h"
#include "cache/store.h"

enum gc_phase { GC_COUNT, GC_MARK, GC_SWEEP, GC_TIDY, GC_END, GC_PHASE_MAX };

/* What a run works on. A dry run has the layout only. */
struct gc_place {
    struct layout *layout;
    struct store *store;
    struct links *links;
    struct storage_lock *lock;
    struct vouches *vouches; /* NULL: nobody can have vouched */
    unsigned grace_s;
    bool is_dry;
};

struct gc_run {
    struct gc_place place;
    enum gc_phase phase;
    gc_candidate_fn tell; /* NULL: nobody wants to know */
    void *arg;
    int rc; /* of what ended it early */
    struct gc_report report;
    uint64_t n_expected;        /* blobs and references, from an earlier run; 0: not known */
    uint64_t n_marks;           /* different ones, nearly */
    uint64_t n_dangling;        /* links of pushed layers without their blobs */
    struct bloom *marks;        /* from GC_MARK on */
    struct link_walk *links;    /* GC_MARK and GC_TIDY */
    unsigned next_folder;       /* GC_SWEEP: of all algorithms' 256 folders */
    enum digest_alg folder_alg; /* of the open one */
    DIR *folder;
};

/* The place is copied; what it points to outlives the run. */
struct gc_run *gc_run_new(const struct gc_place *place, uint64_t n_expected);
void gc_run_free(struct gc_run **run);
/* Looks at about n_max files. False when the run is over. Blocking. */
bool gc_run_turn(struct gc_run *run, unsigned n_max);

/* A problem; the run goes on. */
void gc_run_note(struct gc_run *run, const struct error *err);
/* The run ends here, without going to its next phase. */
void gc_run_give_up(struct gc_run *run, const struct error *err);
/* Longer ago than the grace period. */
bool gc_run_is_old(const struct gc_run *run, int64_t mtime_s);

/* The phases: false when theirs is over. */
bool gc_count_turn(struct gc_run *run);
bool gc_mark_turn(struct gc_run *run, unsigned n_max);
bool gc_sweep_turn(struct gc_run *run, unsigned n_max);
bool gc_tidy_turn(struct gc_run *run, unsigned n_max);

#endif
