#include "config.h"

#include "cache/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/disk.h"
#include "cache/upload_private.h"

#define BIT(state) (1u << (state))

/* One row per state: what may follow. */
static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [UPLOAD_LOADING] = {"loading", BIT(UPLOAD_HELD) | BIT(UPLOAD_REMOVING) | BIT(UPLOAD_GONE)},
    [UPLOAD_HELD] = {"held", BIT(UPLOAD_IDLE) | BIT(UPLOAD_COMMITTING) | BIT(UPLOAD_REMOVING)},
    [UPLOAD_IDLE] = {"idle", BIT(UPLOAD_HELD) | BIT(UPLOAD_REMOVING) | BIT(UPLOAD_CLOSING)},
    [UPLOAD_COMMITTING] = {"committing",
                           BIT(UPLOAD_IDLE) | BIT(UPLOAD_REMOVING) | BIT(UPLOAD_GONE)},
    [UPLOAD_REMOVING] = {"removing", BIT(UPLOAD_GONE)},
    [UPLOAD_CLOSING] = {"closing", BIT(UPLOAD_GONE)},
    [UPLOAD_GONE] = {"gone", 0},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == UPLOAD_STATE_MAX, "one row per state");

static void on_room(struct mail *m);

struct upload *upload_new(struct uploads *us, struct slice repo, const char *id, bool is_single)
{
    struct upload *u = xcalloc(1, sizeof(*u));
    struct layout *l = uploads_layout(us);

    CHECK(upload_id_is_valid(slice_of(id)));
    u->uploads = us;
    snprintf(u->id, sizeof(u->id), "%s", id);
    snprintf(u->prefix, sizeof(u->prefix), "upload %s", id);
    u->repo = xmemdup0(repo.ptr, repo.len);
    u->is_single = is_single;
    u->folder = is_single ? NULL : layout_upload(l, repo, slice_of(id));
    u->path = is_single ? layout_tmp_file(l) : xasprintf("%s/data", u->folder);
    atomic_init(&u->refs, 1);
    u->state = UPLOAD_LOADING;
    u->fd = -1;
    u->room_mail.fn = on_room;
    return u;
}

struct upload *upload_retain(struct upload *u)
{
    CHECK(atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed) > 0);
    return u;
}

void upload_drop(struct upload *u)
{
    unsigned before = atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel);

    CHECK(before > 0);
    if (before > 1)
        return;
    /* Work has closed it: that may have to wait for the disk. */
    CHECK(u->fd < 0 && !u->is_working && !u->is_listed);
    hasher_free(&u->hasher);
    free(u->path);
    free(u->folder);
    free(u->repo);
    free(u);
}

void upload_abandon(struct upload *u)
{
    if (u->fd >= 0) {
        close(u->fd);
        metric_add(METRIC_UPLOADS_OPEN, -1);
    }
    u->fd = -1;
    if (u->is_single)
        unlink(u->path);
    free(u->ask);
    free(u->ending);
    upload_drop(u);
}

void upload_goto_locked(struct upload *u, enum upload_state state)
{
    CHECK(STATES[u->state].next & BIT(state));
    log_debug(u->prefix, "%s -> %s", STATES[u->state].name, STATES[state].name);
    u->state = state;
    if (state != UPLOAD_HELD) {
        u->home = NULL;
        u->want_room = false;
    }
    if (state == UPLOAD_GONE)
        upload_drop(u);
}

/* --- the holder ------------------------------------------------------------------------------ */

const char *upload_id(const struct upload *u)
{
    return u->id;
}

uint64_t upload_size(const struct upload *u)
{
    return u->size;
}

bool upload_is_behind_locked(const struct upload *u)
{
    return !u->is_unreadable && u->size - u->hashed > u->lag_max;
}

void upload_make_room_locked(struct upload *u)
{
    if (!u->want_room || u->is_room_posted || upload_is_behind_locked(u))
        return;
    u->is_room_posted = true;
    upload_retain(u);
    worker_post(u->home, &u->room_mail);
}

/* The one who waited may be gone, and another wait on another worker. */
static void on_room(struct mail *m)
{
    struct upload *u = (struct upload *)((char *)m - offsetof(struct upload, room_mail));
    void (*room)(void *arg) = NULL;
    void *arg = NULL;

    uploads_lock(u->uploads);
    u->is_room_posted = false;
    if (u->want_room && worker_is_current(u->home) && !upload_is_behind_locked(u)) {
        u->want_room = false;
        room = u->room;
        arg = u->room_arg;
    } else
        upload_make_room_locked(u);
    uploads_unlock(u->uploads);
    if (room)
        room(arg);
    upload_drop(u);
}

void upload_on_room(struct upload *u, void (*room)(void *arg), void *arg)
{
    CHECK(worker_is_current(u->home));
    uploads_lock(u->uploads);
    u->room = room;
    u->room_arg = arg;
    uploads_unlock(u->uploads);
}

/* Notes that the file ends at `size` now. True: the writer has to wait. */
static bool note_written(struct upload *u, uint64_t size, bool want_more)
{
    uploads_lock(u->uploads);
    CHECK(u->state == UPLOAD_HELD);
    /* The hash was finished for a commit that failed: it begins anew. */
    if (u->is_found && size > u->size) {
        u->is_found = false;
        u->hashed = 0;
        u->lag_max = size + UPLOAD_LAG_BYTES;
    }
    u->size = size;
    u->touched_s = clock_wall_s();
    upload_poke_locked(u);
    u->want_room = want_more && upload_is_behind_locked(u);
    bool has_to_wait = u->want_room;
    uploads_unlock(u->uploads);
    return has_to_wait;
}

int upload_write(struct upload *u, const void *p, size_t n)
{
    uint64_t end = u->size;

    CHECK(worker_is_current(u->home));
    if (u->is_published)
        return -ESTALE;
    int rc = disk_append(u->fd, p, n, &end);
    metric_add(METRIC_UPLOAD_BYTES, (int64_t)(end - u->size));
    bool has_to_wait = note_written(u, end, rc == 0);
    return rc < 0 ? rc : has_to_wait;
}

void upload_release(struct upload **uu)
{
    struct upload *u = *uu;

    *uu = NULL;
    if (!u)
        return;
    CHECK(worker_is_current(u->home));
    uploads_lock(u->uploads);
    if (u->is_single)
        upload_goto_locked(u, UPLOAD_REMOVING);
    else
        uploads_rest_locked(u);
    upload_poke_locked(u);
    uploads_unlock(u->uploads);
}

/* --- endings ---------------------------------------------------------------------------------- */

/* What has failed is free for another try only now, so that who tries again finds it. */
static void give_back(struct upload *u)
{
    uploads_lock(u->uploads);
    if (u->is_single)
        upload_goto_locked(u, UPLOAD_REMOVING);
    else
        uploads_rest_locked(u);
    upload_poke_locked(u);
    uploads_unlock(u->uploads);
}

static void on_ended(struct mail *m)
{
    struct upload_ending *e = (struct upload_ending *)m;

    if (!e->is_over)
        give_back(e->upload);
    if (e->committed)
        e->committed(e->arg, e->rc, &e->found, &e->err);
    else if (e->cancelled)
        e->cancelled(e->arg);
    upload_drop(e->upload);
    free(e);
}

void upload_tell_ended(struct upload_ending *e)
{
    worker_post(e->home, &e->mail);
}

/* Ends the hold; work goes on with it in this state. */
static void begin_ending(struct upload **uu, struct upload_ending *e, enum upload_state state)
{
    struct upload *u = *uu;

    *uu = NULL;
    CHECK(worker_is_current(u->home));
    e->mail.fn = on_ended;
    e->home = u->home;
    e->upload = upload_retain(u);
    uploads_lock(u->uploads);
    CHECK(!u->ending);
    u->ending = e;
    upload_goto_locked(u, state);
    upload_poke_locked(u);
    uploads_unlock(u->uploads);
}

void upload_commit(struct upload **u, const struct digest *d, upload_commit_fn done, void *arg)
{
    struct upload_ending *e = xcalloc(1, sizeof(*e));

    CHECK(done);
    e->digest = *d;
    e->committed = done;
    e->arg = arg;
    begin_ending(u, e, UPLOAD_COMMITTING);
}

void upload_cancel(struct upload **u, void (*done)(void *arg), void *arg)
{
    struct upload_ending *e = xcalloc(1, sizeof(*e));

    e->cancelled = done;
    e->arg = arg;
    begin_ending(u, e, UPLOAD_REMOVING);
}
