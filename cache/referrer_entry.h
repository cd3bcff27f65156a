/*
 * The files below repositories/<name>/_referrers, and what is in them:
 *
 *   <alg>/<subject hex>/<alg>-<hex>.json   an entry: one referrer's descriptor
 *   <alg>/<subject hex>/upstream.json      what the upstream said about the subject, and when
 *   known                                  which revisions have been read (cache/referrers_known.h)
 *
 * All of it is derived and may be damaged, foreign or gone: a file that does not say what it is
 * about is not believed. Blocking; pool threads only. Paths are strings of the caller's.
 */
#ifndef CACHE_REFERRER_ENTRY_H
#define CACHE_REFERRER_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/layout.h"

struct referrer_list;

/* The repository's folder of them; its folder for an algorithm; that of a subject. */
char *referrer_entry_root(const struct layout *l, struct slice repo);
char *referrer_entry_alg_folder(const struct layout *l, struct slice repo, enum digest_alg alg);
char *referrer_entry_folder(const struct layout *l, struct slice repo,
                            const struct digest *subject);

#define REFERRER_ENTRY_NAME_SIZE (DIGEST_TEXT_SIZE + 5) /* with NUL */
void referrer_entry_name(const struct digest *d, char out[REFERRER_ENTRY_NAME_SIZE]);
bool referrer_entry_name_parse(const char *name, struct digest *out);

/* What a manifest says as a referrer: 1, with its subject and its descriptor; 0: it has no subject,
 * or is no manifest. Pure. */
int referrer_entry_of_manifest(struct slice body, const struct digest *d, struct digest *subject,
                               struct strbuf *descriptor);

/* Durable, since what has been read once is not read again. */
int referrer_entry_write(struct layout *l, struct slice repo, const struct digest *subject,
                         const struct digest *d, struct slice descriptor, struct error *err);
/* Adds the entry to the list. -ENOENT; -EBADMSG: not an entry of ours; or another negative errno.
 */
int referrer_entry_read(const struct layout *l, struct slice repo, const struct digest *subject,
                        const struct digest *d, size_t max_bytes, struct referrer_list *list);
/* Removes it, and the subject's folder when that is empty then. */
void referrer_entry_remove(const struct layout *l, struct slice repo, const struct digest *subject,
                           const struct digest *d);

/* The answer of the upstream: its text and when it was given. An empty text removes it. */
int referrer_entry_write_upstream(struct layout *l, struct slice repo, const struct digest *subject,
                                  struct slice answer, int64_t fetched_at_s, struct error *err);
int referrer_entry_read_upstream(const struct layout *l, struct slice repo,
                                 const struct digest *subject, size_t max_bytes,
                                 struct strbuf *answer, int64_t *fetched_at_s);

#endif
