/*
 * How an image goes: what points to it before what it points to. Cut off at any moment there is
 * garbage, or an image some of whose parts are asked of the upstream again; the next walk of the
 * ledger finds either. Nothing is synced: what a power cut brings back is one of those, too.
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

/* --- tags and links --------------------------------------------------------------------------- */

/* The mirrored halves that point to it. */
static void drop_tags(struct evict *e, const struct evict_plan *plan,
                      const struct evict_item *manifest)
{
    struct ledger *l = e->place.ledger;
    char *names[16];
    size_t n;

    do {
        n = 0;
        for (sqlite3_stmt *s =
                 ledger_row(l->db, LEDGER_TAG_OF_BLOB, "ii", manifest->blob, plan->repo);
             s && n < sizeof(names) / sizeof(names[0]); s = ledger_next(l->db, LEDGER_TAG_OF_BLOB))
            names[n++] = xstrdup((const char *)sqlite3_column_text(s, 0));
        ledger_end(l->db, LEDGER_TAG_OF_BLOB);
        for (size_t i = 0; i < n; i++) {
            struct slice repo = slice_of(plan->repo_name), tag = slice_of(names[i]);
            struct error err;
            if (tags_drop_mirrored_now(e->place.tags, repo, tag, &manifest->digest, &err) < 0)
                note_failure(e, &err);
            ledger_put_tag(l, plan->repo, tag, false, NULL);
            free(names[i]);
        }
    } while (n == sizeof(names) / sizeof(names[0]));
}

static enum link_kind kind_of(const struct evict_plan *plan, size_t i)
{
    return i < plan->n_manifests ? LINK_REVISION : LINK_LAYER;
}

static void drop_link(struct evict *e, struct evict_plan *plan, size_t i, struct evict_result *sum)
{
    struct evict_item *item = &plan->items[i];
    struct error err;
    int rc = links_drop_mirrored_now(e->place.links, kind_of(plan, i), slice_of(plan->repo_name),
                                     &item->digest, &err);

    CHECK(plan->repo_name && i < plan->n);
    if (rc == 0)
        sum->n_links++;
    /* -EEXIST: it has been pushed a moment ago, and noted as that. */
    if (rc < 0 && rc != -ENOENT && rc != -EEXIST)
        note_failure(e, &err);
    item->is_unlinked = rc == 0 || rc == -ENOENT;
}

/* Manifests' files first; their rows last, so that layers which go, too, are not taken for such as
 * stand for themselves now. */
static void drop_links(struct evict *e, struct evict_plan *plan, struct evict_result *sum)
{
    for (size_t i = 0; i < plan->n; i++)
        drop_link(e, plan, i, sum);
    for (size_t i = plan->n; i-- > 0;) {
        if (plan->items[i].is_unlinked)
            ledger_drop_mirrored(e->place.ledger, kind_of(plan, i), plan->repo,
                                 plan->items[i].blob);
    }
}

/* --- blobs ------------------------------------------------------------------------------------ */

static bool may_go(void *arg, const struct digest *d, const struct stat *st)
{
    (void)st;
    return !is_wanted(arg, d);
}

/* 0: it is not there any more. */
static int remove_file(struct evict *e, const struct digest *d, struct evict_result *sum)
{
    struct error err;
    uint64_t size = 0;
    struct store_removal removal = {
        .digest = d, .may_go = may_go, .arg = e, .size_out = &size, .is_final = true};

    manifests_forget(e->place.manifests, d);
    int rc = store_remove_now(e->place.store, &removal, &err);
    if (err.code < 0)
        note_failure(e, &err);
    sum->n_blobs += rc == 0;
    sum->bytes += size;
    return rc == -ENOENT ? 0 : rc;
}

/* Nobody is left who needs it. One that is wanted just now is looked at again by a later run. */
static void remove_blob(struct evict *e, const struct evict_plan *plan, size_t i,
                        struct evict_result *sum)
{
    struct ledger *l = e->place.ledger;
    const struct evict_item *item = &plan->items[i];
    int rc = -EEXIST;

    if (ledger_is_loose(l, item->blob))
        rc = remove_file(e, &item->digest, sum);
    if (rc == 0) {
        ledger_run(l->db, LEDGER_ROOT_GONE, "i", item->blob);
        ledger_drop_blob(l, item->blob);
        return;
    }
    if (item->is_unlinked)
        ledger_run(l->db, LEDGER_ROOT_DROP, "iii", item->blob, plan->repo,
                   (int64_t)kind_of(plan, i));
    if (rc == -EBUSY)
        ledger_run(l->db, LEDGER_ROOT_ADD, "iiii", (int64_t)0, item->blob, (int64_t)LINK_LAYER,
                   (int64_t)1);
    else if (rc == -EEXIST)
        ledger_run(l->db, LEDGER_ROOT_DROP, "iii", item->blob, (int64_t)0, (int64_t)LINK_LAYER);
}

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

void evict_remove(struct evict *e, struct evict_plan *plan, struct evict_result *sum)
{
    struct evict_result before = *sum;

    CHECK(plan->n > 0 && plan->n_manifests <= plan->n);
    if (plan->repo_name) {
        for (size_t i = 0; i < plan->n_manifests; i++)
            drop_tags(e, plan, &plan->items[i]);
        drop_links(e, plan, sum);
    }
    for (size_t i = 0; i < plan->n; i++)
        remove_blob(e, plan, i, sum);
    sum->n_images += plan->n_manifests > 0;
    count(e->reason, plan->n_manifests > 0, sum->n_blobs - before.n_blobs,
          sum->bytes - before.bytes);
}
