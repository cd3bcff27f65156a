/*
 * Going on when the disk is full: bytes from the point where the disk refused go to a sparse file
 * in memory (memfd), at their offsets. What lies below every reader and below the hash is given
 * back, so that at most fill_memory_bytes are held; a writer that is further ahead waits. Bytes
 * come in order only: a writer anywhere else than at the mark finds that its claim has ended.
 */
#include "config.h"

#include "cache/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "cache/disk.h"
#include "cache/fill_private.h"

#define PAGE_BYTES 4096

static void switch_locked(struct fill *f, int memfd)
{
    struct fill_writer *w;
    uint64_t mark = fill_mark_locked(f);

    CHECK(!f->window.is_on);
    f->window.is_on = true;
    f->window.memfd = memfd;
    f->window.switch_off = mark;
    segments_cut(&f->present, mark);
    LIST_FOREACH(w, &f->writers, in_fill)
    {
        if (w->off != mark)
            w->end = w->off;
    }
    fill_poke_locked(f);
}

int fill_window_enter(struct fill *f, const struct error *cause)
{
    int memfd = memfd_create("mirrord-fill", MFD_CLOEXEC);
    bool can_go_on = false;

    fills_lock(f->fills);
    pthread_mutex_lock(&f->lock);
    if (memfd >= 0 && !fill_is_over_locked(f) && !fill_is_alone_locked(f)) {
        can_go_on = true;
        fills_leave_locked(f);
        switch_locked(f, memfd);
    }
    pthread_mutex_unlock(&f->lock);
    fills_unlock(f->fills);

    if (can_go_on) {
        log_error(f->prefix, "%s; it is passed on to its readers and not kept", cause->text);
        return 0;
    }
    if (memfd >= 0)
        close(memfd);
    log_error(f->prefix, "%s; given up", cause->text);
    fill_break(f, cause->code, false, cause);
    return cause->code;
}

/* Bytes held in memory. */
static uint64_t held_locked(const struct fill *f)
{
    uint64_t mark = fill_mark_locked(f);
    uint64_t from = f->window.low > f->window.switch_off ? f->window.low : f->window.switch_off;

    return mark > from ? mark - from : 0;
}

/* 0 when n bytes fit, or why not. */
static int test_locked(struct fill_writer *w, size_t n)
{
    struct fill *f = w->fill;
    uint64_t held = held_locked(f);

    if (f->state != FILL_RUNNING)
        return f->state == FILL_FAILED ? f->reason : -ECANCELED;
    if (w->off != fill_mark_locked(f))
        w->end = w->off;
    if (n > w->end - w->off)
        return -EMSGSIZE;
    /* An empty window takes anything, so that a small one does not stop all. */
    if (held > 0 && held + n > fills_memory_bytes(f->fills)) {
        w->want_room = true;
        f->window.want_room = true;
        fill_poke_locked(f);
        return -EAGAIN;
    }
    return 0;
}

int fill_window_write(struct fill_writer *w, const void *p, size_t n)
{
    struct fill *f = w->fill;
    struct error err;

    pthread_mutex_lock(&f->lock);
    int rc = test_locked(w, n);
    pthread_mutex_unlock(&f->lock);
    if (rc < 0)
        return rc;
    rc = disk_pwrite(f->window.memfd, p, n, w->off);
    if (rc < 0) {
        error_sys(&err, rc, "write to memory");
        fill_break(f, rc, false, &err);
        return rc;
    }
    fill_note_written(w, n);
    return 0;
}

/* How far the window may be moved: to the slowest reader, or to the hash. */
static uint64_t next_low_locked(const struct fill *f)
{
    uint64_t low = fill_lowest_reader_locked(f);

    if (f->n_readers == 0)
        return f->window.low;
    low = low < f->hashed ? low : f->hashed;
    return low > f->window.low ? low : f->window.low;
}

bool fill_window_can_move_locked(const struct fill *f)
{
    if (!f->window.is_on || !f->window.want_room)
        return false;
    uint64_t low = next_low_locked(f);
    uint64_t step = low - f->window.low;
    return step > 0 && (step >= fills_memory_bytes(f->fills) / 4 || low == fill_mark_locked(f));
}

/* Gives back whole pages only: of a page that is given back in part the rest would be zeroed where
 * it lies, and sockets may still refer to it (sendfile copies nothing). */
static void punch(int fd, uint64_t off, uint64_t end)
{
    off += PAGE_BYTES - 1;
    off -= off % PAGE_BYTES;
    end -= end % PAGE_BYTES;
    /* Where holes cannot be made the space comes back at the end. */
    if (fd >= 0 && off < end)
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)(end - off));
}

void fill_window_move(struct fill *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t from = f->window.punched;
    uint64_t low = next_low_locked(f);
    uint64_t to = low - low % PAGE_BYTES;
    uint64_t switch_off = f->window.switch_off;
    f->window.low = low;
    pthread_mutex_unlock(&f->lock);

    punch(f->fd, from, to < switch_off ? to : switch_off);
    if (to > switch_off)
        punch(f->window.memfd, from > switch_off ? from : switch_off, to);

    pthread_mutex_lock(&f->lock);
    f->window.punched = to > from ? to : from;
    if (held_locked(f) == 0 || held_locked(f) <= fills_memory_bytes(f->fills) / 4 * 3) {
        f->window.want_room = false;
        fill_tell_locked(f, NEWS_ROOM);
    }
    pthread_mutex_unlock(&f->lock);
}
