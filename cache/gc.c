#include "config.h"

#include "cache/gc.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/cache_private.h"
#include "cache/gc_private.h"
#include "cache/run_report.h"

#define PREFIX "gc"

struct gc {
    struct gc_place place;
    struct errands *errands;
    unsigned n_batch;
    struct errand turn; /* of the run, while there is one */
    struct gc_run *run; /* of whoever set is_running */
    uint64_t n_expected;
    pthread_mutex_t lock;    /* guards what follows */
    struct gc_report report; /* of the run, as of its last turn, or of the last run */
    bool is_stopping;
};

struct gc *gc_new(const struct gc_place *place, struct errands *errands, unsigned n_batch)
{
    struct gc *g = xcalloc(1, sizeof(*g));

    CHECK(!place->is_dry);
    g->place = *place;
    g->errands = errands;
    g->n_batch = n_batch > 0 ? n_batch : 1;
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

void gc_free(struct gc **gg)
{
    struct gc *g = *gg;

    if (!g)
        return;
    CHECK(!g->run);
    pthread_mutex_destroy(&g->lock);
    free(g);
    *gg = NULL;
}

/* Makes the one run there may be; false when there is one, or shall be none. */
static bool begin(struct gc *g)
{
    pthread_mutex_lock(&g->lock);
    bool can_run = g->place.lock && !g->is_stopping && !g->report.is_running;
    if (can_run)
        g->report.is_running = true;
    pthread_mutex_unlock(&g->lock);
    if (!can_run)
        return false;
    CHECK(!g->run);
    g->run = gc_run_new(&g->place, g->n_expected);
    metric_set(METRIC_GC_RUNNING, 1);
    return true;
}

static void log_end(const struct gc_report *r)
{
    if (!r->is_complete && r->problem[0] != '\0')
        log_warning(PREFIX, "nothing more was collected: %s", r->problem);
    log_info(PREFIX,
             "%s: %" PRIu64 " of %" PRIu64 " blobs (%" PRIu64 " bytes) and %" PRIu64
             " links removed; %" PRIu64 " repositories, %" PRIu64 " manifests",
             r->is_complete ? "complete" : "not complete", r->n_removed, r->n_blobs,
             r->bytes_removed, r->n_links_removed, r->n_repositories, r->n_manifests);
}

static void end(struct gc *g)
{
    struct gc_run *run = g->run;
    struct gc_report report = run->report;

    g->run = NULL;
    report.is_running = false;
    if (report.is_complete)
        g->n_expected = run->n_marks > report.n_blobs ? run->n_marks : report.n_blobs;
    log_end(&report);
    gc_run_free(&run);
    metric_set(METRIC_GC_RUNNING, 0);
    metric_inc(report.is_complete ? METRIC_GC_RUNS_DONE : METRIC_GC_RUNS_FAILED);
    /* From here on another run may begin, which sees all of the above. */
    pthread_mutex_lock(&g->lock);
    g->report = report;
    pthread_mutex_unlock(&g->lock);
}

/* Between two turns other work of the pool goes first. */
static void do_turn(struct errand *e)
{
    struct gc *g = (struct gc *)((char *)e - offsetof(struct gc, turn));
    bool has_more = gc_run_turn(g->run, g->n_batch);

    pthread_mutex_lock(&g->lock);
    g->report = g->run->report;
    g->report.is_running = true;
    bool is_stopping = g->is_stopping;
    pthread_mutex_unlock(&g->lock);
    if (has_more && !is_stopping)
        errand_submit(g->errands, &g->turn, do_turn, NULL);
    else
        end(g);
}

void gc_start(struct gc *g)
{
    if (!g->place.lock)
        log_warning(PREFIX, "nothing is collected: the storage could not be locked");
    else if (begin(g))
        errand_submit(g->errands, &g->turn, do_turn, NULL);
}

void gc_stop(struct gc *g)
{
    pthread_mutex_lock(&g->lock);
    g->is_stopping = true;
    pthread_mutex_unlock(&g->lock);
}

void gc_read_report(struct gc *g, struct gc_report *out)
{
    pthread_mutex_lock(&g->lock);
    *out = g->report;
    pthread_mutex_unlock(&g->lock);
}

void gc_print_json(struct gc *g, struct strbuf *out)
{
    struct gc_report r;

    gc_read_report(g, &r);
    const struct run_report whole = {r.is_running, r.is_complete, r.started_at_s, r.ended_at_s,
                                     r.problem};
    const struct run_count counts[] = {
        {"repositories", r.n_repositories},
        {"manifests", r.n_manifests},
        {"blobs", r.n_blobs},
        {"removed", r.n_removed},
        {"bytes_removed", r.bytes_removed},
        {"links_removed", r.n_links_removed},
        {"young", r.n_young},
        {"errors", r.n_errors},
    };
    run_report_print(&whole, counts, sizeof(counts) / sizeof(counts[0]), "", out);
}

/* --- for the command line --------------------------------------------------------------------- */

static int run_to_the_end(struct gc_run *run, struct gc_report *out, struct error *err)
{
    while (gc_run_turn(run, 1000))
        continue;
    *out = run->report;
    return run->rc < 0 ? error_set(err, run->rc, "%s", run->report.problem) : 0;
}

int gc_dry_run(const char *storage_path, unsigned grace_s, gc_candidate_fn tell, void *arg,
               struct gc_report *out, struct error *err)
{
    struct gc_place place = {
        .layout = layout_new(storage_path),
        .grace_s = grace_s,
        .is_dry = true,
    };
    struct gc_run *run = gc_run_new(&place, 0);

    run->tell = tell;
    run->arg = arg;
    int rc = run_to_the_end(run, out, err);
    gc_run_free(&run);
    layout_free(&place.layout);
    return rc;
}

int gc_run_offline(struct gc *g, gc_candidate_fn tell, void *arg, struct gc_report *out,
                   struct error *err)
{
    struct gc_place place = g->place;

    if (!place.lock)
        return error_set(err, -ENOLCK, "the storage could not be locked");
    int rc = storage_lock_enter(place.lock);
    if (rc < 0)
        return error_sys(err, rc, "lock the storage");
    storage_lock_leave(place.lock);
    /* Nobody has been told anything by this process. */
    place.vouches = NULL;
    struct gc_run *run = gc_run_new(&place, 0);
    run->tell = tell;
    run->arg = arg;
    rc = run_to_the_end(run, out, err);
    gc_run_free(&run);
    return rc;
}
