/*
 * One page of a list of referrers, as clients walk through it (OCI distribution-spec, "Listing
 * Referrers"): what is here merged with what the upstream has, filtered, as text. And where the
 * upstream's own list goes on. Pure functions; any thread.
 */
#ifndef MIRRORD_REFERRER_PAGE_H
#define MIRRORD_REFERRER_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/slice.h"
#include "base/strbuf.h"

struct referrer_list;

struct referrer_page_spec {
    /* Sorted, of the wanted type, behind `last`; it goes on behind its last one if ours_go_on. */
    const struct referrer_list *ours;
    bool ours_go_on;
    /* Sorted and complete; NULL: none. */
    const struct referrer_list *theirs;
    bool has_last;
    struct digest last;         /* only what is behind it */
    struct slice artifact_type; /* only these; empty: all */
    size_t n_max;
    size_t bytes_max; /* of the text; one referrer is told whatever its size */
};

struct referrer_page {
    bool has_more;
    struct digest last; /* of the page, when has_more */
};

/* Appends the page to *text: an image index. Of one digest in both lists ours is told. */
void referrer_page_print(const struct referrer_page_spec *spec, struct strbuf *text,
                         struct referrer_page *out);

/* The query of the next page, from an upstream's Link (RFC 8288): appended to *query as it stands
 * there. 0: there is a next page; -ENOENT: there is none; -EBADMSG: it is elsewhere than in the
 * list of this subject. */
int referrer_page_next(struct slice link, const struct digest *subject, struct strbuf *query);

#endif
