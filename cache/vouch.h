/*
 * Vouching: what keeps the garbage collector off a blob that somebody may be about to reference.
 * Whoever tells a client that a blob is here (HEAD, mount, a finished upload), and whoever is going
 * to reference one (a manifest being put), vouches for it; for the grace period from then on the
 * collector leaves it alone. Why no race can remove a blob that an accepted manifest references:
 * docs/design/garbage.md.
 *
 * Memory is fixed: two Bloom filters that take turns. A false "vouched" only keeps garbage a little
 * longer. After a restart nothing is collected before a grace period has passed.
 */
#ifndef CACHE_VOUCH_H
#define CACHE_VOUCH_H

#include <stdint.h>

#include "base/digest.h"

struct vouches;

/* Any thread; a few atomic operations. First this, then look whether it is here, then tell. hot */
void vouch_for(struct vouches *vs, const struct digest *d);
/* Pool threads. Vouches, then looks: 0 when the blob's file is here (*size_out, may be NULL),
 * -ENOENT, or another negative errno. The collector cannot be between its own look and its removal
 * meanwhile, so what was found stays for the grace period. Also to be called before a blob is
 * given its final name. */
int vouch_present_now(struct vouches *vs, const struct digest *d, uint64_t *size_out);

/* Pool threads. Brackets a manifest being put, or a blob being pushed, from before the first vouch
 * for what it references until its link is durable and noted in the ledger: what was vouched for in
 * between stays until the end, however slow the disk and however short the grace period.
 * vouch_release takes what vouch_hold gave. */
unsigned vouch_hold(struct vouches *vs);
void vouch_release(struct vouches *vs, unsigned hold);

#endif
