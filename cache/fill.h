/*
 * A fill: one blob being written, and those who read it meanwhile.
 *
 * There is at most one running fill per digest in the process, whichever workers ask. It belongs
 * to the cache, not to a client: it has a home worker (the one that created it) and a driver, the
 * code that brings bytes (mirrord/pull.c connects it to upstream fetches; the cache knows nothing
 * of upstreams).
 *
 * Bytes go to a temporary file at their final offsets, in any order: the fill knows which segments
 * are present, which are claimed by a writer, and which are missing. Readers on any worker read
 * from that file, each at its own pace; none of them slows the fill or another reader. A hash
 * follows the contiguous beginning, off the loop. The last byte of a blob is not shown before the
 * digest is verified, so that a wrong body always ends short; only who reads from elsewhere than
 * the beginning gets it while there are still gaps that nobody may ever fill. Then the file is
 * fsynced and renamed to its final name; readers go on with the same descriptor.
 *
 * Partial files and the list of their segments survive a restart: a fill that is created for a
 * digest with a partial file begins with what is there, hashed again.
 *
 * When the disk is full the fill goes on through a bounded window of memory (fill_memory_bytes):
 * attached readers get all of it, the writer waits for the slowest of them, nothing is kept, and
 * the fill leaves the table so that later requests start afresh.
 *
 * Life: LOADING (partial file looked for, off the loop) → RUNNING → SEALING (verified; fsynced and
 * renamed, off the loop) → KEPT, or UNKEPT when the disk could not keep it. LOADING and RUNNING
 * also end in FAILED or SUSPENDED. Only fill_goto_locked changes it.
 */
#ifndef CACHE_FILL_H
#define CACHE_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "base/worker.h"

struct blob;
struct fill;
struct fill_reader;
struct fill_writer;
struct fills;

#define FILL_SIZE_UNKNOWN UINT64_MAX

/* What a run of bytes to send looks like: len bytes of fd from off. The descriptor belongs to the
 * fill and stays valid as long as the reader is open. */
struct fill_bytes {
    int fd;
    uint64_t off;
    uint64_t len;
};

/* The driver's side. All run on the fill's home worker, from its mailbox, never from inside a call
 * of this header. `ended` comes exactly once, whatever ended the fill (fill_fail and fill_suspend
 * by the driver itself, too); after it none of them is called again. The driver closes its writers
 * then at the latest. */
struct fill_driver {
    /* What was kept of an earlier try is known; bring the rest (fill_missing, fill_writer_open).
     * Does not come when nothing is missing; then `ended` does. */
    void (*begin)(void *arg, struct fill *f);
    /* A reader waits at `off` (it wants up to `end`), and no writer will be there soon: none whose
     * claim holds `off` and that is less than fill_near_bytes before it. Told again only when the
     * claims changed: a driver that cannot answer at once looks at fill_missing later. While the
     * size is unknown any writer counts as soon, so claim before asking the upstream. */
    void (*demand)(void *arg, struct fill *f, uint64_t off, uint64_t end);
    /* Nobody but the driver reads it or holds a reference any more. The driver may go on, or
     * fill_suspend(). Needs the driver to hold exactly one reference. */
    void (*idle)(void *arg, struct fill *f);
    /* A writer that got -EAGAIN has room again. */
    void (*room)(void *arg, struct fill_writer *w);
    /* Complete and verified (rc 0; fill_blob() is NULL when the disk could not keep it), failed (rc
     * negative; see fill_failure), or suspended (-ECANCELED). The driver drops its reference. A
     * wrong digest is -EBADMSG, a full disk without readers -ENOSPC or what else the disk said. */
    void (*ended)(void *arg, struct fill *f, int rc);
};

/* --- joining: a worker's thread ------------------------------------------------------------- */

/* The running fill of this digest, or a new one with the calling worker as its home; *is_new tells
 * which. Returns a reference. A new one must be given a driver by fill_drive in the same turn. */
struct fill *fills_join(struct fills *fs, const struct digest *d, bool *is_new);
/* The running one or NULL; no side effect. Any thread. */
struct fill *fills_find(struct fills *fs, const struct digest *d);
void fill_drive(struct fill *f, const struct fill_driver *driver, void *arg);
struct fill *fill_ref(struct fill *f);
void fill_unref(struct fill **f);

const struct digest *fill_digest(const struct fill *f);
/* False while nobody knows. Any thread. */
bool fill_size(struct fill *f, uint64_t *size_out);
/* 0 while it is not failed; otherwise the reason the driver gave to fill_fail (negative), with its
 * text in *err (may be NULL). Any thread. */
int fill_failure(struct fill *f, struct error *err);
/* The kept blob, a new reference; NULL before. Any thread. */
struct blob *fill_blob(struct fill *f);
/* A JSON array of all running fills: digest, size, present, readers, writers, age. Any thread. */
void fills_print_json(struct fills *fs, struct strbuf *out);

/* --- writing: the home worker ---------------------------------------------------------------- */

/* From the first answer of the upstream. 0, or -EPROTO when it contradicts what is known; if that
 * came from an earlier try, the partial file is not kept when the fill fails now. */
int fill_set_size(struct fill *f, uint64_t size);
/* The first gap at or behind `from` that is neither present nor claimed; false when there is none.
 * With an unknown size the gap ends at FILL_SIZE_UNKNOWN. */
bool fill_missing(struct fill *f, uint64_t from, uint64_t *off_out, uint64_t *end_out);
/* Bytes present, and whether all of them are. */
uint64_t fill_present(struct fill *f);
/* Claims [off, end): others wait for it there instead of asking again. The claim ends earlier when
 * the next segment or claim begins earlier: ask fill_writer_end. When off lies within the claim of
 * another writer, that one ends at off from now on. NULL when there is nothing to claim at off: it
 * is present, behind the end, the fill is not RUNNING, or the disk is full and bytes can only come
 * in order (fill_missing says where). Keeps the fill alive. */
struct fill_writer *fill_writer_open(struct fill *f, uint64_t off, uint64_t end);
uint64_t fill_writer_off(const struct fill_writer *w);
uint64_t fill_writer_end(const struct fill_writer *w);
/* Takes all n bytes (0), none of them for now (-EAGAIN, `room` follows), or says why it takes none
 * any more (another negative errno; the fill has ended). More bytes than the claim has left is
 * -EMSGSIZE, and nothing is taken: give what fill_writer_end allows, close the writer, end its
 * fetch, and look at fill_missing. That also happens when the disk is full and this writer is not
 * the one at the mark. */
int fill_write(struct fill_writer *w, const void *p, size_t n);
/* Gives up what is left of the claim; NULLs the pointer. */
void fill_writer_close(struct fill_writer **w);
/* Ends the fill: readers see the reason (negative, meaning defined by the driver) and end short.
 * keep_partial: what is there stays on disk for another try. Nothing happens when the fill is over,
 * or when all bytes are there: then only their digest decides, and `ended` tells. */
void fill_fail(struct fill *f, int reason, bool keep_partial, const struct error *err);
/* Ends a fill nobody reads, keeping its partial file. False when somebody holds it again (`idle`
 * follows when that one leaves), or when all bytes are there. */
bool fill_suspend(struct fill *f);

/* --- reading: any worker, each reader on one -------------------------------------------------- */

typedef void (*fill_wake_fn)(void *arg);

/* Reads [off, end); end may be FILL_SIZE_UNKNOWN for "to the end". wake runs on the opening
 * worker, never from inside a call of this header, whenever something may have changed since the
 * last FILL_WAIT: bytes, size, end, failure. Holds a reference to the fill. */
struct fill_reader *fill_reader_open(struct fill *f, uint64_t off, uint64_t end, fill_wake_fn wake,
                                     void *arg);
/* 1: *out has up to `want` bytes at off. 0: wait, wake follows. Negative: failed, end short:
 * the driver's reason, -ECANCELED (suspended), -ESTALE (the disk is full, and the bytes at off have
 * gone through memory already), -ERANGE (off is behind the end). */
int fill_reader_next(struct fill_reader *r, uint64_t off, uint64_t want, struct fill_bytes *out);
/* Asks to be woken when the size is known or the fill failed; true when that is so already. */
bool fill_reader_want_size(struct fill_reader *r);
/* Asks to be woken when the fill is over, and has all of it brought; true when it is over already:
 * fill_blob tells whether it was kept, fill_failure why not. For who wants the blob and not its
 * bytes. */
bool fill_reader_want_end(struct fill_reader *r);
/* Narrows what is read, when only the size told it. Before the first fill_reader_next. */
void fill_reader_limit(struct fill_reader *r, uint64_t off, uint64_t end);
void fill_reader_close(struct fill_reader **r);

#endif
