#include "config.h"

#include "mirrord/space.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sys/statvfs.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/evict.h"
#include "cache/ledger.h"

#define PREFIX "space"
#define JUMP_S 3600 /* by so much the wall clock moves only when somebody sets it */

struct space {
    struct pool_job job; /* first: asks the filesystem */
    struct cache *cache;
    struct pool *pool;
    struct worker *home;
    const char *path;
    struct space_settings settings;
    struct space_room asked;    /* by the job */
    int rc;                     /* of the job */
    struct space_room room;     /* as of the last answer */
    struct evict_limits limits; /* in force */
    int64_t clock_gap_s;        /* of the two clocks, when it was last looked at */
    bool has_clock_gap;
    int64_t ahead_s; /* by so much the wall clock was set forward lately */
    uint64_t set_at_ms;
    bool is_asking;
    bool was_told;      /* that the limit cannot be kept */
    bool was_told_mute; /* that the filesystem does not answer */
};

/* --- arithmetic ------------------------------------------------------------------------------- */

static uint64_t share(uint64_t whole, unsigned percent)
{
    return whole / 100 * percent + whole % 100 * percent / 100;
}

static uint64_t bytes_of(const struct config_space *s, const struct space_room *room)
{
    return s->percent > 0 ? share(room->total_bytes, s->percent) : s->bytes;
}

/* What may be stored so that min_free stays free; UINT64_MAX: any amount. At least 1, since 0 would
 * mean no limit. */
static uint64_t max_by_room(const struct space_settings *s, const struct space_room *room,
                            uint64_t stored)
{
    uint64_t free_bytes = bytes_of(&s->min_free, room);
    uint64_t all = stored + room->available_bytes;

    if (free_bytes == 0 || room->total_bytes == 0)
        return UINT64_MAX;
    return all > free_bytes ? all - free_bytes : 1;
}

uint64_t space_max_bytes(const struct space_settings *s, const struct space_room *room,
                         uint64_t stored)
{
    uint64_t by_size = bytes_of(&s->max_size, room);
    uint64_t by_room = max_by_room(s, room, stored);

    if (by_size == 0)
        return by_room == UINT64_MAX ? 0 : by_room;
    return by_size < by_room ? by_size : by_room;
}

/* The room that is to stay free is a mark already; eviction makes a little more of it, so that it
 * does not begin again at once. */
void space_limits(const struct space_settings *s, const struct space_room *room, uint64_t stored,
                  struct evict_limits *out)
{
    uint64_t by_size = bytes_of(&s->max_size, room);
    uint64_t by_room = max_by_room(s, room, stored);
    uint64_t more = share(bytes_of(&s->min_free, room), s->high_percent - s->low_percent);
    struct evict_limits limits = {.max_age_s = s->max_age_s};

    CHECK(s->low_percent < s->high_percent && s->high_percent <= 100);
    if (by_size > 0) {
        limits.high_bytes = share(by_size, s->high_percent);
        limits.high_bytes += limits.high_bytes == 0;
        limits.low_bytes = share(by_size, s->low_percent);
    }
    if (by_room < UINT64_MAX && (by_size == 0 || by_room < limits.high_bytes)) {
        limits.high_bytes = by_room;
        limits.low_bytes = by_room > more ? by_room - more : 0;
        limits.is_for_room = true;
    }
    *out = limits;
}

/* --- what follows from it --------------------------------------------------------------------- */

/* Once each time it begins. */
static void tell_excess(struct space *s, const struct ledger_bytes *b)
{
    const struct evict_limits *limits = &s->limits;
    struct evict_report report;

    evict_read_report(cache_evict(s->cache), &report);
    bool is_over = limits->high_bytes > 0 && b->blobs + b->filling > limits->high_bytes;
    bool is_stuck = is_over && report.is_short && !report.is_running;
    if (is_stuck && !s->was_told)
        log_warning(PREFIX,
                    "%" PRIu64 " bytes are stored where %" PRIu64
                    " may be, and none of it can be evicted: %" PRIu64 " are pushed, %" PRIu64
                    " pinned, the rest is in use",
                    b->blobs + b->filling, limits->high_bytes, b->pushed, b->pinned);
    s->was_told = is_stuck || (s->was_told && is_over);
}

static bool is_news(const struct evict_limits *a, const struct evict_limits *b)
{
    return a->high_bytes != b->high_bytes || a->low_bytes != b->low_bytes ||
           a->max_age_s != b->max_age_s || a->is_for_room != b->is_for_room;
}

/* Who was used before the wall clock was set forward looks older than he is, by that much, until
 * the limit of age has passed since. */
static void look_at_clock(struct space *s)
{
    uint64_t now_ms = clock_mono_ms();
    int64_t gap_s = clock_wall_s() - (int64_t)(now_ms / 1000);
    int64_t moved_s = s->has_clock_gap ? gap_s - s->clock_gap_s : 0;

    s->clock_gap_s = gap_s;
    s->has_clock_gap = true;
    if (moved_s >= JUMP_S || moved_s <= -JUMP_S) {
        s->ahead_s += moved_s;
        s->set_at_ms = now_ms;
        if (s->settings.max_age_s > 0)
            log_warning(PREFIX, "the clock has been set by %" PRId64 " seconds", moved_s);
    } else if ((int64_t)((now_ms - s->set_at_ms) / 1000) >= s->settings.max_age_s) {
        s->ahead_s = 0;
    }
}

/* Eviction is told of news only: it takes them for a reason to look at everything again. */
static void put_in_force(struct space *s)
{
    struct ledger_bytes bytes;
    struct evict_limits limits;

    ledger_read_bytes(cache_ledger(s->cache), &bytes);
    uint64_t stored = bytes.blobs + bytes.filling;
    space_limits(&s->settings, &s->room, stored, &limits);
    look_at_clock(s);
    if (limits.max_age_s > 0 && s->ahead_s > 0)
        limits.max_age_s += s->ahead_s;
    if (is_news(&limits, &s->limits))
        evict_set_limits(cache_evict(s->cache), &limits);
    s->limits = limits;
    metric_set(METRIC_CACHE_LIMIT, (int64_t)space_max_bytes(&s->settings, &s->room, stored));
    tell_excess(s, &bytes);
}

/* --- asking ----------------------------------------------------------------------------------- */

static void do_ask(struct pool_job *job)
{
    struct space *s = (struct space *)job;
    struct statvfs fs;

    s->asked = (struct space_room){0};
    s->rc = statvfs(s->path, &fs) < 0 ? -errno : 0;
    if (s->rc == 0) {
        s->asked.total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
        s->asked.available_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    }
}

static void on_asked(struct pool_job *job)
{
    struct space *s = (struct space *)job;

    CHECK(s->is_asking);
    s->is_asking = false;
    if (s->rc < 0 && !s->was_told_mute)
        log_warning(PREFIX, "the filesystem of %s does not tell its size: %s", s->path,
                    strerror(-s->rc));
    s->was_told_mute = s->rc < 0;
    /* Of a filesystem that is silent now the size is known all the same; its room is not. */
    if (s->rc == 0)
        s->room = s->asked;
    put_in_force(s);
}

void space_tick(struct space *s)
{
    if (s->is_asking)
        return;
    s->is_asking = true;
    s->job.work = do_ask;
    s->job.done = on_asked;
    pool_submit(s->pool, &s->job, s->home);
}

void space_set(struct space *s, const struct space_settings *settings)
{
    CHECK(settings->low_percent < settings->high_percent);
    s->settings = *settings;
    if (s->room.total_bytes > 0)
        put_in_force(s);
}

struct space *space_new(struct cache *cache, struct pool *pool, struct worker *home,
                        const char *storage_path)
{
    struct space *s = xcalloc(1, sizeof(*s));

    CHECK(cache && pool && home);
    s->cache = cache;
    s->pool = pool;
    s->home = home;
    s->path = storage_path;
    s->settings.high_percent = 100;
    return s;
}

void space_free(struct space **ss)
{
    struct space *s = *ss;

    if (!s)
        return;
    CHECK(!s->is_asking);
    free(s);
    *ss = NULL;
}
