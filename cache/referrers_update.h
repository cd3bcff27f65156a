/*
 * Bringing the index of one repository up to date: lists its revisions, reads those that have not
 * been read, writes an entry for each that has a subject; removes entries whose revisions are gone
 * for good. In steps of bounded work; pool threads, one at a time. One update of a repository at a
 * time in this process; others that write the same storage do the same harmlessly.
 */
#ifndef CACHE_REFERRERS_UPDATE_H
#define CACHE_REFERRERS_UPDATE_H

#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"
#include "cache/layout.h"

struct digest;
struct referrers_update;
struct strbuf;

/* What is larger than manifest_max_bytes is no manifest. Copies the name, which is a valid one. */
struct referrers_update *referrers_update_new(struct layout *l, struct slice repo,
                                              size_t manifest_max_bytes);
/* 1: there is more to do. 0: the index is up to date. Negative errno: it is not, and cannot be
 * brought there (a referrer was found and could not be noted). */
int referrers_update_step(struct referrers_update *u, struct error *err);
void referrers_update_free(struct referrers_update **u);

/* Pool threads: reads a manifest whole and checks it against its digest. -ENOENT: it is not there,
 * or not itself; -EFBIG; or another negative errno. */

int referrers_update_read(const struct layout *l, const struct digest *d, size_t max_bytes,
                          struct strbuf *body);

#endif
