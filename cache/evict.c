#include "config.h"

#include "cache/evict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/worker.h"
#include "cache/evict_private.h"
#include "cache/vouch_private.h"

#define BATCH_BLOBS 512 /* about so many are removed before other work has its turn … */
#define BATCH_MIN 64    /* … or fewer, where that many take longer than … */
#define BATCH_MS 250
#define BATCH_ROOTS 512 /* that are looked at in one */
#define HELPERS 3
#define REST_MS 5000 /* after a run that found nothing more to evict */
#define AGE_MS 60000 /* between two looks for what is too old */

struct evict *evict_new(const struct evict_place *place)
{
    struct evict *e = xcalloc(1, sizeof(*e));

    CHECK(place->ledger && place->store && place->links && place->tags && place->fills);
    e->place = *place;
    e->team = team_new(place->errands, HELPERS);
    e->batch_blobs = BATCH_BLOBS;
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

void evict_free(struct evict **ee)
{
    struct evict *e = *ee;

    if (!e)
        return;
    CHECK(!atomic_load(&e->is_running));
    team_free(&e->team);
    pthread_mutex_destroy(&e->lock);
    free(e);
    *ee = NULL;
}

void evict_set_cost(struct evict *e, evict_cost_fn cost, void *arg)
{
    e->cost = cost;
    e->cost_arg = arg;
}

/* --- limits ----------------------------------------------------------------------------------- */

void evict_set_limits(struct evict *e, const struct evict_limits *limits)
{
    uint64_t low = limits->low_bytes < limits->high_bytes ? limits->low_bytes : limits->high_bytes;

    atomic_store(&e->low_bytes, low);
    atomic_store(&e->high_bytes, limits->high_bytes);
    atomic_store(&e->max_age_s, limits->max_age_s);
    atomic_store(&e->is_for_room, limits->is_for_room);
    atomic_store(&e->rest_until_ms, 0);
    atomic_store(&e->aged_at_ms, 0);
    metric_set(METRIC_EVICT_LIMIT, (int64_t)limits->high_bytes);
    evict_start(e);
}

void evict_read_limits(struct evict *e, struct evict_limits *out)
{
    *out = (struct evict_limits){atomic_load(&e->high_bytes), atomic_load(&e->low_bytes),
                                 atomic_load(&e->max_age_s), atomic_load(&e->is_for_room)};
}

static bool is_above(struct evict *e, uint64_t limit)
{
    return atomic_load(&e->high_bytes) > 0 && ledger_stored_bytes(e->place.ledger) > limit;
}

/* --- one batch -------------------------------------------------------------------------------- */

static void set_problem(struct evict *e, const struct error *err)
{
    pthread_mutex_lock(&e->lock);
    snprintf(e->report.problem, sizeof(e->report.problem), "%s", err->text);
    pthread_mutex_unlock(&e->lock);
}

/* Other processes that were present may have pushed what the ledger does not know. */
static int enter_storage(struct evict *e, struct error *err)
{
    if (!e->place.lock)
        return error_set(err, -ENOLCK, "the storage could not be locked");
    int rc = storage_lock_enter(e->place.lock);
    if (rc == -EBUSY)
        return error_set(err, rc,
                         "another process uses this storage; only one that is alone evicts");
    if (rc < 0)
        return error_sys(err, rc, "lock the storage");
    if (storage_lock_had_company(e->place.lock)) {
        storage_lock_leave(e->place.lock);
        ledger_want_walk(e->place.ledger);
        return error_set(err, -EAGAIN, "another process has used this storage");
    }
    return 0;
}

/* Brackets a batch. The vouches first: who vouched for something before this moment, and has not
 * released his hold, is seen; who has, has noted what he linked, and the ledger reads that next. */
static int enter(struct evict *e, struct error *err)
{
    int rc = enter_storage(e, err);

    if (rc < 0)
        return rc;
    vouches_begin_eviction(e->place.vouches);
    rc = ledger_enter_batch(e->place.ledger, err);
    if (rc < 0) {
        vouches_end_eviction(e->place.vouches);
        storage_lock_leave(e->place.lock);
    }
    return rc;
}

static int leave(struct evict *e, struct error *err)
{
    int rc = ledger_leave(e->place.ledger, err);

    vouches_end_eviction(e->place.vouches);
    storage_lock_leave(e->place.lock);
    return rc;
}

static void count(struct evict *e, const struct evict_result *sum)
{
    pthread_mutex_lock(&e->lock);
    e->report.n_images += sum->n_images;
    e->report.n_blobs += sum->n_blobs;
    e->report.bytes += sum->bytes;
    e->report.n_images_total += sum->n_images;
    e->report.n_blobs_total += sum->n_blobs;
    e->report.bytes_total += sum->bytes;
    e->report.n_links_total += sum->n_links;
    pthread_mutex_unlock(&e->lock);
}

static void add_plan(struct evict_batch *batch, struct evict_plan *plan)
{
    if (batch->n == batch->n_room) {
        batch->n_room = batch->n_room ? batch->n_room * 2 : 64;
        batch->plans = xrealloc(batch->plans, batch->n_room * sizeof(batch->plans[0]));
    }
    batch->plans[batch->n++] = plan;
    for (size_t i = 0; i < plan->n; i++) {
        if (plan->items[i].fate == EVICT_GOES && plan->items[i].has_size) {
            batch->n_blobs++;
            batch->bytes += plan->items[i].size;
        }
    }
}

/* One root is to go, or stays for a reason. True when its rows have gone. */
static bool take(struct evict *e, const struct evict_root *root, enum evict_reason reason,
                 struct evict_batch *batch, struct evict_result *sum)
{
    struct ledger *l = e->place.ledger;
    bool is_root;
    const char *why = NULL;
    struct evict_plan *plan = evict_plan_new(l, root, &why, &is_root);

    CHECK(l->db);
    if (plan && evict_is_busy(e, plan)) {
        why = "busy";
        evict_plan_free(&plan);
        pthread_mutex_lock(&e->lock);
        e->report.n_busy++;
        pthread_mutex_unlock(&e->lock);
    } else if (!plan && !is_root && root->id != 0) {
        ledger_run(l->db, LEDGER_ROOT_END, "i", root->id);
    }
    if (why) {
        sum->n_kept++;
        snprintf(sum->why, sizeof(sum->why), "%s", why);
    }
    if (!plan)
        return false;
    plan->reason = reason;
    evict_drop_rows(l, plan);
    add_plan(batch, plan);
    return true;
}

static void add_result(struct evict_result *sum, const struct evict_result *one)
{
    sum->n_images += one->n_images;
    sum->n_links += one->n_links;
    sum->n_blobs += one->n_blobs;
    sum->bytes += one->bytes;
}

/* Its root is none any more. */
static bool has_gone(const struct evict_plan *plan)
{
    return plan->repo_name ? plan->items[0].is_unlinked : plan->items[0].fate == EVICT_GOES;
}

/* The files, now that the rows say which: adds to *sum. How many images have gone. */
static size_t finish(struct evict *e, struct evict_batch *batch, struct evict_result *sum)
{
    struct ledger *l = e->place.ledger;
    bool is_other = false;
    size_t n_gone = 0, i;

    /* What could not be written down is not done. */
    if (batch->n > 0 && !ledger_db_has_failed(l->db))
        evict_remove(e, batch);
    for (i = 0; i < batch->n; i++)
        is_other = is_other || batch->plans[i]->is_other;
    if (is_other)
        ledger_roll_back(l);
    for (i = 0; i < batch->n; i++) {
        if (is_other)
            evict_redo_rows(l, batch->plans[i]);
        add_result(sum, &batch->plans[i]->gone);
        n_gone += has_gone(batch->plans[i]);
        evict_plan_free(&batch->plans[i]);
    }
    free(batch->plans);
    *batch = (struct evict_batch){0};
    return n_gone;
}

/* A slow disk gets smaller batches: the ledger is not locked for long. */
static void note_time(struct evict *e, uint64_t began_at_ms)
{
    uint64_t took_ms = clock_mono_ms() - began_at_ms;

    if (took_ms > BATCH_MS && e->batch_blobs > BATCH_MIN)
        e->batch_blobs /= 2;
    else if (took_ms < BATCH_MS / 4 && e->batch_blobs < BATCH_BLOBS)
        e->batch_blobs *= 2;
}

/* What has not been used since. */
static int64_t cutoff_of(struct evict *e)
{
    int64_t max_age_s = atomic_load(&e->max_age_s);

    return max_age_s > 0 ? clock_wall_s() - max_age_s : INT64_MIN;
}

/* Why one more goes; EVICT_REASON_MAX: it does not. */
static enum evict_reason reason_for(struct evict *e, const struct evict_root *root,
                                    const struct evict_batch *batch, uint64_t low, int64_t cutoff)
{
    uint64_t freed = batch->bytes, now = ledger_stored_bytes(e->place.ledger);

    if (atomic_load(&e->high_bytes) > 0 && now > freed && now - freed > low)
        return atomic_load(&e->is_for_room) ? EVICT_FOR_SPACE : EVICT_FOR_SIZE;
    return root->used < cutoff ? EVICT_FOR_AGE : EVICT_REASON_MAX;
}

/* The least valuable ones go, until it is enough for this batch. True when there may be more. */
static bool take_least(struct evict *e, struct evict_result *sum, uint64_t low)
{
    struct ledger *l = e->place.ledger;
    struct evict_batch batch = {0};
    struct evict_root root;
    bool has_more = true, is_enough = false;
    int64_t cutoff = cutoff_of(e);

    evict_window_turn(&e->window, cutoff);
    for (unsigned n = 0; n < BATCH_ROOTS && batch.n_blobs < e->batch_blobs && !is_enough; n++) {
        if (!evict_next_root(e, &root, &has_more))
            break;
        enum evict_reason reason = reason_for(e, &root, &batch, low, cutoff);
        is_enough = reason == EVICT_REASON_MAX;
        has_more = !is_enough;
        if (!is_enough)
            take(e, &root, reason, &batch, sum);
    }
    bool has_planned = batch.n > 0;
    size_t n_gone = finish(e, &batch, sum);
    /* None of them could be removed: it would be the same again. */
    if (ledger_db_has_failed(l->db) || is_enough || (has_planned && n_gone == 0))
        return false;
    e->has_gone = e->has_gone || n_gone > 0;
    if (has_more || !e->has_gone)
        return has_more;
    /* What has gone may have left something that is older. */
    e->has_gone = false;
    evict_window_begin(&e->window);
    return true;
}

static bool is_due(struct evict *e, uint64_t limit)
{
    return is_above(e, limit) || atomic_load(&e->max_age_s) > 0;
}

/* False: the run is over. *rc: why, when it could not go on. */
static bool batch(struct evict *e, int *rc, struct error *err)
{
    struct evict_result sum = {0};
    uint64_t low = atomic_load(&e->low_bytes), began_at_ms = clock_mono_ms();
    bool has_more = false;

    *rc = enter(e, err);
    if (*rc < 0)
        return false;
    if (is_due(e, low))
        has_more = take_least(e, &sum, low);
    note_time(e, began_at_ms);
    *rc = leave(e, err);
    if (*rc == 0)
        count(e, &sum);
    return *rc == 0 && has_more;
}

/* --- runs ------------------------------------------------------------------------------------- */

static void begin_run(struct evict *e)
{
    evict_window_begin(&e->window);
    e->has_gone = false;
    pthread_mutex_lock(&e->lock);
    struct evict_report r = e->report;
    e->report = (struct evict_report){
        .is_running = true,
        .started_at_s = clock_wall_s(),
        .n_images_total = r.n_images_total,
        .n_blobs_total = r.n_blobs_total,
        .bytes_total = r.bytes_total,
        .n_links_total = r.n_links_total,
    };
    pthread_mutex_unlock(&e->lock);
    metric_set(METRIC_EVICT_RUNNING, 1);
}

static void end_run(struct evict *e, int rc, const struct error *err)
{
    bool is_short = rc == 0 && is_above(e, atomic_load(&e->high_bytes));

    CHECK(atomic_load(&e->is_running));
    evict_window_end(&e->window);
    pthread_mutex_lock(&e->lock);
    e->report.is_running = false;
    e->report.is_complete = rc == 0;
    e->report.is_short = is_short;
    e->report.ended_at_s = clock_wall_s();
    struct evict_report r = e->report;
    pthread_mutex_unlock(&e->lock);
    if (rc < 0)
        set_problem(e, err);
    if (rc < 0 && rc != -EAGAIN)
        log_warning(EVICT_PREFIX, "nothing more was evicted: %s", err->text);
    if (r.n_images + r.n_blobs > 0)
        log_info(EVICT_PREFIX, "%" PRIu64 " images, %" PRIu64 " blobs, %" PRIu64 " bytes evicted",
                 r.n_images, r.n_blobs, r.bytes);
    /* While it cannot be better it need not be tried at every blob. */
    if (rc < 0 || is_short)
        atomic_store(&e->rest_until_ms, clock_mono_ms() + (rc == -EAGAIN ? 1000 : REST_MS));
    atomic_store(&e->aged_at_ms, clock_mono_ms());
    metric_set(METRIC_EVICT_SHORT, is_short);
    metric_set(METRIC_EVICT_RUNNING, 0);
    atomic_store(&e->is_running, false);
}

/* Between two batches other work of the pool goes first. */
static void do_turn(struct errand *errand)
{
    struct evict *e = (struct evict *)((char *)errand - offsetof(struct evict, turn));
    struct error err;
    int rc;
    bool has_more = batch(e, &rc, &err);

    if (has_more && !atomic_load(&e->is_stopping))
        errand_submit(e->place.errands, &e->turn, do_turn, NULL);
    else
        end_run(e, rc, &err);
}

/* hot: called for each blob that is kept. */
void evict_start(struct evict *e)
{
    uint64_t now_ms = clock_mono_ms();
    bool is_large = is_above(e, atomic_load(&e->high_bytes));
    bool is_aged =
        atomic_load(&e->max_age_s) > 0 &&
        (atomic_load(&e->aged_at_ms) == 0 || now_ms - atomic_load(&e->aged_at_ms) >= AGE_MS);

    if ((!is_large && !is_aged) || now_ms < atomic_load(&e->rest_until_ms) ||
        atomic_load(&e->is_stopping) || atomic_exchange(&e->is_running, true))
        return;
    begin_run(e);
    errand_submit(e->place.errands, &e->turn, do_turn, NULL);
}

void evict_stop(struct evict *e)
{
    atomic_store(&e->is_stopping, true);
}

int evict_run_now(struct evict *e, struct error *err)
{
    int rc;

    CHECK(!worker_current());
    if (atomic_exchange(&e->is_running, true))
        return error_set(err, -EBUSY, "a run is under way");
    begin_run(e);
    while (batch(e, &rc, err))
        continue;
    end_run(e, rc, err);
    return rc;
}

/* --- one image -------------------------------------------------------------------------------- */

/* The roots that a name means, within a transaction. How many, of at most n_max. */
static size_t find_roots(struct ledger *l, int64_t repo, struct slice reference,
                         struct evict_root *out, size_t n_max)
{
    struct digest d;
    size_t n = 0;

    if (reference.len > 0) {
        bool is_digest = digest_parse(reference, &d);
        int64_t blob =
            is_digest ? ledger_blob(l, &d, 0, false)
                      : ledger_value(l->db, LEDGER_TAG_FIND, 0, "isi", repo, reference, (int64_t)0);
        if (blob == 0)
            return 0;
        bool is_revision = ledger_value(l->db, LEDGER_LINK_FIND, -1, "iii", blob,
                                        (int64_t)LINK_REVISION, repo) >= 0;
        out[0] = (struct evict_root){
            .repo = repo, .blob = blob, .kind = is_revision ? LINK_REVISION : LINK_LAYER};
        return 1;
    }
    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROOT_OF_REPO, "i", repo); s && n < n_max;
         s = ledger_next(l->db, LEDGER_ROOT_OF_REPO)) {
        out[n++] = (struct evict_root){
            .repo = repo,
            .blob = sqlite3_column_int64(s, 0),
            .kind = sqlite3_column_int64(s, 1) == LINK_REVISION ? LINK_REVISION : LINK_LAYER};
    }
    ledger_end(l->db, LEDGER_ROOT_OF_REPO);
    return n;
}

/* Why there is nothing of that name to go. */
static int refuse(struct ledger *l, int64_t repo, struct slice reference, struct evict_result *out)
{
    if (repo == 0 || reference.len == 0 ||
        ledger_value(l->db, LEDGER_TAG_FIND, 0, "isi", repo, reference, (int64_t)1) == 0)
        return -ENOENT;
    out->n_kept++;
    snprintf(out->why, sizeof(out->why), "pushed");
    return 0;
}

/* A batch of a repository. *n_kept_before: so many at the head stay for a reason. */
static int take_some(struct evict *e, struct slice repo_name, struct slice reference,
                     struct evict_result *out, bool *has_more)
{
    enum { AT_ONCE = 512 };
    struct ledger *l = e->place.ledger;
    struct evict_root *roots = xcalloc(AT_ONCE, sizeof(roots[0]));
    int64_t repo = ledger_repo(l, repo_name, false);
    size_t n = repo != 0 ? find_roots(l, repo, reference, roots, AT_ONCE) : 0;
    struct evict_batch batch = {0};
    bool is_cut = false;
    int rc = 0;

    if (n == 0 && out->n_images + out->n_links == 0)
        rc = refuse(l, repo, reference, out);
    out->n_kept = n == 0 ? out->n_kept : 0;
    for (size_t i = 0; i < n && !is_cut; i++) {
        take(e, &roots[i], EVICT_FOR_COMMAND, &batch, out);
        is_cut = batch.n_blobs >= e->batch_blobs && i + 1 < n;
    }
    size_t n_gone = finish(e, &batch, out);
    *has_more = reference.len == 0 && n_gone > 0 && (is_cut || n == AT_ONCE);
    free(roots);
    return rc;
}

int evict_image_now(struct evict *e, struct slice repo, struct slice reference,
                    struct evict_result *out, struct error *err)
{
    struct evict_result sum = {0};
    bool has_more;
    int rc;

    CHECK(!worker_current());
    do {
        has_more = false;
        rc = enter(e, err);
        if (rc < 0)
            return rc;
        int found = take_some(e, repo, reference, &sum, &has_more);
        rc = leave(e, err);
        if (rc == 0 && found < 0)
            rc = error_set(err, found, "nothing of that name is mirrored here");
    } while (rc == 0 && has_more && !atomic_load(&e->is_stopping));
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&e->lock);
    e->report.n_images_total += sum.n_images;
    e->report.n_blobs_total += sum.n_blobs;
    e->report.bytes_total += sum.bytes;
    e->report.n_links_total += sum.n_links;
    pthread_mutex_unlock(&e->lock);
    *out = sum;
    return 0;
}

/* One evict_image under way. */
struct asking {
    struct errand errand; /* first */
    struct evict *evict;
    char *repo, *reference;
    struct evict_result result;
    struct error err;
    int rc;
    evict_image_fn done;
    void *arg;
};

static void do_image(struct errand *errand)
{
    struct asking *a = (struct asking *)errand;

    a->rc =
        evict_image_now(a->evict, slice_of(a->repo), slice_of(a->reference), &a->result, &a->err);
}

static void on_image(struct errand *errand)
{
    struct asking *a = (struct asking *)errand;

    a->done(a->arg, a->rc, &a->result, &a->err);
    free(a->repo);
    free(a->reference);
    free(a);
}

void evict_image(struct evict *e, struct slice repo, struct slice reference, evict_image_fn done,
                 void *arg)
{
    struct asking *a = xcalloc(1, sizeof(*a));

    a->evict = e;
    a->repo = xmemdup0(repo.ptr, repo.len);
    a->reference = xmemdup0(reference.ptr, reference.len);
    a->done = done;
    a->arg = arg;
    errand_submit(e->place.errands, &a->errand, do_image, on_image);
}

/* --- reports ---------------------------------------------------------------------------------- */

void evict_read_report(struct evict *e, struct evict_report *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->report;
    pthread_mutex_unlock(&e->lock);
}

void evict_print_json(struct evict *e, struct strbuf *out)
{
    struct evict_report r;
    struct evict_limits limits;

    evict_read_report(e, &r);
    evict_read_limits(e, &limits);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"high_bytes", limits.high_bytes},
        {"low_bytes", limits.low_bytes},
        {"max_age_s", (uint64_t)limits.max_age_s},
        {"stored_bytes", ledger_stored_bytes(e->place.ledger)},
        {"images", r.n_images},
        {"blobs", r.n_blobs},
        {"bytes", r.bytes},
        {"images_total", r.n_images_total},
        {"blobs_total", r.n_blobs_total},
        {"bytes_total", r.bytes_total},
        {"links_total", r.n_links_total},
        {"busy", r.n_busy},
        {"errors", r.n_errors},
    };
    strbuf_addf(out,
                "{\"running\":%s,\"complete\":%s,\"short\":%s,\"started_at\":%" PRId64
                ",\"ended_at\":%" PRId64,
                r.is_running ? "true" : "false", r.is_complete ? "true" : "false",
                r.is_short ? "true" : "false", r.started_at_s, r.ended_at_s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        strbuf_addf(out, ",\"%s\":%" PRIu64, rows[i].name, rows[i].value);
    strbuf_add_str(out, ",\"problem\":\"");
    strbuf_add_json(out, slice_of(r.problem));
    strbuf_add_str(out, "\"}");
}
