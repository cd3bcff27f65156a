/*
 * Asking the upstream which referrers a subject has: its referrers API, page by page to the end;
 * when it has no such API, its tag schema (OCI distribution-spec, "Referrers Tag Schema"), through
 * the resolver, so that what comes is kept as any other tag. However many requests have the same
 * question, it is asked once. The answer is kept in the cache before it is told.
 *
 *   ASKING ──► READING (off the loop) ──► ASKING (the next page)
 *     │ no such API      ▲   │ that was the last
 *     ▼                  │   ▼
 *   SCHEMA ──────────────┘  KEEPING ──► ANSWERED
 *
 * Memory: one page and the list so far per question, at most referrers_max_bytes of either.
 */
#ifndef MIRRORD_REFERRERS_ASK_H
#define MIRRORD_REFERRERS_ASK_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/slice.h"
#include "mirrord/api_error.h"
#include "mirrord/flight.h"

struct api;
struct referrer_list;

/* The table of those under way, one per API. */
struct flights *referrers_ask_table(void);

/* Asks; w->done and w->arg are set (mirrord/flight.h). Only when the upstream may be asked. */
void referrers_ask(struct api *api, struct slice repo, const struct digest *subject,
                   struct flight_waiter *w);

struct referrers_told {
    enum api_error error; /* API_ERROR_NONE: the list is what the upstream has */
    int retry_after_s;
    const struct referrer_list *list; /* sorted; lives as long as the flight */
};
/* What the answer is, once `done` was called. */
void referrers_ask_read(const struct flight *f, struct referrers_told *out);

/* Whether the upstream failed to answer this a moment ago. */
bool referrers_ask_is_held(struct api *api, struct slice repo, const struct digest *subject);
/* It takes too long: for a while the question is not to be waited for. */
void referrers_ask_hold(struct api *api, struct slice repo, const struct digest *subject);

#endif
