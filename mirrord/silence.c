#include "config.h"

#include "mirrord/silence.h"

#include "base/check.h"

void silence_note(struct silence *s, uint64_t now_ms, uint64_t first_ms)
{
    uint64_t pause_ms = s->pause_ms ? 2 * s->pause_ms : first_ms;

    CHECK(s->pause_ms <= SILENCE_PAUSE_MAX_MS);
    if (now_ms < s->until_ms && !s->is_tried)
        return; /* known */
    if (pause_ms > SILENCE_PAUSE_MAX_MS)
        pause_ms = SILENCE_PAUSE_MAX_MS;
    s->pause_ms = pause_ms;
    s->until_ms = pause_ms ? now_ms + pause_ms : 0;
    s->is_tried = false;
}

void silence_end(struct silence *s)
{
    *s = (struct silence){0};
}

bool silence_may_wait(struct silence *s, uint64_t now_ms, uint64_t wait_ms)
{
    CHECK(s->pause_ms <= SILENCE_PAUSE_MAX_MS);
    if (!s->until_ms)
        return true;
    if (now_ms < s->until_ms)
        return false;
    s->until_ms = now_ms + (wait_ms ? wait_ms : 1);
    s->is_tried = true;
    return true;
}
