/*
 * What the files of uploads over HTTP share: the story of one request about one upload.
 *
 *   api_upload.c         its states, its life, and what answers have in common
 *   api_upload_begin.c   POST: a new upload, or all of a blob in one request
 *   api_upload_mount.c   POST with mount=: a blob that is here already
 *   api_upload_body.c    the body of a request, into the upload; PATCH
 *   api_upload_commit.c  PUT, and the end of a POST that brought everything
 *   api_upload_status.c  GET, HEAD and DELETE
 *
 * Life: OPENING → RECEIVING → COMMITTING → OVER, or as much of it as the request needs. The client
 * may leave at any step: what was received stays in the upload, to be resumed; a commit under way
 * is finished.
 *
 * Belongs to the transaction's worker; frees itself when it is over. Memory: itself, whatever the
 * size of the blob.
 */
#ifndef MIRRORD_API_UPLOAD_PRIVATE_H
#define MIRRORD_API_UPLOAD_PRIVATE_H

#include "base/digest.h"
#include "cache/upload.h"
#include "mirrord/api_private.h"
#include "mirrord/chunk_range.h"

struct error;

enum upload_story_state {
    UPLOAD_STORY_NEW,
    UPLOAD_STORY_MOUNTING,   /* the pool's turn: is the blob here, and may it be linked? */
    UPLOAD_STORY_OPENING,    /* the storage's: the upload is made or looked for */
    UPLOAD_STORY_RECEIVING,  /* the client's: its body comes in */
    UPLOAD_STORY_COMMITTING, /* the storage's: hash, fsync, link */
    UPLOAD_STORY_REMOVING,   /* the storage's */
    UPLOAD_STORY_ASKING,     /* the storage's: the size for a status */
    UPLOAD_STORY_OVER,
    UPLOAD_STORY_STATE_MAX
};

struct upload_story {
    enum upload_story_state state;
    struct api *api;
    struct txn *txn;       /* NULL once the client has left */
    struct upload *upload; /* while it is held */
    bool is_single;        /* one request brings everything */
    bool is_untold;        /* no client knows its id: without an answer it is rubbish */
    void (*on_held)(struct upload_story *s);
    void (*on_received)(struct upload_story *s);
    bool has_range;
    struct chunk_range range; /* that the body is said to be */
    uint64_t n_max;           /* of the body */
    uint64_t begin;           /* size before the body */
    struct digest digest;     /* of a commit */
    size_t repo_len, name_len;
    char id[UPLOAD_ID_SIZE];
    char repo[NAME_FULL_MAX]; /* as the storage calls it */
    char name[NAME_FULL_MAX]; /* as the client does */
};

/* --- api_upload.c ----------------------------------------------------------------------------- */

struct upload_story *api_upload_new(const struct api_request *q);
struct slice api_upload_repo(const struct upload_story *s);
struct uploads *api_upload_table(const struct upload_story *s);
void api_upload_goto(struct upload_story *s, enum upload_story_state state);
/* An upload_open_fn: goes on with on_held when it has the upload. */
void api_upload_opened(void *story, int rc, struct upload *u);
/* Opens the upload that the request names, then on_held; answers when there is none. */
void api_upload_open(struct upload_story *s, const struct route *route,
                     void (*on_held)(struct upload_story *s));

/* Gives the upload back as it is, or removes it when nobody could go on with it. */
void api_upload_let_go(struct upload_story *s);
/* Lets go of all. Nothing calls the story after this. */
void api_upload_end(struct upload_story *s);
/* Both answer, if the client is there, and end. reason: a static text, or NULL. */
void api_upload_refuse(struct upload_story *s, enum api_error error, const char *reason);
void api_upload_refuse_rc(struct upload_story *s, int rc);

/* Begins an answer about the blob (201) or about the upload, of which `size` bytes are here. */
struct reply *api_upload_reply_blob(struct upload_story *s);
struct reply *api_upload_reply(struct upload_story *s, int status, uint64_t size);

/* --- between the others ----------------------------------------------------------------------- */

/* What a POST does when there is nothing to mount. */
void api_upload_begin(struct upload_story *s);
/* True when the request wants a mount: it goes on with that, and with api_upload_begin if there is
 * nothing to mount. */
bool api_upload_mount(struct upload_story *s);
/* Reads the body into the held upload, then on_received; answers when something is wrong. */
void api_upload_receive(struct upload_story *s, void (*on_received)(struct upload_story *s));
/* Finishes the held upload under s->digest, and answers. */
void api_upload_commit(struct upload_story *s);

#endif
