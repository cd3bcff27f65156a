/*
 * Referrers: which manifests of a repository have a given subject (OCI distribution-spec, "Listing
 * Referrers"). The truth are the revisions of the repository; what stands in
 * repositories/<name>/_referrers is an index of them, brought up to date when it is asked for:
 * revisions that the index has not seen are read, entries without their revision are left out.
 * So nothing can go out of step, whoever else writes the storage.
 * What the upstream said about a subject is kept beside it, for when the upstream is away.
 *
 * Everything runs off the loop, in steps; questions about one repository share one update.
 * Memory: a page per question, one set of keys per update (cache/referrers_known.h), a bounded
 * memory of subjects of which the upstream knows no referrers. Why it is so:
 * docs/design/referrers.md.
 */
#ifndef CACHE_REFERRERS_H
#define CACHE_REFERRERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/slice.h"
#include "cache/referrer_list.h"

struct referrers;

struct referrers_query {
    struct slice repo;
    struct digest subject;
    bool has_last;
    struct digest last;         /* only what is behind it */
    struct slice artifact_type; /* only these; empty: all */
    /* Of one answer; one referrer is told whatever its size. */
    size_t n_max;
    size_t bytes_max;
    size_t manifest_max_bytes; /* what is larger is no manifest */
    size_t kept_max_bytes;     /* a kept answer of the upstream that is larger is none */
};

/* What the upstream said about a subject: an image index, empty when there are none; and when. */
struct referrers_kept {
    struct slice body;
    int64_t fetched_at_s;
};

struct referrers_answer {
    struct referrer_list *list; /* sorted, without doubles; the callee owns it */
    bool has_more;              /* behind the last one */
    bool has_subject;           /* the repository has the subject itself */
    bool has_kept;
    struct referrers_kept kept; /* as given to referrers_keep_upstream; valid during the call */
};

/* rc 0 with an answer, or a negative errno; on the worker that asked. */
typedef void (*referrers_fn)(void *arg, int rc, const struct referrers_answer *answer);
/* Copies the query. A worker's thread only. */
void referrers_list(struct referrers *rs, const struct referrers_query *q, referrers_fn done,
                    void *arg);

/* Keeps a copy of the upstream's answer, off the loop; a failure is logged only. An empty one is
 * kept in memory alone. done(arg) on the worker that asked; may be NULL. A worker's thread
 * only. */
void referrers_keep_upstream(struct referrers *rs, struct slice repo, const struct digest *subject,
                             const struct referrers_kept *kept, void (*done)(void *arg), void *arg);

#endif
