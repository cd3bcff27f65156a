#include "config.h"

#include "upstream/breaker.h"

#include "base/check.h"

static const char *const state_names[] = {
    [BREAKER_CLOSED] = "closed",
    [BREAKER_OPEN] = "open",
    [BREAKER_HALF_OPEN] = "half-open",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == BREAKER_STATE_MAX,
               "a name for each state");

void breaker_init(struct breaker *b, unsigned failures_max, unsigned cooldown_ms)
{
    *b = (struct breaker){
        .state = BREAKER_CLOSED, .failures_max = failures_max, .cooldown_ms = cooldown_ms};
}

const char *breaker_state_name(enum breaker_state state)
{
    CHECK(state < BREAKER_STATE_MAX);
    return state_names[state];
}

enum breaker_pass breaker_ask(struct breaker *b, uint64_t now_ms)
{
    if (b->state == BREAKER_CLOSED)
        return BREAKER_PASS_YES;
    if (b->state == BREAKER_OPEN && now_ms < b->open_until_ms)
        return BREAKER_PASS_NO;
    if (b->state == BREAKER_HALF_OPEN && b->is_probing)
        return BREAKER_PASS_NO;
    CHECK(!b->is_probing);
    b->state = BREAKER_HALF_OPEN;
    b->is_probing = true;
    return BREAKER_PASS_PROBE;
}

/* Any success closes it, also that of a request from before it opened. */
void breaker_success(struct breaker *b)
{
    b->state = BREAKER_CLOSED;
    b->failures = 0;
    b->is_probing = false;
}

void breaker_failure(struct breaker *b, uint64_t now_ms)
{
    if (b->failures < UINT32_MAX)
        b->failures++;
    if (!b->failures_max || b->state == BREAKER_OPEN)
        return;
    if (b->state == BREAKER_CLOSED && b->failures < b->failures_max)
        return;
    b->state = BREAKER_OPEN;
    b->is_probing = false;
    b->open_until_ms = now_ms + b->cooldown_ms;
}

void breaker_give_up_probe(struct breaker *b)
{
    b->is_probing = false;
}
