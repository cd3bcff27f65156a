/*
 * The tokens of an upstream (distribution's token authentication), kept by realm, service, scope
 * and user. Shared by all workers behind one lock. Whatever the number of those who wait, one
 * request per key is on its way; its end, good or bad, goes to all of them, each on its own worker.
 * A token is renewed in the background when 80 to 90 % of its life are over.
 *
 * The credentials go to the realm only; the caller has made sure that it is trusted
 * (upstream/realm.h). A realm's redirect is never followed. No token and no credential is logged.
 * Memory: TOKEN_ENTRIES_MAX keys, the least recently used goes first.
 */
#ifndef UPSTREAM_TOKEN_H
#define UPSTREAM_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct token_cache;
struct token_wait;
struct upstream;

#define TOKEN_ENTRIES_MAX 1024
#define TOKEN_ANSWER_BYTES_MAX (1024 * 1024)

struct token_key {
    const char *realm;   /* url.h's normal form */
    const char *service; /* may be NULL */
    const char *scope;   /* several are separated by blanks; may be NULL */
    bool is_anonymous;   /* the upstream's credentials are not to be sent */
};

enum token_end {
    TOKEN_OK,
    TOKEN_REFUSED,     /* 401, 403: credentials refused, or nothing there for us */
    TOKEN_THROTTLED,   /* 429 */
    TOKEN_UNAVAILABLE, /* no connection, timeout, 5xx */
    TOKEN_BAD_ANSWER,
    TOKEN_END_MAX
};

struct token_result {
    enum token_end end;
    int status;        /* of the realm's answer, 0 when there was none */
    int retry_after_s; /* -1: not told */
    unsigned again_ms; /* asking earlier gets the same failure from memory */
    bool is_fresh;     /* fetched while the asker waited, not kept from before */
    const char *text;  /* TOKEN_OK: the token, valid during the callback */
    struct error error;
};

typedef void (*token_fn)(void *arg, const struct token_result *result);

struct token_cache *token_cache_new(void);
/* Nobody waits any more. */
void token_cache_free(struct token_cache **t);

/* fn is called once, later, on the calling worker, unless cancelled. */
struct token_wait *token_ask(struct upstream *u, const struct token_key *key, token_fn fn,
                             void *arg);
/* NULLs the pointer, accepts NULL. The request goes on: its token will be of use. */
void token_wait_cancel(struct token_wait **wait);
/* The registry refused this token: forget it, if it is still the one that is kept. */
void token_drop(struct upstream *u, const struct token_key *key, const char *text);

/* Reads a realm's answer; *token is owned by the caller. Pure, for tests and fuzzing. */
int token_parse(const char *body, size_t n, char **token, unsigned *life_s, struct error *err);

#endif
