/*
 * The walk that compares the ledger with the storage, in batches: first the storage is looked
 * through, and rows that are missing or say something else are mended; then the rows, and those
 * whose files are gone go. What comes or goes meanwhile is noted by those who do it, in the order
 * in which it happens to each link. If something that may say "pushed" cannot be read, not all is
 * known and the ledger does not become READY.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "cache/ledger_private.h"
#include "cache/link_file.h"
#include "cache/tag_file.h"

#define N_FOLDERS (DIGEST_ALG_MAX * 256)
#define ROWS_AT_ONCE 128

static const char *const PHASES[] = {
    [WALK_NONE] = "none",
    [WALK_CHECK] = "check",
    [WALK_BLOBS] = "blobs",
    [WALK_LINKS] = "links",
    [WALK_TAGS] = "tags",
    [WALK_ROWS_BLOB] = "rows of blobs",
    [WALK_ROWS_LINK] = "rows of links",
    [WALK_ROWS_TAG] = "rows of tags",
};
_Static_assert(sizeof(PHASES) / sizeof(PHASES[0]) == WALK_PHASE_MAX, "a name for every phase");

static void close_all(struct ledger_walk *w)
{
    if (w->folder)
        closedir(w->folder);
    w->folder = NULL;
    link_walk_free(&w->links);
    repo_walk_free(&w->repos);
    free(w->repo);
    w->repo = NULL;
    free(w->after_name);
    w->after_name = NULL;
    w->after_a = w->after_b = w->after_c = 0;
}

void ledger_walk_begin(struct ledger *l)
{
    CHECK(l->walk.phase == WALK_NONE);
    l->walk = (struct ledger_walk){.phase = WALK_CHECK};
}

void ledger_walk_end(struct ledger_walk *w)
{
    close_all(w);
    w->phase = WALK_NONE;
}

static void fail(struct ledger_walk *w, const struct error *why)
{
    CHECK(why->code < 0);
    if (!w->has_failed)
        w->why = *why;
    w->has_failed = true;
}

/* --- the file and the pins -------------------------------------------------------------------- */

static bool put_pin(void *arg, struct slice repo, struct slice reference)
{
    ledger_put_pin(arg, repo, reference);
    return true;
}

/* A pin that is not known does not hold. */
static bool check_turn(struct ledger *l)
{
    struct error err;

    if (l->is_unchecked && ledger_db_check(l->db, &err) < 0) {
        ledger_db_fail(l->db, &err);
        return false;
    }
    l->is_unchecked = false;
    ledger_run(l->db, LEDGER_PIN_CLEAR, "");
    if (pins_list_now(l->pins, put_pin, l, &err) < 0)
        fail(&l->walk, &err);
    l->sums.are_pins_news = true;
    return false;
}

/* --- the storage ------------------------------------------------------------------------------ */

static void note_mended(struct ledger *l, bool is_mended)
{
    l->walk.n_walked++;
    l->walk.n_mended += is_mended;
}

/* An entry of the open folder of blobs. */
static void see_blob(struct ledger *l, const char *name)
{
    struct ledger_walk *w = &l->walk;
    int64_t before = l->sums.stored_bytes, n_before = l->sums.n_blobs;
    struct digest d;
    struct stat st;

    if (!digest_parse_hex(w->folder_alg, slice_of(name), &d))
        return;
    char *path = layout_blob(l->layout, &d);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        ledger_put_blob(l, &d, (uint64_t)st.st_size, (int64_t)st.st_mtime);
        w->n_blobs++;
        note_mended(l, before != l->sums.stored_bytes || n_before != l->sums.n_blobs);
    }
    free(path);
}

/* What holds no links can be missed: then there is less to be evicted. */
static bool blobs_turn(struct ledger *l)
{
    struct ledger_walk *w = &l->walk;

    CHECK(w->next_folder <= N_FOLDERS);
    if (!w->folder) {
        if (w->next_folder == N_FOLDERS)
            return false;
        unsigned n = w->next_folder++;
        w->folder_alg = n / 256;
        char *path = xasprintf("%s/%s/%02x", layout_blobs(l->layout),
                               digest_alg_name(w->folder_alg), n % 256);
        w->folder = opendir(path);
        if (!w->folder && errno != ENOENT)
            log_warning(LEDGER_PREFIX, "%s cannot be read", path);
        free(path);
        return true;
    }
    const struct dirent *entry = readdir(w->folder);
    if (entry) {
        see_blob(l, entry->d_name);
    } else {
        closedir(w->folder);
        w->folder = NULL;
    }
    return true;
}

/* Of a manifest that counts as pushed: nothing goes while nobody knows what it keeps. */
static void need_references(struct ledger *l, int64_t blob, const struct digest *d,
                            const char *repo)
{
    char text[DIGEST_TEXT_SIZE];
    struct error err;
    int rc = ledger_read_manifest(l, blob, d, true);

    if (rc == 0 || rc == -ENOENT)
        return;
    digest_format(d, text);
    if (rc == -EBADMSG)
        error_set(&err, rc, "manifest %s of %s is damaged: restore or delete it", text, repo);
    else
        error_sys(&err, rc, "read manifest %s of %s", text, repo);
    fail(&l->walk, &err);
}

static void see_link(struct ledger *l, const struct link_walk_item *item)
{
    struct link_name name = {item->kind, slice_of(item->repo), &item->digest};
    char text[DIGEST_TEXT_SIZE];
    struct origin origin;
    struct error err;
    int rc = link_file_survey(l->layout, &name, &origin);

    CHECK(item->kind < LINK_KIND_MAX);
    if (rc == -ENOENT)
        return;
    digest_format(&item->digest, text);
    if (rc < 0) {
        error_sys(&err, rc, "link of %s in %s", text, item->repo);
        fail(&l->walk, &err);
        return;
    }
    l->walk.n_links++;
    note_mended(
        l, ledger_put_link(l, item->kind, name.repo, &item->digest, origin.is_pushed, origin.at_s));
    if (item->kind != LINK_REVISION || !origin.is_pushed)
        return;
    int64_t blob = ledger_blob(l, &item->digest, 0, false);
    if (blob != 0)
        need_references(l, blob, &item->digest, item->repo);
}

static bool links_turn(struct ledger *l)
{
    struct ledger_walk *w = &l->walk;
    struct link_walk_item item;
    struct error err;

    if (!w->links)
        w->links = link_walk_new(l->layout, true);
    int rc = link_walk_next(w->links, &item, &err);
    if (rc == 1)
        see_link(l, &item);
    else if (rc < 0)
        fail(w, &err);
    return rc != 0;
}

static void see_tag(struct ledger *l, struct slice repo_name, struct slice tag)
{
    struct tag_record record;
    struct error err;
    int rc = tag_file_load(l->layout, repo_name, tag, &record);

    if (rc == -ENOENT)
        return;
    if (rc < 0) {
        error_sys(&err, rc, "tag %.*s of %.*s", SLICE_ARG(tag), SLICE_ARG(repo_name));
        fail(&l->walk, &err);
        return;
    }
    int64_t repo = ledger_repo(l, repo_name, true);
    bool is_mirrored = record.mirrored == TAG_MIRRORED;
    bool is_mended = ledger_put_tag(l, repo, tag, true, record.is_pushed ? &record.pushed : NULL);
    is_mended |= ledger_put_tag(l, repo, tag, false, is_mirrored ? &record.digest : NULL);
    l->walk.n_tags++;
    note_mended(l, is_mended);
}

static bool next_tags(struct ledger *l)
{
    struct ledger_walk *w = &l->walk;
    const char *name;
    struct error err;

    if (!w->repos)
        w->repos = repo_walk_new(l->layout);
    int rc = repo_walk_next(w->repos, &name, &err);
    if (rc < 0)
        fail(w, &err);
    if (rc != 1)
        return rc != 0;
    char *path = layout_tags(l->layout, slice_of(name));
    w->folder = opendir(path);
    free(path);
    free(w->repo);
    w->repo = xstrdup(name);
    return true;
}

static bool tags_turn(struct ledger *l)
{
    struct ledger_walk *w = &l->walk;

    CHECK(!w->folder || w->repo);
    if (!w->folder)
        return next_tags(l);
    const struct dirent *entry = readdir(w->folder);
    if (!entry) {
        closedir(w->folder);
        w->folder = NULL;
    } else if (layout_tag_is_valid(slice_of(entry->d_name))) {
        see_tag(l, slice_of(w->repo), slice_of(entry->d_name));
    }
    return true;
}

/* --- the rows --------------------------------------------------------------------------------- */

/* A statement is not walked while its table changes: a few rows are copied, then looked at. */
struct row {
    int64_t a, b, c;
    struct digest digest;
    char *repo, *name;
};

static bool is_gone(char *path)
{
    struct stat st;
    bool is_gone = stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR);

    free(path);
    return is_gone;
}

static void free_rows(struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(rows[i].repo);
        free(rows[i].name);
    }
}

/* As many rows as there are files, all of which have theirs: then no row is without a file, and
 * they need not be looked at. */
static bool are_as_many(const struct ledger *l, int64_t n_rows, int64_t n_files)
{
    return l->walk.after_a == 0 && !l->walk.is_disturbed && !l->walk.has_failed &&
           n_rows == n_files;
}

static bool rows_blob_turn(struct ledger *l)
{
    struct row rows[ROWS_AT_ONCE];
    size_t n = 0;

    if (are_as_many(l, l->sums.n_blobs, l->walk.n_blobs))
        return false;
    for (sqlite3_stmt *s =
             ledger_row(l->db, LEDGER_ROWS_BLOB, "ii", l->walk.after_a, (int64_t)ROWS_AT_ONCE);
         s && n < ROWS_AT_ONCE; s = ledger_next(l->db, LEDGER_ROWS_BLOB)) {
        rows[n] = (struct row){.a = sqlite3_column_int64(s, 0)};
        l->walk.after_a = rows[n].a;
        n += ledger_digest_of(s, 1, &rows[n].digest);
    }
    ledger_end(l->db, LEDGER_ROWS_BLOB);
    for (size_t i = 0; i < n; i++) {
        bool is_lost = is_gone(layout_blob(l->layout, &rows[i].digest));
        if (is_lost)
            ledger_drop_blob(l, rows[i].a);
        note_mended(l, is_lost);
    }
    return n > 0;
}

static size_t read_link_rows(struct ledger *l, struct row rows[ROWS_AT_ONCE])
{
    struct ledger_walk *w = &l->walk;
    size_t n = 0;

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_ROWS_LINK, "iiii", w->after_a, w->after_b,
                                      w->after_c, (int64_t)ROWS_AT_ONCE);
         s && n < ROWS_AT_ONCE; s = ledger_next(l->db, LEDGER_ROWS_LINK)) {
        struct row *row = &rows[n];
        *row = (struct row){.a = sqlite3_column_int64(s, 0),
                            .b = sqlite3_column_int64(s, 1),
                            .c = sqlite3_column_int64(s, 2)};
        w->after_a = row->a;
        w->after_b = row->b;
        w->after_c = row->c;
        struct slice repo = slice_of((const char *)sqlite3_column_text(s, 4));
        if (ledger_digest_of(s, 3, &row->digest) && layout_repo_is_valid(repo)) {
            row->repo = xmemdup0(repo.ptr, repo.len);
            n++;
        }
    }
    ledger_end(l->db, LEDGER_ROWS_LINK);
    return n;
}

/* By now all is known that makes a mirrored manifest count as pushed: an index that was pushed, and
 * may have been seen after its children. */
static bool rows_link_turn(struct ledger *l)
{
    struct row rows[ROWS_AT_ONCE];

    CHECK(l->db);
    if (l->walk.after_a == 0 && ledger_value(l->db, LEDGER_ANY_UNREAD, 1, "") == 0 &&
        are_as_many(l, ledger_value(l->db, LEDGER_COUNT_LINKS, -1, ""), l->walk.n_links))
        return false;
    size_t n = read_link_rows(l, rows);
    for (size_t i = 0; i < n; i++) {
        struct slice repo = slice_of(rows[i].repo);
        enum link_kind kind = rows[i].b == LINK_REVISION ? LINK_REVISION : LINK_LAYER;
        bool is_lost =
            is_gone(kind == LINK_REVISION ? layout_revision_link(l->layout, repo, &rows[i].digest)
                                          : layout_layer_link(l->layout, repo, &rows[i].digest));
        if (is_lost)
            ledger_drop_link(l, kind, rows[i].c, rows[i].a);
        else if (kind == LINK_REVISION && ledger_is_unread(l, rows[i].a))
            need_references(l, rows[i].a, &rows[i].digest, rows[i].repo);
        note_mended(l, is_lost);
    }
    free_rows(rows, n);
    return n > 0;
}

static size_t read_tag_rows(struct ledger *l, struct row rows[ROWS_AT_ONCE])
{
    struct ledger_walk *w = &l->walk;
    size_t n = 0;

    for (sqlite3_stmt *s =
             ledger_row(l->db, LEDGER_ROWS_TAG, "isi", w->after_a,
                        slice_of(w->after_name ? w->after_name : ""), (int64_t)ROWS_AT_ONCE);
         s && n < ROWS_AT_ONCE; s = ledger_next(l->db, LEDGER_ROWS_TAG)) {
        rows[n] = (struct row){.a = sqlite3_column_int64(s, 0),
                               .name = xstrdup((const char *)sqlite3_column_text(s, 1)),
                               .repo = xstrdup((const char *)sqlite3_column_text(s, 2))};
        w->after_a = rows[n].a;
        free(w->after_name);
        w->after_name = xstrdup(rows[n].name);
        n++;
    }
    ledger_end(l->db, LEDGER_ROWS_TAG);
    return n;
}

/* One that is a file with other halves was seen before. */
static bool rows_tag_turn(struct ledger *l)
{
    struct row rows[ROWS_AT_ONCE];

    if (l->walk.after_a == 0 &&
        are_as_many(l, ledger_value(l->db, LEDGER_COUNT_TAGS, -1, ""), l->walk.n_tags))
        return false;
    size_t n = read_tag_rows(l, rows);
    for (size_t i = 0; i < n; i++) {
        struct slice repo = slice_of(rows[i].repo), tag = slice_of(rows[i].name);
        struct tag_record record;
        bool is_lost = !layout_repo_is_valid(repo) || !layout_tag_is_valid(tag) ||
                       tag_file_load(l->layout, repo, tag, &record) == -ENOENT;
        if (is_lost) {
            ledger_put_tag(l, rows[i].a, tag, true, NULL);
            ledger_put_tag(l, rows[i].a, tag, false, NULL);
        }
        note_mended(l, is_lost);
    }
    free_rows(rows, n);
    return n > 0;
}

/* --- all of it -------------------------------------------------------------------------------- */

static bool phase_turn(struct ledger *l)
{
    static bool (*const TURNS[])(struct ledger * l) = {
        [WALK_CHECK] = check_turn,         [WALK_BLOBS] = blobs_turn,
        [WALK_LINKS] = links_turn,         [WALK_TAGS] = tags_turn,
        [WALK_ROWS_BLOB] = rows_blob_turn, [WALK_ROWS_LINK] = rows_link_turn,
        [WALK_ROWS_TAG] = rows_tag_turn,
    };

    return TURNS[l->walk.phase](l);
}

bool ledger_walk_turn(struct ledger *l, unsigned n_max)
{
    struct ledger_walk *w = &l->walk;
    uint64_t until = w->n_walked + n_max;

    CHECK(n_max > 0 && w->phase > WALK_NONE && w->phase < WALK_PHASE_MAX);
    for (unsigned i = 0; i < n_max && w->n_walked < until; i++) {
        if (ledger_db_has_failed(l->db))
            return true; /* the end of the transaction sees to it */
        if (phase_turn(l))
            continue;
        close_all(w);
        if (w->phase + 1 == WALK_PHASE_MAX)
            return false;
        log_debug(LEDGER_PREFIX, "%s -> %s", PHASES[w->phase], PHASES[w->phase + 1]);
        w->phase++;
    }
    return true;
}
