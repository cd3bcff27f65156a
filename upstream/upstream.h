/*
 * Where content comes from: one URL of an upstream registry, with its credentials, tokens, health
 * and quota. Shared by all workers; what is mutable in it sits behind its own lock. Made at start
 * (or on reload), counted, so that a fetch may outlive a reload.
 *
 * It may have a fallback: another URL of the same registry, which is asked when this one fails or
 * is resting, and that one another. A fetch walks along this chain by itself (upstream/fetch.h).
 * Nothing but the name of what is wanted goes along with it: each URL has its own credentials and
 * tokens.
 *
 * A fetch is one thing asked of it (upstream/fetch.h); tokens, redirects, retries and resumption
 * happen inside and are invisible to the caller.
 */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

struct quota_floor;
struct upstream;

/* Strings are copied. Times in milliseconds. */
struct upstream_config {
    const char *url;      /* http[s]://host[:port][/prefix], before /v2 */
    const char *username; /* NULL: anonymous */
    const char *password;
    const char *const *realms; /* further hosts whose token realms are trusted, NULL-terminated */
    const char *ca_file;       /* NULL: the system's */
    bool tls_verify;
    const char *user_agent;
    unsigned connect_timeout_ms;
    unsigned header_timeout_ms; /* from the request to the first header */
    unsigned idle_timeout_ms;   /* longest time without a byte */
    unsigned retries_max;       /* tries after the first, per stretch without progress */
    unsigned backoff_base_ms;
    unsigned backoff_max_ms;
    unsigned breaker_failures; /* that many in a row open the breaker */
    unsigned breaker_cooldown_ms;
    unsigned connections_max; /* to this upstream, per worker */
};

/* 0, or -EINVAL with the reason (bad URL). Does not touch the network. */
int upstream_new(const struct upstream_config *config, struct upstream **out, struct error *err);
struct upstream *upstream_ref(struct upstream *u);
void upstream_unref(struct upstream **u);

/* Before the first fetch; takes a reference. */
void upstream_set_fallback(struct upstream *u, struct upstream *fallback);

/* Before the first fetch. While this is true, it is asked for nothing, not even a token: fetches
 * end FETCH_UNAVAILABLE at once. It outlives the upstream. */
void upstream_set_offline_flag(struct upstream *u, const atomic_bool *is_offline);

/* "registry-1.docker.io" or "host:port"; for logs and metrics. */
const char *upstream_name(const struct upstream *u);
/* docker.io and its aliases: one-component repository names get "library/". */
bool upstream_is_docker_hub(const struct upstream *u);
/* Where its quota is low (upstream/quota.h); at first never. Both from any thread. While it is
 * resting it is its fallback's that counts, since that is asked. */
void upstream_set_quota_floor(struct upstream *u, const struct quota_floor *floor);
bool upstream_is_low(struct upstream *u);
/* {"name":…,"breaker":"closed|open|half-open","ratelimit":{…},…} for the admin listing. */
void upstream_print_json(struct upstream *u, struct strbuf *out);

/* What is known of it at this moment. */
struct upstream_state {
    const char *name;     /* lives as long as the upstream */
    const char *username; /* the same; NULL: anonymous */
    bool is_resting;      /* not asked, because of failures in a row or a 429 */
    bool are_credentials_refused;
    int64_t quota_limit, quota_remaining; /* -1: never told */
    bool is_quota_low;
};

void upstream_look(struct upstream *u, struct upstream_state *out);
/* NULL: there is none. Borrowed. */
struct upstream *upstream_fallback(const struct upstream *u);

#endif
