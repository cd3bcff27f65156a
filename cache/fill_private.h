/*
 * The inside of a fill, shared by the files that make it up:
 *
 *   fills.c         the table: which fill runs for which digest, and which one owns the files
 *   fill.c          its life: states, references, what the driver is told
 *   fill_writer.c   claims and bytes coming in
 *   fill_reader.c   readers, and waking them on their workers
 *   fill_work.c     what runs off the loop, one step at a time: load, hash, save, seal, clean up
 *   fill_hash.c     the hash that follows the contiguous beginning
 *   fill_window.c   going on through memory when the disk is full
 *
 * Locks: fills_lock (the table) before fill->lock before those of mailboxes and pool. Neither is
 * held over I/O or a callback. Mail is posted under fill->lock, so that no two threads post the
 * same one.
 *
 * References (refs): one of the table while the fill is in it, one per writer, reader, posted mail
 * and running work, and one per user reference. User references (users) are those that fills_join,
 * fills_find and fill_ref gave out; the driver has exactly one of them.
 */
#ifndef CACHE_FILL_PRIVATE_H
#define CACHE_FILL_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "cache/cache_private.h"
#include "cache/errand.h"
#include "cache/fill.h"
#include "cache/segments.h"
#include "cache/store.h"

enum fill_state {
    FILL_LOADING,   /* its files are looked for, or another fill still owns them */
    FILL_RUNNING,   /* bytes come in and are hashed */
    FILL_SEALING,   /* verified; being made durable and renamed */
    FILL_KEPT,      /* a blob of the store */
    FILL_UNKEPT,    /* verified, but the disk could not keep it; readers get all of it */
    FILL_FAILED,    /* readers end short */
    FILL_SUSPENDED, /* ended without a reader; the partial file stays */
    FILL_STATE_MAX
};

/* What the home worker shall tell the driver; bits. */
enum {
    NEWS_BEGIN = 1,
    NEWS_REVIEW = 2, /* look for readers that no writer will serve */
    NEWS_ROOM = 4,
    NEWS_IDLE = 8,
    NEWS_ENDED = 16,
};

TAILQ_HEAD(fill_reader_list, fill_reader);
LIST_HEAD(fill_writer_list, fill_writer);

/* The readers of one worker that wait, and the mail that wakes them there. */
struct fill_port {
    struct mail mail; /* first */
    struct fill *fill;
    struct worker *worker;
    struct fill_port *next;
    bool is_posted;                  /* like all below guarded by fill->lock */
    struct fill_reader_list waiting; /* for bytes or for the size */
    struct fill_reader_list woken;   /* to be called by the next mail */
    struct fill_reader_list batch;   /* being called by the current one */
};

struct fill_reader {
    struct fill *fill;
    struct fill_port *port;
    fill_wake_fn wake;
    void *arg;
    uint64_t begin; /* like all below guarded by fill->lock: where it began to read */
    uint64_t off;   /* the lowest offset it may still need */
    uint64_t end;
    bool want_size;                /* waits for the size, not for bytes */
    bool want_end;                 /* waits for the end of the fill, not for bytes */
    unsigned review;               /* the review that asked the driver for it last */
    struct fill_reader_list *list; /* of its port, if it is on one */
    TAILQ_ENTRY(fill_reader) in_list;
    TAILQ_ENTRY(fill_reader) in_fill;
};

struct fill_writer {
    struct fill *fill;
    uint64_t off; /* written by the home worker under fill->lock, like end */
    uint64_t end; /* FILL_SIZE_UNKNOWN: to the end */
    bool want_room;
    LIST_ENTRY(fill_writer) in_fill;
};

/* The way through memory: see fill_window.c. Guarded by fill->lock. */
struct fill_window {
    bool is_on;
    bool want_room;      /* a writer waits */
    bool is_file_gone;   /* the temporary file has been removed */
    int memfd;           /* holds bytes from switch_off on, at their offsets; -1 when off */
    uint64_t switch_off; /* below it bytes are in the file */
    uint64_t low;        /* bytes below it are gone */
    uint64_t punched;    /* work only: given back to the system so far, whole pages */
};

/* A run of the fill's content in one descriptor. */
struct fill_place {
    int fd;
    uint64_t end; /* of what that descriptor holds */
};

struct fill {
    struct digest digest;
    struct fills *fills;
    struct worker *home;
    uint64_t born_ms;
    char prefix[5 + DIGEST_TEXT_SIZE]; /* "fill sha256:…", for the log */
    atomic_uint refs;
    atomic_uint users;

    /* Guarded by the table's lock. */
    struct fill *next; /* in its bucket */
    bool is_joinable;
    bool owns_files; /* at most one fill per digest */
    bool waits_files;

    pthread_mutex_t lock; /* guards all below, where nothing else is said */
    enum fill_state state;
    uint64_t size;        /* FILL_SIZE_UNKNOWN while nobody knows */
    bool is_size_guessed; /* the size comes from the map only */
    bool is_suspect;      /* what was kept of an earlier try contradicts the upstream */
    bool keep_partial;
    bool can_load; /* the files are ours, or will never be */
    bool is_cleaned;
    int reason; /* of FILL_FAILED */
    struct error failure;
    struct segments present;
    struct fill_writer_list writers;
    TAILQ_HEAD(, fill_reader) readers;
    unsigned n_readers;
    struct fill_port *ports;
    struct blob *blob;
    int fd; /* the temporary file; the blob's from KEPT on; -1 = none */
    struct fill_window window;

    /* The driver; called on home only. */
    const struct fill_driver *driver;
    void *driver_arg;
    struct mail home_mail;
    unsigned news;
    bool is_home_posted;
    bool has_begun; /* home only */
    unsigned review;

    /* What runs off the loop. */
    struct errand errand;
    bool is_working;
    uint64_t hashed; /* the hash has come so far */
    bool is_verified;
    struct hasher *hasher; /* work only */
    uint64_t unsaved;      /* bytes written since the map was saved */
    uint64_t saved_at_ms;
};

/* --- fills.c ---------------------------------------------------------------------------------- */

struct layout *fills_layout(struct fills *fs);
struct errands *fills_errands(struct fills *fs);
struct store *fills_store(struct fills *fs);
uint64_t fills_near_bytes(const struct fills *fs);
/* More run than may go on without readers. */
bool fills_are_crowded(struct fills *fs);
/* One that was joined has come to its end. */
void fills_count_end(struct fills *fs);
uint64_t fills_memory_bytes(const struct fills *fs);
void fills_lock(struct fills *fs);
void fills_unlock(struct fills *fs);
/* Nobody can join it from now on. */
void fills_leave_locked(struct fill *f);
/* Asks for the files of its digest: at once, or when their owner is through with them,
 * fill_may_load is called. */
void fills_own(struct fill *f);
/* Gives up the files, or the wish for them. */
void fills_disown(struct fill *f);
/* The sweep's: owns the files of a digest that no fill uses, until fills_disown and fill_release.
 * NULL when they are in use. */
struct fill *fills_own_unused(struct fills *fs, const struct digest *d);

/* --- fill.c ----------------------------------------------------------------------------------- */

const char *fill_state_name(enum fill_state state);
/* One reference, no user. */
struct fill *fill_new(struct fills *fs, const struct digest *d, struct worker *home);
struct fill *fill_retain(struct fill *f);
void fill_release(struct fill *f);
bool fill_is_over_locked(const struct fill *f); /* no state follows */
bool fill_is_complete_locked(const struct fill *f);
/* Nobody but the driver holds or reads it. */
bool fill_is_alone_locked(const struct fill *f);
/* The end of the contiguous beginning. */
uint64_t fill_mark_locked(const struct fill *f);
/* The only one that changes the state. */
void fill_goto_locked(struct fill *f, enum fill_state state);
/* Posts the home mail. */
void fill_tell_locked(struct fill *f, unsigned news);
/* Ends it from LOADING or RUNNING: leaves the table, wakes the readers, tells the driver. False
 * when it has got beyond those. */
bool fill_break(struct fill *f, int reason, bool keep_partial, const struct error *err);
/* Where the byte at off is, and how far that descriptor goes. */
struct fill_place fill_place_locked(const struct fill *f, uint64_t off);

/* --- fill_reader.c ---------------------------------------------------------------------------- */

/* Wakes those that wait for something in [off, end). */
void fill_wake_range_locked(struct fill *f, uint64_t off, uint64_t end);
void fill_wake_all_locked(struct fill *f);
/* The next waiting reader that no writer will serve and that this review has not seen yet. */
bool fill_next_demand_locked(struct fill *f, uint64_t *off_out, uint64_t *end_out);
/* The lowest offset that a reader may still need; UINT64_MAX without readers. */
uint64_t fill_lowest_reader_locked(const struct fill *f);
void fill_ports_free(struct fill *f);

/* --- fill_writer.c ---------------------------------------------------------------------------- */

/* A writer will bring the byte at off soon. */
bool fill_is_served_locked(const struct fill *f, uint64_t off);
/* No writer goes beyond the size. */
void fill_limit_writers_locked(struct fill *f);
/* A writer that waits for room, while there is some; it waits no longer. NULL: none. */
struct fill_writer *fill_take_roomless_locked(struct fill *f);
/* The next n bytes of the claim have been written. */
void fill_note_written(struct fill_writer *w, size_t n);

/* --- fill_work.c ------------------------------------------------------------------------------ */

/* Starts work off the loop if there is any and none runs. */
void fill_poke_locked(struct fill *f);
/* The files are there to be looked for. */
void fill_may_load(struct fill *f);

/* --- fill_hash.c ------------------------------------------------------------------------------ */

/* Enough is there to be worth a turn, or the last of it. */
bool fill_hash_is_due_locked(const struct fill *f);
/* Work: hashes the next part of the contiguous beginning, and looks at the digest at its end. */
void fill_hash_step(struct fill *f);

/* --- fill_window.c ---------------------------------------------------------------------------- */

/* Home worker, or work while LOADING: the disk refused with `cause` (negative errno). 0: the fill
 * goes on through memory. Negative: it has failed. */
int fill_window_enter(struct fill *f, const struct error *cause);
/* fill_write, when the window is on. */
int fill_window_write(struct fill_writer *w, const void *p, size_t n);
/* It is worth moving the window for the writer that waits. */
bool fill_window_can_move_locked(const struct fill *f);
/* Work: gives back what no reader needs any more and lets the writer go on. */
void fill_window_move(struct fill *f);

#endif
