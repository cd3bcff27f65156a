/*
 * Where content comes from: one upstream registry, with its credentials, tokens, health and quota.
 * Shared by all workers; what is mutable in it sits behind its own lock. Made at start (or on
 * reload), counted, so that a fetch may outlive a reload.
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
    /* True: it is asked for nothing, not even a token; fetches end FETCH_UNAVAILABLE at once. NULL:
     * never. Outlives the upstream. */
    const atomic_bool *is_offline;
};

/* 0, or -EINVAL with the reason (bad URL). Does not touch the network. */
int upstream_new(const struct upstream_config *config, struct upstream **out, struct error *err);
struct upstream *upstream_ref(struct upstream *u);
void upstream_unref(struct upstream **u);

/* "registry-1.docker.io" or "host:port"; for logs, headers and storage. */
const char *upstream_name(const struct upstream *u);
/* docker.io and its aliases: one-component repository names get "library/". */
bool upstream_is_docker_hub(const struct upstream *u);
/* Fewer pulls than this remain of its limit (upstream/quota.h). Any thread. */
bool upstream_is_low(struct upstream *u, const struct quota_floor *floor);
/* {"name":…,"breaker":"closed|open|half-open","ratelimit":{…},…} for the admin listing. */
void upstream_print_json(struct upstream *u, struct strbuf *out);

#endif
