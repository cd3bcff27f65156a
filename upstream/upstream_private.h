/* What the files of upstream/ know of an upstream and others do not. */
#ifndef UPSTREAM_UPSTREAM_PRIVATE_H
#define UPSTREAM_UPSTREAM_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/http_call.h"
#include "base/url.h"
#include "upstream/breaker.h"
#include "upstream/challenge.h"
#include "upstream/quota.h"
#include "upstream/upstream.h"

struct token_cache;

/* How the upstream wants to be asked, remembered from its last challenge, so that the next request
 * brings its token along instead of being refused first. Owns its strings. */
struct known_auth {
    bool is_known;
    enum challenge_scheme scheme;
    char *realm;
    char *service;
    char *scope; /* NULL: "repository:<name>:pull" of each repository */
};

struct upstream {
    unsigned n_refs; /* atomic */

    /* Fixed from upstream_new() on: any thread, no lock. */
    struct url url;
    char *base;       /* url's text without a slash at its end */
    char *name;       /* host[:port] */
    char *log_prefix; /* "upstream <name>" */
    bool is_docker_hub;
    char *username; /* NULL: anonymous */
    char *basic;    /* "Authorization: Basic …", NULL: anonymous */
    char *user_agent_line;
    char *ca_file;
    char **realms;                 /* NULL-terminated */
    struct upstream_config limits; /* only the numbers and tls_verify */
    const atomic_bool *is_offline; /* NULL: never */
    struct token_cache *tokens;    /* has its own lock */
    struct upstream *fallback;     /* counted; or NULL */
    bool has_siblings;             /* it has a fallback, or is one */

    pthread_mutex_t lock; /* guards all below */
    struct breaker breaker;
    struct quota quota;
    uint64_t quota_at_ms; /* when it was told */
    struct quota_floor quota_floor;
    struct known_auth auth;
    uint64_t throttled_until_ms; /* by a 429; heeded where there are siblings */
    bool are_credentials_refused;
};

/* Fills what every call to this upstream, its token service or its CDN has in common. */
void upstream_fill_call(const struct upstream *u, struct http_call_spec *spec);

enum breaker_pass upstream_ask_breaker(struct upstream *u);
void upstream_note_success(struct upstream *u);
void upstream_note_failure(struct upstream *u);
void upstream_give_up_probe(struct upstream *u);
/* It is not to be asked for anything. */
bool upstream_is_offline(const struct upstream *u);
/* Had better be left alone now: its breaker is open, or it throttles us and there are other URLs.
 * *throttled_s (may be NULL): for how long it throttles us yet; -1 when that is not the reason. */
bool upstream_is_resting(struct upstream *u, int *throttled_s);
/* It answered 429, with this Retry-After (-1: none). */
void upstream_note_throttled(struct upstream *u, int retry_after_s);
/* It, or its token service, has judged the configured credentials. Told loudly when that changes.
 */
void upstream_note_credentials(struct upstream *u, bool are_refused);
void upstream_note_quota(struct upstream *u, const struct http_call *call);

/* Remembers a challenge that was met with a request for `repo`. */
void upstream_learn_auth(struct upstream *u, const struct challenge *c, const char *repo);
/* What to expect for `repo`; strings are copies, the scope always stands. is_known tells. */
void upstream_recall_auth(struct upstream *u, const char *repo, struct known_auth *out);
/* The token service of that realm is of no use. The registry may have another one meanwhile: it is
 * asked without a token, and says. Nothing happens when something else has been learnt since. */
void upstream_forget_auth(struct upstream *u, const char *realm);
void known_auth_fini(struct known_auth *a);

#endif
