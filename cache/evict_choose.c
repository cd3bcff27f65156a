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

/* When it is due: its last use, and up to a day more the more it costs, byte by byte, to fetch it
 * again. Each blob is a request, which upstreams count and which takes its round trips. */
static double due_of(struct ledger *l, const struct evict_root *root)
{
    double bytes_per_request = 0;
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROOT_SIZE, "i", root->blob);

    if (s && sqlite3_column_int64(s, 1) > 0)
        bytes_per_request = sqlite3_column_double(s, 0) / sqlite3_column_double(s, 1);
    ledger_end(l->db, LEDGER_ROOT_SIZE);
    return (double)root->used + BONUS_S * BONUS_HALF_BYTES / (BONUS_HALF_BYTES + bytes_per_request);
}

static int compare(const void *a, const void *b)
{
    const struct evict_root *x = a, *y = b;

    return (x->due > y->due) - (x->due < y->due);
}

size_t evict_next_roots(struct ledger *l, int64_t after_used, int64_t after_id, size_t n_max,
                        struct evict_root *out)
{
    size_t n = 0;

    for (sqlite3_stmt *s =
             ledger_row(l->db, LEDGER_ROOT_NEXT, "iii", after_used, after_id, (int64_t)n_max);
         s && n < n_max; s = ledger_next(l->db, LEDGER_ROOT_NEXT)) {
        out[n++] = (struct evict_root){
            .id = sqlite3_column_int64(s, 0),
            .repo = sqlite3_column_int64(s, 1),
            .blob = sqlite3_column_int64(s, 2),
            .kind = sqlite3_column_int64(s, 3) == LINK_REVISION ? LINK_REVISION : LINK_LAYER,
            .used = sqlite3_column_int64(s, 4),
        };
    }
    ledger_end(l->db, LEDGER_ROOT_NEXT);
    for (size_t i = 0; i < n; i++)
        out[i].due = due_of(l, &out[i]);
    qsort(out, n, sizeof(out[0]), compare);
    return n;
}

/* --- what goes with it ------------------------------------------------------------------------ */

static bool add_item(struct ledger *l, struct evict_plan *plan, int64_t blob)
{
    struct digest d;
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_BLOB_GET, "i", blob);
    bool is_known = s && ledger_digest_of(s, 0, &d);

    CHECK(plan->n_manifests <= plan->n);
    ledger_end(l->db, LEDGER_BLOB_GET);
    if (!is_known)
        return false;
    if (plan->n == plan->n_room) {
        plan->n_room = plan->n_room ? plan->n_room * 2 : 16;
        plan->items = xrealloc(plan->items, plan->n_room * sizeof(plan->items[0]));
    }
    plan->items[plan->n++] = (struct evict_item){.blob = blob, .digest = d};
    return true;
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
    bool is_layer, is_revision; /* with a mirrored link of this kind in the repository */
};

/* Of one manifest; the caller frees the list. */
static struct reference *references_of(struct ledger *l, const struct evict_plan *plan,
                                       int64_t manifest, size_t *n_out)
{
    struct reference *list = NULL;
    size_t n = 0, n_room = 0;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_REF_LINKS, "ii", manifest, plan->repo); s;
         s = ledger_next(l->db, LEDGER_REF_LINKS)) {
        if (n == n_room) {
            n_room = n_room ? n_room * 2 : 16;
            list = xrealloc(list, n_room * sizeof(list[0]));
        }
        list[n++] = (struct reference){
            .blob = sqlite3_column_int64(s, 0),
            .is_layer = sqlite3_column_type(s, 1) != SQLITE_NULL && !sqlite3_column_int(s, 1),
            .is_revision = sqlite3_column_type(s, 2) != SQLITE_NULL && !sqlite3_column_int(s, 2),
        };
    }
    ledger_end(l->db, LEDGER_REF_LINKS);
    *n_out = n;
    return list;
}

/* A child goes with its index unless something else in the repository wants it for itself. */
static bool child_goes(struct ledger *l, const struct evict_plan *plan, int64_t blob)
{
    return !has_manifest(plan, blob) &&
           !ledger_value(l->db, LEDGER_TAG_ANY, 0, "ii", blob, plan->repo) &&
           !ledger_is_pinned(l, blob, plan->repo) && is_only_theirs(l, plan, blob);
}

static void add_children(struct ledger *l, struct evict_plan *plan)
{
    for (size_t i = 0; i < plan->n_manifests; i++) {
        size_t n;
        struct reference *list = references_of(l, plan, plan->items[i].blob, &n);
        for (size_t k = 0; k < n; k++) {
            if (list[k].is_revision && child_goes(l, plan, list[k].blob))
                plan->n_manifests += add_item(l, plan, list[k].blob);
        }
        free(list);
    }
}

static void add_layers(struct ledger *l, struct evict_plan *plan)
{
    for (size_t i = 0; i < plan->n_manifests; i++) {
        size_t n;
        struct reference *list = references_of(l, plan, plan->items[i].blob, &n);
        for (size_t k = 0; k < n; k++) {
            if (list[k].is_layer && !has_item(plan, list[k].blob) &&
                !ledger_is_pinned(l, list[k].blob, plan->repo) &&
                is_only_theirs(l, plan, list[k].blob))
                add_item(l, plan, list[k].blob);
        }
        free(list);
    }
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
    if (root->kind == LINK_REVISION && root->repo != 0) {
        plan->n_manifests = 1;
        add_children(l, plan);
        add_layers(l, plan);
    }
    return plan;
}

void evict_plan_free(struct evict_plan **pp)
{
    struct evict_plan *plan = *pp;

    if (!plan)
        return;
    free(plan->repo_name);
    free(plan->items);
    free(plan);
    *pp = NULL;
}
