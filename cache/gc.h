/*
 * The garbage collector: removes blobs that no manifest of any repository references, and that
 * nobody has vouched for within the grace period. It runs beside everything else, on the pool, in
 * bounded batches: mark (walk the repositories, note what their revisions reference, in a Bloom
 * filter whose errors only keep garbage), sweep (walk the blobs), and tidy (remove the links of
 * pushed layers whose blobs are gone). Mirrored content that is still linked is not garbage;
 * eviction is another matter.
 * Why no race can remove a blob that an accepted manifest references: docs/design/garbage.md.
 */
#ifndef CACHE_GC_H
#define CACHE_GC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strbuf.h"

struct gc;

struct gc_report {
    bool is_running;
    bool is_complete; /* the last run came to its end */
    int64_t started_at_s, ended_at_s;
    uint64_t n_repositories, n_manifests, n_blobs;
    uint64_t n_removed, bytes_removed; /* blobs; in a dry run: those that would go */
    uint64_t n_links_removed;
    uint64_t n_young; /* unreferenced, but within the grace period */
    uint64_t n_errors;
    char problem[256]; /* the last of them, or why the run did not come to its end; or "" */
};

/* Starts a run unless one is under way; any thread. */
void gc_start(struct gc *g);
/* No more runs; one under way ends after its present batch. Any thread. */
void gc_stop(struct gc *g);
void gc_read_report(struct gc *g, struct gc_report *out);
void gc_print_json(struct gc *g, struct strbuf *out);

/* Tells each blob that goes or would go. */
typedef void (*gc_candidate_fn)(void *arg, const struct digest *d, uint64_t size);

/* What would go, without removing anything: for the command line, blocking, beside a running daemon
 * or without one. It cannot know what a running daemon has vouched for. 0, or a negative errno when
 * a run would end without having swept. */
int gc_dry_run(const char *storage_path, unsigned grace_s, gc_candidate_fn tell, void *arg,
               struct gc_report *out, struct error *err);
/* A run for the command line, blocking; this process serves nobody. -EBUSY when another process
 * uses the storage. */
int gc_run_offline(struct gc *g, gc_candidate_fn tell, void *arg, struct gc_report *out,
                   struct error *err);

#endif
