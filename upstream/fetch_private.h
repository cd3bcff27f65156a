/*
 * The states of a fetch and what its files share. fetch.c drives; fetch_send.c asks and receives;
 * fetch_answer.c judges heads; fetch_auth.c answers challenges; fetch_retry.c waits and continues;
 * fetch_next.c goes on with another URL.
 *
 * A fetch owns its running call, its place in a token's queue and its wait, and counts its
 * upstream. Callbacks of those only note facts in the struct and wake the driver, which runs from
 * the worker's loop; the exception are head and body of a good answer, which go straight through.
 */
#ifndef UPSTREAM_FETCH_PRIVATE_H
#define UPSTREAM_FETCH_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/http_call.h"
#include "base/url.h"
#include "base/worker.h"
#include "upstream/challenge.h"
#include "upstream/fetch.h"
#include "upstream/redirect.h"
#include "upstream/token.h"
#include "upstream/upstream_private.h"

struct http_wait;

#define STATUS_RANGE 416            /* asked behind the end: no other URL has more */
#define FETCH_DRAIN_BYTES_MAX 65536 /* of an answer that is not used, to keep its connection */
/* A 200 to a Range costs reading again what is here already; beyond this the fetch fails. */
#define FETCH_SKIP_BYTES_MAX (64u * 1024 * 1024)

enum fetch_state {
    FETCH_PREPARING,   /* which credentials would be right? */
    FETCH_TOKEN,       /* waiting for the token cache */
    FETCH_SENDING,     /* may we ask, and ask */
    FETCH_RECEIVING,   /* waiting for the call to end; head and body pass by */
    FETCH_PINGING,     /* asking /v2/ for the challenge that the answer lacked */
    FETCH_BACKING_OFF, /* waiting for the timer before the next try */
    FETCH_ENDING,      /* the result is known */
    FETCH_ENDED,
    FETCH_STATE_MAX
};

enum fetch_step { FETCH_STEP_MORE, FETCH_STEP_WAIT };

enum fetch_verdict {
    FETCH_ANSWER_NONE, /* no head came */
    FETCH_ANSWER_USE,
    FETCH_ANSWER_REDIRECT,
    FETCH_ANSWER_CHALLENGE, /* 401 */
    FETCH_ANSWER_DENIED,    /* 403 */
    FETCH_ANSWER_NOT_FOUND,
    FETCH_ANSWER_THROTTLED, /* 429 */
    FETCH_ANSWER_BROKEN,    /* 5xx, or a redirect's target that fails: worth another try */
    FETCH_ANSWER_WRONG,     /* not what was asked for; worth another try */
    FETCH_ANSWER_BAD        /* not what was asked for, and it will not get better */
};

/* What is kept of a head when it is gone. */
struct fetch_answer {
    enum fetch_verdict verdict;
    int status;
    int retry_after_s; /* -1: not told */
    char *location;
    bool has_challenge;
    struct challenge challenge;
    const char *why; /* constant text for WRONG and BAD */
    uint64_t n_drained;
};

struct fetch {
    struct mail wake; /* first; drives, and frees at the end */
    struct worker *worker;
    struct upstream *first;      /* counted; the head of the chain of URLs */
    struct upstream *upstream;   /* counted; the one that is asked now */
    const struct fetch_ops *ops; /* NULL once cancelled */
    void *arg;
    char *label; /* "blob library/x@sha256:…", for the log */
    enum fetch_kind kind;
    bool is_head;
    char *repo, *reference;
    enum fetch_state state;

    struct url origin; /* what the registry is asked for */
    struct url url;    /* what is asked now: the same, or what it redirected to */
    struct redirect_chain chain;
    bool was_counted; /* in the metrics of started GETs and HEADs */

    char *authorization;     /* header line, or NULL */
    char *authorized_origin; /* the only origin that gets it */
    char *token;             /* the token in it, NULL with Basic */
    bool token_is_fresh;
    struct known_auth plan; /* the token wanted, or the one in use */
    bool plan_is_anonymous;
    unsigned auth_rounds; /* challenges answered since the last good head */
    bool was_challenged;  /* by the registry, in this fetch: what it said is not out of date */
    bool has_pinged;
    struct token_wait *token_wait; /* own; NULL unless waiting */
    bool has_token_result;
    struct token_result token_result;

    struct http_call *call; /* own; NULL unless running */
    bool is_call_over;      /* call_result is set */
    struct http_call_result call_result;
    struct fetch_answer answer;

    bool has_head;     /* delivered to the caller */
    uint64_t off, end; /* the range asked for by the caller */
    uint64_t pos;      /* of the next byte that the caller gets */
    uint64_t stop;     /* behind the last one, UINT64_MAX while not known */
    uint64_t size;     /* of the whole, UINT64_MAX while not known */
    uint64_t skip;     /* bytes to drop before the next one for the caller */
    char *digest;      /* as told by the first good head, maybe "" */
    bool has_surplus;  /* the answer goes on behind `stop`, rightly */
    bool is_paused;
    bool is_refused;   /* by the caller's `head` or `data` */
    bool has_too_much; /* more bytes than announced came */

    unsigned failures; /* since there was progress, at this URL */
    unsigned n_rounds; /* through all URLs, since there was progress */
    uint64_t pos_at_round;
    unsigned missing_at_target;
    uint64_t pos_at_failure;
    unsigned delay_ms;
    bool is_delay_over;
    struct http_wait *wait; /* own; NULL unless backing off */
    bool has_probe;         /* of the breaker */
    struct fetch_result result;
};

/* fetch.c */
void fetch_goto(struct fetch *f, enum fetch_state next);
void fetch_wake(struct fetch *f);
/* Ends with this, or goes on with another URL of the upstream. */
enum fetch_step fetch_finish(struct fetch *f, enum fetch_outcome outcome, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What will be told, unless something better comes of it. */
void fetch_set_result(struct fetch *f, enum fetch_outcome outcome, const char *text);
/* f->origin and f->url for f->upstream; negative: no URL can be made. */
int fetch_build_origin(struct fetch *f);
bool fetch_is_at_origin(const struct fetch *f);
void fetch_drop_probe(struct fetch *f);

/* fetch_send.c */
enum fetch_step fetch_send(struct fetch *f);
enum fetch_step fetch_send_ping(struct fetch *f);
/* A redirect was answered: the next URL is set, or the fetch finished. */
enum fetch_step fetch_send_redirected(struct fetch *f);

/* fetch_answer.c */
void fetch_answer_clear(struct fetch_answer *a);
/* Fills f->answer from the head; a good one also goes to the caller. */
void fetch_answer_judge(struct fetch *f, const struct http_call *call);
/* Of an answer to /v2/: only its challenge matters. */
void fetch_answer_judge_ping(struct fetch *f, const struct http_call *call);

/* fetch_auth.c */
enum fetch_step fetch_auth_prepare(struct fetch *f);
enum fetch_step fetch_auth_token(struct fetch *f);
/* The answer was 401. */
enum fetch_step fetch_auth_challenged(struct fetch *f);
/* The answer to /v2/ is here. */
enum fetch_step fetch_auth_pinged(struct fetch *f);
void fetch_auth_clear(struct fetch *f);

/* fetch_next.c */
bool fetch_next_has_siblings(const struct fetch *f);
/* Instead of ending with this outcome the next URL is to be asked. */
bool fetch_next_is_wanted(const struct fetch *f, enum fetch_outcome outcome);
enum fetch_step fetch_next(struct fetch *f, enum fetch_outcome outcome, const char *why);

/* fetch_retry.c */
/* All URLs have failed: waits, then begins with the first, which is f->upstream again. */
enum fetch_step fetch_retry_round(struct fetch *f, const char *why);
/* Tries again after a while, or finishes with `outcome` when that was often enough. */
enum fetch_step fetch_retry(struct fetch *f, enum fetch_outcome outcome, unsigned delay_min_ms,
                            const char *why);
enum fetch_step fetch_retry_throttled(struct fetch *f, int retry_after_s);
/* No head came. */
enum fetch_step fetch_retry_lost(struct fetch *f);
/* The call behind a good head is over: whole, cut, refused. */
enum fetch_step fetch_retry_body(struct fetch *f);
enum fetch_step fetch_retry_wait(struct fetch *f);

#endif
