#include "config.h"

#include "upstream/token_private.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/http_call.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/strbuf.h"
#include "base/url.h"
#include "upstream/upstream_private.h"

#define LIFE_MIN_S 60 /* also when not told; what docker and containers/image assume */
#define LIFE_MAX_S (24 * 60 * 60)
#define TOKEN_BYTES_MAX (16 * 1024)

/* One question to a realm; at most two requests: stale credentials are tried without. */
struct token_request {
    struct upstream *upstream;
    struct token_entry *entry;
    struct token_key key; /* owns its strings */
    struct http_call *call;
    bool has_credentials; /* the running request carries them */
    bool was_refused;     /* the credentials were, this is the anonymous try */
    int status;
    int retry_after_s;
    struct strbuf body;
};

/* The token goes into a header line: visible ASCII only. */
static bool is_token_text(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if (s[i] <= 0x20 || s[i] >= 0x7f)
            return false;
    return n > 0 && n <= TOKEN_BYTES_MAX;
}

static unsigned life_of(const json_t *answer)
{
    const json_t *life = json_object_get(answer, "expires_in");
    double seconds = json_is_number(life) ? json_number_value(life) : LIFE_MIN_S;

    if (!(seconds >= LIFE_MIN_S))
        return LIFE_MIN_S;
    return seconds > LIFE_MAX_S ? LIFE_MAX_S : (unsigned)seconds;
}

int token_parse(const char *body, size_t n, char **token, unsigned *life_s, struct error *err)
{
    json_t *answer = json_loadb(body, n, 0, NULL);
    const char *text = json_string_value(json_object_get(answer, "token"));

    if (!text || !*text)
        text = json_string_value(json_object_get(answer, "access_token"));
    if (!text || !is_token_text(text)) {
        json_decref(answer);
        return error_set(err, -EBADMSG, "answer of the token service holds no token");
    }
    *token = xstrdup(text);
    *life_s = life_of(answer);
    json_decref(answer);
    return 0;
}

static void request_free(struct token_request *r)
{
    CHECK(!r->call);
    if (r->body.ptr)
        explicit_bzero(r->body.ptr, r->body.len);
    strbuf_fini(&r->body);
    free((char *)(uintptr_t)r->key.realm);
    free((char *)(uintptr_t)r->key.service);
    free((char *)(uintptr_t)r->key.scope);
    upstream_unref(&r->upstream);
    free(r);
}

/* Tells the table and is gone. */
static void finish(struct token_request *r, struct token_result *result, unsigned life_s)
{
    CHECK(result->end < TOKEN_END_MAX);
    result->status = r->status;
    result->retry_after_s = r->retry_after_s;
    result->is_fresh = true;
    token_entry_finish(r->upstream, r->entry, result, life_s);
    request_free(r);
}

static void fail(struct token_request *r, enum token_end end, const char *why)
{
    struct token_result result = {.end = end};

    error_set(&result.error, -EACCES, "token service of %s: %s", upstream_name(r->upstream), why);
    finish(r, &result, 0);
}

static int on_head(void *arg, struct http_call *call)
{
    struct token_request *r = arg;
    struct slice retry_after = http_call_header(call, "Retry-After", 0);

    r->status = http_call_status(call);
    if (retry_after.len) {
        int64_t wait_s = clock_parse_retry_after(retry_after.ptr, retry_after.len, clock_wall_s());
        r->retry_after_s = wait_s < 0 ? -1 : wait_s > INT_MAX ? INT_MAX : (int)wait_s;
    }
    return 0;
}

static int on_data(void *arg, const void *p, size_t n)
{
    struct token_request *r = arg;

    if (r->body.len + n > TOKEN_ANSWER_BYTES_MAX)
        return -EMSGSIZE;
    if (r->status == 200)
        strbuf_add(&r->body, p, n);
    return 0;
}

static void take_answer(struct token_request *r)
{
    struct token_result result = {.end = TOKEN_OK};
    unsigned life_s = 0;
    char *text = NULL;

    if (token_parse(r->body.ptr ? r->body.ptr : "", r->body.len, &text, &life_s, &result.error) <
        0) {
        result.end = TOKEN_BAD_ANSWER;
        finish(r, &result, 0);
        return;
    }
    if (r->was_refused)
        log_warning(r->upstream->log_prefix,
                    "the token service refuses the credentials, going on without");
    else if (r->has_credentials)
        upstream_note_credentials(r->upstream, false);
    result.text = text;
    finish(r, &result, life_s);
    explicit_bzero(text, strlen(text));
    free(text);
}

static void send_request(struct token_request *r, bool with_credentials);

static void on_done(void *arg, const struct http_call_result *call_result)
{
    struct token_request *r = arg;
    char why[64];

    r->call = NULL;
    snprintf(why, sizeof(why), "answered %d", r->status);
    if (r->status == 0 || (r->status == 200 && call_result->end != HTTP_END_OK &&
                           call_result->end != HTTP_END_REFUSED)) {
        fail(r, TOKEN_UNAVAILABLE, call_result->error.text);
    } else if (r->status == 200 && call_result->end == HTTP_END_OK) {
        take_answer(r);
    } else if ((r->status == 401 || r->status == 403) && r->has_credentials) {
        /* 403 is about what was asked for as often as about who asks. */
        if (r->status == 401)
            upstream_note_credentials(r->upstream, true);
        r->was_refused = true;
        send_request(r, false);
    } else if (r->status == 401 || r->status == 403) {
        fail(r, TOKEN_REFUSED, why);
    } else if (r->status == 429) {
        metric_inc(METRIC_UPSTREAM_429);
        fail(r, TOKEN_THROTTLED, why);
    } else if (r->status >= 500) {
        fail(r, TOKEN_UNAVAILABLE, why);
    } else {
        fail(r, TOKEN_BAD_ANSWER, why);
    }
}

static const struct http_call_ops request_ops = {on_head, on_data, on_done};

/* Adds one "name=value" to the query. */
static void add_parameter(struct strbuf *url, const char *name, struct slice value)
{
    strbuf_add_char(url, strchr(url->ptr, '?') ? '&' : '?');
    strbuf_add_str(url, name);
    strbuf_add_char(url, '=');
    url_add_encoded(url, value, ":/,");
}

static void add_question(struct token_request *r, struct strbuf *url, bool with_credentials)
{
    struct slice scopes = slice_of(r->key.scope);

    strbuf_add_str(url, r->key.realm);
    if (with_credentials)
        add_parameter(url, "account", slice_of(r->upstream->username));
    if (r->key.service)
        add_parameter(url, "service", slice_of(r->key.service));
    while (scopes.ptr) {
        struct slice scope = slice_cut(&scopes, ' ');
        if (scope.len)
            add_parameter(url, "scope", scope);
    }
}

static void send_request(struct token_request *r, bool with_credentials)
{
    struct strbuf url = STRBUF_INIT;
    const char *lines[3] = {r->upstream->user_agent_line, "Accept: application/json"};
    struct http_call_spec spec = {.method = "GET", .header_lines = lines, .n_header_lines = 2};

    CHECK(!r->call && (!with_credentials || r->upstream->basic));
    strbuf_clear(&r->body);
    r->status = 0;
    r->retry_after_s = -1;
    r->has_credentials = with_credentials;
    add_question(r, &url, with_credentials);
    if (with_credentials)
        lines[spec.n_header_lines++] = r->upstream->basic;
    upstream_fill_call(r->upstream, &spec);
    spec.url = url.ptr;
    metric_inc(METRIC_UPSTREAM_TOKENS);
    r->call = http_call_start(&spec, &request_ops, r);
    strbuf_fini(&url);
}

void token_request_start(struct upstream *u, const struct token_key *key, struct token_entry *entry)
{
    struct token_request *r = xcalloc(1, sizeof(*r));

    r->upstream = upstream_ref(u);
    r->entry = entry;
    r->key = *key;
    r->key.realm = xstrdup(key->realm);
    r->key.service = key->service ? xstrdup(key->service) : NULL;
    r->key.scope = key->scope ? xstrdup(key->scope) : NULL;
    send_request(r, u->basic && !key->is_anonymous);
}
