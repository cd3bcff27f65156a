#include "config.h"

#include "cache/fill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/fill_private.h"

#define BIT(state) (1u << (state))

/* One row per state: what may follow, and what is counted when it is the last. */
static const struct {
    const char *name;
    unsigned next;
    enum metric counter; /* METRIC_MAX: a state follows */
} STATES[] = {
    [FILL_LOADING] = {"loading",
                      BIT(FILL_RUNNING) | BIT(FILL_KEPT) | BIT(FILL_FAILED) | BIT(FILL_SUSPENDED),
                      METRIC_MAX},
    [FILL_RUNNING] = {"running",
                      BIT(FILL_SEALING) | BIT(FILL_UNKEPT) | BIT(FILL_FAILED) | BIT(FILL_SUSPENDED),
                      METRIC_MAX},
    [FILL_SEALING] = {"sealing", BIT(FILL_KEPT) | BIT(FILL_UNKEPT), METRIC_MAX},
    [FILL_KEPT] = {"kept", 0, METRIC_FILLS_DONE},
    [FILL_UNKEPT] = {"unkept", 0, METRIC_FILLS_UNKEPT},
    [FILL_FAILED] = {"failed", 0, METRIC_FILLS_FAILED},
    [FILL_SUSPENDED] = {"suspended", 0, METRIC_FILLS_SUSPENDED},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == FILL_STATE_MAX, "one row per state");

const char *fill_state_name(enum fill_state state)
{
    CHECK(state < FILL_STATE_MAX);
    return STATES[state].name;
}

static void on_home(struct mail *m);

struct fill *fill_new(struct fills *fs, const struct digest *d, struct worker *home)
{
    struct fill *f = xcalloc(1, sizeof(*f));
    char text[DIGEST_TEXT_SIZE];

    f->digest = *d;
    f->fills = fs;
    f->home = home;
    f->born_ms = clock_mono_ms();
    digest_format(d, text);
    snprintf(f->prefix, sizeof(f->prefix), "fill %s", text);
    atomic_init(&f->refs, 1);
    atomic_init(&f->users, 0);
    pthread_mutex_init(&f->lock, NULL);
    f->state = FILL_LOADING;
    f->size = FILL_SIZE_UNKNOWN;
    segments_init(&f->present);
    LIST_INIT(&f->writers);
    TAILQ_INIT(&f->readers);
    f->fd = -1;
    f->window.memfd = -1;
    f->home_mail.fn = on_home;
    if (home)
        metric_add(METRIC_FILLS_RUNNING, 1);
    return f;
}

struct fill *fill_retain(struct fill *f)
{
    CHECK(atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed) > 0);
    return f;
}

/* Work, or the last one to hold it: closing a file that has no name any more frees its blocks. */
static void free_fill(struct errand *e)
{
    struct fill *f = (struct fill *)((char *)e - offsetof(struct fill, errand));

    if (f->fd >= 0 && !f->blob)
        close(f->fd);
    if (f->window.memfd >= 0)
        close(f->window.memfd);
    blob_unref(&f->blob);
    fill_ports_free(f);
    segments_fini(&f->present);
    hasher_free(&f->hasher);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void fill_release(struct fill *f)
{
    unsigned before = atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel);

    CHECK(before > 0);
    if (before > 1)
        return;
    CHECK(LIST_EMPTY(&f->writers) && f->n_readers == 0 && !f->is_working);
    if (f->blob || (f->fd < 0 && f->window.memfd < 0))
        free_fill(&f->errand);
    else
        errand_submit(fills_errands(f->fills), &f->errand, free_fill, NULL);
}

struct fill *fill_ref(struct fill *f)
{
    atomic_fetch_add(&f->users, 1);
    return fill_retain(f);
}

void fill_unref(struct fill **ff)
{
    struct fill *f = *ff;

    *ff = NULL;
    if (!f)
        return;
    unsigned before = atomic_fetch_sub(&f->users, 1);
    CHECK(before > 0);
    if (before == 2) {
        pthread_mutex_lock(&f->lock);
        if (fill_is_alone_locked(f) && !fill_is_over_locked(f))
            fill_tell_locked(f, NEWS_IDLE);
        pthread_mutex_unlock(&f->lock);
    }
    fill_release(f);
}

bool fill_is_over_locked(const struct fill *f)
{
    return STATES[f->state].next == 0;
}

bool fill_is_complete_locked(const struct fill *f)
{
    return f->size != FILL_SIZE_UNKNOWN && fill_mark_locked(f) == f->size;
}

bool fill_is_alone_locked(const struct fill *f)
{
    return f->n_readers == 0 && atomic_load(&f->users) <= 1;
}

uint64_t fill_mark_locked(const struct fill *f)
{
    return segments_run_end(&f->present, 0);
}

void fill_goto_locked(struct fill *f, enum fill_state state)
{
    CHECK(STATES[f->state].next & BIT(state));
    log_debug(f->prefix, "%s -> %s", STATES[f->state].name, STATES[state].name);
    f->state = state;
    if (STATES[state].next)
        return;
    metric_add(METRIC_FILLS_RUNNING, -1);
    fills_count_end(f->fills);
    metric_inc(f->reason == -EBADMSG ? METRIC_FILLS_WRONG : STATES[state].counter);
    fill_wake_all_locked(f);
    fill_tell_locked(f, NEWS_ENDED);
    fill_poke_locked(f);
}

void fill_tell_locked(struct fill *f, unsigned news)
{
    f->news |= news;
    /* Nobody to be told yet: fill_drive looks again. */
    if (!f->driver || f->is_home_posted)
        return;
    f->is_home_posted = true;
    fill_retain(f);
    worker_post(f->home, &f->home_mail);
}

void fill_drive(struct fill *f, const struct fill_driver *driver, void *arg)
{
    CHECK(worker_is_current(f->home));
    pthread_mutex_lock(&f->lock);
    CHECK(!f->driver);
    f->driver = driver;
    f->driver_arg = arg;
    if (f->news)
        fill_tell_locked(f, 0);
    pthread_mutex_unlock(&f->lock);
    fills_own(f);
}

/* Takes the news whose turn it is: nothing but the end is told once it is over, and the end once.
 * False when there is nothing to tell. */
static bool take_news(struct fill *f, unsigned bit)
{
    pthread_mutex_lock(&f->lock);
    bool is_news = (f->news & bit) != 0;
    f->news &= ~bit;
    if (bit != NEWS_ENDED && f->state != FILL_RUNNING)
        is_news = false;
    pthread_mutex_unlock(&f->lock);
    return is_news;
}

/* Tells the driver of each waiting reader that no writer will serve. */
static void tell_demands(struct fill *f)
{
    uint64_t off, end;

    if (!f->has_begun)
        return;
    pthread_mutex_lock(&f->lock);
    f->review++;
    while (f->state == FILL_RUNNING && fill_next_demand_locked(f, &off, &end)) {
        pthread_mutex_unlock(&f->lock);
        f->driver->demand(f->driver_arg, f, off, end);
        pthread_mutex_lock(&f->lock);
    }
    pthread_mutex_unlock(&f->lock);
}

static void tell_room(struct fill *f)
{
    struct fill_writer *w;

    do {
        pthread_mutex_lock(&f->lock);
        w = f->state == FILL_RUNNING ? fill_take_roomless_locked(f) : NULL;
        pthread_mutex_unlock(&f->lock);
        if (w)
            f->driver->room(f->driver_arg, w);
    } while (w);
}

/* That it is one too many is asked under the lock under which another would end for that, or two
 * could end where one was too many. */
static bool suspend(struct fill *f, bool only_when_crowded)
{
    fills_lock(f->fills);
    pthread_mutex_lock(&f->lock);
    bool can_end = (f->state == FILL_LOADING || f->state == FILL_RUNNING) &&
                   (!only_when_crowded || fills_are_crowded(f->fills)) && fill_is_alone_locked(f) &&
                   !fill_is_complete_locked(f);
    if (can_end) {
        fills_leave_locked(f);
        f->keep_partial = !f->window.is_on;
        fill_goto_locked(f, FILL_SUSPENDED);
    }
    pthread_mutex_unlock(&f->lock);
    fills_unlock(f->fills);
    return can_end;
}

/* Nobody reads. What cannot be kept, or would be one too many, ends here; else the driver decides.
 */
static void tell_idle(struct fill *f)
{
    struct error err;

    pthread_mutex_lock(&f->lock);
    bool is_alone = fill_is_alone_locked(f) && !fill_is_complete_locked(f);
    bool is_unkept = f->window.is_on;
    pthread_mutex_unlock(&f->lock);
    if (!is_alone)
        return;
    if (is_unkept)
        fill_break(f, error_set(&err, -ENOSPC, "nobody reads what the disk cannot keep"), false,
                   &err);
    else if (!suspend(f, true))
        f->driver->idle(f->driver_arg, f);
}

static void tell_end(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    CHECK(fill_is_over_locked(f));
    int rc = f->state == FILL_FAILED ? f->reason : f->state == FILL_SUSPENDED ? -ECANCELED : 0;
    pthread_mutex_unlock(&f->lock);
    f->driver->ended(f->driver_arg, f, rc);
}

static void on_home(struct mail *m)
{
    struct fill *f = (struct fill *)((char *)m - offsetof(struct fill, home_mail));

    pthread_mutex_lock(&f->lock);
    f->is_home_posted = false;
    pthread_mutex_unlock(&f->lock);
    if (take_news(f, NEWS_BEGIN)) {
        f->driver->begin(f->driver_arg, f);
        f->has_begun = true;
        tell_demands(f);
    }
    if (take_news(f, NEWS_ROOM))
        tell_room(f);
    if (take_news(f, NEWS_REVIEW))
        tell_demands(f);
    /* Before the beginning this news waits. */
    if (f->has_begun && take_news(f, NEWS_IDLE))
        tell_idle(f);
    if (take_news(f, NEWS_ENDED))
        tell_end(f);
    fill_release(f);
}

static bool break_locked(struct fill *f, int reason, bool keep_partial, const struct error *err)
{
    if (f->state != FILL_LOADING && f->state != FILL_RUNNING)
        return false;
    fills_leave_locked(f);
    f->reason = reason;
    if (err)
        f->failure = *err;
    else
        error_sys(&f->failure, reason, "fill");
    f->keep_partial = keep_partial && !f->window.is_on && !f->is_suspect;
    fill_goto_locked(f, FILL_FAILED);
    return true;
}

bool fill_break(struct fill *f, int reason, bool keep_partial, const struct error *err)
{
    CHECK(reason < 0);
    fills_lock(f->fills);
    pthread_mutex_lock(&f->lock);
    bool is_broken = break_locked(f, reason, keep_partial, err);
    pthread_mutex_unlock(&f->lock);
    fills_unlock(f->fills);
    return is_broken;
}

void fill_fail(struct fill *f, int reason, bool keep_partial, const struct error *err)
{
    CHECK(worker_is_current(f->home));
    pthread_mutex_lock(&f->lock);
    /* All bytes are there: from now on only their digest decides. */
    bool is_complete = fill_is_complete_locked(f);
    pthread_mutex_unlock(&f->lock);
    if (!is_complete)
        fill_break(f, reason, keep_partial, err);
}

bool fill_suspend(struct fill *f)
{
    CHECK(worker_is_current(f->home));
    return suspend(f, false);
}

const struct digest *fill_digest(const struct fill *f)
{
    return &f->digest;
}

bool fill_size(struct fill *f, uint64_t *size_out)
{
    pthread_mutex_lock(&f->lock);
    bool is_known = f->size != FILL_SIZE_UNKNOWN;
    if (is_known)
        *size_out = f->size;
    pthread_mutex_unlock(&f->lock);
    return is_known;
}

int fill_failure(struct fill *f, struct error *err)
{
    pthread_mutex_lock(&f->lock);
    int reason = f->state == FILL_FAILED ? f->reason : 0;
    if (reason && err)
        *err = f->failure;
    pthread_mutex_unlock(&f->lock);
    return reason;
}

struct blob *fill_blob(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    struct blob *b = f->blob ? blob_ref(f->blob) : NULL;
    pthread_mutex_unlock(&f->lock);
    return b;
}

uint64_t fill_present(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t total = f->present.total;
    pthread_mutex_unlock(&f->lock);
    return total;
}

static int set_size_locked(struct fill *f, uint64_t size)
{
    if (f->size == size) {
        f->is_size_guessed = false;
        return 0;
    }
    if (f->size != FILL_SIZE_UNKNOWN || segments_last_end(&f->present) > size || size > INT64_MAX) {
        /* What an earlier try left may be what is wrong: do not trust it once more. */
        f->is_suspect = f->size == FILL_SIZE_UNKNOWN || f->is_size_guessed;
        return -EPROTO;
    }
    f->size = size;
    fill_limit_writers_locked(f);
    fill_wake_all_locked(f);
    fill_poke_locked(f);
    return 0;
}

int fill_set_size(struct fill *f, uint64_t size)
{
    CHECK(worker_is_current(f->home));
    CHECK(size != FILL_SIZE_UNKNOWN);
    pthread_mutex_lock(&f->lock);
    int rc = set_size_locked(f, size);
    pthread_mutex_unlock(&f->lock);
    return rc;
}

struct fill_place fill_place_locked(const struct fill *f, uint64_t off)
{
    if (f->window.is_on && off >= f->window.switch_off)
        return (struct fill_place){f->window.memfd, UINT64_MAX};
    return (struct fill_place){f->fd, f->window.is_on ? f->window.switch_off : UINT64_MAX};
}
