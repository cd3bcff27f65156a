/*
 * Where a pass is, in _mirrord/scrub.json, so that a restart goes on there and does not begin anew.
 * Losing the file costs reading again, nothing else. Blocking; one at a time.
 */
#ifndef CACHE_SCRUB_STATE_H
#define CACHE_SCRUB_STATE_H

#include "base/digest.h"
#include "cache/layout.h"
#include "cache/scrub.h"

struct scrub_state {
    int64_t next_at_s; /* when the next pass begins; 0: not known */
    bool has_after;    /* a pass was under way and has looked at all up to this one */
    struct digest after;
    struct scrub_report report; /* of that pass, or of the last one */
};

/* What can be read; the rest is zero. */
void scrub_state_load(const struct layout *l, struct scrub_state *out);
int scrub_state_save(struct layout *l, const struct scrub_state *state, struct error *err);

#endif
