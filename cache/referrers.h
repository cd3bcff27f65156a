/*
 * Referrers: which manifests of a repository have a given subject (OCI distribution-spec, "Listing
 * Referrers"). The truth are the revisions of the repository; what stands in
 * repositories/<name>/_referrers is an index of them, brought up to date when it is asked for:
 * revisions that are younger than the index are read, entries without their revision are left out.
 * So nothing can go out of step, whoever else writes the storage.
 * What the upstream said about a subject is kept beside it, for when the upstream is away.
 */
#ifndef CACHE_REFERRERS_H
#define CACHE_REFERRERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/slice.h"
#include "base/strbuf.h"

struct referrers;

/* Descriptors as JSON texts in one block, sorted by digest, complete: an answer is a page of it.
 * referrer_list_free() it. */
struct referrer {
    struct digest digest;
    char *artifact_type; /* unescaped; never NULL */
    char *descriptor; /* {"mediaType":…,"digest":…,"size":…,"artifactType":…,"annotations":…} */
};
struct referrer_list {
    struct referrer *items;
    size_t n;
};
void referrer_list_free(struct referrer_list **list);

/* rc 0 with a list that the callee owns (perhaps empty), or a negative errno; on the worker that
 * asked. upstream: the kept answer of the upstream, NULL when there is none; its bytes as received,
 * valid during the call. */
struct referrers_kept {
    struct slice body;
    int64_t fetched_at_s;
};
typedef void (*referrers_fn)(void *arg, int rc, struct referrer_list *list,
                             const struct referrers_kept *upstream);
/* n_max bounds the list; more is -E2BIG. A worker's thread only. */
void referrers_list(struct referrers *rs, struct slice repo, const struct digest *subject,
                    size_t n_max, referrers_fn done, void *arg);
/* Keeps the upstream's answer, off the loop; a failure is logged only. Any worker. */
void referrers_keep_upstream(struct referrers *rs, struct slice repo, const struct digest *subject,
                             struct slice body, int64_t fetched_at_s);

#endif
