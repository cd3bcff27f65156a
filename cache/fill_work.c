/*
 * What a fill does off the loop, one step at a time: at most one errand per fill is under way, and
 * it decides by the state what is next. So nothing here runs beside itself.
 */
#include "config.h"

#include "cache/fill.h"

#include <sys/file.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/fill_file.h"
#include "cache/fill_private.h"
#include "cache/store_private.h"
#include "cache/vouch.h"

#define SAVE_BYTES (16 * 1024 * 1024)
#define SAVE_MS 1000

enum step { STEP_NONE, STEP_LOAD, STEP_TEND, STEP_SEAL, STEP_CLEAN };

/* The map is written again after so many bytes or so long. */
static bool map_is_due_locked(const struct fill *f)
{
    if (f->window.is_on || f->unsaved == 0 || fill_is_complete_locked(f))
        return false;
    return f->unsaved >= SAVE_BYTES || clock_mono_ms() - f->saved_at_ms >= SAVE_MS;
}

static bool file_is_to_go_locked(const struct fill *f)
{
    return f->window.is_on && !f->window.is_file_gone;
}

static enum step next_step_locked(const struct fill *f)
{
    switch (f->state) {
    case FILL_LOADING:
        return f->can_load ? STEP_LOAD : STEP_NONE;
    case FILL_RUNNING:
        if (fill_hash_is_due_locked(f) || map_is_due_locked(f) || file_is_to_go_locked(f) ||
            fill_window_can_move_locked(f))
            return STEP_TEND;
        return STEP_NONE;
    case FILL_SEALING:
        return STEP_SEAL;
    default:
        return f->is_cleaned ? STEP_NONE : STEP_CLEAN;
    }
}

/* The blob was stored before, or meanwhile: it is what the readers get. */
static void adopt_blob(struct fill *f, struct blob *b)
{
    fill_file_remove(fills_layout(f->fills), &f->digest);
    fills_lock(f->fills);
    pthread_mutex_lock(&f->lock);
    if (f->state == FILL_LOADING) {
        fills_leave_locked(f);
        f->blob = blob_ref(b);
        f->fd = blob_fd(b);
        f->size = blob_size(b);
        segments_add(&f->present, 0, f->size);
        f->is_verified = true;
        fill_goto_locked(f, FILL_KEPT);
    }
    pthread_mutex_unlock(&f->lock);
    fills_unlock(f->fills);
}

/* The descriptor belongs to the fill from now on, whatever became of the fill meanwhile. */
static void take_file(struct fill *f, int fd, const struct segments *present, uint64_t size)
{
    pthread_mutex_lock(&f->lock);
    f->fd = fd;
    segments_copy(&f->present, present);
    f->size = size;
    f->is_size_guessed = size != FILL_SIZE_UNKNOWN;
    if (f->state == FILL_LOADING) {
        fill_goto_locked(f, FILL_RUNNING);
        fill_tell_locked(f, NEWS_BEGIN);
        fill_wake_all_locked(f);
    }
    pthread_mutex_unlock(&f->lock);
}

static void step_load(struct fill *f)
{
    struct blob *b = NULL;
    struct segments present;
    uint64_t size = FILL_SIZE_UNKNOWN;
    struct error err;

    if (store_open_now(fills_store(f->fills), &f->digest, &b) == 0) {
        adopt_blob(f, b);
        blob_unref(&b);
        return;
    }
    segments_init(&present);
    int fd = fill_file_open(fills_layout(f->fills), &f->digest, &present, &size, &err);
    if (fd >= 0 || fill_window_enter(f, &err) == 0)
        take_file(f, fd, &present, size);
    if (present.total > 0)
        log_info(f->prefix, "goes on with %llu bytes of an earlier try",
                 (unsigned long long)present.total);
    segments_fini(&present);
}

static void save_map(struct fill *f)
{
    struct segments present;
    struct error err;

    segments_init(&present);
    pthread_mutex_lock(&f->lock);
    segments_copy(&present, &f->present);
    uint64_t size = f->size;
    f->unsaved = 0;
    f->saved_at_ms = clock_mono_ms();
    pthread_mutex_unlock(&f->lock);
    if (fill_file_save_map(fills_layout(f->fills), &f->digest, &present, size, &err) < 0)
        log_warning(f->prefix, "map of the partial file not saved: %s", err.text);
    segments_fini(&present);
}

/* The disk cannot keep this one: its file goes, and the next fill of this digest may begin. */
static void give_up_file(struct fill *f)
{
    if (f->fd >= 0)
        fill_file_remove(fills_layout(f->fills), &f->digest);
    pthread_mutex_lock(&f->lock);
    f->window.is_file_gone = true;
    pthread_mutex_unlock(&f->lock);
    fills_disown(f);
}

/* While bytes come in: hash them, write down which are there, move the window. */
static void step_tend(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    bool want_hash = fill_hash_is_due_locked(f);
    bool want_save = map_is_due_locked(f);
    bool want_give_up = file_is_to_go_locked(f);
    pthread_mutex_unlock(&f->lock);
    if (want_give_up)
        give_up_file(f);
    if (want_save)
        save_map(f);
    if (want_hash)
        fill_hash_step(f);

    pthread_mutex_lock(&f->lock);
    bool want_move = f->state == FILL_RUNNING && fill_window_can_move_locked(f);
    pthread_mutex_unlock(&f->lock);
    if (want_move)
        fill_window_move(f);
}

/* The blob is among the open ones before the fill leaves the table, so that nobody misses both. */
static void step_seal(struct fill *f)
{
    struct error err;
    struct blob *b = NULL;
    /* Whatever lies under its name: the collector is not about to remove it from now on. */
    vouch_present_now(store_vouches(fills_store(f->fills)), &f->digest, NULL);
    int rc = fill_file_publish(fills_layout(f->fills), &f->digest, f->fd, f->size, &err);

    if (rc == 0)
        b = store_add(fills_store(f->fills), &f->digest, f->fd);
    else
        log_error(f->prefix, "not kept: %s", err.text);
    fills_lock(f->fills);
    pthread_mutex_lock(&f->lock);
    fills_leave_locked(f);
    f->blob = b;
    fill_goto_locked(f, b ? FILL_KEPT : FILL_UNKEPT);
    pthread_mutex_unlock(&f->lock);
    fills_unlock(f->fills);
}

/* It is over: the partial file is kept or removed, and the next fill of this digest may begin. */
static void step_clean(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    bool has_file = f->fd >= 0 && !f->blob && !f->window.is_on;
    bool is_worth = f->keep_partial && f->present.total > 0;
    pthread_mutex_unlock(&f->lock);
    if (has_file && is_worth)
        save_map(f);
    else if (has_file)
        fill_file_remove(fills_layout(f->fills), &f->digest);
    /* Readers may hold the descriptor for long; the next fill locks the file anew. */
    if (has_file)
        flock(f->fd, LOCK_UN);
    if (f->window.is_on && !f->window.is_file_gone)
        give_up_file(f);
    else
        fills_disown(f);
    pthread_mutex_lock(&f->lock);
    f->is_cleaned = true;
    pthread_mutex_unlock(&f->lock);
}

static void on_work(struct errand *e)
{
    struct fill *f = (struct fill *)((char *)e - offsetof(struct fill, errand));

    pthread_mutex_lock(&f->lock);
    CHECK(f->is_working);
    enum step step = next_step_locked(f);
    pthread_mutex_unlock(&f->lock);
    if (step == STEP_LOAD)
        step_load(f);
    else if (step == STEP_TEND)
        step_tend(f);
    else if (step == STEP_SEAL)
        step_seal(f);
    else if (step == STEP_CLEAN)
        step_clean(f);

    pthread_mutex_lock(&f->lock);
    f->is_working = false;
    fill_poke_locked(f);
    pthread_mutex_unlock(&f->lock);
    fill_release(f);
}

void fill_poke_locked(struct fill *f)
{
    if (f->is_working || next_step_locked(f) == STEP_NONE)
        return;
    f->is_working = true;
    fill_retain(f);
    errand_submit(fills_errands(f->fills), &f->errand, on_work, NULL);
}

void fill_may_load(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    f->can_load = true;
    fill_poke_locked(f);
    pthread_mutex_unlock(&f->lock);
}
