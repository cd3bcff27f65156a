/*
 * Where a redirect leads: at most REDIRECTS_MAX in a row, never in a circle, never from https to
 * http, never to anything but http and https. docs/design/redirects.md has the reasons. Pure.
 */
#ifndef UPSTREAM_REDIRECT_H
#define UPSTREAM_REDIRECT_H

#include <stdint.h>

#include "base/error.h"
#include "base/url.h"

#define REDIRECTS_MAX 10

/* The URLs that one request has been to. Embedded by value. */
struct redirect_chain {
    unsigned n;
    uint64_t visited[REDIRECTS_MAX + 1]; /* hashes */
};

void redirect_begin(struct redirect_chain *chain, const struct url *origin);
/* From `from`, the last URL of the chain, to what its Location says. Negative: not to be followed.
 */
int redirect_follow(struct redirect_chain *chain, const struct url *from, struct slice location,
                    struct url *out, struct error *err);

#endif
