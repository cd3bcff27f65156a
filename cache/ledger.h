/*
 * The ledger: what is stored, how large it is, when it was last used, where it came from, what
 * references what, and what is pinned. An index in SQLite (_mirrord/ledger.db) over a storage that
 * is the only truth: it may be deleted, damaged or out of date at any moment, and is then mended or
 * made anew from a walk of the storage, in the background (docs/design/ledger.md). Nothing that
 * answers a client reads it.
 *
 * What happens is noted from where it happens: into a bounded queue in memory, from any thread,
 * without waiting; a pool thread writes the queue down in one transaction. Before the first walk
 * after a start has ended, and after notes were lost, the ledger is not READY and nothing is
 * evicted.
 *
 * Memory: the queue (at most LEDGER_QUEUE_MAX notes), the uses (LEDGER_USES_MAX), SQLite's page
 * cache (8 MiB); nothing per blob. One per process; made and ended by the cache.
 */
#ifndef CACHE_LEDGER_H
#define CACHE_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/link.h"
#include "cache/origin.h"

struct ledger;

#define LEDGER_QUEUE_MAX 65536
#define LEDGER_USES_MAX 8192

enum ledger_state {
    LEDGER_CLOSED,  /* cannot be opened or written; tried again now and then; nothing is evicted */
    LEDGER_WALKING, /* being compared with the storage, or being made from it */
    LEDGER_READY,   /* says what the storage says */
    LEDGER_STATE_MAX
};
const char *ledger_state_name(enum ledger_state state);

/* --- numbers ---------------------------------------------------------------------------------- */

/* Any thread, no lock. Before the first walk has ended they are what the ledger said last time. */
struct ledger_bytes {
    uint64_t blobs;   /* all that is stored under final names */
    uint64_t pushed;  /* of it: pushed, or referenced by something pushed */
    uint64_t pinned;  /* of it: mirrored, and held by a pin */
    uint64_t filling; /* partial files, as of the last look */
    uint64_t n_blobs;
};
void ledger_read_bytes(struct ledger *l, struct ledger_bytes *out);
/* blobs + filling: what counts against the limit. hot */
uint64_t ledger_stored_bytes(struct ledger *l);

struct ledger_report {
    enum ledger_state state;
    struct ledger_bytes bytes;
    uint64_t n_walked;  /* links, tags and blobs looked at by the walk that runs or ran last */
    uint64_t n_mended;  /* rows it added, changed or removed */
    uint64_t n_rebuilt; /* how often the ledger was made anew since the start */
    uint64_t n_queued;  /* notes that wait */
    uint64_t n_lost;    /* notes that found no room; each leads to a walk */
    int64_t walk_started_at_s, walk_ended_at_s; /* 0: not yet */
    char problem[256]; /* why it was closed, or made anew, last time; or "" */
};
void ledger_read_report(struct ledger *l, struct ledger_report *out);
void ledger_print_json(struct ledger *l, struct strbuf *out);

/* --- work: off the loop ----------------------------------------------------------------------- */

/* Now and then (each second) from any thread: has a pool thread write what is queued, go on with
 * the walk, look at the partial files, try to open what was closed. Cheap when nothing is due. */
void ledger_tend(struct ledger *l);
/* Makes the ledger anew from the storage, in the background. Pins and, where the old ledger can be
 * read, times of last use stay. Any thread. */
void ledger_reindex(struct ledger *l);
/* Any thread: no more work is begun; what runs ends after its batch. */
void ledger_stop(struct ledger *l);
/* Pool threads, the command line, tests: writes down what is queued. 0, or a negative errno when
 * there is no ledger. */
int ledger_drain_now(struct ledger *l, struct error *err);
/* The command line and tests: waits for nobody and does the walk to its end; `anew` forgets what
 * was known first. */
int ledger_walk_now(struct ledger *l, bool anew, struct error *err);

/* --- notes: any thread, never blocks ---------------------------------------------------------- */
/* All of them take NULL for a ledger: then nobody wants to know. What was pushed is noted while its
 * vouch_hold lasts: see docs/design/eviction.md. */

void ledger_note_blob(struct ledger *l, const struct digest *d, uint64_t size);
void ledger_note_blob_gone(struct ledger *l, const struct digest *d);
/* Blobs were noted that are not in the rows yet. While there are none, who has begun a batch need
 * not note what he drops from the rows himself. */
bool ledger_has_new_blobs(struct ledger *l);
/* What a revision references is read off its blob, when the note is written down. */
void ledger_note_link(struct ledger *l, enum link_kind kind, struct slice repo,
                      const struct digest *d, const struct origin *origin);
void ledger_note_link_gone(struct ledger *l, enum link_kind kind, struct slice repo,
                           const struct digest *d);
/* What the tag has now; NULL: no such half. */
void ledger_note_tag(struct ledger *l, struct slice repo, struct slice tag,
                     const struct digest *pushed, const struct digest *mirrored);

/* A blob or manifest was served. `noted` lives beside what was served and begins with 0: it is
 * noted once per period (until the queue is next written down), the other times cost one relaxed
 * load. hot */
void ledger_note_use(struct ledger *l, _Atomic uint32_t *noted, const struct digest *d);

/* --- what is there ---------------------------------------------------------------------------- */

/* One image: a tag with its manifest, or a manifest that no tag points to and no other manifest of
 * its repository references. */
struct ledger_image {
    const char *repo;
    const char *tag; /* "": none points to it */
    struct digest digest;
    bool is_pushed; /* the tag's half, or the revision */
    bool is_pinned;
    bool is_whole;         /* all that the manifest references, and what its children do, is here */
    uint64_t bytes;        /* of it that are here: manifests, configuration, layers, children */
    uint64_t shared_bytes; /* of these: also part of other images */
    int64_t last_use_s, fetched_at_s;
};
/* Strings are valid during the call. False ends the listing. */
typedef bool (*ledger_image_fn)(void *arg, const struct ledger_image *image);

struct ledger_page {
    struct slice repo;      /* only this one; empty: all */
    struct slice last_repo; /* behind this image: its repository, and */
    struct slice last_name; /* its tag, or its digest as text when it has none */
    size_t n_max;
};
/* Pool threads: images in order of repository (as the ledger numbers them: stable), then name;
 * those without a tag come after those with one. A batch of notes or evictions goes first. 0 with
 * how many there were in *n_out, or a negative errno: -EAGAIN while there is no ledger. */
int ledger_images_now(struct ledger *l, const struct ledger_page *page, ledger_image_fn tell,
                      void *arg, size_t *n_out, struct error *err);

#endif
