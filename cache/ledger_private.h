/*
 * What the files of the ledger, and eviction, share. All that is not said to be otherwise is
 * guarded by the ledger's lock: pool threads, held over I/O, for one batch at a time.
 */
#ifndef CACHE_LEDGER_PRIVATE_H
#define CACHE_LEDGER_PRIVATE_H

#include <dirent.h>
#include <pthread.h>

#include "cache/errand.h"
#include "cache/layout.h"
#include "cache/ledger.h"
#include "cache/ledger_db.h"
#include "cache/link_walk.h"
#include "cache/pin.h"
#include "cache/repo_walk.h"

#define LEDGER_PREFIX "ledger"

enum ledger_note_kind {
    NOTE_BLOB,
    NOTE_BLOB_GONE,
    NOTE_LINK,
    NOTE_LINK_GONE,
    NOTE_TAG,
    NOTE_PIN,
    NOTE_PIN_GONE,
    NOTE_KIND_MAX
};

struct ledger_note {
    struct ledger_note *next;
    enum ledger_note_kind kind;
    enum link_kind link;
    bool is_pushed; /* of a link */
    bool has_pushed, has_mirrored;
    struct digest digest; /* of a tag: the mirrored one */
    struct digest pushed; /* of a tag */
    uint64_t size;
    int64_t at_s;
    size_t n_repo, n_name;
    char text[]; /* the repository, then the tag or reference */
};

struct ledger_used {
    struct digest digest;
    int64_t at_s;
};

enum walk_phase {
    WALK_NONE,
    WALK_CHECK, /* the file itself, and the pins */
    WALK_BLOBS, /* the storage is compared with the rows … */
    WALK_LINKS,
    WALK_TAGS,
    WALK_ROWS_BLOB, /* … and the rows with the storage */
    WALK_ROWS_LINK,
    WALK_ROWS_TAG,
    WALK_PHASE_MAX
};

struct ledger_walk {
    enum walk_phase phase;
    unsigned next_folder; /* of blobs: of all algorithms' 256 */
    enum digest_alg folder_alg;
    DIR *folder; /* of blobs, or the tags of a repository */
    struct link_walk *links;
    struct repo_walk *repos;
    char *repo;                        /* whose tags are in folder */
    int64_t after_a, after_b, after_c; /* behind these rows */
    char *after_name;
    uint64_t n_walked, n_mended;
    int64_t n_blobs, n_links, n_tags; /* that are in the storage, and so have rows */
    bool is_disturbed;                /* rows were changed by others since it began */
    bool has_failed;                  /* something could not be read: not all is known */
    struct error why;
};

struct ledger_sums {
    int64_t stored_bytes, pushed_bytes, n_blobs;
    bool are_pins_news;
};

struct ledger {
    struct layout *layout;
    struct errands *errands;
    struct pins *pins;
    char *path;
    pthread_mutex_t lock;
    struct ledger_db *db;    /* NULL: closed */
    struct ledger_walk walk; /* under way unless WALK_NONE */
    atomic_bool want_anew;   /* the next walk begins with an empty ledger */
    bool is_unchecked;       /* the file was there when it was opened */
    uint64_t retry_at_ms;    /* closed, or a walk that failed: when to try again */
    struct ledger_sums sums; /* within the present transaction */
    struct ledger_sums sums_before;

    /* Any thread, no lock. */
    _Atomic enum ledger_state state;
    atomic_bool is_stopping;
    atomic_bool is_tending; /* the errand is under way */
    struct errand tending;
    uint64_t rest_at_ms; /* of whoever set is_tending */
    _Atomic uint64_t looked_at_ms;
    _Atomic uint64_t bytes_blobs, bytes_pushed, bytes_pinned, bytes_filling, bytes_queued;
    _Atomic uint64_t n_blobs_now;
    _Atomic unsigned n_new_blobs; /* notes of blobs in the queue */
    _Atomic uint32_t period;      /* between two drains; for ledger_note_use */
    void (*on_grown)(void *arg);
    void *on_grown_arg;

    pthread_mutex_t queue_lock; /* guards what follows; inside the ledger's lock */
    struct ledger_note *first, *last;
    unsigned n_queued;
    uint64_t n_lost;
    bool has_lost; /* since the last walk began: the ledger is not what the storage is */
    bool want_walk;
    unsigned n_used;
    struct ledger_used *used; /* LEDGER_USES_MAX */
    struct ledger_report report;
};

/* --- ledger.c --------------------------------------------------------------------------------- */

struct ledger *ledger_new(struct layout *l, struct errands *errands, struct pins *pins);
void ledger_free(struct ledger **l);
/* The last notes are written down; what comes later is for the next walk. */
void ledger_close(struct ledger *l);
/* Called by any thread when what is stored has grown. Before anything is noted. */
void ledger_on_grown(struct ledger *l, void (*fn)(void *arg), void *arg);
void ledger_note_pin(struct ledger *l, struct slice repo, struct slice reference, bool is_gone);

/* Takes the lock, begins a transaction and writes down what is queued. 0; or a negative errno, then
 * nothing is locked. */
int ledger_enter(struct ledger *l, struct error *err);
/* The same, but only when the ledger is READY: -EAGAIN. */
int ledger_enter_ready(struct ledger *l, struct error *err);
/* The same as ledger_enter_ready, and what was queued stays written whatever becomes of the rest:
 * ledger_roll_back takes back all that was done since. */
int ledger_enter_batch(struct ledger *l, struct error *err);
void ledger_roll_back(struct ledger *l);
/* Ends it. A failure closes the ledger, and moves a damaged one away. */
int ledger_leave(struct ledger *l, struct error *err);
/* A walk is to begin; why is logged. */
void ledger_want_walk(struct ledger *l);

/* --- ledger_rows.c ---------------------------------------------------------------------------- */

/* 0: not known, or a failure. */
int64_t ledger_repo(struct ledger *l, struct slice name, bool make);
int64_t ledger_blob(struct ledger *l, const struct digest *d, int64_t at_s, bool make);
void ledger_put_blob(struct ledger *l, const struct digest *d, uint64_t size, int64_t at_s);
/* It is not here any more. */
void ledger_drop_blob(struct ledger *l, int64_t blob);
/* True when it changed something. */
bool ledger_put_link(struct ledger *l, enum link_kind kind, struct slice repo,
                     const struct digest *d, bool is_pushed, int64_t at_s);
void ledger_drop_link(struct ledger *l, enum link_kind kind, int64_t repo, int64_t blob);
/* One half; d NULL: there is none. True when it changed something. */
bool ledger_put_tag(struct ledger *l, int64_t repo, struct slice tag, bool is_pushed,
                    const struct digest *d);
void ledger_put_used(struct ledger *l, const struct digest *d, int64_t at_s);
void ledger_apply(struct ledger *l, const struct ledger_note *n);
void ledger_put_pin(struct ledger *l, struct slice repo, struct slice reference);
/* One that was mirrored, and whose blob is about to be looked at. Leaves its root. leaves_roots:
 * what a revision references may stand for itself from now on. */
void ledger_drop_mirrored(struct ledger *l, enum link_kind kind, int64_t repo, int64_t blob,
                          bool leaves_roots);
/* Reads what this manifest references off its blob. 0; -ENOENT; -EBADMSG: damaged, here or moved
 * aside; … */
int ledger_read_manifest(struct ledger *l, int64_t blob, const struct digest *d, bool is_pushed);
/* It counts as pushed, and what it references has not been read. */
bool ledger_is_unread(struct ledger *l, int64_t blob);
/* A revision of the repository references it. */
bool ledger_is_held(struct ledger *l, int64_t blob, int64_t repo);
bool ledger_is_pinned(struct ledger *l, int64_t blob, int64_t repo);
/* No link, and no manifest that counts, needs it. */
bool ledger_is_loose(struct ledger *l, int64_t blob);
/* The same, with what it takes to drop it. */
struct ledger_look {
    bool is_loose, has_size, has_root;
    bool is_read; /* what it references may be in ref */
    uint64_t size;
};
void ledger_look(struct ledger *l, int64_t blob, struct ledger_look *out);
/* ledger_drop_blob for one that was found loose, and has not been linked since. */
void ledger_drop_loose(struct ledger *l, int64_t blob, const struct ledger_look *look);

/* --- ledger_walk.c ---------------------------------------------------------------------------- */

void ledger_walk_begin(struct ledger *l);
void ledger_walk_end(struct ledger_walk *w);
/* Some of it, within a transaction. False when it is over. */
bool ledger_walk_turn(struct ledger *l, unsigned n_max);

#endif
