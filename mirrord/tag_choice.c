#include "config.h"

#include "mirrord/tag_choice.h"

#include <stddef.h>

#include "base/check.h"
#include "cache/tag.h"

/* Confirmed less than so long ago; not in the future: then somebody has set the clock. */
static bool is_fresh(const struct tag_view *v, const struct tag_record *record, int64_t ttl_s)
{
    int64_t age_s = v->now_s - record->checked_at_s;

    return age_s >= 0 && age_s < ttl_s;
}

enum tag_choice tag_choice_fallback(enum precedence rule, const struct tag_record *record)
{
    bool has_pushed = record && record->is_pushed && rule != PRECEDENCE_UPSTREAM_ONLY;
    bool has_mirrored = record && record->mirrored == TAG_MIRRORED && rule != PRECEDENCE_LOCAL_ONLY;

    if (has_mirrored && (!has_pushed || rule == PRECEDENCE_UPSTREAM_FIRST))
        return TAG_CHOICE_MIRRORED;
    return has_pushed ? TAG_CHOICE_PUSHED : TAG_CHOICE_ABSENT;
}

enum tag_choice tag_choice_of(const struct tag_view *v, const struct tag_record *record)
{
    enum tag_choice fallback = tag_choice_fallback(v->rule, record);

    CHECK(v->rule < PRECEDENCE_MAX);
    if (!v->has_upstream || v->rule == PRECEDENCE_LOCAL_ONLY)
        return fallback;
    if (fallback == TAG_CHOICE_PUSHED && v->rule == PRECEDENCE_LOCAL_FIRST)
        return fallback;
    if (!record || record->mirrored == TAG_UNASKED)
        return TAG_CHOICE_ASK;
    if (record->mirrored == TAG_ABSENT)
        return is_fresh(v, record, v->negative_ttl_s) ? fallback : TAG_CHOICE_ASK;
    return is_fresh(v, record, v->ttl_s) ? TAG_CHOICE_MIRRORED : TAG_CHOICE_ASK;
}
