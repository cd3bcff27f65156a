#include "config.h"

#include "upstream/challenge.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/strbuf.h"

/* One "name=value"; the value is unescaped and owned. */
struct parameter {
    struct slice name;
    char *value;
};

/* RFC 9110 section 5.6.2. */
static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_control_byte(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static void skip(struct slice *s, size_t n)
{
    CHECK(n <= s->len);
    s->ptr += n;
    s->len -= n;
}

static void skip_any(struct slice *s, const char *set)
{
    while (s->len && s->ptr[0] && strchr(set, s->ptr[0]))
        skip(s, 1);
}

static struct slice cut_token(struct slice *s)
{
    struct slice token = {s->ptr, 0};

    while (token.len < s->len && is_token_byte(s->ptr[token.len]))
        token.len++;
    skip(s, token.len);
    return token;
}

/* A quoted string, its quotes and backslashes taken off; NULL when it does not end or holds a
 * control character. */
static char *take_quoted(struct slice *s)
{
    struct strbuf b = STRBUF_INIT;

    CHECK(s->len && s->ptr[0] == '"');
    skip(s, 1);
    while (s->len && s->ptr[0] != '"') {
        if (s->ptr[0] == '\\')
            skip(s, 1);
        if (!s->len || is_control_byte(s->ptr[0])) {
            strbuf_fini(&b);
            return NULL;
        }
        strbuf_add_char(&b, s->ptr[0]);
        skip(s, 1);
    }
    if (!s->len) {
        strbuf_fini(&b);
        return NULL;
    }
    skip(s, 1);
    return strbuf_take(&b);
}

/* A bare value. Wider than a token: registries send bare URLs and scopes. */
static char *take_bare(struct slice *s)
{
    struct strbuf b = STRBUF_INIT;

    while (s->len && !is_control_byte(s->ptr[0]) && !strchr(" ,\"", s->ptr[0])) {
        strbuf_add_char(&b, s->ptr[0]);
        skip(s, 1);
    }
    return strbuf_take(&b);
}

/* A parameter when one stands here; otherwise *s stays: it is the next scheme, or rubbish. */
static bool take_parameter(struct slice *s, struct parameter *out)
{
    struct slice at = *s;

    out->name = cut_token(&at);
    skip_any(&at, " \t");
    if (!out->name.len || !at.len || at.ptr[0] != '=')
        return false;
    skip(&at, 1);
    skip_any(&at, " \t");
    if (at.len && at.ptr[0] == '"')
        out->value = take_quoted(&at);
    else
        out->value = take_bare(&at);
    if (!out->value)
        return false;
    *s = at;
    return true;
}

/* Gives the value to the field of its name, or frees it. */
static void give_value(struct challenge *c, struct parameter *p)
{
    const struct {
        struct slice name;
        char **field;
    } fields[] = {
        {SLICE("realm"), &c->realm},
        {SLICE("service"), &c->service},
        {SLICE("scope"), &c->scope},
        {SLICE("error"), &c->error},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (slice_equal_case(p->name, fields[i].name) && !*fields[i].field) {
            *fields[i].field = p->value;
            return;
        }
    }
    free(p->value);
}

/* The one-word form of credentials (token68), as Negotiate uses it. */
static void skip_token68(struct slice *s)
{
    struct slice at = *s;

    while (at.len && (is_token_byte(at.ptr[0]) || at.ptr[0] == '/'))
        skip(&at, 1);
    while (at.len && at.ptr[0] == '=')
        skip(&at, 1);
    skip_any(&at, " \t");
    if (!at.len || at.ptr[0] == ',')
        *s = at;
}

bool challenge_next(struct slice *rest, struct challenge *out)
{
    struct challenge c = {.scheme = CHALLENGE_OTHER};
    struct parameter p;

    if (rest->len > CHALLENGE_BYTES_MAX)
        return false;
    skip_any(rest, ", \t");
    struct slice scheme = cut_token(rest);
    if (!scheme.len)
        return false;
    if (slice_equal_case(scheme, SLICE("basic")))
        c.scheme = CHALLENGE_BASIC;
    else if (slice_equal_case(scheme, SLICE("bearer")))
        c.scheme = CHALLENGE_BEARER;
    if (rest->len && !strchr(" \t,", rest->ptr[0]))
        return false;
    skip_any(rest, " \t");
    /* Blanks between parameters instead of commas are wrong, but harmless to accept. */
    while (take_parameter(rest, &p)) {
        give_value(&c, &p);
        skip_any(rest, ", \t");
    }
    if (c.scheme == CHALLENGE_OTHER)
        skip_token68(rest);
    *out = c;
    return true;
}

void challenge_fini(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    free(c->error);
    *c = (struct challenge){.scheme = CHALLENGE_OTHER};
}
