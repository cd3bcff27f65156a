#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/gc_private.h"
#include "cache/vouch_private.h"

#define PREFIX "gc"
#define LOGGED_MAX 10 /* problems of one run */

static const char *const PHASES[] = {
    [GC_COUNT] = "count", [GC_MARK] = "mark", [GC_SWEEP] = "sweep",
    [GC_TIDY] = "tidy",   [GC_END] = "end",
};
_Static_assert(sizeof(PHASES) / sizeof(PHASES[0]) == GC_PHASE_MAX, "one row per phase");

struct gc_run *gc_run_new(const struct gc_place *place, uint64_t n_expected)
{
    struct gc_run *run = xcalloc(1, sizeof(*run));

    CHECK(place->is_dry || (place->store && place->links && place->lock));
    run->place = *place;
    run->n_expected = n_expected;
    run->report.is_running = true;
    run->report.started_at_s = clock_wall_s();
    if (place->vouches)
        vouches_begin_run(place->vouches);
    return run;
}

void gc_run_free(struct gc_run **rr)
{
    struct gc_run *run = *rr;

    if (!run)
        return;
    if (run->place.vouches)
        vouches_end_run(run->place.vouches);
    if (run->folder)
        closedir(run->folder);
    link_walk_free(&run->links);
    bloom_free(&run->marks);
    free(run);
    *rr = NULL;
}

void gc_run_note(struct gc_run *run, const struct error *err)
{
    run->report.n_errors++;
    snprintf(run->report.problem, sizeof(run->report.problem), "%s", err->text);
    /* A disk that cannot be written fails once for each blob. */
    if (run->report.n_errors <= LOGGED_MAX)
        log_warning(PREFIX, "%s", err->text);
}

static void go_to(struct gc_run *run, enum gc_phase phase)
{
    CHECK(phase > run->phase && phase < GC_PHASE_MAX);
    log_debug(PREFIX, "%s -> %s", PHASES[run->phase], PHASES[phase]);
    run->phase = phase;
    if (phase != GC_END)
        return;
    run->report.is_running = false;
    run->report.ended_at_s = clock_wall_s();
}

void gc_run_give_up(struct gc_run *run, const struct error *err)
{
    CHECK(err->code < 0);
    run->rc = err->code;
    run->report.n_errors++;
    snprintf(run->report.problem, sizeof(run->report.problem), "%s", err->text);
    if (run->phase != GC_END)
        go_to(run, GC_END);
}

bool gc_run_is_old(const struct gc_run *run, int64_t mtime_s)
{
    return mtime_s + (int64_t)run->place.grace_s < clock_wall_s();
}

static bool phase_turn(struct gc_run *run, unsigned n_max)
{
    switch (run->phase) {
    case GC_COUNT:
        return gc_count_turn(run);
    case GC_MARK:
        return gc_mark_turn(run, n_max);
    case GC_SWEEP:
        return gc_sweep_turn(run, n_max);
    case GC_TIDY:
        return gc_tidy_turn(run, n_max);
    default:
        return false;
    }
}

bool gc_run_turn(struct gc_run *run, unsigned n_max)
{
    CHECK(n_max > 0);
    if (!phase_turn(run, n_max) && run->phase != GC_END) {
        go_to(run, run->phase + 1);
        run->report.is_complete = run->phase == GC_END;
    }
    return run->phase != GC_END;
}
