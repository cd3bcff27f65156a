/*
 * Questions to the upstream: what is behind this tag, what is this manifest, does this repository
 * have a blob that is here already. However many requests on however many workers have the same
 * question, it is asked once; all of them get the one answer. What the upstream says is verified
 * and remembered here, so that askers only read.
 *
 * A question belongs to the worker that asked first; it goes on when its askers leave (the answer
 * is worth keeping; mirrord/flight.h). The holds sit behind one short lock.
 * Memory: one manifest_max_bytes per running question, of which there are at most as many as
 * requests; a fixed table of holds.
 *
 *   ASKING ──HEAD without digest or size──► ASKING (GET)
 *      │ body complete                         │
 *      ▼                                       ▼
 *   VERIFYING (hash and JSON, off the loop) ──► ANSWERED
 */
#ifndef MIRRORD_RESOLVE_H
#define MIRRORD_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/slice.h"
#include "mirrord/api_error.h"
#include "mirrord/flight.h"
#include "mirrord/hold.h"

struct api;
struct fetch_result;
struct manifest;
struct resolver;
struct tag_record;

/* A question with a body in its answer also answers those who asked for the facts only. */
enum resolve_kind {
    RESOLVE_TAG_HEAD,
    RESOLVE_TAG_GET,
    RESOLVE_DIGEST_HEAD,
    RESOLVE_DIGEST_GET,
    RESOLVE_BLOB, /* whether the repository has this blob; no facts but the error */
    RESOLVE_KIND_MAX
};

/* Valid during the callback. */
struct resolve_answer {
    enum api_error error; /* API_ERROR_NONE: the rest is set */
    int retry_after_s;
    struct digest digest;
    struct slice media_type;
    uint64_t size;
    struct manifest *manifest; /* verified and kept; NULL when only the facts were asked for */
    bool is_kept; /* false: a body whose digest cannot be computed from its bytes (signed schema 1);
                     it is passed on and not remembered */
    bool is_doubted; /* of a tag that is not there any more: not believed yet */
};

/* One asker; embedded in its story. */
struct resolve_waiter {
    struct flight_waiter flight; /* the resolver's */
    void (*done)(void *arg, const struct resolve_answer *answer, bool is_first);
    void *arg;
};

struct resolver *resolver_new(struct api *api);
void resolver_free(struct resolver **r);

/* Asks; w->done and w->arg are set. `done` runs once on the calling worker, never from inside. */
void resolve_ask(struct resolver *r, enum resolve_kind kind, struct slice repo,
                 struct slice reference, struct resolve_waiter *w);
/* True: done will not run, the waiter is free. False: it is on its way and will run. */
bool resolve_leave(struct resolver *r, struct resolve_waiter *w);

/* The upstream says that the tag points to this manifest, which is in memory: it is kept, and then
 * the tag, so that what is stored of a tag never points to what is not. Memory has both at once.
 * A worker's thread. */
void resolve_commit_tag(const struct api *api, struct slice repo, struct slice tag,
                        const struct tag_record *record, struct manifest *m);

/* Holds keep the upstream from being asked again too soon about one tag, because it failed, or
 * (doubted) because it said for the first time that it has it no more. They are a hint: some may be
 * forgotten (mirrord/hold.h). */
void resolve_hold(struct resolver *r, struct slice repo, struct slice reference, int64_t seconds);
bool resolve_is_held(struct resolver *r, struct slice repo, struct slice reference);
bool resolve_is_doubted(struct resolver *r, struct slice repo, struct slice tag);

/* The upstream has none: believed for as long as the settings say for its kind. Absences of tags
 * are kept with the tags. */
void resolve_note_absent(struct resolver *r, enum hold_kind kind, struct slice repo,
                         struct slice reference);
bool resolve_is_absent(struct resolver *r, enum hold_kind kind, struct slice repo,
                       struct slice reference);

/* Whether a client that can be told something may wait for the upstream of this repository, or
 * that keeps silent (mirrord/silence.h). */
bool resolve_may_wait(struct resolver *r, struct slice repo);
/* A client has waited for it in vain. */
void resolve_note_silence(struct resolver *r, struct slice repo);
void resolve_note_answer(struct resolver *r, struct slice repo);
/* One of both, after a fetch that the resolver does not know of. */
void resolve_note_outcome(struct resolver *r, struct slice repo, const struct fetch_result *result);

#endif
