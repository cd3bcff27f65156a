/*
 * The file of the ledger: SQLite, its schema, its statements, and what to do when it is no good.
 * A failure is remembered and makes everything that follows do nothing, so that callers look once,
 * at the end of a transaction. One thread at a time: whoever holds the ledger's lock.
 * Memory: the page cache, and one prepared statement per row of the table.
 */
#ifndef CACHE_LEDGER_DB_H
#define CACHE_LEDGER_DB_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"

struct ledger_db;

enum ledger_sql {
#define SQL(id, text) LEDGER_##id,
#include "cache/ledger_sql.def"
#undef SQL
    LEDGER_SQL_MAX
};

/* Opens the file, makes it when it is missing. 0; -EBADMSG: it is no ledger, or a damaged one;
 * -ENOTSUP: of a newer version; -EROFS: it cannot be written; or another negative errno. */
int ledger_db_open(const char *path, struct ledger_db **out, struct error *err);
void ledger_db_close(struct ledger_db **db);
/* Sets room aside on the disk for what a batch of evictions writes, as the file has grown: when the
 * disk is full, that batch is what makes room. Without such room, or a filesystem that cannot do
 * it, nothing happens. */
void ledger_db_keep_room(struct ledger_db *db);
/* Made just now: nothing is in it. */
bool ledger_db_is_new(const struct ledger_db *db);
/* The file of this path is still the one that is open. */
bool ledger_db_is_there(const struct ledger_db *db);
/* Looks through all of it: 0 or -EBADMSG. Reads the whole file. */
int ledger_db_check(struct ledger_db *db, struct error *err);
/* Out of the way, to <path>.damaged, with what belongs to it: the next open makes a new one. */
int ledger_db_move_away(const char *path, struct error *err);

void ledger_db_begin(struct ledger_db *db);
/* 0, or the failure of anything since begin: -EBADMSG when the file is damaged, or another negative
 * errno; then nothing of it happened. */
int ledger_db_commit(struct ledger_db *db, struct error *err);
/* Nothing happened since begin, which may be done again. What has failed has failed. */
void ledger_db_roll_back(struct ledger_db *db);
/* It has been found damaged: the transaction fails. */
void ledger_db_fail(struct ledger_db *db, const struct error *why);
/* Something has failed since begin. */
bool ledger_db_has_failed(const struct ledger_db *db);

/* Arguments by letters: i int64_t, d const struct digest *, s struct slice. Runs it to its end. */
void ledger_run(struct ledger_db *db, enum ledger_sql sql, const char *kinds, ...);
/* The first row, if there is one: its columns until the next use of this statement. */
sqlite3_stmt *ledger_row(struct ledger_db *db, enum ledger_sql sql, const char *kinds, ...);
/* The row behind it, or NULL. */
sqlite3_stmt *ledger_next(struct ledger_db *db, enum ledger_sql sql);
/* The rest is not wanted. */
void ledger_end(struct ledger_db *db, enum ledger_sql sql);
/* The first column of the first row, or the default. */
int64_t ledger_value(struct ledger_db *db, enum ledger_sql sql, int64_t none, const char *kinds,
                     ...);
/* The last ledger_run changed a row. */
bool ledger_has_changed(struct ledger_db *db);
int64_t ledger_new_id(struct ledger_db *db);

/* A digest as the ledger keeps it; false: none that we know. */
bool ledger_digest_of(sqlite3_stmt *row, int column, struct digest *out);

#endif
