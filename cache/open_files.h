/*
 * The open blobs: a bounded LRU of descriptors, so that a warm read does no metadata operation on
 * the disk. An entry is handed out for valid_s seconds after it was last seen on disk; then it is
 * not found until somebody looks it up again (open_files_renew). Any thread.
 * A blob whose last reference goes is closed at once, but off the loop when its file was unlinked
 * meanwhile: then closing frees the blocks of the file.
 */
#ifndef CACHE_OPEN_FILES_H
#define CACHE_OPEN_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/errand.h"
#include "cache/store.h"

struct open_files;

struct open_files *open_files_new(struct errands *errands, unsigned n_max, unsigned valid_s);
void open_files_free(struct open_files **t);

/* A reference, or NULL when it is not open or has to be looked up on disk again. */
struct blob *open_files_find(struct open_files *t, const struct digest *d);
/* The open one if it is still the file that `st` describes, valid for another while. */
struct blob *open_files_renew(struct open_files *t, const struct digest *d, const struct stat *st);
/* Takes the descriptor of a regular file; the caller gets a reference, the table keeps another. */
struct blob *open_files_add(struct open_files *t, const struct digest *d, int fd,
                            const struct stat *st);
/* Whether an open one is the file that `st` describes. */
bool open_files_is(const struct blob *b, const struct stat *st);
/* Somebody besides the table holds the open one. */
bool open_files_are_in_use(struct open_files *t, const struct digest *d);
/* For ledger_note_use. */
_Atomic uint32_t *open_files_noted(struct blob *b);
/* True when it was open. */
bool open_files_forget(struct open_files *t, const struct digest *d);

#endif
