/*
 * The circuit breaker of an upstream. Closed: requests pass, failures in a row are counted. Open:
 * none passes until the cooldown is over. Half-open: one request passes as a probe; its success
 * closes the breaker, its failure opens it again. So an upstream that is down costs its clients
 * nothing but the stale answer, and one that comes back is not trampled.
 *
 * A pure state machine: the clock is passed in, the owner (struct upstream) locks it.
 */
#ifndef UPSTREAM_BREAKER_H
#define UPSTREAM_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATE_MAX };

struct breaker {
    enum breaker_state state;
    unsigned failures;     /* in a row */
    unsigned failures_max; /* that many open it; 0: it never opens */
    unsigned cooldown_ms;
    uint64_t open_until_ms;
    bool is_probing; /* half-open, and the probe is on its way */
};

enum breaker_pass { BREAKER_PASS_NO, BREAKER_PASS_YES, BREAKER_PASS_PROBE };

void breaker_init(struct breaker *b, unsigned failures_max, unsigned cooldown_ms);
const char *breaker_state_name(enum breaker_state state);
/* May a request be sent now? Who is told PROBE must report success or failure, or give it up. */
enum breaker_pass breaker_ask(struct breaker *b, uint64_t now_ms);
void breaker_success(struct breaker *b);
void breaker_failure(struct breaker *b, uint64_t now_ms);
/* The probe was cancelled before it could tell: the next asker probes. */
void breaker_give_up_probe(struct breaker *b);

#endif
