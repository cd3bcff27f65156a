/* Vouches as the garbage collector and eviction see them. Pool threads, or those of the command
 * line. */
#ifndef CACHE_VOUCH_PRIVATE_H
#define CACHE_VOUCH_PRIVATE_H

#include <stdbool.h>

#include "cache/vouch.h"

/* From here to the end of a run no vouch is forgotten: all that was vouched for since a grace
 * period before its start is held, and all that comes. One run at a time. */
void vouches_begin_run(struct vouches *vs);
void vouches_end_run(struct vouches *vs);

/* Whether somebody vouched for it, or may have before this process started. */
bool vouch_is_held(struct vouches *vs, const struct digest *d);
/* Brackets a batch of evictions, one at a time: what was vouched for in a hold that had not ended
 * before, and all that is vouched for until the end, is held now. */
void vouches_begin_eviction(struct vouches *vs);
void vouches_end_eviction(struct vouches *vs);
bool vouch_is_held_now(struct vouches *vs, const struct digest *d);
/* Nobody looks for this blob (vouch_present_now) between lock and unlock. */
void vouch_lock(struct vouches *vs, const struct digest *d);
void vouch_unlock(struct vouches *vs, const struct digest *d);

#endif
