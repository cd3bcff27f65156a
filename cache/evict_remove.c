/*
 * How the files of images go, each image on one thread: what points to it before what it points to.
 * Cut off at any moment there is garbage, or an image some of whose parts are asked of the upstream
 * again; the next walk of the ledger finds either. Nothing is synced: what a power cut brings back
 * is one of those, too.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/evict_private.h"
#include "cache/fill.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/store_private.h"
#include "cache/tag.h"
#include "cache/vouch_private.h"

struct removing {
    struct evict *evict;
    struct evict_batch *batch;
};

static bool is_wanted(struct evict *e, const struct digest *d)
{
    if (vouch_is_held_now(e->place.vouches, d) || store_is_in_use(e->place.store, d))
        return true;
    struct fill *f = fills_find(e->place.fills, d);
    bool is_filled = f != NULL;
    fill_unref(&f);
    return is_filled;
}

static bool has_manifest(const struct evict_plan *plan, const struct digest *d)
{
    for (size_t i = 0; i < plan->n_manifests; i++)
        if (digest_equal(&plan->items[i].digest, d))
            return true;
    return false;
}

/* A pinned tag points to it that is on its way to the storage: the ledger does not know yet. */
static bool is_being_pinned(struct evict *e, const struct evict_plan *plan)
{
    struct ledger *l = e->place.ledger;
    struct tag_record record;
    bool is_so = false;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_PIN_TAGS, "i", plan->repo); s && !is_so;
         s = ledger_next(l->db, LEDGER_PIN_TAGS)) {
        struct slice tag = slice_of((const char *)sqlite3_column_text(s, 0));
        is_so = tags_find(e->place.tags, slice_of(plan->repo_name), tag, &record) &&
                record.mirrored == TAG_MIRRORED && has_manifest(plan, &record.digest);
    }
    ledger_end(l->db, LEDGER_PIN_TAGS);
    return is_so;
}

bool evict_is_busy(struct evict *e, const struct evict_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++)
        if (is_wanted(e, &plan->items[i].digest))
            return true;
    return plan->repo_name && is_being_pinned(e, plan);
}

static void note_failure(struct evict *e, const struct error *err)
{
    pthread_mutex_lock(&e->lock);
    e->report.n_errors++;
    snprintf(e->report.problem, sizeof(e->report.problem), "%s", err->text);
    bool is_first = e->report.n_errors <= 10;
    pthread_mutex_unlock(&e->lock);
    if (is_first)
        log_warning(EVICT_PREFIX, "%s", err->text);
}

/* --- one image: any thread of the pool -------------------------------------------------------- */

enum link_kind evict_kind_of(const struct evict_plan *plan, size_t i)
{
    return i < plan->n_manifests ? LINK_REVISION : LINK_LAYER;
}

static void drop_tag(struct evict *e, struct evict_plan *plan, const struct evict_tag *tag)
{
    struct error err;

    if (tags_drop_mirrored_now(e->place.tags, slice_of(plan->repo_name), slice_of(tag->name),
                               &plan->items[tag->i_manifest].digest, &err) < 0)
        note_failure(e, &err);
}

static void drop_link(struct evict *e, struct evict_plan *plan, size_t i)
{
    struct evict_item *item = &plan->items[i];
    struct error err;
    int rc = links_drop_mirrored_now(e->place.links, evict_kind_of(plan, i),
                                     slice_of(plan->repo_name), &item->digest, &err);

    CHECK(plan->repo_name && i < plan->n);
    plan->gone.n_links += rc == 0;
    /* -EEXIST: it has been pushed a moment ago, and noted as that. */
    if (rc < 0 && rc != -ENOENT && rc != -EEXIST)
        note_failure(e, &err);
    if (rc == 0 || rc == -ENOENT)
        return;
    item->is_unlinked = false;
    item->fate = EVICT_STAYS;
    plan->is_other = true;
}

static bool may_go(void *arg, const struct digest *d, const struct stat *st)
{
    (void)st;
    return !is_wanted(arg, d);
}

/* Nobody is left who needs it, unless he came since the rows were looked at. */
static void remove_blob(struct evict *e, struct evict_plan *plan, struct evict_item *item)
{
    struct error err;
    uint64_t size = 0;
    struct store_removal removal = {.digest = &item->digest,
                                    .may_go = may_go,
                                    .arg = e,
                                    .size_out = &size,
                                    .is_final = true,
                                    .has_size = item->has_size,
                                    .size = item->size,
                                    .is_in_ledger_batch = true};

    manifests_forget(e->place.manifests, &item->digest);
    int rc = store_remove_now(e->place.store, &removal, &err);
    if (err.code < 0)
        note_failure(e, &err);
    plan->gone.n_blobs += rc == 0;
    plan->gone.bytes += size;
    if (rc == 0 || rc == -ENOENT)
        return;
    item->fate = rc == -EBUSY ? EVICT_BUSY : EVICT_FAILED;
    plan->is_other = true;
}

static void remove_plan(void *arg, size_t i_plan)
{
    struct removing *r = arg;
    struct evict_plan *plan = r->batch->plans[i_plan];

    CHECK(plan->n > 0 && plan->n_manifests <= plan->n);
    for (size_t i = 0; i < plan->n_tags; i++)
        drop_tag(r->evict, plan, &plan->tags[i]);
    for (size_t i = 0; plan->repo_name && i < plan->n; i++)
        drop_link(r->evict, plan, i);
    for (size_t i = 0; i < plan->n; i++)
        if (plan->items[i].fate == EVICT_GOES)
            remove_blob(r->evict, plan, &plan->items[i]);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void count(enum evict_reason reason, uint64_t n_images, uint64_t n_blobs, uint64_t bytes)
{
    static const enum metric METRICS[][3] = {
        [EVICT_FOR_SIZE] = {METRIC_EVICT_IMAGES_SIZE, METRIC_EVICT_BLOBS_SIZE,
                            METRIC_EVICT_BYTES_SIZE},
        [EVICT_FOR_SPACE] = {METRIC_EVICT_IMAGES_SPACE, METRIC_EVICT_BLOBS_SPACE,
                             METRIC_EVICT_BYTES_SPACE},
        [EVICT_FOR_AGE] = {METRIC_EVICT_IMAGES_AGE, METRIC_EVICT_BLOBS_AGE, METRIC_EVICT_BYTES_AGE},
        [EVICT_FOR_COMMAND] = {METRIC_EVICT_IMAGES_COMMAND, METRIC_EVICT_BLOBS_COMMAND,
                               METRIC_EVICT_BYTES_COMMAND},
    };
    _Static_assert(sizeof(METRICS) / sizeof(METRICS[0]) == EVICT_REASON_MAX, "metrics per reason");

    metric_add(METRICS[reason][0], (int64_t)n_images);
    metric_add(METRICS[reason][1], (int64_t)n_blobs);
    metric_add(METRICS[reason][2], (int64_t)bytes);
}

void evict_remove(struct evict *e, struct evict_batch *batch)
{
    struct removing removing = {e, batch};

    team_run(e->team, batch->n, remove_plan, &removing);
    for (size_t i = 0; i < batch->n; i++) {
        struct evict_plan *plan = batch->plans[i];
        plan->gone.n_images = plan->n_manifests > 0;
        count(plan->reason, plan->gone.n_images, plan->gone.n_blobs, plan->gone.bytes);
    }
}
