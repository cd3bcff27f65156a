/*
 * Which image is worth the least, and what goes with it: by the ledger alone. The rules are in
 * docs/design/eviction.md.
 */
#include "config.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/evict_private.h"

#define BONUS_S 86400.0
#define BONUS_HALF_BYTES 1048576.0 /* per request */

/* What it is worth beyond its last use: the more it costs, byte by byte, to fetch it again. Each
 * blob is a request, which upstreams count and which takes its round trips. */
static double bonus_of(struct ledger *l, const struct evict_root *root)
{
    double bytes_per_request = 0;
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROOT_SIZE, "i", root->blob);

    if (s && sqlite3_column_int64(s, 1) > 0)
        bytes_per_request = sqlite3_column_double(s, 0) / sqlite3_column_double(s, 1);
    ledger_end(l->db, LEDGER_ROOT_SIZE);
    return BONUS_S * BONUS_HALF_BYTES / (BONUS_HALF_BYTES + bytes_per_request);
}

/* Those that stayed of the window before are not weighed again. */
static void weigh(struct ledger *l, struct evict_root *root, const struct evict_window *before)
{
    for (size_t i = 0; i < before->n; i++) {
        if (before->roots[i].id == root->id && before->roots[i].blob == root->blob) {
            root->bonus = before->roots[i].bonus;
            root->due = (double)root->used + root->bonus;
            return;
        }
    }
    root->bonus = bonus_of(l, root);
    root->due = (double)root->used + root->bonus;
}

static int compare(const void *a, const void *b)
{
    const struct evict_root *x = a, *y = b;

    return (x->due > y->due) - (x->due < y->due);
}

void evict_next_roots(struct ledger *l, int64_t after_used, int64_t after_id,
                      struct evict_window *w)
{
    struct evict_window before = *w;

    w->n = 0;
    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROOT_NEXT, "iii", after_used, after_id,
                                      (int64_t)EVICT_WINDOW);
         s && w->n < EVICT_WINDOW; s = ledger_next(l->db, LEDGER_ROOT_NEXT)) {
        w->roots[w->n++] = (struct evict_root){
            .id = sqlite3_column_int64(s, 0),
            .repo = sqlite3_column_int64(s, 1),
            .blob = sqlite3_column_int64(s, 2),
            .kind = sqlite3_column_int64(s, 3) == LINK_REVISION ? LINK_REVISION : LINK_LAYER,
            .used = sqlite3_column_int64(s, 4),
        };
    }
    ledger_end(l->db, LEDGER_ROOT_NEXT);
    for (size_t i = 0; i < w->n; i++)
        weigh(l, &w->roots[i], &before);
    qsort(w->roots, w->n, sizeof(w->roots[0]), compare);
}

/* --- what goes with it ------------------------------------------------------------------------ */

static void add_known(struct evict_plan *plan, int64_t blob, const struct digest *d)
{
    CHECK(plan->n_manifests <= plan->n);
    if (plan->n == plan->n_room) {
        plan->n_room = plan->n_room ? plan->n_room * 2 : 16;
        plan->items = xrealloc(plan->items, plan->n_room * sizeof(plan->items[0]));
    }
    plan->items[plan->n++] = (struct evict_item){.blob = blob, .digest = *d};
}

static bool add_item(struct ledger *l, struct evict_plan *plan, int64_t blob)
{
    struct digest d;
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_BLOB_GET, "i", blob);
    bool is_known = s && ledger_digest_of(s, 0, &d);

    ledger_end(l->db, LEDGER_BLOB_GET);
    if (is_known)
        add_known(plan, blob, &d);
    return is_known;
}

static bool has_manifest(const struct evict_plan *plan, int64_t blob)
{
    for (size_t i = 0; i < plan->n_manifests; i++)
        if (plan->items[i].blob == blob)
            return true;
    return false;
}

static bool has_item(const struct evict_plan *plan, int64_t blob)
{
    for (size_t i = plan->n_manifests; i < plan->n; i++)
        if (plan->items[i].blob == blob)
            return true;
    return has_manifest(plan, blob);
}

/* No revision of the repository that stays references it. */
static bool is_only_theirs(struct ledger *l, const struct evict_plan *plan, int64_t blob)
{
    bool is_theirs = true;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_REF_IN_REPO, "ii", blob, plan->repo);
         s && is_theirs; s = ledger_next(l->db, LEDGER_REF_IN_REPO))
        is_theirs = has_manifest(plan, sqlite3_column_int64(s, 0));
    ledger_end(l->db, LEDGER_REF_IN_REPO);
    return is_theirs && !ledger_db_has_failed(l->db);
}

struct reference {
    int64_t blob;
    struct digest digest;
    bool is_layer, is_revision; /* with a mirrored link of this kind in the repository */
};

/* Of all manifests that go, in the order of these. */
struct references {
    struct reference *list;
    size_t n, n_room;
};

static void add_reference(struct references *all, sqlite3_stmt *s)
{
    struct reference r = {
        .blob = sqlite3_column_int64(s, 0),
        .is_layer = sqlite3_column_type(s, 1) != SQLITE_NULL && !sqlite3_column_int(s, 1),
        .is_revision = sqlite3_column_type(s, 2) != SQLITE_NULL && !sqlite3_column_int(s, 2),
    };

    if (!ledger_digest_of(s, 3, &r.digest))
        return;
    if (all->n == all->n_room) {
        all->n_room = all->n_room ? all->n_room * 2 : 16;
        all->list = xrealloc(all->list, all->n_room * sizeof(all->list[0]));
    }
    all->list[all->n++] = r;
}

static void add_references(struct ledger *l, const struct evict_plan *plan, int64_t manifest,
                           struct references *all)
{
    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_REF_LINKS, "ii", manifest, plan->repo); s;
         s = ledger_next(l->db, LEDGER_REF_LINKS))
        add_reference(all, s);
    ledger_end(l->db, LEDGER_REF_LINKS);
}

static bool is_pinned(struct ledger *l, const struct evict_plan *plan, int64_t blob)
{
    return plan->has_pins && ledger_is_pinned(l, blob, plan->repo);
}

/* A child goes with its index unless something else in the repository wants it for itself. */
static bool child_goes(struct ledger *l, const struct evict_plan *plan, int64_t blob)
{
    return !ledger_value(l->db, LEDGER_TAG_ANY, 0, "ii", blob, plan->repo) &&
           !is_pinned(l, plan, blob) && is_only_theirs(l, plan, blob);
}

static void add_children(struct ledger *l, struct evict_plan *plan, struct references *all)
{
    for (size_t i = 0; i < plan->n_manifests; i++) {
        size_t k = all->n;
        add_references(l, plan, plan->items[i].blob, all);
        for (; k < all->n; k++) {
            const struct reference *r = &all->list[k];
            if (!r->is_revision || has_manifest(plan, r->blob))
                continue;
            if (!child_goes(l, plan, r->blob)) {
                plan->leaves_roots = true;
                continue;
            }
            add_known(plan, r->blob, &r->digest);
            plan->n_manifests++;
        }
    }
}

static void add_layers(struct ledger *l, struct evict_plan *plan, const struct references *all)
{
    for (size_t k = 0; k < all->n; k++) {
        const struct reference *r = &all->list[k];
        if (!r->is_layer || has_item(plan, r->blob))
            continue;
        /* One that another manifest references is no root. */
        if (is_pinned(l, plan, r->blob))
            plan->leaves_roots = true;
        else if (is_only_theirs(l, plan, r->blob))
            add_known(plan, r->blob, &r->digest);
    }
}

static void add_parts(struct ledger *l, struct evict_plan *plan)
{
    struct references all = {0};

    plan->n_manifests = 1;
    plan->has_pins = ledger_value(l->db, LEDGER_PIN_IN_REPO, 0, "i", plan->repo) != 0;
    add_children(l, plan, &all);
    add_layers(l, plan, &all);
    free(all.list);
}

static char *name_of(struct ledger *l, int64_t repo)
{
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_REPO_NAME, "i", repo);
    const char *text = s ? (const char *)sqlite3_column_text(s, 0) : NULL;
    char *name = text && layout_repo_is_valid(slice_of(text)) ? xstrdup(text) : NULL;

    ledger_end(l->db, LEDGER_REPO_NAME);
    return name;
}

/* NULL: nothing speaks against it. */
static const char *judge(struct ledger *l, const struct evict_root *root, bool *is_root)
{
    int64_t pushed = ledger_value(l->db, LEDGER_LINK_FIND, -1, "iii", root->blob,
                                  (int64_t)root->kind, root->repo);

    *is_root = pushed == 0;
    if (pushed < 0)
        return "gone";
    if (pushed > 0)
        return "pushed";
    if (ledger_is_held(l, root->blob, root->repo)) {
        *is_root = false;
        return "part of another image";
    }
    return ledger_is_pinned(l, root->blob, root->repo) ? "pinned" : NULL;
}

struct evict_plan *evict_plan_new(struct ledger *l, const struct evict_root *root, const char **why,
                                  bool *is_root)
{
    struct evict_plan *plan = xcalloc(1, sizeof(*plan));

    CHECK(root->kind < LINK_KIND_MAX);
    plan->repo = root->repo;
    *is_root = true;
    if (root->repo == 0) {
        *is_root = ledger_is_loose(l, root->blob);
        *why = *is_root ? NULL : "in use again";
    } else {
        *why = judge(l, root, is_root);
        plan->repo_name = *why ? NULL : name_of(l, root->repo);
        if (!*why && !plan->repo_name)
            *why = "gone";
    }
    if (!*why && !add_item(l, plan, root->blob))
        *why = "gone";
    if (*why) {
        evict_plan_free(&plan);
        return NULL;
    }
    if (root->kind == LINK_REVISION && root->repo != 0)
        add_parts(l, plan);
    return plan;
}

void evict_plan_free(struct evict_plan **pp)
{
    struct evict_plan *plan = *pp;

    if (!plan)
        return;
    for (size_t i = 0; i < plan->n_tags; i++)
        free(plan->tags[i].name);
    free(plan->tags);
    free(plan->repo_name);
    free(plan->items);
    free(plan);
    *pp = NULL;
}
