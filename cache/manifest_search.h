/*
 * Which digests a stored manifest mentions (cache/digest_search.h), told while its file is read;
 * its own digest is computed on the way, because of a damaged one nobody knows what it referenced.
 * Blocking; memory: one piece.
 */
#ifndef CACHE_MANIFEST_SEARCH_H
#define CACHE_MANIFEST_SEARCH_H

#include "base/digest.h"
#include "cache/digest_search.h"

/* 0: the file is what its name says, and nothing was overlooked; -EBADMSG: it is not; or another
 * negative errno. What was found by then has been told. */
int manifest_search(const char *path, const struct digest *d, digest_found_fn found, void *arg);

#endif
