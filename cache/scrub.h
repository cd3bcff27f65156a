/*
 * The scrub: a slow pass over all that is stored, which hashes every blob again. What does not have
 * its digest any more leaves its final name at once (to _mirrord/damaged), so that it is never
 * served again; then the links in the storage decide what it was. Mirrored: it goes, and is fetched
 * again. Pushed: it stays aside for the operator, who is told by a gauge, the log and GET /scrub,
 * until the blob is back. At its end a pass looks at all links and tags. Why: docs/design/scrub.md.
 *
 * Whoever drives it (mirrord/scrubber.h) calls scrub_turn on the pool, one at a time, and lets as
 * much time pass between two as it says: so a pass reads no more than the rate allows. Where it is
 * stands in a small file, so a restart goes on there.
 * Memory: one buffer of a piece, a run of names, at most SCRUB_SUSPECTS_MAX damaged blobs at a
 * time.
 */
#ifndef CACHE_SCRUB_H
#define CACHE_SCRUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "cache/link.h"

struct scrub;

#define SCRUB_SUSPECTS_MAX 1024

struct scrub_settings {
    uint64_t rate_bytes; /* per second; 0: never anything */
    int64_t interval_s;  /* from the begin of a pass to that of the next; 0: only when asked */
};

struct scrub_report {
    bool is_running;
    bool is_complete; /* the last pass came to its end */
    int64_t started_at_s, ended_at_s;
    uint64_t n_blobs, bytes; /* hashed in this pass, before a restart, too */
    uint64_t n_damaged;      /* found in this pass */
    uint64_t n_removed;      /* mirrored, or nobody's */
    uint64_t n_refetched;    /* asked of the upstream */
    uint64_t n_healed;       /* were damaged and are back */
    uint64_t n_unreadable;
    uint64_t n_links, n_links_repaired;
    uint64_t n_missing;    /* manifests, and pushed blobs, that are linked and not here */
    uint64_t n_bad_pushed; /* damaged ones that were pushed and are not back */
    uint64_t n_tags, n_tags_removed;
    uint64_t n_bad_tags; /* pushed ones that are damaged, as of the last pass that saw them all */
    char problem[256];   /* the last thing that could not be looked at, or "" */
};

/* What a pass tells about one thing. */
enum scrub_news {
    SCRUB_NEWS_DAMAGED,    /* found */
    SCRUB_NEWS_REMOVED,    /* a damaged one that nobody pushed */
    SCRUB_NEWS_BAD_PUSHED, /* a damaged one that was pushed, or may have been: it is kept aside */
    SCRUB_NEWS_HEALED,     /* its right bytes are here again */
    SCRUB_NEWS_UNREADABLE,
    SCRUB_NEWS_LINK, /* a link file that did not say what it should, or a tag's record */
    SCRUB_NEWS_MISSING,
    SCRUB_NEWS_TAG_REMOVED, /* a damaged one that was mirrored; here and below no digest is told */
    SCRUB_NEWS_BAD_TAG,     /* one that was pushed, or may have been: it stays as it is */
    SCRUB_NEWS_MAX
};
/* The detail is a text: why, or which repository or tag. On the thread of the turn. */
typedef void (*scrub_tell_fn)(void *arg, enum scrub_news news, const struct digest *d,
                              const char *detail);

/* Brings back what was mirrored through this repository, if the upstream may be asked; true when it
 * will be tried. Must not block. On a pool thread. */
typedef bool (*scrub_refetch_fn)(void *arg, enum link_kind kind, const char *repo,
                                 const struct digest *d);

/* Before the first turn. */
void scrub_set_refetch(struct scrub *s, scrub_refetch_fn fn, void *arg);
/* Any thread; the next turn goes by it. */
void scrub_set_settings(struct scrub *s, const struct scrub_settings *settings);

/* The next piece of work, one thread at a time, blocking: pool threads. Returns in how many
 * milliseconds to call it again; UINT64_MAX: when something was asked for. */
uint64_t scrub_turn(struct scrub *s);
/* Any thread: a pass now, unless one is under way; false when scrub.rate forbids it. */
bool scrub_start(struct scrub *s);
/* Any thread: this blob before all others. False when scrub.rate forbids it, or when too much was
 * asked for already. */
bool scrub_ask(struct scrub *s, const struct digest *d);
/* Writes down where it is. No turn may be under way, and none may follow. Blocking. */
void scrub_save(struct scrub *s);

void scrub_read_report(struct scrub *s, struct scrub_report *out);
void scrub_print_json(struct scrub *s, struct strbuf *out);

/* --- for the command line --------------------------------------------------------------------- */

struct scrub_verify {
    bool is_dry; /* only tell */
    unsigned n_threads;
    uint64_t rate_bytes; /* of all of them together; 0: as fast as it goes */
    scrub_tell_fn tell;
    void (*progress)(void *arg, unsigned permille, const struct scrub_report *so_far);
    void *arg; /* of both; they run on the calling thread */
};

/* All at once, blocking; this process serves nobody. Dry, it needs the storage's path only: s may
 * be NULL. 0, or a negative errno when it could not come to its end. */
int scrub_verify(struct scrub *s, const char *storage_path, const struct scrub_verify *how,
                 struct scrub_report *out, struct error *err);

#endif
