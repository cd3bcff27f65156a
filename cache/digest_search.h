/*
 * Finds digests in the text of a manifest, wherever they stand and whatever shape it has: what the
 * garbage collector takes for references. More than cache/manifest_scan.h finds (also those in
 * annotations), never less: JSON's escapes are undone, also in texts that are no good JSON. Text
 * comes in pieces of any size; memory is constant. One owner, one thread (tests/fuzz/
 * fuzz_digest_search.c).
 */
#ifndef CACHE_DIGEST_SEARCH_H
#define CACHE_DIGEST_SEARCH_H

#include "base/digest.h"

typedef void (*digest_found_fn)(void *arg, const struct digest *d);

struct digest_search {
    digest_found_fn found;
    void *arg;
    unsigned n_escape; /* 0: none; 1: behind a backslash; 2 to 5: so many - 2 digits behind \u */
    unsigned code;     /* of the escape, so far */
    size_t n;          /* bytes in text: the beginning of what may become a digest */
    char text[DIGEST_TEXT_SIZE];
};

void digest_search_init(struct digest_search *s, digest_found_fn found, void *arg);
void digest_search_feed(struct digest_search *s, const char *p, size_t n);

#endif
