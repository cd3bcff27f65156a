#include "config.h"

#include "base/json_scan.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

/* What may come next. */
enum want {
    WANT_VALUE,
    WANT_VALUE_OR_END, /* behind '[' */
    WANT_KEY,          /* behind ',' in an object */
    WANT_KEY_OR_END,   /* behind '{' */
    WANT_COMMA_OR_END,
    WANT_NOTHING
};

struct scan {
    const char *at, *end;
    enum want want;
    unsigned depth;
    json_scan_fn on_member;
    void *arg;
    struct slice key;                   /* of the member whose value comes */
    const char *wrong;                  /* what is, NULL: nothing */
    bool is_array[JSON_SCAN_DEPTH_MAX]; /* of each container that is open */
};

static bool fail(struct scan *s, const char *wrong)
{
    s->wrong = wrong;
    return false;
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

/* Takes c if it stands here. */
static bool take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Behind a backslash. */
static bool scan_escape(struct scan *s)
{
    if (s->at == s->end || !memchr("\"\\/bfnrtu", *s->at, 9))
        return fail(s, "an unknown escape");
    if (*s->at++ != 'u')
        return true;
    for (int i = 0; i < 4; i++, s->at++) {
        if (s->at == s->end || slice_hex_digit(*s->at) < 0)
            return fail(s, "an escape without four digits");
    }
    return true;
}

static bool scan_string(struct scan *s, struct slice *out)
{
    const char *begin;

    if (!take(s, '"'))
        return fail(s, "no string where one has to be");
    begin = s->at;
    while (s->at < s->end && *s->at != '"') {
        unsigned char c = (unsigned char)*s->at++;
        if (c < 0x20)
            return fail(s, "a control character in a string");
        if (c == '\\' && !scan_escape(s))
            return false;
    }
    *out = (struct slice){begin, (size_t)(s->at - begin)};
    return take(s, '"') || fail(s, "a string without end");
}

/* At least one digit. */
static bool scan_digits(struct scan *s)
{
    const char *begin = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > begin || fail(s, "a number without digits");
}

static bool scan_number(struct scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !scan_digits(s))
        return false;
    if (take(s, '.') && !scan_digits(s))
        return false;
    if (!take(s, 'e') && !take(s, 'E'))
        return true;
    if (!take(s, '+'))
        take(s, '-');
    return scan_digits(s);
}

static bool scan_word(struct scan *s)
{
    static const struct slice WORDS[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    struct slice rest = {s->at, (size_t)(s->end - s->at)};

    for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
        if (slice_starts(rest, WORDS[i])) {
            s->at += WORDS[i].len;
            return true;
        }
    }
    return fail(s, "no value where one has to be");
}

static void tell(struct scan *s, enum json_scan_kind kind, struct slice text)
{
    if (s->depth == 1 && s->on_member)
        s->on_member(s->arg, s->key, kind, text);
}

static bool open_container(struct scan *s, bool is_array)
{
    tell(s, is_array ? JSON_SCAN_ARRAY : JSON_SCAN_OBJECT, SLICE_NONE);
    s->at++;
    if (s->depth == JSON_SCAN_DEPTH_MAX)
        return fail(s, "too deep a nesting");
    s->is_array[s->depth++] = is_array;
    s->want = is_array ? WANT_VALUE_OR_END : WANT_KEY_OR_END;
    return true;
}

static bool scan_value(struct scan *s)
{
    const char *begin = s->at;
    char c = *s->at;
    struct slice text;

    if (s->depth == 0 && c != '{')
        return fail(s, "no object");
    if (c == '{' || c == '[')
        return open_container(s, c == '[');
    s->want = WANT_COMMA_OR_END;
    if (c == '"') {
        if (!scan_string(s, &text))
            return false;
        tell(s, JSON_SCAN_STRING, text);
        return true;
    }
    bool is_number = c == '-' || (c >= '0' && c <= '9');
    if (!(is_number ? scan_number(s) : scan_word(s)))
        return false;
    tell(s, is_number ? JSON_SCAN_NUMBER : JSON_SCAN_WORD,
         (struct slice){begin, (size_t)(s->at - begin)});
    return true;
}

static bool scan_key(struct scan *s)
{
    struct slice key;

    if (!scan_string(s, &key))
        return false;
    if (s->depth == 1)
        s->key = key;
    skip_blanks(s);
    s->want = WANT_VALUE;
    return take(s, ':') || fail(s, "no colon behind a name");
}

/* The end of the innermost container, if it stands here and may. */
static bool close_container(struct scan *s)
{
    bool may_end = s->want != WANT_VALUE && s->want != WANT_KEY;

    if (!may_end || s->depth == 0 || *s->at != (s->is_array[s->depth - 1] ? ']' : '}'))
        return false;
    s->at++;
    s->want = --s->depth == 0 ? WANT_NOTHING : WANT_COMMA_OR_END;
    return true;
}

static bool scan_step(struct scan *s)
{
    if (close_container(s))
        return true;
    switch (s->want) {
    case WANT_VALUE:
    case WANT_VALUE_OR_END:
        return scan_value(s);
    case WANT_KEY:
    case WANT_KEY_OR_END:
        return scan_key(s);
    case WANT_COMMA_OR_END:
        CHECK(s->depth > 0);
        s->want = s->is_array[s->depth - 1] ? WANT_VALUE : WANT_KEY;
        return take(s, ',') || fail(s, "no comma between two values");
    case WANT_NOTHING:
        break;
    }
    return fail(s, "something behind the end");
}

int json_scan(struct slice text, json_scan_fn on_member, void *arg, struct error *err)
{
    struct scan s = {.at = text.ptr, .end = text.ptr + text.len, .want = WANT_VALUE};

    s.on_member = on_member;
    s.arg = arg;
    for (skip_blanks(&s); s.at < s.end && !s.wrong; skip_blanks(&s))
        scan_step(&s);
    if (!s.wrong && s.want != WANT_NOTHING)
        s.wrong = "an early end";
    if (!s.wrong)
        return 0;
    return error_set(err, -EBADMSG, "JSON text at byte %zu: %s", (size_t)(s.at - text.ptr),
                     s.wrong);
}
