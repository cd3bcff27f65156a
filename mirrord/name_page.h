/*
 * One page of a list of names, as clients of the registry walk through them (OCI distribution-spec,
 * "Listing Tags"): merging two sorted sources, the JSON text, and the link to the next page.
 * Pure functions; any thread; memory is bounded by the limit and the sources.
 */
#ifndef MIRRORD_NAME_PAGE_H
#define MIRRORD_NAME_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"

/* A part of a list that goes on behind its last name if has_more. Names are borrowed. */
struct name_run {
    const char *const *names;
    size_t n;
    bool has_more;
};

/* Sorts in ASCII order and drops doubles; returns how many are left. */
size_t name_page_sort(const char **names, size_t n);
/* The first names of both (sorted) together, at most `limit`, for which there is `room`. A run that
 * goes on elsewhere hides what lies behind its last name: nothing of the other run behind it is
 * taken. */
void name_page_merge(const struct name_run *a, const struct name_run *b, size_t limit,
                     const char **room, struct name_run *out);

/* {"name":"…","<key>":[…]}, without name if it is empty. */
void name_page_print(const struct name_run *run, const char *key, struct slice name,
                     struct strbuf *out);
/* The query of the page behind `last`: "last=…&n=…"; without n if limit is 0. */
void name_page_query(struct slice last, uint64_t limit, struct strbuf *out);

#endif
