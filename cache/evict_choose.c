/*
 * Which image is worth the least, and what goes with it: by the ledger alone. The rules are in
 * docs/design/eviction.md.
 */
#include "config.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/evict_private.h"

#define DAY_S 86400.0
#define HALF_BYTES 1048576.0 /* per request */
#define PAGE_ROWS 128
#define BATCH_ROWS 1024

/* --- what it is worth ------------------------------------------------------------------------- */

/* 1 for tiny blobs, nothing for huge ones: each is a request, which upstreams count and which takes
 * its round trips. */
static double requests_per_byte(struct ledger *l, int64_t blob)
{
    double bytes_per_request = 0;
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROOT_SIZE, "i", blob);

    if (s && sqlite3_column_int64(s, 1) > 0)
        bytes_per_request = sqlite3_column_double(s, 0) / sqlite3_column_double(s, 1);
    ledger_end(l->db, LEDGER_ROOT_SIZE);
    return HALF_BYTES / (HALF_BYTES + bytes_per_request);
}

static unsigned cost_of(struct evict *e, int64_t repo)
{
    struct ledger *l = e->place.ledger;
    unsigned cost = 1;

    if (!e->cost)
        return cost;
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_REPO_NAME, "i", repo);
    if (s)
        cost = e->cost(e->cost_arg, slice_of((const char *)sqlite3_column_text(s, 0)));
    ledger_end(l->db, LEDGER_REPO_NAME);
    return cost < 1 ? 1 : cost > EVICT_COST_MAX ? EVICT_COST_MAX : cost;
}

/* It counts as used so much later than it was: never before that, which is what the order in which
 * rows are read relies on. */
static void weigh(struct evict *e, struct evict_root *root)
{
    root->due = (double)root->used;
    if (root->repo == 0 || root->used < e->window.cutoff)
        return;
    double cost = cost_of(e, root->repo);
    root->due += DAY_S * (cost - 1 + cost * requests_per_byte(e->place.ledger, root->blob));
}

/* --- the heap --------------------------------------------------------------------------------- */

static void swap(struct evict_root *a, struct evict_root *b)
{
    struct evict_root c = *a;

    *a = *b;
    *b = c;
}

static void push(struct evict_window *w, const struct evict_root *root)
{
    size_t i = w->n++;

    CHECK(i < EVICT_WINDOW);
    w->roots[i] = *root;
    for (; i > 0 && w->roots[i].due < w->roots[(i - 1) / 2].due; i = (i - 1) / 2)
        swap(&w->roots[i], &w->roots[(i - 1) / 2]);
}

static struct evict_root pop(struct evict_window *w)
{
    struct evict_root *r = w->roots, first = r[0];

    CHECK(w->n > 0);
    r[0] = r[--w->n];
    for (size_t i = 0, least; (least = 2 * i + 1) < w->n; i = least) {
        if (least + 1 < w->n && r[least + 1].due < r[least].due)
            least++;
        if (r[i].due <= r[least].due)
            break;
        swap(&r[i], &r[least]);
    }
    return first;
}

/* --- the window ------------------------------------------------------------------------------- */

void evict_window_begin(struct evict_window *w)
{
    struct evict_root *roots = w->roots;

    if (!roots)
        roots = xcalloc(EVICT_WINDOW, sizeof(roots[0]));
    *w = (struct evict_window){
        .roots = roots, .after_used = INT64_MIN, .after_id = INT64_MIN, .cutoff = INT64_MIN};
}

void evict_window_end(struct evict_window *w)
{
    free(w->roots);
    *w = (struct evict_window){0};
}

void evict_window_turn(struct evict_window *w, int64_t cutoff)
{
    w->n_to_read = BATCH_ROWS;
    w->cutoff = cutoff;
}

/* Whether a row that was not read yet could be worth less than all that were: its last use is not
 * before that of the last one read. */
static bool must_read(const struct evict_window *w)
{
    return !w->is_at_end && w->n + PAGE_ROWS <= EVICT_WINDOW &&
           (w->n == 0 || w->roots[0].due > (double)w->after_used);
}

static void read_page(struct evict *e)
{
    struct ledger *l = e->place.ledger;
    struct evict_window *w = &e->window;
    struct evict_root page[PAGE_ROWS];
    size_t n = 0;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROOT_NEXT, "iii", w->after_used, w->after_id,
                                      (int64_t)PAGE_ROWS);
         s && n < PAGE_ROWS; s = ledger_next(l->db, LEDGER_ROOT_NEXT)) {
        page[n++] = (struct evict_root){
            .id = sqlite3_column_int64(s, 0),
            .repo = sqlite3_column_int64(s, 1),
            .blob = sqlite3_column_int64(s, 2),
            .kind = sqlite3_column_int64(s, 3) == LINK_REVISION ? LINK_REVISION : LINK_LAYER,
            .used = sqlite3_column_int64(s, 4),
        };
    }
    ledger_end(l->db, LEDGER_ROOT_NEXT);
    w->is_at_end = n < PAGE_ROWS;
    w->n_to_read -= w->n_to_read < PAGE_ROWS ? w->n_to_read : PAGE_ROWS;
    if (n > 0) {
        w->after_used = page[n - 1].used;
        w->after_id = page[n - 1].id;
    }
    for (size_t i = 0; i < n; i++) {
        weigh(e, &page[i]);
        push(w, &page[i]);
    }
}

/* It may have been used or removed since it was read. One whose row lies behind what was read comes
 * again. */
static bool is_still_so(struct ledger *l, const struct evict_root *root)
{
    return ledger_value(l->db, LEDGER_ROOT_USE, -1, "iii", root->blob, root->repo,
                        (int64_t)root->kind) == root->used;
}

bool evict_next_root(struct evict *e, struct evict_root *out, bool *has_more)
{
    struct ledger *l = e->place.ledger;
    struct evict_window *w = &e->window;

    CHECK(w->roots);
    *has_more = false;
    while (!ledger_db_has_failed(l->db)) {
        if (must_read(w)) {
            *has_more = w->n_to_read == 0;
            if (*has_more)
                return false;
            read_page(e);
            continue;
        }
        if (w->n == 0)
            return false;
        *out = pop(w);
        if (is_still_so(l, out))
            return true;
    }
    return false;
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
