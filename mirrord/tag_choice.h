/*
 * What is to be done about a tag, from what is remembered of it, the rules in force and the time:
 * serve one of its halves, refuse, or ask the upstream. A pure function; any thread.
 * The table of what happens when: docs/design/tags.md; whose half counts:
 * docs/design/provenance.md.
 */
#ifndef MIRRORD_TAG_CHOICE_H
#define MIRRORD_TAG_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "mirrord/freshness.h"
#include "mirrord/precedence.h"

struct tag_record;

enum tag_choice {
    TAG_CHOICE_PUSHED,   /* serve the pushed half */
    TAG_CHOICE_MIRRORED, /* serve the mirrored half, unasked */
    TAG_CHOICE_GRACE,    /* the same, and ask the upstream for the next client's sake */
    TAG_CHOICE_ABSENT,   /* there is none */
    TAG_CHOICE_ASK,      /* ask the upstream; while it had better be left alone, the fallback */
    TAG_CHOICE_MAX
};

struct tag_view {
    enum precedence rule;
    bool can_ask; /* there is an upstream, and it may be asked at present */
    int64_t now_s, negative_ttl_s;
    struct freshness freshness;
};

/* record NULL: nothing is remembered. hot */
enum tag_choice tag_choice_of(const struct tag_view *view, const struct tag_record *record);
/* What is served when the upstream should be asked and fails, or may not be asked: PUSHED, MIRRORED
 * (stale), or ABSENT for nothing. */
enum tag_choice tag_choice_fallback(const struct tag_view *view, const struct tag_record *record);
/* How long what was confirmed at that time remains fresh; negative: for so long it has not been. */
int64_t tag_choice_ttl_left_s(const struct tag_view *view, int64_t checked_at_s);

#endif
