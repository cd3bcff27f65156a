/*
 * A pull: the driver of one fill. It decides what is asked of the upstream and connects each
 * upstream fetch to a writer of the fill; it is the only place where the two meet.
 *
 * What it brings:
 *   - a reader of the whole blob: everything that is missing, in one request from the first gap to
 *     the end, over short segments that are here already and around long ones;
 *   - a reader of a range: only that, widened to fill_range_align, as a request of its own;
 *   - a blob asked for in ranges of which a good share is here: the rest too;
 *   - a small configuration, when another mirror has shared it: all of it, without the upstream.
 * When the last reader has left it goes on or suspends, as the settings say.
 *
 * Belongs to the fill's home worker. It lives from pull_start until the fill ended, holds one
 * reference to the fill, and frees itself. Memory: one small leg per
 * upstream request (fill_ranges_max + 1).
 * No byte of the blob stays here: what the fill does not take stays in the socket.
 *
 *   LOADING ──begin──► FETCHING ◄──► RESTING (nothing to ask; readers are served or idle)
 *      │ └► SHARED ────────┘│             │
 *      └───────┴────────────┴── ended ────┴────► ENDED
 */
#ifndef MIRRORD_PULL_H
#define MIRRORD_PULL_H

#include <stdint.h>

#include "base/slice.h"
#include "mirrord/api_settings.h"

struct fill;
struct links;
struct objects;
struct registry;

/* What a pull works with; all of it outlives the pull. */
struct pull_tools {
    const struct registry *registry; /* with an upstream */
    struct links *links;
    struct objects *objects; /* NULL: not shared */
    const struct api_settings *settings;
};

/* Drives a new fill, on its home worker, in the turn in which fills_join made it. repo: whose blob
 * it is asked as; the caller has noted it as pending (cache/link.h), the pull drops that note. It
 * makes the link when the upstream has answered with the blob, before the readers know its size.
 * [off, end): what the first reader wants; end UINT64_MAX: to the end. */
void pull_start(const struct pull_tools *tools, struct fill *f, struct slice repo, uint64_t off,
                uint64_t end);

#endif
