/*
 * Eviction: keeps what is stored within its limit by removing the least valuable images of mirrored
 * content, whole: the tag's mirrored half, the links of its manifests and layers in that repository
 * that no other image there needs, then the blobs that nobody links or references any more. Never
 * what is pushed or referenced by something pushed, pinned, being read, being filled, or being
 * referenced by a push under way. Which image is the least valuable, and why nothing else can be
 * removed: docs/design/eviction.md.
 *
 * Works on the pool, in bounded batches between which other work goes first; by what the ledger
 * says, and only while that is LEDGER_READY and no other process is present in the storage.
 * One per process; made and ended by the cache.
 */
#ifndef CACHE_EVICT_H
#define CACHE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"

struct evict;

/* Why an image goes; the metrics tell. */
enum evict_reason {
    EVICT_FOR_SIZE,  /* more is stored than may be */
    EVICT_FOR_SPACE, /* others fill the filesystem */
    EVICT_FOR_AGE,
    EVICT_FOR_COMMAND,
    EVICT_REASON_MAX
};

struct evict_limits {
    uint64_t high_bytes; /* more than this: evict …; 0: no limit */
    uint64_t low_bytes;  /* … down to this; at most high_bytes */
    int64_t max_age_s;   /* images not used for longer go anyway; 0: no limit */
    bool is_for_room;    /* high_bytes comes from what others leave of the filesystem */
};
/* In force from the next batch on, a run under way included; looks at once whether one is due. Any
 * thread. */
void evict_set_limits(struct evict *e, const struct evict_limits *limits);
void evict_read_limits(struct evict *e, struct evict_limits *out);

/* What it costs to fetch again what belongs to this repository; 1: as much as anything. Pool
 * threads. */
typedef unsigned (*evict_cost_fn)(void *arg, struct slice repo);
#define EVICT_COST_MAX 365
/* Before anything is evicted; it outlives the cache. Without it everything costs 1. */
void evict_set_cost(struct evict *e, evict_cost_fn cost, void *arg);

/* Starts a run if the limits ask for one, or something is older than max_age_s, and none is under
 * way. Called by itself when a blob is kept; from a timer for the rest. Any thread; cheap when
 * nothing is due. */
void evict_start(struct evict *e);
/* No more runs; one under way ends after its present batch. Any thread. */
void evict_stop(struct evict *e);

struct evict_report {
    bool is_running;
    bool is_complete; /* the last run came below low_bytes, or found nothing more */
    bool is_short;    /* … it found nothing more, and stays above high_bytes */
    int64_t started_at_s, ended_at_s;
    uint64_t n_images, n_blobs, bytes;                   /* removed by this run */
    uint64_t n_images_total, n_blobs_total, bytes_total; /* … since the start of the process */
    uint64_t n_links_total;
    uint64_t n_busy; /* images passed over in this run: read, filled or pushed at that moment */
    uint64_t n_errors;
    char problem[256]; /* the last of them, or why nothing can be evicted; or "" */
};
void evict_read_report(struct evict *e, struct evict_report *out);
void evict_print_json(struct evict *e, struct strbuf *out);

/* What became of one image that somebody wants to go. */
struct evict_result {
    uint64_t n_images, n_links, n_blobs, bytes; /* removed */
    uint64_t n_kept;                            /* images of that name that could not go … */
    char why[64]; /* … the last of them: "pushed", "pinned", "busy" */
};
/* Pool threads. Evicts the mirrored image of this name now, whatever its age and the limits:
 * reference is a tag, a digest as text, or empty: all of the repository's. A tag's manifest goes
 * with all mirrored tags that point to it. 0 with *out; -ENOENT: nothing mirrored of that name;
 * -EAGAIN: the ledger is not ready (the text says why); -EBUSY: another process is present; or
 * another negative errno. Long for large repositories: between batches others have their turn. */
int evict_image_now(struct evict *e, struct slice repo, struct slice reference,
                    struct evict_result *out, struct error *err);
/* Off the loop; done runs on the worker that asked. A worker's thread only. */
typedef void (*evict_image_fn)(void *arg, int rc, const struct evict_result *result,
                               const struct error *err);
void evict_image(struct evict *e, struct slice repo, struct slice reference, evict_image_fn done,
                 void *arg);

/* Tests, the command line: a whole run in one go on this thread (not a worker's). 0 or a negative
 * errno as above. */
int evict_run_now(struct evict *e, struct error *err);

#endif
