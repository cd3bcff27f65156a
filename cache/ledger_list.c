/* Lists of images, for an operator. */
#include "config.h"

#include "cache/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cache/ledger_private.h"

/* One listing under way. */
struct listing {
    struct ledger *ledger;
    const struct ledger_page *page;
    ledger_image_fn tell;
    void *arg;
    size_t n;
    bool is_over;
};

/* What is to be told of one repository; read before it is told, since the telling needs more. */
struct found {
    int64_t blob;
    bool is_pushed;
    char *tag;
};

struct found_list {
    struct found *items;
    size_t n, n_room;
};

static void add(struct found_list *list, int64_t blob, bool is_pushed, const char *tag)
{
    if (list->n == list->n_room) {
        list->n_room = list->n_room ? list->n_room * 2 : 32;
        list->items = xrealloc(list->items, list->n_room * sizeof(list->items[0]));
    }
    list->items[list->n++] = (struct found){blob, is_pushed, xstrdup(tag)};
}

static void found_fini(struct found_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].tag);
    free(list->items);
    *list = (struct found_list){0};
}

/* A tag with two halves is told once, as what was pushed. */
static void find_tags(struct listing *list, int64_t repo, struct slice after,
                      struct found_list *out)
{
    struct ledger *l = list->ledger;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_LIST_TAGS, "is", repo, after);
         s && out->n + list->n < list->page->n_max; s = ledger_next(l->db, LEDGER_LIST_TAGS)) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        if (out->n == 0 || strcmp(out->items[out->n - 1].tag, name) != 0)
            add(out, sqlite3_column_int64(s, 2), sqlite3_column_int(s, 1) != 0, name);
    }
    ledger_end(l->db, LEDGER_LIST_TAGS);
}

static void find_revisions(struct listing *list, int64_t repo, const struct digest *after,
                           struct found_list *out)
{
    struct ledger *l = list->ledger;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_LIST_REVISIONS, "id", repo, after);
         s && out->n + list->n < list->page->n_max; s = ledger_next(l->db, LEDGER_LIST_REVISIONS))
        add(out, sqlite3_column_int64(s, 0), sqlite3_column_int(s, 1) != 0, "");
    ledger_end(l->db, LEDGER_LIST_REVISIONS);
}

static bool describe(struct ledger *l, const struct found *f, int64_t repo,
                     struct ledger_image *out)
{
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_BLOB_TIMES, "i", f->blob);
    bool is_known = s && ledger_digest_of(s, 0, &out->digest);

    if (is_known) {
        out->last_use_s = sqlite3_column_int64(s, 1);
        out->fetched_at_s = sqlite3_column_int64(s, 2);
    }
    ledger_end(l->db, LEDGER_BLOB_TIMES);
    if (!is_known)
        return false;
    s = ledger_row(l->db, LEDGER_IMAGE_SUM, "i", f->blob);
    if (s) {
        out->bytes = (uint64_t)sqlite3_column_int64(s, 0);
        out->is_whole = sqlite3_column_int64(s, 1) == sqlite3_column_int64(s, 2);
        out->shared_bytes = (uint64_t)sqlite3_column_int64(s, 3);
    }
    ledger_end(l->db, LEDGER_IMAGE_SUM);
    out->is_pushed = f->is_pushed;
    out->is_pinned = ledger_is_pinned(l, f->blob, repo);
    return true;
}

static void tell_all(struct listing *list, int64_t repo, const char *repo_name,
                     const struct found_list *found)
{
    for (size_t i = 0; i < found->n && !list->is_over; i++) {
        struct ledger_image image = {.repo = repo_name, .tag = found->items[i].tag};
        if (!describe(list->ledger, &found->items[i], repo, &image))
            continue;
        list->n++;
        list->is_over = !list->tell(list->arg, &image) || list->n >= list->page->n_max;
    }
}

/* Tags first, then what has none. `after` is a name of this repository, or empty. */
static void list_repo(struct listing *list, int64_t repo, const char *name, struct slice after)
{
    static const struct digest LOWEST = {.alg = DIGEST_SHA256};
    struct found_list found = {0};
    struct digest d = LOWEST;
    bool is_behind_tags = digest_parse(after, &d);

    if (!is_behind_tags)
        find_tags(list, repo, after, &found);
    find_revisions(list, repo, &d, &found);
    tell_all(list, repo, name, &found);
    found_fini(&found);
}

/* The repository at or behind a name: its id and name, to be freed. */
static int64_t next_repo(struct ledger *l, struct slice from, bool is_behind, char **name)
{
    int64_t id = 0;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_LIST_REPOS, "s", from); s && id == 0;
         s = ledger_next(l->db, LEDGER_LIST_REPOS)) {
        const char *text = (const char *)sqlite3_column_text(s, 1);
        if (is_behind && slice_equal(slice_of(text), from))
            continue;
        id = sqlite3_column_int64(s, 0);
        *name = xstrdup(text);
    }
    ledger_end(l->db, LEDGER_LIST_REPOS);
    return id;
}

static void list_all(struct listing *list)
{
    const struct ledger_page *page = list->page;
    struct slice after = page->last_name;
    char *name = NULL;
    int64_t repo = next_repo(list->ledger, page->last_repo, false, &name);

    while (repo != 0 && !list->is_over) {
        bool is_first = slice_equal(slice_of(name), page->last_repo);
        list_repo(list, repo, name, is_first ? after : SLICE_NONE);
        char *before = name;
        repo = list->is_over ? 0 : next_repo(list->ledger, slice_of(before), true, &name);
        free(before);
        if (repo == 0)
            name = NULL;
    }
    free(name);
}

int ledger_images_now(struct ledger *l, const struct ledger_page *page, ledger_image_fn tell,
                      void *arg, size_t *n_out, struct error *err)
{
    struct listing list = {l, page, tell, arg, 0, page->n_max == 0};
    int rc = ledger_enter(l, err);

    if (rc < 0)
        return rc;
    int64_t repo = page->repo.len > 0 ? ledger_repo(l, page->repo, false) : 0;
    if (repo != 0 && !list.is_over) {
        char *name = xmemdup0(page->repo.ptr, page->repo.len);
        list_repo(&list, repo, name, page->last_name);
        free(name);
    } else if (page->repo.len == 0) {
        list_all(&list);
    }
    rc = ledger_leave(l, err);
    if (rc == 0)
        *n_out = list.n;
    return rc;
}
