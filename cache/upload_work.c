/*
 * What an upload does off the loop, one step at a time: at most one errand per upload is under way,
 * and it decides by the state what is next. So nothing here runs beside itself. A step hashes a
 * bounded piece, so that one upload does not keep a thread of the pool to itself.
 */
#include "config.h"

#include "cache/upload.h"

#include <errno.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/hash_run.h"
#include "cache/ledger.h"
#include "cache/link.h"
#include "cache/store_private.h"
#include "cache/upload_file.h"
#include "cache/upload_private.h"
#include "cache/vouch.h"

enum step { STEP_NONE, STEP_LOAD, STEP_HASH, STEP_COMMIT, STEP_REMOVE, STEP_CLOSE };

static bool hash_is_due_locked(const struct upload *u)
{
    uint64_t ahead = u->size - u->hashed;

    if (u->is_unreadable || u->is_found || ahead < HASH_RUN_DUE_BYTES)
        return false;
    /* A long way back after a restart is for those who go on with it. */
    return u->state == UPLOAD_HELD || ahead <= UPLOAD_LAG_BYTES;
}

static enum step next_step_locked(const struct upload *u)
{
    switch (u->state) {
    case UPLOAD_LOADING:
        return STEP_LOAD;
    case UPLOAD_HELD:
    case UPLOAD_IDLE:
        return hash_is_due_locked(u) ? STEP_HASH : STEP_NONE;
    case UPLOAD_COMMITTING:
        return u->ending ? STEP_COMMIT : STEP_NONE;
    case UPLOAD_REMOVING:
        return STEP_REMOVE;
    case UPLOAD_CLOSING:
        return STEP_CLOSE;
    default:
        return STEP_NONE;
    }
}

/* --- load ------------------------------------------------------------------------------------- */

/* Its descriptor, or why there is none. */
static int open_files(struct upload *u, uint64_t *size, int64_t *touched_s)
{
    struct error err;
    int fd;

    *size = 0;
    *touched_s = clock_wall_s();
    if (u->is_new)
        fd = upload_file_create(u->folder, u->path, &err);
    else
        fd = upload_file_open(u->path, size, touched_s, &err);
    if (fd < 0 && fd != -ENOENT)
        log_warning(u->prefix, "not opened: %s", err.text);
    if (fd >= 0) {
        metric_add(METRIC_UPLOADS_OPEN, 1);
        if (u->is_new)
            metric_inc(METRIC_UPLOADS_STARTED);
    }
    return fd;
}

static void step_load(struct upload *u)
{
    uint64_t size;
    int64_t touched_s;
    int fd = open_files(u, &size, &touched_s);

    uploads_lock(u->uploads);
    struct upload_ask *ask = u->ask;
    CHECK(ask);
    u->ask = NULL;
    if (fd >= 0) {
        u->fd = fd;
        u->size = size;
        u->touched_s = touched_s;
        u->lag_max = size + UPLOAD_LAG_BYTES;
        u->home = ask->home;
        ask->upload = u;
        upload_goto_locked(u, UPLOAD_HELD);
    } else {
        ask->rc = fd;
        uploads_forget_locked(u);
        upload_goto_locked(u, UPLOAD_GONE);
    }
    uploads_unlock(u->uploads);
    worker_post(ask->home, &ask->mail);
}

/* --- hash ------------------------------------------------------------------------------------- */

static void restart_hash(struct upload *u, enum digest_alg alg)
{
    hasher_free(&u->hasher);
    u->alg = alg;
    uploads_lock(u->uploads);
    u->hashed = 0;
    u->is_found = false;
    uploads_unlock(u->uploads);
}

/* One step on: 0, 1 when all of it is hashed, or a negative errno. */
static int hash_on(struct upload *u)
{
    uploads_lock(u->uploads);
    uint64_t off = u->hashed, size = u->size;
    /* Who waits for a commit waits for the hash. */
    bool can_write_out = u->state != UPLOAD_COMMITTING && size - off <= HASH_RUN_STEP_BYTES;
    uploads_unlock(u->uploads);

    uint64_t end = size - off > HASH_RUN_STEP_BYTES ? off + HASH_RUN_STEP_BYTES : size;
    if (!u->hasher)
        u->hasher = hasher_new(u->alg);
    int rc = hash_run(u->hasher, u->fd, off, end);
    if (rc < 0)
        hasher_free(&u->hasher);
    else if (can_write_out)
        hash_run_write_out(u->fd, off, end);

    uploads_lock(u->uploads);
    u->hashed = rc < 0 ? 0 : end;
    u->is_unreadable = rc < 0;
    uint64_t lag_max = u->size - u->hashed + UPLOAD_LAG_BYTES;
    if (u->lag_max > lag_max)
        u->lag_max = lag_max;
    upload_make_room_locked(u);
    bool is_all = u->hashed == u->size;
    uploads_unlock(u->uploads);
    return rc < 0 ? rc : is_all;
}

static void step_hash(struct upload *u)
{
    int rc = hash_on(u);

    if (rc < 0)
        log_warning(u->prefix, "cannot read back what was written (errno %d)", -rc);
}

/* Goes on to the end: 0 when more is to be done, 1 when u->found is there, or a negative errno. */
static int find_digest(struct upload *u, enum digest_alg alg)
{
    if (alg != u->alg)
        restart_hash(u, alg);
    if (u->is_found)
        return 1;
    int rc = hash_on(u);
    if (rc <= 0)
        return rc;
    hasher_final(u->hasher, &u->found);
    hasher_free(&u->hasher);
    uploads_lock(u->uploads);
    u->is_found = true;
    uploads_unlock(u->uploads);
    return 1;
}

/* --- commit ----------------------------------------------------------------------------------- */

/* Gives the bytes their final name, unless they are there already. */
static int publish(struct upload *u, const struct digest *d, struct error *err)
{
    const struct layout *l = uploads_layout(u->uploads);
    struct upload_file file = {.path = u->path, .fd = u->fd, .size = u->size};
    uint64_t present;
    int rc = vouch_present_now(uploads_vouches(u->uploads), d, &present);

    if (rc == 0 && present == u->size)
        return upload_file_adopt(l, d, err);
    if (rc < 0 && rc != -ENOENT)
        return error_sys(err, rc, "look for the blob");
    rc = upload_file_publish(l, &file, d, &u->is_published, err);
    /* It may have been open with another inode behind it. */
    if (u->is_published)
        store_forget(uploads_store(u->uploads), d);
    return rc;
}

/* Durable under its digest, then linked. The hold keeps eviction off what was mirrored before. */
static int keep(struct upload *u, const struct digest *d, struct error *err)
{
    struct origin origin = {.is_pushed = true, .at_s = clock_wall_s()};
    unsigned hold = vouch_hold(uploads_vouches(u->uploads));
    int rc = publish(u, d, err);

    if (rc == 0) {
        ledger_note_blob(store_ledger(uploads_store(u->uploads)), d, u->size);
        rc = links_add_layer_now(uploads_links(u->uploads), slice_of(u->repo), d, &origin, err);
    }
    vouch_release(uploads_vouches(u->uploads), hold);
    return rc;
}

static int refuse_digest(struct upload_ending *e)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(&e->found, text);
    return error_set(&e->err, -EBADMSG, "wrong content: its digest is %s", text);
}

/* What the storage says must not look like a wrong digest: file systems with checksums of their own
 * have the same errno. */
static int storage_failed(const struct upload *u, int rc, const struct error *err)
{
    log_error(u->prefix, "not kept: %s", err->text);
    metric_inc(METRIC_UPLOADS_FAILED);
    return rc == -EBADMSG ? -EIO : rc;
}

/* Somebody has removed its files: there is nothing to be tried again. */
static bool is_lost(const struct upload *u)
{
    uint64_t size;

    return !u->is_published && upload_file_size(u->path, &size) == -ENOENT;
}

static void close_file(struct upload *u)
{
    if (u->fd < 0)
        return;
    close(u->fd);
    u->fd = -1;
    metric_add(METRIC_UPLOADS_OPEN, -1);
}

static void remove_files(struct upload *u)
{
    struct error err;

    if (upload_file_remove(u->folder, u->path, &err) < 0)
        log_warning(u->prefix, "%s", err.text);
    close_file(u);
}

/* Out of the table, and its ending, if there is one, on the way home. */
static void end(struct upload *u)
{
    uploads_lock(u->uploads);
    struct upload_ending *e = u->ending;
    u->ending = NULL;
    uploads_forget_locked(u);
    upload_goto_locked(u, UPLOAD_GONE);
    uploads_unlock(u->uploads);
    if (!e)
        return;
    e->is_over = true;
    upload_tell_ended(e);
}

/* It stays as it is; on_ended gives it back. */
static void end_in_vain(struct upload *u)
{
    uploads_lock(u->uploads);
    struct upload_ending *e = u->ending;
    u->ending = NULL;
    uploads_unlock(u->uploads);
    upload_tell_ended(e);
}

static void step_commit(struct upload *u)
{
    struct upload_ending *e = u->ending;
    int rc = find_digest(u, e->digest.alg);

    if (rc == 0)
        return;
    bool is_read = rc > 0;
    e->found = u->found;
    bool is_right = is_read && digest_equal(&u->found, &e->digest);
    if (is_right)
        rc = keep(u, &e->digest, &e->err);
    else if (is_read)
        rc = refuse_digest(e);
    else
        error_sys(&e->err, rc, "read back what was written");
    if (rc == 0)
        metric_inc(METRIC_UPLOADS_COMMITTED);
    else if (is_read && !is_right)
        metric_inc(METRIC_UPLOADS_WRONG);
    else
        rc = storage_failed(u, rc, &e->err);
    e->rc = rc;
    if (rc < 0 && rc != -EBADMSG && !is_lost(u)) {
        end_in_vain(u);
        return;
    }
    remove_files(u);
    end(u);
}

/* --- the other ends --------------------------------------------------------------------------- */

static void step_remove(struct upload *u)
{
    metric_inc(u->is_swept ? METRIC_UPLOADS_SWEPT : METRIC_UPLOADS_CANCELLED);
    remove_files(u);
    end(u);
}

static void step_close(struct upload *u)
{
    close_file(u);
    end(u);
}

void upload_work_sweep(struct upload *u, int64_t oldest_s)
{
    int64_t mtime_s;

    CHECK(u->state == UPLOAD_REMOVING && u->is_working && u->fd < 0);
    if (upload_file_mtime(u->folder, &mtime_s) && mtime_s < oldest_s) {
        metric_inc(METRIC_UPLOADS_SWEPT);
        remove_files(u);
    }
    end(u);
    u->is_working = false;
    upload_drop(u);
}

static void on_work(struct errand *e)
{
    struct upload *u = (struct upload *)((char *)e - offsetof(struct upload, errand));

    uploads_lock(u->uploads);
    CHECK(u->is_working);
    enum step step = next_step_locked(u);
    uploads_unlock(u->uploads);
    if (step == STEP_LOAD)
        step_load(u);
    else if (step == STEP_HASH)
        step_hash(u);
    else if (step == STEP_COMMIT)
        step_commit(u);
    else if (step == STEP_REMOVE)
        step_remove(u);
    else if (step == STEP_CLOSE)
        step_close(u);

    uploads_lock(u->uploads);
    u->is_working = false;
    upload_poke_locked(u);
    uploads_unlock(u->uploads);
    upload_drop(u);
}

void upload_poke_locked(struct upload *u)
{
    if (u->is_working || next_step_locked(u) == STEP_NONE)
        return;
    u->is_working = true;
    upload_retain(u);
    errand_submit(uploads_errands(u->uploads), &u->errand, on_work, NULL);
}
