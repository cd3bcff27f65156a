/*
 * What an eviction does to the ledger's rows. They are dropped before the files, so that one thread
 * can look at all rows of a batch and then several can remove its files; nobody sees it before the
 * files have gone, because only then is it committed. When not all of them went the transaction is
 * rolled back and done again by what has.
 */
#include "config.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/evict_private.h"

/* The mirrored halves that point to a manifest. */
static void list_tags(struct ledger *l, struct evict_plan *plan, size_t i_manifest)
{
    for (sqlite3_stmt *s =
             ledger_row(l->db, LEDGER_TAG_OF_BLOB, "ii", plan->items[i_manifest].blob, plan->repo);
         s; s = ledger_next(l->db, LEDGER_TAG_OF_BLOB)) {
        /* Room for a power of two. */
        if ((plan->n_tags & (plan->n_tags - 1)) == 0)
            plan->tags =
                xrealloc(plan->tags, (plan->n_tags ? plan->n_tags * 2 : 1) * sizeof(plan->tags[0]));
        plan->tags[plan->n_tags++] = (struct evict_tag){
            .i_manifest = i_manifest, .name = xstrdup((const char *)sqlite3_column_text(s, 0))};
    }
    ledger_end(l->db, LEDGER_TAG_OF_BLOB);
}

static void drop_tags(struct ledger *l, const struct evict_plan *plan)
{
    for (size_t i = 0; i < plan->n_tags; i++)
        ledger_run(l->db, LEDGER_TAG_DROP, "isi", plan->repo, slice_of(plan->tags[i].name),
                   (int64_t)0);
}

/* Manifests last, so that layers which go, too, are not taken for such as stand for themselves now.
 */
static void drop_links(struct ledger *l, const struct evict_plan *plan, bool leaves_roots)
{
    for (size_t i = plan->n; i-- > 0;) {
        if (plan->items[i].is_unlinked)
            ledger_drop_mirrored(l, evict_kind_of(plan, i), plan->repo, plan->items[i].blob,
                                 leaves_roots);
    }
}

/* A blob that stays is no root any more where it was unlinked; nor by itself, unless it is to be
 * looked at again. */
static void keep_blob(struct ledger *l, const struct evict_plan *plan, size_t i)
{
    const struct evict_item *item = &plan->items[i];

    if (item->is_unlinked)
        ledger_run(l->db, LEDGER_ROOT_DROP, "iii", item->blob, plan->repo,
                   (int64_t)evict_kind_of(plan, i));
    if (item->fate == EVICT_BUSY)
        ledger_run(l->db, LEDGER_ROOT_ADD, "iiii", (int64_t)0, item->blob, (int64_t)LINK_LAYER,
                   (int64_t)1);
    else if (item->fate == EVICT_STAYS)
        ledger_run(l->db, LEDGER_ROOT_DROP, "iii", item->blob, (int64_t)0, (int64_t)LINK_LAYER);
}

void evict_drop_rows(struct ledger *l, struct evict_plan *plan)
{
    struct ledger_look look;

    CHECK(plan->n > 0 && plan->n_manifests <= plan->n);
    for (size_t i = 0; plan->repo_name && i < plan->n_manifests; i++)
        list_tags(l, plan, i);
    for (size_t i = 0; i < plan->n; i++)
        plan->items[i].is_unlinked = plan->repo_name != NULL;
    drop_tags(l, plan);
    drop_links(l, plan, plan->leaves_roots);
    for (size_t i = 0; i < plan->n; i++) {
        struct evict_item *item = &plan->items[i];
        ledger_look(l, item->blob, &look);
        item->fate = look.is_loose ? EVICT_GOES : EVICT_STAYS;
        item->has_size = look.has_size;
        item->size = look.size;
        if (look.is_loose)
            ledger_drop_loose(l, item->blob, &look);
        if (look.is_loose && look.has_root)
            ledger_run(l->db, LEDGER_ROOT_GONE, "i", item->blob);
        else if (!look.is_loose && look.has_root)
            keep_blob(l, plan, i);
    }
}

void evict_redo_rows(struct ledger *l, const struct evict_plan *plan)
{
    drop_tags(l, plan);
    drop_links(l, plan, true);
    for (size_t i = 0; i < plan->n; i++) {
        const struct evict_item *item = &plan->items[i];
        if (item->fate != EVICT_GOES) {
            keep_blob(l, plan, i);
            continue;
        }
        ledger_run(l->db, LEDGER_ROOT_GONE, "i", item->blob);
        ledger_drop_blob(l, item->blob);
    }
}
