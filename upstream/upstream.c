#include "config.h"

#include "upstream/upstream.h"

#include "upstream/upstream_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "upstream/token.h"

#define DOCKER_HUB "registry-1.docker.io"
#define THROTTLED_MAX_S 3600 /* a longer Retry-After is tried again after this */

static char *copy_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static char **copy_list(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    char **out = xcalloc(n + 1, sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = xstrdup(list[i]);
    return out;
}

/* RFC 7617: the whole header line, because only requests want it. */
static char *basic_line(const char *username, const char *password)
{
    char *plain = xasprintf("%s:%s", username, password ? password : "");
    size_t n = strlen(plain);
    unsigned char *encoded = xmalloc(n / 3 * 4 + 5);

    CHECK(n < INT32_MAX);
    EVP_EncodeBlock(encoded, (const unsigned char *)plain, (int)n);
    char *line = xasprintf("Authorization: Basic %s", (char *)encoded);
    explicit_bzero(plain, n);
    explicit_bzero(encoded, strlen((char *)encoded));
    free(plain);
    free(encoded);
    return line;
}

/* docker.io and index.docker.io are names of the web site and of the old index; the registry
 * behind them is this one. */
static int parse_url(const char *text, struct url *out, struct error *err)
{
    struct url url;
    int rc = url_parse(slice_of(text), &url, err);

    if (rc < 0)
        return rc;
    if (url.query.ptr || strchr(text, '#')) {
        url_fini(&url);
        return error_set(err, -EINVAL, "URL of a registry with a query or a fragment");
    }
    if (slice_equal(url.host, SLICE("docker.io")) ||
        slice_equal(url.host, SLICE("index.docker.io"))) {
        url_fini(&url);
        return url_parse(SLICE("https://" DOCKER_HUB), out, err);
    }
    *out = url;
    return 0;
}

/* A line break in what becomes a header line would make two of it. */
static int check_texts(const struct upstream_config *config, struct error *err)
{
    if (config->user_agent && strpbrk(config->user_agent, "\r\n"))
        return error_set(err, -EINVAL, "user agent with a line break");
    if (config->username && strchr(config->username, ':'))
        return error_set(err, -EINVAL, "user name with a colon");
    return 0;
}

static void copy_config(struct upstream *u, const struct upstream_config *config)
{
    struct slice origin_and_path = {u->url.text, strlen(u->url.text)};
    struct slice authority = url_authority(&u->url);

    while (slice_ends(origin_and_path, SLICE("/")))
        origin_and_path.len--;
    u->base = xmemdup0(origin_and_path.ptr, origin_and_path.len);
    u->name = xmemdup0(authority.ptr, authority.len);
    u->log_prefix = xasprintf("upstream %s", u->name);
    u->is_docker_hub = slice_equal(u->url.host, SLICE(DOCKER_HUB)) ||
                       slice_equal(u->url.host, SLICE("registry.hub.docker.com"));
    if (config->username && config->username[0]) {
        u->username = xstrdup(config->username);
        u->basic = basic_line(config->username, config->password);
    }
    u->user_agent_line =
        xasprintf("User-Agent: %s", config->user_agent ? config->user_agent : "mirrord");
    u->ca_file = copy_or_null(config->ca_file);
    u->realms = copy_list(config->realms);
    u->limits = *config;
    u->limits.url = u->limits.username = u->limits.password = NULL;
    u->limits.ca_file = u->limits.user_agent = NULL;
    u->limits.realms = NULL;
}

int upstream_new(const struct upstream_config *config, struct upstream **out, struct error *err)
{
    struct url url;
    int rc = check_texts(config, err);

    if (rc == 0)
        rc = parse_url(config->url, &url, err);
    if (rc < 0)
        return rc;
    struct upstream *u = xcalloc(1, sizeof(*u));
    u->n_refs = 1;
    u->url = url;
    copy_config(u, config);
    pthread_mutex_init(&u->lock, NULL);
    breaker_init(&u->breaker, config->breaker_failures, config->breaker_cooldown_ms);
    quota_init(&u->quota);
    u->tokens = token_cache_new();
    *out = u;
    return 0;
}

struct upstream *upstream_ref(struct upstream *u)
{
    CHECK(__atomic_fetch_add(&u->n_refs, 1, __ATOMIC_RELAXED) > 0);
    return u;
}

void known_auth_fini(struct known_auth *a)
{
    free(a->realm);
    free(a->service);
    free(a->scope);
    *a = (struct known_auth){.is_known = false};
}

static void upstream_free(struct upstream *u)
{
    token_cache_free(&u->tokens);
    upstream_unref(&u->fallback);
    known_auth_fini(&u->auth);
    pthread_mutex_destroy(&u->lock);
    for (size_t i = 0; u->realms[i]; i++)
        free(u->realms[i]);
    free(u->realms);
    if (u->basic)
        explicit_bzero(u->basic, strlen(u->basic));
    free(u->basic);
    free(u->username);
    free(u->ca_file);
    free(u->user_agent_line);
    free(u->log_prefix);
    free(u->name);
    free(u->base);
    url_fini(&u->url);
    free(u);
}

void upstream_unref(struct upstream **uu)
{
    struct upstream *u = *uu;

    *uu = NULL;
    CHECK(!u || __atomic_load_n(&u->n_refs, __ATOMIC_RELAXED) > 0);
    if (u && __atomic_sub_fetch(&u->n_refs, 1, __ATOMIC_ACQ_REL) == 0)
        upstream_free(u);
}

void upstream_set_fallback(struct upstream *u, struct upstream *fallback)
{
    CHECK(!u->fallback && fallback != u);
    u->fallback = upstream_ref(fallback);
    u->has_siblings = fallback->has_siblings = true;
}

struct upstream *upstream_fallback(const struct upstream *u)
{
    return u->fallback;
}

const char *upstream_name(const struct upstream *u)
{
    return u->name;
}

bool upstream_is_docker_hub(const struct upstream *u)
{
    return u->is_docker_hub;
}

void upstream_fill_call(const struct upstream *u, struct http_call_spec *spec)
{
    spec->ca_file = u->ca_file;
    spec->skip_tls_verify = !u->limits.tls_verify;
    spec->connect_timeout_ms = u->limits.connect_timeout_ms;
    spec->header_timeout_ms = u->limits.header_timeout_ms;
    spec->idle_timeout_ms = u->limits.idle_timeout_ms;
    spec->host_connections_max = u->limits.connections_max;
}

/* Tells the world when the breaker's state changed. */
static void tell_breaker(struct upstream *u, enum breaker_state before, enum breaker_state after)
{
    if (before == after)
        return;
    if (after == BREAKER_OPEN && before == BREAKER_CLOSED)
        log_warning(u->log_prefix, "too many failures in a row, not asked for %u ms",
                    u->limits.breaker_cooldown_ms);
    else if (after == BREAKER_CLOSED)
        log_info(u->log_prefix, "answers again");
    else
        log_debug(u->log_prefix, "breaker %s -> %s", breaker_state_name(before),
                  breaker_state_name(after));
}

enum breaker_pass upstream_ask_breaker(struct upstream *u)
{
    pthread_mutex_lock(&u->lock);
    enum breaker_state before = u->breaker.state;
    enum breaker_pass pass = breaker_ask(&u->breaker, clock_mono_ms());
    enum breaker_state after = u->breaker.state;
    pthread_mutex_unlock(&u->lock);
    tell_breaker(u, before, after);
    return pass;
}

void upstream_note_success(struct upstream *u)
{
    pthread_mutex_lock(&u->lock);
    enum breaker_state before = u->breaker.state;
    breaker_success(&u->breaker);
    pthread_mutex_unlock(&u->lock);
    tell_breaker(u, before, BREAKER_CLOSED);
}

void upstream_note_failure(struct upstream *u)
{
    pthread_mutex_lock(&u->lock);
    enum breaker_state before = u->breaker.state;
    breaker_failure(&u->breaker, clock_mono_ms());
    enum breaker_state after = u->breaker.state;
    pthread_mutex_unlock(&u->lock);
    tell_breaker(u, before, after);
}

void upstream_give_up_probe(struct upstream *u)
{
    pthread_mutex_lock(&u->lock);
    breaker_give_up_probe(&u->breaker);
    pthread_mutex_unlock(&u->lock);
}

void upstream_note_quota(struct upstream *u, const struct http_call *call)
{
    struct slice limit = http_call_header(call, "ratelimit-limit", 0);
    struct slice remaining = http_call_header(call, "ratelimit-remaining", 0);
    struct slice source = http_call_header(call, "docker-ratelimit-source", 0);

    if (!limit.len && !remaining.len)
        return;
    pthread_mutex_lock(&u->lock);
    quota_note(&u->quota, limit, remaining, source);
    u->quota_at_ms = clock_mono_ms();
    pthread_mutex_unlock(&u->lock);
}

bool upstream_is_resting(struct upstream *u, int *throttled_s)
{
    uint64_t now_ms = clock_mono_ms();

    pthread_mutex_lock(&u->lock);
    bool is_open = u->breaker.state == BREAKER_OPEN && now_ms < u->breaker.open_until_ms;
    bool is_throttled = u->has_siblings && now_ms < u->throttled_until_ms;
    uint64_t left_ms = is_throttled ? u->throttled_until_ms - now_ms : 0;
    pthread_mutex_unlock(&u->lock);
    if (throttled_s)
        *throttled_s = is_throttled ? (int)((left_ms + 999) / 1000) : -1;
    return is_open || is_throttled;
}

void upstream_note_throttled(struct upstream *u, int retry_after_s)
{
    uint64_t rest_ms = u->limits.breaker_cooldown_ms;

    if (retry_after_s >= 0)
        rest_ms = retry_after_s > THROTTLED_MAX_S ? THROTTLED_MAX_S * 1000ull
                                                  : (uint64_t)retry_after_s * 1000;
    pthread_mutex_lock(&u->lock);
    u->throttled_until_ms = clock_mono_ms() + rest_ms;
    pthread_mutex_unlock(&u->lock);
}

void upstream_note_credentials(struct upstream *u, bool are_refused)
{
    pthread_mutex_lock(&u->lock);
    bool is_news = u->are_credentials_refused != are_refused;
    u->are_credentials_refused = are_refused;
    pthread_mutex_unlock(&u->lock);
    if (are_refused)
        metric_inc(METRIC_UPSTREAM_CREDENTIALS_REFUSED);
    if (is_news && are_refused)
        log_error(u->log_prefix,
                  "refuses the configured credentials of %s: what is here is served, "
                  "what needs them cannot be had",
                  u->username ? u->username : "nobody");
    else if (is_news)
        log_info(u->log_prefix, "accepts the configured credentials again");
}

void upstream_set_quota_floor(struct upstream *u, const struct quota_floor *floor)
{
    pthread_mutex_lock(&u->lock);
    u->quota_floor = *floor;
    pthread_mutex_unlock(&u->lock);
}

static bool is_low_locked(const struct upstream *u)
{
    return quota_is_low(&u->quota, &u->quota_floor, clock_mono_ms() - u->quota_at_ms);
}

/* Of the URL that is asked first now: those before it are resting. */
bool upstream_is_low(struct upstream *u)
{
    struct upstream *first = u;

    while (u && upstream_is_resting(u, NULL))
        u = u->fallback;
    u = u ? u : first;
    pthread_mutex_lock(&u->lock);
    bool is_low = is_low_locked(u);
    pthread_mutex_unlock(&u->lock);
    return is_low;
}

void upstream_look(struct upstream *u, struct upstream_state *out)
{
    out->name = u->name;
    out->username = u->username;
    out->is_resting = upstream_is_resting(u, NULL);
    pthread_mutex_lock(&u->lock);
    out->is_resting = out->is_resting || u->breaker.state != BREAKER_CLOSED;
    out->are_credentials_refused = u->are_credentials_refused;
    out->quota_limit = u->quota.limit;
    out->quota_remaining = u->quota.remaining;
    out->is_quota_low = is_low_locked(u);
    pthread_mutex_unlock(&u->lock);
}

void upstream_set_offline_flag(struct upstream *u, const atomic_bool *is_offline)
{
    u->is_offline = is_offline;
}

bool upstream_is_offline(const struct upstream *u)
{
    return u->is_offline && atomic_load(u->is_offline);
}

static char *pull_scope(const char *repo)
{
    return xasprintf("repository:%s:pull", repo);
}

void upstream_learn_auth(struct upstream *u, const struct challenge *c, const char *repo)
{
    struct known_auth learnt = {.is_known = true, .scheme = c->scheme};
    char *usual_scope = pull_scope(repo);

    CHECK(c->scheme != CHALLENGE_BEARER || c->realm);

    learnt.realm = copy_or_null(c->realm);
    learnt.service = copy_or_null(c->service);
    if (c->scope && strcmp(c->scope, usual_scope) != 0)
        learnt.scope = xstrdup(c->scope);
    free(usual_scope);
    pthread_mutex_lock(&u->lock);
    struct known_auth old = u->auth;
    u->auth = learnt;
    pthread_mutex_unlock(&u->lock);
    known_auth_fini(&old);
}

void upstream_forget_auth(struct upstream *u, const char *realm)
{
    struct known_auth old = {.is_known = false};

    CHECK(realm);
    pthread_mutex_lock(&u->lock);
    if (u->auth.realm && strcmp(u->auth.realm, realm) == 0) {
        old = u->auth;
        u->auth = (struct known_auth){.is_known = false};
    }
    pthread_mutex_unlock(&u->lock);
    known_auth_fini(&old);
}

void upstream_recall_auth(struct upstream *u, const char *repo, struct known_auth *out)
{
    pthread_mutex_lock(&u->lock);
    *out = u->auth;
    out->realm = copy_or_null(out->realm);
    out->service = copy_or_null(out->service);
    out->scope = copy_or_null(out->scope);
    pthread_mutex_unlock(&u->lock);
    if (!out->scope)
        out->scope = pull_scope(repo);
}

void upstream_print_json(struct upstream *u, struct strbuf *out)
{
    pthread_mutex_lock(&u->lock);
    struct quota quota = u->quota;
    struct breaker breaker = u->breaker;
    bool are_refused = u->are_credentials_refused;
    pthread_mutex_unlock(&u->lock);
    strbuf_add_str(out, "{\"name\":\"");
    strbuf_add_json(out, slice_of(u->name));
    strbuf_addf(out, "\",\"breaker\":\"%s\",\"failures\":%u,\"anonymous\":%s",
                breaker_state_name(breaker.state), breaker.failures,
                u->username ? "false" : "true");
    strbuf_addf(out, ",\"credentials_refused\":%s", are_refused ? "true" : "false");
    strbuf_addf(out, ",\"ratelimit\":{\"limit\":%lld,\"remaining\":%lld,\"window_s\":%lld",
                (long long)quota.limit, (long long)quota.remaining, (long long)quota.window_s);
    strbuf_add_str(out, ",\"source\":\"");
    strbuf_add_json(out, slice_of(quota.source));
    strbuf_add_str(out, "\"}}");
}
