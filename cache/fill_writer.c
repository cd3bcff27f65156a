#include "config.h"

#include "cache/fill.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "cache/disk.h"
#include "cache/fill_private.h"

/* A claim that still has something to bring, and holds off. */
static bool claims(const struct fill_writer *w, uint64_t off)
{
    return w->off <= off && off < w->end;
}

bool fill_is_served_locked(const struct fill *f, uint64_t off)
{
    const struct fill_writer *w;
    uint64_t mark = fill_mark_locked(f);

    LIST_FOREACH(w, &f->writers, in_fill)
    {
        if (f->window.is_on && claims(w, mark))
            return true;
        if (claims(w, off) && off - w->off <= fills_near_bytes(f->fills))
            return true;
    }
    return false;
}

void fill_limit_writers_locked(struct fill *f)
{
    struct fill_writer *w;

    LIST_FOREACH(w, &f->writers, in_fill)
    {
        if (w->end > f->size)
            w->end = f->size > w->off ? f->size : w->off;
    }
}

struct fill_writer *fill_take_roomless_locked(struct fill *f)
{
    struct fill_writer *w;

    LIST_FOREACH(w, &f->writers, in_fill)
    {
        if (w->want_room && !f->window.want_room) {
            w->want_room = false;
            return w;
        }
    }
    return NULL;
}

/* Where the first claim behind off begins. */
static uint64_t next_claim_locked(const struct fill *f, uint64_t off)
{
    const struct fill_writer *w;
    uint64_t next = UINT64_MAX;

    LIST_FOREACH(w, &f->writers, in_fill)
    {
        if (w->off > off && w->off < w->end && w->off < next)
            next = w->off;
    }
    return next;
}

/* The first offset from off on that is neither present nor claimed. */
static uint64_t skip_taken_locked(const struct fill *f, uint64_t off)
{
    const struct fill_writer *w;
    uint64_t before;

    do {
        before = off;
        off = segments_run_end(&f->present, off);
        LIST_FOREACH(w, &f->writers, in_fill)
        {
            if (claims(w, off))
                off = w->end;
        }
    } while (off != before);
    return off;
}

/* The end of the gap that begins at off. */
static uint64_t gap_end_locked(const struct fill *f, uint64_t off, uint64_t end)
{
    uint64_t segment = segments_next_start(&f->present, off);
    uint64_t claim = next_claim_locked(f, off);

    if (end > f->size)
        end = f->size;
    if (end > segment)
        end = segment;
    return end > claim ? claim : end;
}

bool fill_missing(struct fill *f, uint64_t from, uint64_t *off_out, uint64_t *end_out)
{
    CHECK(worker_is_current(f->home));
    pthread_mutex_lock(&f->lock);
    /* Through a window bytes can only come in order. */
    uint64_t off = skip_taken_locked(f, f->window.is_on ? 0 : from);
    bool is_gap = f->state == FILL_RUNNING && off < f->size;
    if (is_gap) {
        *off_out = off;
        *end_out = gap_end_locked(f, off, f->size);
    }
    pthread_mutex_unlock(&f->lock);
    return is_gap;
}

/* The end of the claim that may begin at off; off when none may. Others that claim off end there.
 */
static uint64_t make_claim_locked(struct fill *f, uint64_t off, uint64_t end)
{
    struct fill_writer *w;

    if (f->state != FILL_RUNNING || segments_run_end(&f->present, off) > off)
        return off;
    if (f->window.is_on && off != fill_mark_locked(f))
        return off;
    end = gap_end_locked(f, off, end);
    if (end <= off)
        return off;
    LIST_FOREACH(w, &f->writers, in_fill)
    {
        if (!claims(w, off))
            continue;
        w->end = off;
        /* What it would have brought behind the new claim is nobody's now. */
        fill_tell_locked(f, NEWS_REVIEW);
    }
    return end;
}

struct fill_writer *fill_writer_open(struct fill *f, uint64_t off, uint64_t end)
{
    struct fill_writer *w = NULL;

    CHECK(worker_is_current(f->home));
    pthread_mutex_lock(&f->lock);
    end = make_claim_locked(f, off, end);
    if (end > off) {
        w = xcalloc(1, sizeof(*w));
        w->fill = fill_retain(f);
        w->off = off;
        w->end = end;
        LIST_INSERT_HEAD(&f->writers, w, in_fill);
    }
    pthread_mutex_unlock(&f->lock);
    return w;
}

uint64_t fill_writer_off(const struct fill_writer *w)
{
    return w->off;
}

uint64_t fill_writer_end(const struct fill_writer *w)
{
    return w->end;
}

void fill_note_written(struct fill_writer *w, size_t n)
{
    struct fill *f = w->fill;
    uint64_t off = w->off;

    pthread_mutex_lock(&f->lock);
    segments_add(&f->present, off, off + n);
    w->off = off + n;
    f->unsaved += n;
    fill_wake_range_locked(f, off, off + n);
    fill_poke_locked(f);
    pthread_mutex_unlock(&f->lock);
    metric_add(METRIC_FILL_BYTES, (int64_t)n);
}

/* Whether the claim can take n bytes: 0, or why not. */
static int test_write(struct fill_writer *w, size_t n, bool *is_window)
{
    struct fill *f = w->fill;
    int rc = 0;

    pthread_mutex_lock(&f->lock);
    if (f->state == FILL_FAILED)
        rc = f->reason;
    else if (f->state != FILL_RUNNING)
        rc = -ECANCELED;
    else if (n > w->end - w->off)
        rc = -EMSGSIZE;
    *is_window = f->window.is_on;
    pthread_mutex_unlock(&f->lock);
    return rc;
}

int fill_write(struct fill_writer *w, const void *p, size_t n)
{
    struct fill *f = w->fill;
    struct error err;
    bool is_window;

    CHECK(worker_is_current(f->home));
    if (n == 0)
        return 0;
    int rc = test_write(w, n, &is_window);
    if (rc < 0)
        return rc;
    if (!is_window) {
        rc = disk_pwrite(f->fd, p, n, w->off);
        if (rc == 0) {
            fill_note_written(w, n);
            return 0;
        }
        error_sys(&err, rc, "write the partial file");
        rc = fill_window_enter(f, &err);
    }
    return rc < 0 ? rc : fill_window_write(w, p, n);
}

void fill_writer_close(struct fill_writer **ww)
{
    struct fill_writer *w = *ww;

    *ww = NULL;
    if (!w)
        return;
    struct fill *f = w->fill;
    CHECK(worker_is_current(f->home));
    pthread_mutex_lock(&f->lock);
    LIST_REMOVE(w, in_fill);
    /* Who waited for the rest of the claim, or behind it, needs another one. */
    if (f->n_readers > 0 && !fill_is_over_locked(f))
        fill_tell_locked(f, NEWS_REVIEW);
    fill_poke_locked(f);
    pthread_mutex_unlock(&f->lock);
    free(w);
    fill_release(f);
}
