/*
 * Whether an upstream keeps silent: it failed, or did not answer while a client could have been
 * told something else. Then such clients do not wait for it: what is here is served at once, and
 * but for one client now and again, who waits to see whether it is back, they cost nothing of an
 * outage. The pauses between those grow; any answer ends the silence.
 *
 * Unlike the breaker (upstream/breaker.h) it is not about requests but about who waits for them:
 * questions go on being asked in the background.
 *
 * A pure state machine: the clock is passed in, the owner locks it.
 */
#ifndef MIRRORD_SILENCE_H
#define MIRRORD_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

struct silence {
    uint64_t until_ms; /* nobody waits before; 0: it answers */
    uint64_t pause_ms;
    bool is_tried; /* one waits at present */
};

#define SILENCE_PAUSE_MAX_MS 60000

/* It did not answer. first_ms: the first pause; 0: everybody waits all the same. */
void silence_note(struct silence *s, uint64_t now_ms, uint64_t first_ms);
/* It did, whatever it said. */
void silence_end(struct silence *s);
/* Whether a client may wait for it. Who may is the only one for wait_ms. */
bool silence_may_wait(struct silence *s, uint64_t now_ms, uint64_t wait_ms);

#endif
