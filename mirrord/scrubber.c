#include "config.h"

#include "mirrord/scrubber.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/scrub.h"

struct scrubber {
    struct pool_job job; /* first: a turn */
    struct scrub *scrub;
    struct pool *pool;
    struct worker *home;
    struct event *timer; /* NULL once it is stopped */
    uint64_t wait_ms;    /* as the turn said */
    bool is_running;
    bool was_kicked; /* meanwhile */
};

static void do_turn(struct pool_job *job)
{
    struct scrubber *b = (struct scrubber *)job;

    b->wait_ms = scrub_turn(b->scrub);
}

static void arm(struct scrubber *b, uint64_t ms)
{
    struct timeval t = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

    CHECK(event_add(b->timer, &t) == 0);
}

static void on_turned(struct pool_job *job)
{
    struct scrubber *b = (struct scrubber *)job;

    b->is_running = false;
    if (!b->timer)
        return;
    if (b->was_kicked)
        arm(b, 0);
    else if (b->wait_ms != UINT64_MAX)
        arm(b, b->wait_ms);
    b->was_kicked = false;
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct scrubber *b = arg;

    (void)fd;
    (void)what;
    CHECK(!b->is_running);
    b->is_running = true;
    pool_submit(b->pool, &b->job, b->home);
}

struct scrubber *scrubber_new(struct scrub *s, struct pool *pool, struct worker *home)
{
    struct scrubber *b = xcalloc(1, sizeof(*b));

    b->job.work = do_turn;
    b->job.done = on_turned;
    b->scrub = s;
    b->pool = pool;
    b->home = home;
    b->timer = evtimer_new(worker_event_base(home), on_time, b);
    CHECK(b->timer);
    return b;
}

void scrubber_kick(struct scrubber *b)
{
    if (b->is_running)
        b->was_kicked = true;
    else if (b->timer)
        arm(b, 0);
}

void scrubber_stop(struct scrubber *b)
{
    if (b->timer)
        event_free(b->timer);
    b->timer = NULL;
}

void scrubber_free(struct scrubber **bb)
{
    struct scrubber *b = *bb;

    if (!b)
        return;
    CHECK(!b->timer);
    free(b);
    *bb = NULL;
}
