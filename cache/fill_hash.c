#include "config.h"

#include "base/digest.h"

#include <errno.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/fill_private.h"
#include "cache/hash_run.h"

bool fill_hash_is_due_locked(const struct fill *f)
{
    uint64_t ahead = fill_mark_locked(f) - f->hashed;

    if (f->is_verified)
        return false;
    /* A writer that waits for room waits for the hash, too. */
    return ahead >= HASH_RUN_DUE_BYTES || fill_is_complete_locked(f) ||
           (ahead > 0 && f->window.want_room);
}

static void finish_wrong(struct fill *f, const struct digest *found)
{
    char text[DIGEST_TEXT_SIZE];
    struct error err;

    digest_format(found, text);
    error_set(&err, -EBADMSG, "wrong content: its digest is %s", text);
    log_error(f->prefix, "%s; nothing of it is kept", err.text);
    fill_break(f, -EBADMSG, false, &err);
}

/* Everything is hashed: the last byte may be shown, or nothing may be kept. */
static void finish(struct fill *f)
{
    struct digest found;

    hasher_final(f->hasher, &found);
    hasher_free(&f->hasher);
    if (!digest_equal(&found, &f->digest)) {
        finish_wrong(f, &found);
        return;
    }
    pthread_mutex_lock(&f->lock);
    if (f->state == FILL_RUNNING) {
        f->is_verified = true;
        fill_goto_locked(f, f->window.is_on ? FILL_UNKEPT : FILL_SEALING);
        fill_wake_all_locked(f);
    }
    pthread_mutex_unlock(&f->lock);
}

void fill_hash_step(struct fill *f)
{
    struct error err;

    pthread_mutex_lock(&f->lock);
    uint64_t off = f->hashed;
    uint64_t end = fill_mark_locked(f);
    struct fill_place place = fill_place_locked(f, off);
    bool can_sync =
        place.fd == f->fd && !fill_is_complete_locked(f) && end - off <= HASH_RUN_STEP_BYTES;
    pthread_mutex_unlock(&f->lock);

    end = end > place.end ? place.end : end;
    end = end - off > HASH_RUN_STEP_BYTES ? off + HASH_RUN_STEP_BYTES : end;
    if (!f->hasher)
        f->hasher = hasher_new(f->digest.alg);
    int rc = end > off ? hash_run(f->hasher, place.fd, off, end) : 0;
    if (rc < 0) {
        error_sys(&err, rc, "read back what was written");
        fill_break(f, rc, false, &err);
        return;
    }
    /* Writing it out early makes the last fsync short. It may have to wait for the disk, so not
     * while the hash is behind: readers wait for the hash, nobody for the fsync. */
    if (can_sync)
        hash_run_write_out(place.fd, off, end);

    pthread_mutex_lock(&f->lock);
    f->hashed = end;
    bool is_all = f->size != FILL_SIZE_UNKNOWN && end == f->size;
    pthread_mutex_unlock(&f->lock);
    if (is_all)
        finish(f);
}
