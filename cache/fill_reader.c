#include "config.h"

#include "cache/fill.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "cache/fill_private.h"

/* So many readers are woken in one go; the others after what else happens on their worker. */
#define WAKE_BATCH 32

static void on_port(struct mail *m);

/* The port of the calling worker. */
static struct fill_port *port_here_locked(struct fill *f)
{
    struct worker *w = worker_current();
    struct fill_port *p = f->ports;

    CHECK(w);
    while (p && p->worker != w)
        p = p->next;
    if (p)
        return p;
    p = xcalloc(1, sizeof(*p));
    p->mail.fn = on_port;
    p->fill = f;
    p->worker = w;
    TAILQ_INIT(&p->waiting);
    TAILQ_INIT(&p->woken);
    TAILQ_INIT(&p->batch);
    p->next = f->ports;
    f->ports = p;
    return p;
}

void fill_ports_free(struct fill *f)
{
    while (f->ports) {
        struct fill_port *p = f->ports;
        CHECK(!p->is_posted);
        f->ports = p->next;
        free(p);
    }
}

/* Puts a reader on another list of its port, or on none. */
static void relist_locked(struct fill_reader *r, struct fill_reader_list *list)
{
    if (r->list)
        TAILQ_REMOVE(r->list, r, in_list);
    r->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, r, in_list);
}

static void port_post_locked(struct fill_port *p)
{
    if (p->is_posted)
        return;
    p->is_posted = true;
    fill_retain(p->fill);
    worker_post(p->worker, &p->mail);
}

/* Wakes a bounded number of readers. A callback may close any reader of this port. */
static void on_port(struct mail *m)
{
    struct fill_port *p = (struct fill_port *)m;
    struct fill *f = p->fill;
    struct fill_reader *r;

    pthread_mutex_lock(&f->lock);
    p->is_posted = false;
    for (unsigned n = 0; n < WAKE_BATCH && (r = TAILQ_FIRST(&p->woken)); n++)
        relist_locked(r, &p->batch);
    while ((r = TAILQ_FIRST(&p->batch))) {
        relist_locked(r, NULL);
        pthread_mutex_unlock(&f->lock);
        r->wake(r->arg);
        pthread_mutex_lock(&f->lock);
    }
    if (!TAILQ_EMPTY(&p->woken))
        port_post_locked(p);
    pthread_mutex_unlock(&f->lock);
    fill_release(f);
}

/* Whether the last byte stays back until all are verified: from who reads the whole, and from all
 * when only the hash is missing. Who reads the end of a blob that has gaps gets it, since nothing
 * would ever verify it (docs/design/cold-ranges.md). */
static bool holds_back_locked(const struct fill_reader *r)
{
    return !r->fill->is_verified && (r->begin == 0 || fill_is_complete_locked(r->fill));
}

/* The end of what may be shown to a reader from off on. */
static uint64_t shown_end_locked(const struct fill_reader *r, uint64_t off)
{
    const struct fill *f = r->fill;
    uint64_t end = segments_run_end(&f->present, off);

    if (f->size == FILL_SIZE_UNKNOWN)
        return off;
    if (end == f->size && end > off && holds_back_locked(r))
        end--;
    return end;
}

void fill_wake_range_locked(struct fill *f, uint64_t off, uint64_t end)
{
    struct fill_reader *r, *next;

    for (struct fill_port *p = f->ports; p; p = p->next) {
        for (r = TAILQ_FIRST(&p->waiting); r; r = next) {
            next = TAILQ_NEXT(r, in_list);
            if (r->want_size || r->want_end || r->off < off || r->off >= end)
                continue;
            if (shown_end_locked(r, r->off) > r->off)
                relist_locked(r, &p->woken);
        }
        if (!TAILQ_EMPTY(&p->woken))
            port_post_locked(p);
    }
}

void fill_wake_all_locked(struct fill *f)
{
    struct fill_reader *r;

    for (struct fill_port *p = f->ports; p; p = p->next) {
        while ((r = TAILQ_FIRST(&p->waiting)))
            relist_locked(r, &p->woken);
        if (!TAILQ_EMPTY(&p->woken))
            port_post_locked(p);
    }
}

struct fill_reader *fill_reader_open(struct fill *f, uint64_t off, uint64_t end, fill_wake_fn wake,
                                     void *arg)
{
    struct fill_reader *r = xcalloc(1, sizeof(*r));

    CHECK(off <= end && wake);
    r->fill = fill_retain(f);
    r->wake = wake;
    r->arg = arg;
    r->begin = r->off = off;
    r->end = end;
    pthread_mutex_lock(&f->lock);
    r->port = port_here_locked(f);
    TAILQ_INSERT_TAIL(&f->readers, r, in_fill);
    f->n_readers++;
    pthread_mutex_unlock(&f->lock);
    metric_add(METRIC_FILL_READERS, 1);
    return r;
}

/* Why nothing more comes, or 0. */
static int ended_short_locked(const struct fill *f)
{
    if (f->state == FILL_FAILED)
        return f->reason;
    return f->state == FILL_SUSPENDED ? -ECANCELED : 0;
}

/* The lowest offset it may still need. */
static uint64_t needed_off_locked(const struct fill_reader *r)
{
    return r->want_end ? fill_mark_locked(r->fill) : r->off;
}

/* Somebody has to bring what this reader waits for. */
static bool is_unserved_locked(const struct fill_reader *r)
{
    const struct fill *f = r->fill;
    uint64_t off = needed_off_locked(r);

    if (f->size == FILL_SIZE_UNKNOWN)
        return LIST_EMPTY(&f->writers);
    if (r->want_end && off == f->size)
        return false; /* only to be verified and stored */
    if (segments_run_end(&f->present, off) > off)
        return false;
    return !fill_is_served_locked(f, off);
}

static void wait_locked(struct fill_reader *r)
{
    /* One that is about to be woken asks again then. */
    if (!r->list)
        relist_locked(r, &r->port->waiting);
    if (is_unserved_locked(r))
        fill_tell_locked(r->fill, NEWS_REVIEW);
}

/* The bytes at off that can be read now, at most `want`; len 0 when there are none. */
static struct fill_bytes bytes_locked(const struct fill_reader *r, uint64_t off, uint64_t want)
{
    uint64_t end = shown_end_locked(r, off);
    struct fill_place place = fill_place_locked(r->fill, off);

    if (end > r->end)
        end = r->end;
    if (end > place.end)
        end = place.end;
    if (end < off)
        end = off;
    return (struct fill_bytes){place.fd, off, end - off < want ? end - off : want};
}

static int next_locked(struct fill_reader *r, uint64_t want, struct fill_bytes *out)
{
    struct fill *f = r->fill;
    int rc = ended_short_locked(f);

    if (rc < 0)
        return rc;
    if (r->off >= r->end || (f->size != FILL_SIZE_UNKNOWN && r->off >= f->size))
        return -ERANGE;
    /* It came, or went back, to where the window has been. */
    if (f->window.is_on && r->off < f->window.low)
        return -ESTALE;
    struct fill_bytes bytes = bytes_locked(r, r->off, want);
    if (bytes.len == 0) {
        wait_locked(r);
        return 0;
    }
    *out = bytes;
    return 1;
}

int fill_reader_next(struct fill_reader *r, uint64_t off, uint64_t want, struct fill_bytes *out)
{
    struct fill *f = r->fill;

    CHECK(want > 0);
    pthread_mutex_lock(&f->lock);
    r->off = off;
    r->want_size = r->want_end = false;
    int rc = next_locked(r, want, out);
    if (f->window.want_room)
        fill_poke_locked(f);
    pthread_mutex_unlock(&f->lock);
    return rc;
}

bool fill_reader_want_size(struct fill_reader *r)
{
    struct fill *f = r->fill;

    pthread_mutex_lock(&f->lock);
    bool is_settled = f->size != FILL_SIZE_UNKNOWN || fill_is_over_locked(f);
    if (!is_settled) {
        r->want_size = true;
        wait_locked(r);
    }
    pthread_mutex_unlock(&f->lock);
    return is_settled;
}

bool fill_reader_want_end(struct fill_reader *r)
{
    struct fill *f = r->fill;

    pthread_mutex_lock(&f->lock);
    CHECK(r->begin == 0 && r->end == FILL_SIZE_UNKNOWN);
    r->want_size = false;
    r->want_end = true;
    bool is_over = fill_is_over_locked(f);
    if (!is_over)
        wait_locked(r);
    pthread_mutex_unlock(&f->lock);
    return is_over;
}

void fill_reader_limit(struct fill_reader *r, uint64_t off, uint64_t end)
{
    CHECK(off <= end);
    pthread_mutex_lock(&r->fill->lock);
    r->begin = r->off = off;
    r->end = end;
    pthread_mutex_unlock(&r->fill->lock);
}

void fill_reader_close(struct fill_reader **rr)
{
    struct fill_reader *r = *rr;

    *rr = NULL;
    if (!r)
        return;
    struct fill *f = r->fill;
    CHECK(worker_is_current(r->port->worker));
    pthread_mutex_lock(&f->lock);
    relist_locked(r, NULL);
    TAILQ_REMOVE(&f->readers, r, in_fill);
    CHECK(f->n_readers > 0);
    f->n_readers--;
    if (!fill_is_over_locked(f) && fill_is_alone_locked(f))
        fill_tell_locked(f, NEWS_IDLE);
    if (f->window.want_room)
        fill_poke_locked(f);
    pthread_mutex_unlock(&f->lock);
    metric_add(METRIC_FILL_READERS, -1);
    free(r);
    fill_release(f);
}

/* The lowest of those that wait unserved and that this review has not seen. */
static struct fill_reader *lowest_unserved_locked(struct fill *f)
{
    struct fill_reader *r, *lowest = NULL;

    TAILQ_FOREACH(r, &f->readers, in_fill)
    {
        if (r->list != &r->port->waiting || r->review == f->review)
            continue;
        r->off = needed_off_locked(r);
        if ((!lowest || r->off < lowest->off) && is_unserved_locked(r))
            lowest = r;
    }
    return lowest;
}

bool fill_next_demand_locked(struct fill *f, uint64_t *off_out, uint64_t *end_out)
{
    struct fill_reader *r, *lowest = lowest_unserved_locked(f);
    uint64_t near = fills_near_bytes(f->fills);

    if (!lowest)
        return false;
    /* Through a window bytes can only come in order. */
    uint64_t off = f->window.is_on ? fill_mark_locked(f) : lowest->off;
    uint64_t end = f->window.is_on ? f->size : lowest->end;
    uint64_t next = segments_next_start(&f->present, off);
    end = next < end ? next : end;
    /* Who is helped by the same answer needs no demand of his own. */
    TAILQ_FOREACH(r, &f->readers, in_fill)
    {
        bool is_helped = r->off >= lowest->off && r->off < end && r->off - lowest->off <= near;
        if (r == lowest || is_helped || f->size == FILL_SIZE_UNKNOWN || f->window.is_on)
            r->review = f->review;
    }
    *off_out = off;
    *end_out = end < f->size ? end : f->size;
    return true;
}

uint64_t fill_lowest_reader_locked(const struct fill *f)
{
    const struct fill_reader *r;
    uint64_t lowest = UINT64_MAX;

    TAILQ_FOREACH(r, &f->readers, in_fill)
    {
        uint64_t off = needed_off_locked(r);
        lowest = off < lowest ? off : lowest;
    }
    return lowest;
}
