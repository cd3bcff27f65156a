/*
 * Whether the files of a tag are well, and what to do when they are not (docs/design/scrub.md):
 * what one of the two still says is written into the other; a tag that was only mirrored and of
 * which nothing is left goes, so that the upstream is asked again; what was pushed, or may have
 * been, is for the operator to mend, and stays as it is.
 *
 * Changes nothing. Who acts on it looks again under the tag's lock (tags_mend_now). Blocking.
 */
#ifndef CACHE_TAG_CHECK_H
#define CACHE_TAG_CHECK_H

#include "base/slice.h"
#include "cache/layout.h"
#include "cache/tag.h"

enum tag_health {
    TAG_WELL,       /* or there is none */
    TAG_MENDABLE,   /* record says what the files should */
    TAG_WORTHLESS,  /* it was mirrored, and nobody knows which digest it had */
    TAG_LOST,       /* it was pushed, or may have been */
    TAG_UNREADABLE, /* nobody knows */
    TAG_HEALTH_MAX
};

struct tag_finding {
    enum tag_health health;
    const char *what;         /* is wrong, for people */
    int error;                /* of TAG_UNREADABLE */
    struct tag_record record; /* of TAG_MENDABLE */
};

/* Repository and tag are valid names. */
void tag_check(struct layout *l, struct slice repo, struct slice tag, struct tag_finding *out);

#endif
