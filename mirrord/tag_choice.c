#include "config.h"

#include "mirrord/tag_choice.h"

#include <stddef.h>

#include "base/check.h"
#include "cache/tag.h"

/* Times may be for ever. */
static int64_t sum_s(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Confirmed less than so long ago. What is from the future is of unknown age: somebody has set the
 * clock. */
static bool is_within(const struct tag_view *v, const struct tag_record *record, int64_t ttl_s)
{
    int64_t age_s = v->now_s - record->checked_at_s;

    return age_s >= 0 && age_s < ttl_s;
}

/* It may be served when the upstream fails. Of unknown age: nothing says that it is too old. */
static bool is_kept(const struct tag_view *v, const struct tag_record *record)
{
    return !v->can_ask || record->checked_at_s > v->now_s ||
           v->freshness.keep_s == FRESHNESS_FOR_EVER ||
           is_within(v, record, sum_s(v->freshness.ttl_s, v->freshness.keep_s));
}

enum tag_choice tag_choice_fallback(const struct tag_view *v, const struct tag_record *record)
{
    bool has_pushed = record && record->is_pushed && v->rule != PRECEDENCE_UPSTREAM_ONLY;
    bool has_mirrored = record && record->mirrored == TAG_MIRRORED &&
                        v->rule != PRECEDENCE_LOCAL_ONLY && is_kept(v, record);

    if (has_mirrored && (!has_pushed || v->rule == PRECEDENCE_UPSTREAM_FIRST))
        return TAG_CHOICE_MIRRORED;
    return has_pushed ? TAG_CHOICE_PUSHED : TAG_CHOICE_ABSENT;
}

enum tag_choice tag_choice_of(const struct tag_view *v, const struct tag_record *record)
{
    const struct freshness *f = &v->freshness;
    enum tag_choice fallback = tag_choice_fallback(v, record);

    CHECK(v->rule < PRECEDENCE_MAX);
    if (!v->can_ask || v->rule == PRECEDENCE_LOCAL_ONLY)
        return fallback;
    if (fallback == TAG_CHOICE_PUSHED && v->rule == PRECEDENCE_LOCAL_FIRST)
        return fallback;
    if (!record || record->mirrored == TAG_UNASKED)
        return TAG_CHOICE_ASK;
    if (record->mirrored == TAG_ABSENT)
        return is_within(v, record, v->negative_ttl_s) ? fallback : TAG_CHOICE_ASK;
    if (is_within(v, record, f->ttl_s))
        return TAG_CHOICE_MIRRORED;
    return is_within(v, record, sum_s(f->ttl_s, f->grace_s)) ? TAG_CHOICE_GRACE : TAG_CHOICE_ASK;
}

int64_t tag_choice_ttl_left_s(const struct tag_view *v, int64_t checked_at_s)
{
    int64_t age_s = v->now_s - checked_at_s;

    CHECK(v->freshness.ttl_s >= 0);
    return age_s >= 0 ? v->freshness.ttl_s - age_s : 0;
}
