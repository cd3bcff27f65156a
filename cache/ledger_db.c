#include "config.h"

#include "cache/ledger_db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"

#define APPLICATION_ID 0x6d697272 /* "mirr" */
#define SCHEMA_VERSION 1
#define PAGE_BYTES 4096                 /* SQLite's default */
#define LOG_PAGES 4000                  /* of the log, before it is written back at the latest */
#define ROOM_LEAST ((int64_t)256 << 10) /* set aside for the log */
#define ROOM_MOST ((int64_t)24 << 20)   /* LOG_PAGES, and what one batch writes */

/*
 * WAL: a reader of another connection (sqlite3 in a shell) never stops the writer. synchronous=OFF:
 * the storage is the truth; after a power cut the walk mends what was lost, or a damaged file is
 * made anew, and an fsync for an index would cost the pulls their disk. The page cache is what the
 * ledger may have of our memory (8 MiB), whatever the size of the file: what a batch of evictions
 * changes of a million blobs has room in it, and is written once.
 */
static const char SET_UP[] = "PRAGMA journal_mode = WAL;"
                             "PRAGMA synchronous = OFF;"
                             "PRAGMA cache_size = -8192;"
                             "PRAGMA temp_store = FILE;"
                             "PRAGMA journal_size_limit = 25165824;"
                             "PRAGMA trusted_schema = OFF;";

static const char SCHEMA[] =
    "BEGIN;"
    "CREATE TABLE repo(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    /* size NULL: mentioned, not here. read: what it references is in ref; 1 as a mirrored manifest,
     * 2 as a pushed one. */
    "CREATE TABLE blob(id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER,"
    " used INTEGER NOT NULL, since INTEGER NOT NULL, pushed INTEGER NOT NULL,"
    " read INTEGER NOT NULL);"
    "CREATE TABLE link(blob INTEGER NOT NULL, kind INTEGER NOT NULL, repo INTEGER NOT NULL,"
    " pushed INTEGER NOT NULL, PRIMARY KEY(blob, kind, repo)) WITHOUT ROWID;"
    "CREATE INDEX link_revision ON link(repo, blob) WHERE kind = 1;"
    "CREATE TABLE ref(manifest INTEGER NOT NULL, blob INTEGER NOT NULL,"
    " PRIMARY KEY(manifest, blob)) WITHOUT ROWID;"
    "CREATE INDEX ref_blob ON ref(blob, manifest);"
    "CREATE TABLE tag(repo INTEGER NOT NULL, name TEXT NOT NULL, pushed INTEGER NOT NULL,"
    " blob INTEGER NOT NULL, PRIMARY KEY(repo, name, pushed)) WITHOUT ROWID;"
    "CREATE INDEX tag_blob ON tag(blob, repo);"
    "CREATE TABLE root(id INTEGER PRIMARY KEY, repo INTEGER NOT NULL, blob INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, used INTEGER NOT NULL, UNIQUE(blob, repo, kind));"
    "CREATE INDEX root_used ON root(used, id);"
    "CREATE TABLE pin(repo INTEGER NOT NULL, name TEXT NOT NULL, blob INTEGER,"
    " PRIMARY KEY(repo, name)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;"
    "PRAGMA application_id = 1835627122;"
    "COMMIT;";

static const char *const TEXTS[] = {
#define SQL(id, text) [LEDGER_##id] = text,
#include "cache/ledger_sql.def"
#undef SQL
};
_Static_assert(sizeof(TEXTS) / sizeof(TEXTS[0]) == LEDGER_SQL_MAX, "a text for every statement");

struct ledger_db {
    sqlite3 *sqlite;
    char *path;
    dev_t dev;
    ino_t ino;
    bool is_new;
    int64_t room; /* bytes that are set aside for the log */
    int failure;  /* SQLite's code of the first since begin */
    char why[256];
    sqlite3_stmt *statements[LEDGER_SQL_MAX];
};

/* --- opening ---------------------------------------------------------------------------------- */

static int errno_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table that is not what we made */
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
    case SQLITE_RANGE:
        return -EBADMSG;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
        return -EROFS;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static int failure_of(struct ledger_db *db, int code, struct error *err)
{
    return error_set(err, errno_of(code), "ledger %s: %s", db->path,
                     db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(code));
}

static int number_of(struct ledger_db *db, const char *pragma, int *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, pragma, -1, &s, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* An empty file becomes a ledger; another must be one of our version. */
static int judge(struct ledger_db *db, struct error *err)
{
    int version = 0, application = 0, n_tables = 0;
    int code = number_of(db, "PRAGMA user_version", &version);

    if (code == SQLITE_OK)
        code = number_of(db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK)
        code = number_of(db, "SELECT count(*) FROM sqlite_master", &n_tables);
    if (code != SQLITE_OK)
        return failure_of(db, code, err);
    db->is_new = version == 0 && application == 0 && n_tables == 0;
    if (db->is_new) {
        code = sqlite3_exec(db->sqlite, SCHEMA, NULL, NULL, NULL);
        return code == SQLITE_OK ? 0 : failure_of(db, code, err);
    }
    if (application != APPLICATION_ID)
        return error_set(err, -EBADMSG, "ledger %s: not one of ours", db->path);
    if (version > SCHEMA_VERSION)
        return error_set(err, -ENOTSUP, "ledger %s: of version %d, this program knows %d", db->path,
                         version, SCHEMA_VERSION);
    if (version < SCHEMA_VERSION)
        return error_set(err, -EBADMSG, "ledger %s: of version %d", db->path, version);
    return 0;
}

/* A file that can only be read is of no use; a write that changes nothing tells. */
static int set_up(struct ledger_db *db, struct error *err)
{
    int code =
        sqlite3_open_v2(db->path, &db->sqlite,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(db->sqlite, 1000);
    if (code == SQLITE_OK && sqlite3_db_readonly(db->sqlite, "main") == 1)
        return error_set(err, -EROFS, "ledger %s: cannot be written", db->path);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->sqlite, SET_UP, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_wal_autocheckpoint(db->sqlite, LOG_PAGES);
    if (code != SQLITE_OK)
        return failure_of(db, code, err);
    int rc = judge(db, err);
    if (rc == 0) {
        code = sqlite3_exec(db->sqlite, "BEGIN IMMEDIATE; COMMIT", NULL, NULL, NULL);
        rc = code == SQLITE_OK ? 0 : failure_of(db, code, err);
    }
    return rc;
}

int ledger_db_open(const char *path, struct ledger_db **out, struct error *err)
{
    struct ledger_db *db = xcalloc(1, sizeof(*db));
    struct stat st;

    db->path = xstrdup(path);
    int rc = 0;
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
        rc = error_set(err, -EBADMSG, "ledger %s: not a file", path);
    if (rc == 0)
        rc = set_up(db, err);
    if (rc == 0 && stat(path, &st) < 0)
        rc = error_sys(err, -errno, "ledger %s", path);
    if (rc < 0) {
        ledger_db_close(&db);
        return rc;
    }
    db->dev = st.st_dev;
    db->ino = st.st_ino;
    ledger_db_keep_room(db);
    *out = db;
    return 0;
}

/* Behind the end of the log's file, whose length stays what SQLite has made it. */
static bool set_aside(const struct ledger_db *db, int64_t room)
{
    char *log = xasprintf("%s-wal", db->path);
    int fd = open(log, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    CHECK(room >= ROOM_LEAST && room <= ROOM_MOST);
    bool is_done = fd >= 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, room) == 0;

    if (fd >= 0)
        close(fd);
    free(log);
    return is_done;
}

/* A transaction changes each page once, or as many as the page cache holds; the log is written back
 * when half of the room is used, so that the other half is there for the next one. */
void ledger_db_keep_room(struct ledger_db *db)
{
    struct stat st;

    CHECK(db->sqlite && sqlite3_get_autocommit(db->sqlite));
    if (stat(db->path, &st) < 0)
        return;
    int64_t room = 2 * (int64_t)st.st_size + ROOM_LEAST;
    room = room < ROOM_MOST ? room : ROOM_MOST;
    if (room <= db->room || !set_aside(db, room))
        return;
    db->room = room;
    int64_t pages = room / PAGE_BYTES / 2;
    sqlite3_wal_autocheckpoint(db->sqlite, (int)(pages < LOG_PAGES ? pages : LOG_PAGES));
}

void ledger_db_close(struct ledger_db **dbp)
{
    struct ledger_db *db = *dbp;

    if (!db)
        return;
    for (size_t i = 0; i < LEDGER_SQL_MAX; i++)
        sqlite3_finalize(db->statements[i]);
    /* The log's file stays, empty, and its room with it: the disk may be full at the next start.
     * One that belongs to a file which is not there any more must not stay. */
    int stays = db->room > 0 && ledger_db_is_there(db);
    if (stays)
        sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_PERSIST_WAL, &stays);
    CHECK(sqlite3_close(db->sqlite) == SQLITE_OK);
    if (stays)
        set_aside(db, db->room);
    free(db->path);
    free(db);
    *dbp = NULL;
}

bool ledger_db_is_new(const struct ledger_db *db)
{
    return db->is_new;
}

bool ledger_db_is_there(const struct ledger_db *db)
{
    struct stat st;

    return stat(db->path, &st) == 0 && st.st_dev == db->dev && st.st_ino == db->ino;
}

int ledger_db_check(struct ledger_db *db, struct error *err)
{
    sqlite3_stmt *s = NULL;
    char text[128] = "";
    int code = sqlite3_prepare_v2(db->sqlite, "PRAGMA quick_check(1)", -1, &s, NULL);

    if (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW)
        snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    if (code != SQLITE_ROW)
        return failure_of(db, code, err);
    return strcmp(text, "ok") == 0
               ? 0
               : error_set(err, -EBADMSG, "ledger %s: damaged: %s", db->path, text);
}

int ledger_db_move_away(const char *path, struct error *err)
{
    static const char *const BESIDE[] = {"-wal", "-shm", "-journal"};
    char *away = xasprintf("%s.damaged", path);
    int rc = 0;

    for (size_t i = 0; i < sizeof(BESIDE) / sizeof(BESIDE[0]); i++) {
        char *beside = xasprintf("%s%s", path, BESIDE[i]);
        unlink(beside);
        free(beside);
    }
    if (rename(path, away) < 0 && errno != ENOENT && unlink(path) < 0)
        rc = error_sys(err, -errno, "move %s away", path);
    free(away);
    return rc;
}

/* --- statements ------------------------------------------------------------------------------- */

static void note_failure(struct ledger_db *db, int code)
{
    if (db->failure != SQLITE_OK)
        return;
    db->failure = code;
    snprintf(db->why, sizeof(db->why), "%s", sqlite3_errmsg(db->sqlite));
}

static size_t digest_bytes(const struct digest *d, uint8_t out[1 + 64])
{
    size_t n = digest_size(d->alg);

    out[0] = (uint8_t)d->alg;
    memcpy(out + 1, d->bytes, n);
    return n + 1;
}

bool ledger_digest_of(sqlite3_stmt *row, int column, struct digest *out)
{
    const uint8_t *bytes = sqlite3_column_blob(row, column);
    int n = sqlite3_column_bytes(row, column);

    CHECK(row && column < sqlite3_column_count(row));
    if (n < 1 || bytes[0] >= DIGEST_ALG_MAX || (size_t)n != 1 + digest_size(bytes[0]))
        return false;
    memset(out, 0, sizeof(*out));
    out->alg = bytes[0];
    memcpy(out->bytes, bytes + 1, (size_t)n - 1);
    return true;
}

static void bind(sqlite3_stmt *s, const char *kinds, va_list args)
{
    uint8_t bytes[1 + 64];

    for (int i = 0; kinds[i] != '\0'; i++) {
        if (kinds[i] == 'i') {
            sqlite3_bind_int64(s, i + 1, va_arg(args, int64_t));
        } else if (kinds[i] == 'd') {
            size_t n = digest_bytes(va_arg(args, const struct digest *), bytes);
            sqlite3_bind_blob(s, i + 1, bytes, (int)n, SQLITE_TRANSIENT);
        } else {
            struct slice text = va_arg(args, struct slice);
            CHECK(kinds[i] == 's');
            sqlite3_bind_text(s, i + 1, text.ptr ? text.ptr : "", (int)text.len, SQLITE_TRANSIENT);
        }
    }
}

/* Prepared, rewound and bound; NULL after a failure. */
static sqlite3_stmt *ready(struct ledger_db *db, enum ledger_sql sql, const char *kinds,
                           va_list args)
{
    sqlite3_stmt **s = &db->statements[sql];

    if (db->failure != SQLITE_OK)
        return NULL;
    if (!*s) {
        int code =
            sqlite3_prepare_v3(db->sqlite, TEXTS[sql], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);
        if (code != SQLITE_OK) {
            note_failure(db, code);
            return NULL;
        }
    }
    sqlite3_reset(*s);
    bind(*s, kinds, args);
    return *s;
}

static sqlite3_stmt *step(struct ledger_db *db, enum ledger_sql sql)
{
    sqlite3_stmt *s = db->statements[sql];
    int code = sqlite3_step(s);

    if (code == SQLITE_ROW)
        return s;
    if (code != SQLITE_DONE)
        note_failure(db, code);
    sqlite3_reset(s);
    return NULL;
}

void ledger_run(struct ledger_db *db, enum ledger_sql sql, const char *kinds, ...)
{
    va_list args;

    CHECK(db && sql < LEDGER_SQL_MAX);
    va_start(args, kinds);
    if (ready(db, sql, kinds, args))
        step(db, sql);
    va_end(args);
    ledger_end(db, sql);
}

sqlite3_stmt *ledger_row(struct ledger_db *db, enum ledger_sql sql, const char *kinds, ...)
{
    va_list args;

    CHECK(db && sql < LEDGER_SQL_MAX);
    va_start(args, kinds);
    sqlite3_stmt *s = ready(db, sql, kinds, args);
    va_end(args);
    return s ? step(db, sql) : NULL;
}

sqlite3_stmt *ledger_next(struct ledger_db *db, enum ledger_sql sql)
{
    CHECK(db->statements[sql] || db->failure != SQLITE_OK);
    return db->failure == SQLITE_OK ? step(db, sql) : NULL;
}

void ledger_end(struct ledger_db *db, enum ledger_sql sql)
{
    CHECK(db && sql < LEDGER_SQL_MAX);
    if (db->statements[sql])
        sqlite3_reset(db->statements[sql]);
}

int64_t ledger_value(struct ledger_db *db, enum ledger_sql sql, int64_t none, const char *kinds,
                     ...)
{
    va_list args;

    va_start(args, kinds);
    sqlite3_stmt *s = ready(db, sql, kinds, args);
    va_end(args);
    if (s)
        s = step(db, sql);
    int64_t value = s ? sqlite3_column_int64(s, 0) : none;
    ledger_end(db, sql);
    return value;
}

bool ledger_has_changed(struct ledger_db *db)
{
    return sqlite3_changes(db->sqlite) > 0;
}

int64_t ledger_new_id(struct ledger_db *db)
{
    return sqlite3_last_insert_rowid(db->sqlite);
}

/* --- transactions ----------------------------------------------------------------------------- */

void ledger_db_begin(struct ledger_db *db)
{
    CHECK(sqlite3_get_autocommit(db->sqlite));
    db->failure = SQLITE_OK;
    ledger_run(db, LEDGER_BEGIN, "");
}

int ledger_db_commit(struct ledger_db *db, struct error *err)
{
    for (size_t i = 0; i < LEDGER_SQL_MAX; i++)
        ledger_end(db, i);
    ledger_run(db, LEDGER_COMMIT, "");
    if (db->failure == SQLITE_OK)
        return 0;
    int code = db->failure;
    db->failure = SQLITE_OK;
    if (!sqlite3_get_autocommit(db->sqlite))
        ledger_run(db, LEDGER_ROLLBACK, "");
    db->failure = SQLITE_OK;
    return error_set(err, errno_of(code), "ledger %s: %s", db->path, db->why);
}

void ledger_db_roll_back(struct ledger_db *db)
{
    for (size_t i = 0; i < LEDGER_SQL_MAX; i++)
        ledger_end(db, i);
    ledger_run(db, LEDGER_ROLLBACK, "");
    ledger_run(db, LEDGER_BEGIN, "");
}

void ledger_db_fail(struct ledger_db *db, const struct error *why)
{
    if (db->failure != SQLITE_OK)
        return;
    db->failure = SQLITE_CORRUPT;
    snprintf(db->why, sizeof(db->why), "%s", why->text);
}

bool ledger_db_has_failed(const struct ledger_db *db)
{
    return db->failure != SQLITE_OK;
}
