/* What the notes and the walk do to the rows. All within a transaction, under the lock. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "cache/digest_search.h"
#include "cache/disk.h"
#include "cache/ledger_private.h"
#include "cache/manifest_scan.h"

#define SCAN_DEPTH_MAX 512
#define MANIFEST_MAX_BYTES ((uint64_t)64 << 20)

/* Columns of BLOB_FIND, BLOB_GET and BLOB_LOOK; the last three of BLOB_LOOK only. */
enum {
    COLUMN_ID,
    COLUMN_SIZE,
    COLUMN_USED,
    COLUMN_PUSHED,
    COLUMN_READ,
    COLUMN_LINKED,
    COLUMN_REFERENCED,
    COLUMN_ROOT
};

struct blob_row {
    bool has_size, is_pushed;
    bool is_linked, is_referenced, has_root; /* of look_at only */
    int64_t size, used;
    int read;
};

/* --- names ------------------------------------------------------------------------------------ */

int64_t ledger_repo(struct ledger *l, struct slice name, bool make)
{
    int64_t id = ledger_value(l->db, LEDGER_REPO_FIND, 0, "s", name);

    if (id != 0 || !make || ledger_db_has_failed(l->db))
        return id;
    ledger_run(l->db, LEDGER_REPO_ADD, "s", name);
    return ledger_new_id(l->db);
}

int64_t ledger_blob(struct ledger *l, const struct digest *d, int64_t at_s, bool make)
{
    int64_t id = ledger_value(l->db, LEDGER_BLOB_FIND, 0, "d", d);

    if (id != 0 || !make || ledger_db_has_failed(l->db))
        return id;
    ledger_run(l->db, LEDGER_BLOB_ADD, "di", d, at_s);
    return ledger_new_id(l->db);
}

static struct blob_row row_in(sqlite3_stmt *s)
{
    if (!s)
        return (struct blob_row){.has_size = false};
    return (struct blob_row){
        .has_size = sqlite3_column_type(s, COLUMN_SIZE) != SQLITE_NULL,
        .size = sqlite3_column_int64(s, COLUMN_SIZE),
        .used = sqlite3_column_int64(s, COLUMN_USED),
        .is_pushed = sqlite3_column_int(s, COLUMN_PUSHED) != 0,
        .read = sqlite3_column_int(s, COLUMN_READ),
    };
}

/* By its digest; made when there is none. 0: a failure. */
static int64_t find_row(struct ledger *l, const struct digest *d, int64_t at_s,
                        struct blob_row *row)
{
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_BLOB_FIND, "d", d);
    int64_t id = s ? sqlite3_column_int64(s, COLUMN_ID) : 0;

    *row = row_in(s);
    ledger_end(l->db, LEDGER_BLOB_FIND);
    if (id != 0 || ledger_db_has_failed(l->db))
        return id;
    ledger_run(l->db, LEDGER_BLOB_ADD, "di", d, at_s);
    row->used = at_s;
    return ledger_new_id(l->db);
}

static struct blob_row read_row(struct ledger *l, enum ledger_sql sql, int64_t blob)
{
    sqlite3_stmt *s = ledger_row(l->db, sql, "i", blob);
    struct blob_row row = row_in(s);

    CHECK(sql == LEDGER_BLOB_GET || sql == LEDGER_BLOB_LOOK);
    if (s && sql == LEDGER_BLOB_LOOK) {
        row.is_linked = sqlite3_column_int(s, COLUMN_LINKED) != 0;
        row.is_referenced = sqlite3_column_int(s, COLUMN_REFERENCED) != 0;
        row.has_root = sqlite3_column_int(s, COLUMN_ROOT) != 0;
    }
    ledger_end(l->db, sql);
    return row;
}

static struct blob_row row_of(struct ledger *l, int64_t blob)
{
    return read_row(l, LEDGER_BLOB_GET, blob);
}

static struct blob_row look_at(struct ledger *l, int64_t blob)
{
    return read_row(l, LEDGER_BLOB_LOOK, blob);
}

/* A list of rows, since a statement cannot be walked while it is used again. */
struct ids {
    int64_t *ids;
    size_t n, n_room;
};

static void ids_add(struct ids *list, int64_t id)
{
    if (list->n == list->n_room) {
        list->n_room = list->n_room ? list->n_room * 2 : 32;
        list->ids = xrealloc(list->ids, list->n_room * sizeof(list->ids[0]));
    }
    list->ids[list->n++] = id;
}

static struct ids list_of(struct ledger *l, enum ledger_sql sql, int64_t manifest)
{
    struct ids list = {0};

    for (sqlite3_stmt *s = ledger_row(l->db, sql, "i", manifest); s; s = ledger_next(l->db, sql))
        ids_add(&list, sqlite3_column_int64(s, 0));
    ledger_end(l->db, sql);
    return list;
}

static struct ids references_of(struct ledger *l, int64_t manifest)
{
    return list_of(l, LEDGER_REF_LIST, manifest);
}

/* --- pushed or not ---------------------------------------------------------------------------- */

static void set_pushed(struct ledger *l, int64_t blob, const struct blob_row *row, bool is_pushed)
{
    ledger_run(l->db, LEDGER_BLOB_SET_PUSHED, "ii", blob, (int64_t)is_pushed);
    if (row->has_size)
        l->sums.pushed_bytes += is_pushed ? row->size : -row->size;
}

/* It, and all that it references. */
static void spread_pushed(struct ledger *l, int64_t blob)
{
    struct ids rows = {0};

    for (sqlite3_stmt *s = ledger_row(l->db, LEDGER_DOWN, "i", blob); s;
         s = ledger_next(l->db, LEDGER_DOWN)) {
        if (sqlite3_column_int(s, 2) == 0)
            ids_add(&rows, sqlite3_column_int64(s, 0));
    }
    ledger_end(l->db, LEDGER_DOWN);
    for (size_t i = 0; i < rows.n; i++) {
        struct blob_row row = row_of(l, rows.ids[i]);
        set_pushed(l, rows.ids[i], &row, true);
    }
    free(rows.ids);
}

/* A pushed link has gone: whether it still counts as pushed, and what it references. */
static void review_pushed(struct ledger *l, int64_t blob)
{
    struct ids todo = {0};

    ids_add(&todo, blob);
    for (size_t i = 0; i < todo.n; i++) {
        struct blob_row row = row_of(l, todo.ids[i]);
        if (!row.is_pushed || ledger_value(l->db, LEDGER_LINK_PUSHED, 0, "i", todo.ids[i]) ||
            ledger_value(l->db, LEDGER_REF_PUSHED, 0, "i", todo.ids[i]))
            continue;
        set_pushed(l, todo.ids[i], &row, false);
        struct ids below = references_of(l, todo.ids[i]);
        for (size_t k = 0; k < below.n; k++)
            ids_add(&todo, below.ids[k]);
        free(below.ids);
    }
    free(todo.ids);
}

/* --- blobs ------------------------------------------------------------------------------------ */

static void put_size(struct ledger *l, int64_t blob, const struct blob_row *row, uint64_t size,
                     int64_t at_s)
{
    CHECK(blob != 0);
    if (row->has_size && row->size == (int64_t)size)
        return;
    ledger_run(l->db, LEDGER_BLOB_SET_SIZE, "iii", blob, (int64_t)size, at_s);
    l->sums.n_blobs += !row->has_size;
    l->sums.stored_bytes += (int64_t)size - row->size;
    if (row->is_pushed)
        l->sums.pushed_bytes += (int64_t)size - row->size;
}

void ledger_put_blob(struct ledger *l, const struct digest *d, uint64_t size, int64_t at_s)
{
    struct blob_row row;
    int64_t blob = find_row(l, d, at_s, &row);

    if (blob != 0)
        put_size(l, blob, &row, size, at_s);
}

/* Neither here nor linked: what it references is of no interest. While it is linked it is, since a
 * digest always references the same. */
static void forget_references(struct ledger *l, int64_t blob)
{
    struct blob_row row = look_at(l, blob);

    if (row.has_size || row.is_linked)
        return;
    struct ids below = {0};
    if (row.read != 0) {
        below = references_of(l, blob);
        ledger_run(l->db, LEDGER_REF_DROP, "i", blob);
        ledger_run(l->db, LEDGER_BLOB_SET_READ, "ii", blob, (int64_t)0);
    }
    for (size_t i = 0; i < below.n; i++) {
        if (row.is_pushed)
            review_pushed(l, below.ids[i]);
        ledger_run(l->db, LEDGER_BLOB_TIDY, "i", below.ids[i]);
    }
    ledger_run(l->db, LEDGER_BLOB_TIDY, "i", blob);
    free(below.ids);
}

static void count_gone(struct ledger *l, const struct blob_row *row)
{
    if (!row->has_size)
        return;
    l->sums.n_blobs--;
    l->sums.stored_bytes -= row->size;
    if (row->is_pushed)
        l->sums.pushed_bytes -= row->size;
}

void ledger_drop_blob(struct ledger *l, int64_t blob)
{
    struct blob_row row = row_of(l, blob);

    count_gone(l, &row);
    /* Most are layers that nothing holds any more: their row goes, and that is all. */
    ledger_run(l->db, LEDGER_BLOB_DROP, "i", blob);
    if (ledger_has_changed(l->db))
        return;
    if (row.has_size)
        ledger_run(l->db, LEDGER_BLOB_NO_SIZE, "i", blob);
    forget_references(l, blob);
}

/* Nothing links it, so what it references does not count any more. */
void ledger_drop_loose(struct ledger *l, int64_t blob, const struct ledger_look *look)
{
    struct blob_row row = {.has_size = look->has_size, .size = (int64_t)look->size};
    struct ids bare = {0};

    CHECK(look->is_loose && blob != 0);
    count_gone(l, &row);
    if (look->is_read) {
        bare = list_of(l, LEDGER_REF_BARE, blob);
        ledger_run(l->db, LEDGER_REF_DROP, "i", blob);
    }
    ledger_run(l->db, LEDGER_BLOB_DROP, "i", blob);
    if (!ledger_has_changed(l->db)) {
        ledger_run(l->db, LEDGER_BLOB_NO_SIZE, "i", blob);
        ledger_run(l->db, LEDGER_BLOB_SET_READ, "ii", blob, (int64_t)0);
    }
    for (size_t i = 0; i < bare.n; i++)
        ledger_run(l->db, LEDGER_BLOB_TIDY, "i", bare.ids[i]);
    free(bare.ids);
}

/* What is linked is usually here; if nobody has noted its size, the storage says it. */
static void learn_size(struct ledger *l, int64_t blob, const struct blob_row *row,
                       const struct digest *d, int64_t at_s)
{
    struct stat st;

    if (row->has_size)
        return;
    char *path = layout_blob(l->layout, d);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        put_size(l, blob, row, (uint64_t)st.st_size, at_s);
    free(path);
}

/* --- what manifests reference ----------------------------------------------------------------- */

struct reading {
    struct ledger *ledger;
    int64_t manifest;
};

static void add_reference(void *arg, const struct digest *d)
{
    struct reading *r = arg;
    int64_t blob = ledger_blob(r->ledger, d, 0, true);

    if (blob != 0 && blob != r->manifest)
        ledger_run(r->ledger->db, LEDGER_REF_ADD, "ii", r->manifest, blob);
}

static int add_scanned(void *arg, const struct manifest_ref *ref)
{
    if (ref->kind != MANIFEST_REF_SUBJECT)
        add_reference(arg, &ref->digest);
    return 0;
}

/* A pushed manifest keeps whatever its text mentions, as the garbage collector does; a mirrored one
 * what it is made of. One that is no good JSON is searched, too. */
static void read_references(struct ledger *l, int64_t manifest, struct slice body, bool is_pushed)
{
    struct reading r = {l, manifest};
    struct manifest_facts facts;
    struct digest_search search;

    if (!is_pushed && manifest_scan(body, SCAN_DEPTH_MAX, &facts, NULL, NULL, NULL) == 0) {
        manifest_scan(body, SCAN_DEPTH_MAX, &facts, add_scanned, &r, NULL);
        return;
    }
    digest_search_init(&search, add_reference, &r);
    digest_search_feed(&search, body.ptr, body.len);
}

/* What the scrub has moved aside because it is damaged is not absent: nobody knows what it
 * references, and it may come back. */
static bool is_moved_away(const struct ledger *l, const struct digest *d)
{
    struct stat st;
    char *aside = layout_damaged(l->layout, d);
    bool is_there = stat(aside, &st) == 0;

    free(aside);
    return is_there;
}

int ledger_read_manifest(struct ledger *l, int64_t blob, const struct digest *d, bool is_pushed)
{
    struct blob_row row = row_of(l, blob);
    struct strbuf body = STRBUF_INIT;
    struct digest found;
    int want = is_pushed || row.is_pushed ? 2 : 1;

    CHECK(blob != 0);
    if (row.read >= want)
        return 0;
    char *path = layout_blob(l->layout, d);
    int rc = disk_read_file(path, MANIFEST_MAX_BYTES, &body);
    free(path);
    if (rc == 0) {
        digest_of(d->alg, body.ptr ? body.ptr : "", body.len, &found);
        rc = digest_equal(&found, d) ? 0 : -EBADMSG;
    }
    if (rc == 0) {
        read_references(l, blob, (struct slice){body.ptr ? body.ptr : "", body.len}, want == 2);
        ledger_run(l->db, LEDGER_BLOB_SET_READ, "ii", blob, (int64_t)want);
        if (row.is_pushed)
            spread_pushed(l, blob);
    }
    strbuf_fini(&body);
    if (rc == -ENOTDIR)
        rc = -ENOENT;
    return rc == -ENOENT && is_moved_away(l, d) ? -EBADMSG : rc;
}

bool ledger_is_unread(struct ledger *l, int64_t blob)
{
    struct blob_row row = row_of(l, blob);

    return row.is_pushed && row.read == 0;
}

bool ledger_is_held(struct ledger *l, int64_t blob, int64_t repo)
{
    return ledger_value(l->db, LEDGER_REF_IN_REPO, 0, "ii", blob, repo) != 0;
}

bool ledger_is_pinned(struct ledger *l, int64_t blob, int64_t repo)
{
    return ledger_value(l->db, LEDGER_PIN_ANY, 0, "") != 0 &&
           ledger_value(l->db, LEDGER_PIN_OF, 0, "ii", blob, repo) != 0;
}

void ledger_look(struct ledger *l, int64_t blob, struct ledger_look *out)
{
    struct blob_row row = look_at(l, blob);

    *out = (struct ledger_look){.has_size = row.has_size,
                                .size = row.size > 0 ? (uint64_t)row.size : 0,
                                .is_read = row.read != 0,
                                .has_root = row.has_root};
    if (row.is_pushed || row.is_linked)
        return;
    /* The recursion costs ten times as much as the look whether it is needed. */
    bool is_referenced =
        row.is_referenced && ledger_value(l->db, LEDGER_REF_ALIVE, 0, "i", blob) != 0;
    out->is_loose = !is_referenced && !ledger_db_has_failed(l->db);
}

bool ledger_is_loose(struct ledger *l, int64_t blob)
{
    struct ledger_look look;

    ledger_look(l, blob, &look);
    return look.is_loose;
}

/* --- links ------------------------------------------------------------------------------------ */

/* What a new revision references stands no longer for itself. */
static void cover_references(struct ledger *l, int64_t manifest, int64_t repo)
{
    ledger_run(l->db, LEDGER_ROOT_COVER, "ii", manifest, repo);
}

/* The other way round: a revision goes, and what it referenced may stand for itself. Whether it
 * does is looked at when it is chosen. */
static void uncover_references(struct ledger *l, int64_t manifest, int64_t repo)
{
    ledger_run(l->db, LEDGER_ROOT_UNCOVER, "ii", manifest, repo);
}

bool ledger_put_link(struct ledger *l, enum link_kind kind, struct slice repo_name,
                     const struct digest *d, bool is_pushed, int64_t at_s)
{
    int64_t repo = ledger_repo(l, repo_name, true);
    struct blob_row row;
    int64_t blob = find_row(l, d, at_s, &row);

    CHECK(kind < LINK_KIND_MAX);
    if (repo == 0 || blob == 0)
        return false;
    learn_size(l, blob, &row, d, at_s);
    int64_t known = ledger_value(l->db, LEDGER_LINK_FIND, -1, "iii", blob, (int64_t)kind, repo);
    if (known != is_pushed)
        ledger_run(l->db, LEDGER_LINK_PUT, "iiii", blob, (int64_t)kind, repo, (int64_t)is_pushed);
    if (is_pushed && known != 1)
        spread_pushed(l, blob);
    if (!is_pushed && known == 1)
        review_pushed(l, blob);
    if (kind == LINK_REVISION) {
        int rc = ledger_read_manifest(l, blob, d, is_pushed);
        /* Nobody knows what it keeps: the walk finds out, or says that it cannot. */
        if (rc < 0 && rc != -ENOENT && is_pushed && l->walk.phase == WALK_NONE)
            ledger_want_walk(l);
        if (known != is_pushed)
            cover_references(l, blob, repo);
    }
    if (known == is_pushed)
        return false;
    if (is_pushed)
        ledger_run(l->db, LEDGER_ROOT_DROP, "iii", blob, repo, (int64_t)kind);
    else if (!ledger_is_held(l, blob, repo))
        ledger_run(l->db, LEDGER_ROOT_ADD, "iiii", repo, blob, (int64_t)kind, row_of(l, blob).used);
    return true;
}

void ledger_drop_link(struct ledger *l, enum link_kind kind, int64_t repo, int64_t blob)
{
    int64_t known = ledger_value(l->db, LEDGER_LINK_FIND, -1, "iii", blob, (int64_t)kind, repo);

    CHECK(kind < LINK_KIND_MAX);
    ledger_run(l->db, LEDGER_ROOT_DROP, "iii", blob, repo, (int64_t)kind);
    if (known < 0)
        return;
    ledger_run(l->db, LEDGER_LINK_DROP, "iii", blob, (int64_t)kind, repo);
    if (kind == LINK_REVISION)
        uncover_references(l, blob, repo);
    if (known == 1)
        review_pushed(l, blob);
    forget_references(l, blob);
}

void ledger_drop_mirrored(struct ledger *l, enum link_kind kind, int64_t repo, int64_t blob,
                          bool leaves_roots)
{
    CHECK(kind < LINK_KIND_MAX && repo != 0);
    ledger_run(l->db, LEDGER_LINK_DROP, "iii", blob, (int64_t)kind, repo);
    if (kind == LINK_REVISION && leaves_roots)
        uncover_references(l, blob, repo);
}

/* --- tags, uses, pins ------------------------------------------------------------------------- */

bool ledger_put_tag(struct ledger *l, int64_t repo, struct slice tag, bool is_pushed,
                    const struct digest *d)
{
    int64_t known = ledger_value(l->db, LEDGER_TAG_FIND, 0, "isi", repo, tag, (int64_t)is_pushed);
    int64_t blob = d ? ledger_blob(l, d, clock_wall_s(), true) : 0;

    if (repo == 0 || tag.len == 0)
        return false;
    if (known == blob)
        return false;
    if (blob != 0)
        ledger_run(l->db, LEDGER_TAG_PUT, "isii", repo, tag, (int64_t)is_pushed, blob);
    else
        ledger_run(l->db, LEDGER_TAG_DROP, "isi", repo, tag, (int64_t)is_pushed);
    l->sums.are_pins_news = true;
    if (known != 0)
        ledger_run(l->db, LEDGER_BLOB_TIDY, "i", known);
    return true;
}

void ledger_put_used(struct ledger *l, const struct digest *d, int64_t at_s)
{
    int64_t blob = ledger_blob(l, d, at_s, false);

    if (blob == 0)
        return;
    ledger_run(l->db, LEDGER_BLOB_USED, "ii", blob, at_s);
    ledger_run(l->db, LEDGER_ROOT_USED, "ii", blob, at_s);
    /* Only manifests are looked up for their parents: a layer may have ten thousands. */
    if (row_of(l, blob).read != 0)
        ledger_run(l->db, LEDGER_ROOT_USED_ABOVE, "ii", blob, at_s);
}

/* A digest as reference becomes a row, a tag is looked up when it matters. */
void ledger_put_pin(struct ledger *l, struct slice repo_name, struct slice reference)
{
    struct digest d;
    int64_t repo = ledger_repo(l, repo_name, true);
    int64_t blob = digest_parse(reference, &d) ? ledger_blob(l, &d, clock_wall_s(), true) : 0;

    ledger_run(l->db, LEDGER_PIN_ADD, "isi", repo, reference, blob);
    l->sums.are_pins_news = true;
}

static void apply_tag(struct ledger *l, const struct ledger_note *n, struct slice repo_name,
                      struct slice tag)
{
    bool has_any = n->has_pushed || n->has_mirrored;
    int64_t repo = ledger_repo(l, repo_name, has_any);

    if (repo == 0)
        return;
    ledger_put_tag(l, repo, tag, true, n->has_pushed ? &n->pushed : NULL);
    ledger_put_tag(l, repo, tag, false, n->has_mirrored ? &n->digest : NULL);
}

static void apply_gone(struct ledger *l, const struct ledger_note *n, struct slice repo_name)
{
    int64_t blob = ledger_blob(l, &n->digest, 0, false);
    int64_t repo = n->kind == NOTE_LINK_GONE ? ledger_repo(l, repo_name, false) : 0;

    if (blob != 0 && n->kind == NOTE_BLOB_GONE)
        ledger_drop_blob(l, blob);
    else if (blob != 0 && repo != 0)
        ledger_drop_link(l, n->link, repo, blob);
}

void ledger_apply(struct ledger *l, const struct ledger_note *n)
{
    struct slice repo = {n->text, n->n_repo};
    struct slice name = {n->text + n->n_repo, n->n_name};

    CHECK(l->db && n->kind < NOTE_KIND_MAX);
    l->walk.is_disturbed = true;
    switch (n->kind) {
    case NOTE_BLOB:
        ledger_put_blob(l, &n->digest, n->size, n->at_s);
        break;
    case NOTE_LINK:
        ledger_put_link(l, n->link, repo, &n->digest, n->is_pushed, n->at_s);
        break;
    case NOTE_BLOB_GONE:
    case NOTE_LINK_GONE:
        apply_gone(l, n, repo);
        break;
    case NOTE_TAG:
        apply_tag(l, n, repo, name);
        break;
    case NOTE_PIN:
        ledger_put_pin(l, repo, name);
        break;
    case NOTE_PIN_GONE:
        ledger_run(l->db, LEDGER_PIN_DROP, "is", ledger_repo(l, repo, true), name);
        l->sums.are_pins_news = true;
        break;
    default:
        CHECK(!"a kind of note");
    }
}
