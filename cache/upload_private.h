/*
 * The inside of uploads, shared by the files that make them up:
 *
 *   uploads.c        the table: making, finding, claiming and closing them
 *   upload.c         the life of one: states, references, what its holder may do
 *   upload_work.c    what runs off the loop, one step at a time: load, hash, commit, remove, close
 *   upload_file.c    its files
 *   upload_id.c      ids
 *   upload_sweep.c   removing those that nobody goes on with
 *
 * One lock for the table and for all that is in it, before those of mailboxes and pool; never held
 * over I/O or a callback. Work is short beside what it guards: a few words per window of bytes.
 *
 * References: one until the upload is GONE, one of running work, one of a posted `room`, one of an
 * ending on its way home.
 */
#ifndef CACHE_UPLOAD_PRIVATE_H
#define CACHE_UPLOAD_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/worker.h"
#include "cache/cache_private.h"
#include "cache/errand.h"
#include "cache/upload.h"

#define UPLOAD_LAG_BYTES                                                                           \
    (16 * 1024 * 1024) /* the hash may be so far behind before a writer waits */

enum upload_state {
    UPLOAD_LOADING,    /* its file is being made or opened for who asked */
    UPLOAD_HELD,       /* by a request */
    UPLOAD_IDLE,       /* open, nobody's */
    UPLOAD_COMMITTING, /* hashed to the end, made durable, linked; then told */
    UPLOAD_REMOVING,   /* cancelled, or swept */
    UPLOAD_CLOSING,    /* one too many idle ones: out of the table, its files stay */
    UPLOAD_GONE,
    UPLOAD_STATE_MAX
};

/* An answer to uploads_create or uploads_open on its way home. */
struct upload_ask {
    struct mail mail; /* first */
    struct worker *home;
    struct upload *upload;
    int rc;
    upload_open_fn done;
    void *arg;
};

/* A commit or a cancel, and its answer on its way home. */
struct upload_ending {
    struct mail mail; /* first */
    struct worker *home;
    struct upload *upload;
    struct digest digest; /* commit: what it should be */
    struct digest found;
    int rc;
    bool is_over; /* the upload is gone, whatever rc says */
    struct error err;
    upload_commit_fn committed; /* one of the two, or none */
    void (*cancelled)(void *arg);
    void *arg;
};

struct upload {
    struct uploads *uploads;
    char id[UPLOAD_ID_SIZE];
    char prefix[7 + UPLOAD_ID_SIZE]; /* "upload <id>", for the log */
    char *repo;
    char *folder; /* NULL when it is single */
    char *path;   /* of its bytes */
    bool is_single;
    bool is_new; /* loading makes it */
    atomic_uint refs;

    /* Guarded by the table's lock, where nothing else is said. */
    enum upload_state state;
    struct worker *home; /* of the holder */
    LIST_ENTRY(upload) in_bucket;
    bool is_listed;
    TAILQ_ENTRY(upload) in_idle;
    int64_t touched_s; /* wall clock: made, loaded with this age, or written to */
    bool is_swept;
    struct upload_ask *ask;
    struct upload_ending *ending;

    int fd;        /* set by work before anybody holds it, and at its end; -1 = none */
    uint64_t size; /* changed by the holder only, under the lock */
    /* Its bytes have their final name, but the rest of a commit failed: only the same commit may
     * follow. Changed by a commit only. */
    bool is_published;

    void (*room)(void *arg);
    void *room_arg;
    bool want_room;
    bool is_room_posted;
    struct mail room_mail;

    struct errand errand;
    bool is_working;
    uint64_t hashed; /* the hash has come so far */
    uint64_t lag_max;
    bool is_found;       /* hashed to the end: the digest is `found`, the hasher is used up */
    bool is_unreadable;  /* reading back failed: nothing is hashed before a commit tries again */
    enum digest_alg alg; /* work only, like the hasher */
    struct digest found; /* work only */
    struct hasher *hasher;
};

/* --- uploads.c -------------------------------------------------------------------------------- */

void uploads_lock(struct uploads *us);
void uploads_unlock(struct uploads *us);
struct layout *uploads_layout(struct uploads *us);
struct errands *uploads_errands(struct uploads *us);
struct store *uploads_store(struct uploads *us);
struct links *uploads_links(struct uploads *us);
struct vouches *uploads_vouches(struct uploads *us);
/* Puts an IDLE one at the end of the line; the first in it is closed when there are too many. */
void uploads_rest_locked(struct upload *u);
/* It is found no more. */
void uploads_forget_locked(struct upload *u);
/* For the sweep: an upload that nobody holds and nobody wrote to since oldest_s is claimed for
 * removal. One that is open is removed by its own work, and NULL returned; of one that is not, the
 * caller gets it to call upload_work_sweep. NULL, too, when it is in use or young. */
struct upload *uploads_claim_old(struct uploads *us, struct slice repo, struct slice id,
                                 int64_t oldest_s);
/* Whether a file in the folder of temporary files belongs to an upload. */
bool uploads_own_file(struct uploads *us, const char *name);

/* --- upload.c --------------------------------------------------------------------------------- */

/* With the reference that it has until it is GONE. LOADING; is_new may be set after. id: a valid
 * one. */
struct upload *upload_new(struct uploads *us, struct slice repo, const char *id, bool is_single);
/* References of the inside. */
struct upload *upload_retain(struct upload *u);
void upload_drop(struct upload *u);
/* The only way to another state. GONE drops the reference: the caller has one of its own. */
void upload_goto_locked(struct upload *u, enum upload_state state);
/* The holder may go on writing, if it waits and the hash has caught up. */
void upload_make_room_locked(struct upload *u);
/* The hash is so far behind that a writer has to wait. */
bool upload_is_behind_locked(const struct upload *u);
/* Sends an ending home. */
void upload_tell_ended(struct upload_ending *e);
/* The caller holds nothing else of it: closes and frees it. After all threads ended. */
void upload_abandon(struct upload *u);

/* --- upload_work.c ---------------------------------------------------------------------------- */

/* Submits work if there is any to do and none under way. */
void upload_poke_locked(struct upload *u);
/* Pool threads: removes the claimed one (uploads_claim_old) if its files are still as old. */
void upload_work_sweep(struct upload *u, int64_t oldest_s);

/* --- upload_id.c ------------------------------------------------------------------------------ */

/* A random one. */
void upload_id_make(char out[UPLOAD_ID_SIZE]);

/* --- upload_sweep.c --------------------------------------------------------------------------- */

/* Pool threads: removes the uploads that nobody wrote to since oldest_s. */
void upload_sweep_run(struct uploads *us, int64_t oldest_s);

#endif
