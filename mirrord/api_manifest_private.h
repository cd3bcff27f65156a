/*
 * What the files of reading manifests share: the story of one request that could not be answered
 * at once.
 *
 *   api_manifest.c       requests, the hot path, the story's life
 *   api_manifest_tag.c   which digest the tag has
 *   api_manifest_heard.c what other processes have heard about it
 *   api_manifest_body.c  whether the repository has the digest, and its body
 *   api_manifest_send.c  the answer
 *
 * What is in memory and needs no question is answered at once (hot); else:
 *
 *   TAG_LOAD   the slower tiers are asked about the tag, off the loop, and what other processes
 *              have heard from the upstream
 *   TAG_ASK    the upstream is asked about the tag
 *   LINK_LOAD  the storage is asked whether the repository has the digest, off the loop
 *   BODY_LOAD  the storage is asked for the body of a digest, off the loop
 *   FACTS      the metadata cache is asked what HEAD tells about a digest that is not here
 *   BODY_ASK   the upstream is asked for it; or, when it is here for the sake of another
 *              repository, whether this one has it, too
 *   ANSWERED   or the client has left
 *
 * When the upstream is asked about a tag and what its answers mean: docs/design/tags.md. Whose half
 * of a tag is served, and through which repository a digest can be read: docs/design/provenance.md.
 *
 * Belongs to the transaction's worker; frees itself when it is over. Memory: itself.
 */
#ifndef MIRRORD_API_MANIFEST_PRIVATE_H
#define MIRRORD_API_MANIFEST_PRIVATE_H

#include "base/digest.h"
#include "cache/origin.h"
#include "cache/tag.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/resolve.h"
#include "mirrord/tag_choice.h"

struct event;
struct manifest;

enum manifest_wait_state {
    MANIFEST_WAIT_START,
    MANIFEST_WAIT_TAG_LOAD,
    MANIFEST_WAIT_TAG_ASK,
    MANIFEST_WAIT_LINK_LOAD,
    MANIFEST_WAIT_BODY_LOAD,
    MANIFEST_WAIT_FACTS,
    MANIFEST_WAIT_BODY_ASK,
    MANIFEST_WAIT_ANSWERED,
    MANIFEST_WAIT_STATE_MAX
};

struct manifest_wait {
    enum manifest_wait_state state;
    struct api *api;
    struct txn *txn; /* NULL once the client has left */
    bool is_head;
    bool is_tag;
    struct tag_view view;     /* the rules in force */
    struct tag_record record; /* all zero: nothing is remembered */
    bool has_moved;           /* the upstream says another digest; it is not remembered yet */
    bool is_told;             /* the upstream has named the digest just now */
    bool is_unasked;          /* the record's mirrored half was believed without a question */
    bool is_heard;            /* the digest is what another process has heard; has_moved, too */
    bool has_asked_facts;     /* of the metadata cache */
    uint32_t heard_at;        /* of what was heard */
    bool is_linked;           /* what was asked for by digest is in the repository */
    struct digest digest;     /* of the manifest to send */
    int64_t checked_at_s;     /* when the tag was last confirmed to have it */
    enum api_origin origin;
    bool has_source;
    struct origin source;  /* where what is sent came from */
    struct manifest *body; /* is here, and not in this repository as far as we know */
    bool has_facts;        /* told by the upstream for HEAD */
    uint64_t size;
    char *media_type;
    void (*go_on)(struct manifest_wait *w); /* when the facts have been looked for */
    struct resolve_waiter waiter;
    struct event *timer;                      /* while the upstream is asked */
    void (*on_late)(struct manifest_wait *w); /* it takes too long; the question can be left */
    size_t repo_len, tag_len;
    char repo[NAME_FULL_MAX];
    char tag[NAME_TAG_MAX];
};

/* --- api_manifest.c --------------------------------------------------------------------------- */

/* The only place where the state changes. */
void api_manifest_goto(struct manifest_wait *w, enum manifest_wait_state next);
/* Nothing calls the story after this. */
void api_manifest_end(struct manifest_wait *w);
/* Answers, and ends. */
void api_manifest_refuse(struct manifest_wait *w, enum api_error error, int retry_after_s);
/* The upstream is asked: so long does the client wait for it, then on_late, unless it is stopped.
 */
void api_manifest_start_timer(struct manifest_wait *w, unsigned wait_ms,
                              void (*on_late)(struct manifest_wait *w));
void api_manifest_stop_timer(struct manifest_wait *w);
/* An on_late for a client that cannot be told anything. */
void api_manifest_refuse_late(struct manifest_wait *w);
struct slice api_manifest_repo_of(const struct manifest_wait *w);
const struct registry *api_manifest_registry_of(const struct manifest_wait *w);
struct slice api_manifest_tag_of(const struct manifest_wait *w);

/* --- api_manifest_tag.c ----------------------------------------------------------------------- */

/* The rules in force for this tag, or (empty) for digests. hot */
void api_manifest_view(const struct api *api, struct slice repo, struct slice tag,
                       struct tag_view *out);
/* What is to be done. Little is left of the upstream's limit: then the view's times are stretched.
 * hot */
enum tag_choice api_manifest_choose(const struct api *api, struct slice repo, struct tag_view *view,
                                    const struct tag_record *record);
/* One of the halves is to be served, unasked. */
bool api_manifest_is_of_here(enum tag_choice choice);
/* What an answer with it says about it. */
enum api_origin api_manifest_origin(enum tag_choice choice, const struct tag_view *view,
                                    const struct tag_record *record);
/* The slower tiers are asked for the tag's record; the story goes on with it. */
void api_manifest_load_tag(struct manifest_wait *w);
/* The tag's record is known, or (NULL) that there is none. */
void api_manifest_step_tag(struct manifest_wait *w, const struct tag_record *record);
/* Asks the upstream about the tag. */
void api_manifest_ask_tag(struct manifest_wait *w);
/* What is served when the upstream cannot be asked; false when there is nothing. */
bool api_manifest_fall_back(struct manifest_wait *w);

/* --- api_manifest_heard.c --------------------------------------------------------------------- */

/* Another process has heard from the upstream what we would ask it: that is served unasked, and
 * remembered once its manifest is here. False: it is not used, and the story waits as before. */
bool api_manifest_use_heard(struct manifest_wait *w, const struct tag_record *record,
                            const struct tag_record *heard);
/* The manifest that was heard of cannot be had; then what was heard counts for nothing. */
void api_manifest_refuse_heard(struct manifest_wait *w, const struct resolve_answer *a);
/* It is being served: if that is within its grace only, the upstream is asked in the background. */
void api_manifest_refresh_heard(const struct manifest_wait *w);
/* HEAD of a tag whose manifest is not here and need not come: perhaps its facts are known. True:
 * they are on their way, and go_on(w) follows. */
bool api_manifest_ask_facts(struct manifest_wait *w, void (*go_on)(struct manifest_wait *w));

/* --- api_manifest_body.c ---------------------------------------------------------------------- */

/* Whether the repository has w->digest is asked of the storage; the story goes on with it. */
void api_manifest_load_link(struct manifest_wait *w);
/* The repository has it. source: of its link; NULL when not known. */
void api_manifest_set_linked(struct manifest_wait *w, const struct origin *source);
/* w->digest is known: from memory, from the storage, from the upstream. */
void api_manifest_step_body(struct manifest_wait *w);
/* What the upstream told about the digest, kept for a HEAD answer. */
void api_manifest_keep_facts(struct manifest_wait *w, const struct resolve_answer *a);

/* What was believed unasked is nowhere: the tag is asked about after all. False: it was asked. */
bool api_manifest_doubt_tag(struct manifest_wait *w);

/* --- api_manifest_send.c ---------------------------------------------------------------------- */

/* How a manifest is being sent. */
struct manifest_manner {
    enum api_origin origin;
    bool is_tag;
    int64_t checked_at_s;        /* for tags */
    const struct tag_view *view; /* for tags */
    const struct origin *source; /* NULL: not known */
};

/* Answers with a manifest, whose reference is taken. hot */
void api_manifest_reply(struct txn *txn, struct manifest *m, const struct manifest_manner *how);
/* The same for a story, which ends: the tag is remembered and the manifest linked, as far as the
 * upstream has said so. */
void api_manifest_send(struct manifest_wait *w, struct manifest *m);
/* HEAD of a manifest that is not here: what the upstream said about it. Ends the story. */
void api_manifest_send_facts(struct manifest_wait *w);
/* What is sent is, or was a moment ago, the upstream's of now. */
void api_manifest_set_source(struct manifest_wait *w);

#endif
