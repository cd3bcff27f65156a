#include "config.h"

#include "base/json_walk.h"

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

struct walk {
    const char *at, *end;
    enum want want;
    unsigned depth, depth_max;
    json_walk_fn on_value;
    void *arg;
    struct slice key;                      /* of the member whose value comes */
    int rc;                                /* negative: why it stopped */
    const char *wrong;                     /* NULL: on_value stopped it */
    const char *open[JSON_WALK_DEPTH_MAX]; /* the bracket of each object and array that is open */
};

static bool stop(struct walk *w, int rc, const char *wrong)
{
    w->rc = rc;
    w->wrong = wrong;
    return false;
}

static bool fail(struct walk *w, const char *wrong)
{
    return stop(w, -EBADMSG, wrong);
}

static void skip_blanks(struct walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\n' || *w->at == '\t' || *w->at == '\r'))
        w->at++;
}

/* Takes c if it stands here. */
static bool take(struct walk *w, char c)
{
    if (w->at == w->end || *w->at != c)
        return false;
    w->at++;
    return true;
}

/* Behind a backslash. */
static bool walk_escape(struct walk *w)
{
    if (w->at == w->end || !memchr("\"\\/bfnrtu", *w->at, 9))
        return fail(w, "an unknown escape");
    if (*w->at++ != 'u')
        return true;
    for (int i = 0; i < 4; i++, w->at++) {
        if (w->at == w->end || slice_hex_digit(*w->at) < 0)
            return fail(w, "an escape without four digits");
    }
    return true;
}

static bool walk_string(struct walk *w, struct slice *out)
{
    const char *begin;

    if (!take(w, '"'))
        return fail(w, "no string where one has to be");
    begin = w->at;
    while (w->at < w->end && *w->at != '"') {
        unsigned char c = (unsigned char)*w->at++;
        if (c < 0x20)
            return fail(w, "a control character in a string");
        if (c == '\\' && !walk_escape(w))
            return false;
    }
    *out = (struct slice){begin, (size_t)(w->at - begin)};
    return take(w, '"') || fail(w, "a string without end");
}

/* At least one digit. */
static bool walk_digits(struct walk *w)
{
    const char *begin = w->at;

    while (w->at < w->end && *w->at >= '0' && *w->at <= '9')
        w->at++;
    return w->at > begin || fail(w, "a number without digits");
}

static bool walk_number(struct walk *w)
{
    take(w, '-');
    if (!take(w, '0') && !walk_digits(w))
        return false;
    if (take(w, '.') && !walk_digits(w))
        return false;
    if (!take(w, 'e') && !take(w, 'E'))
        return true;
    if (!take(w, '+'))
        take(w, '-');
    return walk_digits(w);
}

static bool walk_word(struct walk *w)
{
    static const struct slice WORDS[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    struct slice rest = {w->at, (size_t)(w->end - w->at)};

    for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
        if (slice_starts(rest, WORDS[i])) {
            w->at += WORDS[i].len;
            return true;
        }
    }
    return fail(w, "no value where one has to be");
}

/* Tells a value; its key is used up. */
static bool tell(struct walk *w, enum json_walk_kind kind, bool is_end, struct slice text)
{
    struct json_value v = {
        .kind = kind, .is_end = is_end, .depth = w->depth, .key = w->key, .text = text};

    w->key = SLICE_NONE;
    int rc = w->on_value ? w->on_value(w->arg, &v) : 0;
    return rc >= 0 || stop(w, rc, NULL);
}

static bool is_in_array(const struct walk *w)
{
    CHECK(w->depth > 0);
    return *w->open[w->depth - 1] == '[';
}

static bool open_container(struct walk *w)
{
    bool is_array = *w->at == '[';

    if (w->depth == w->depth_max)
        return stop(w, -E2BIG, "too deep a nesting");
    if (!tell(w, is_array ? JSON_WALK_ARRAY : JSON_WALK_OBJECT, false, SLICE_NONE))
        return false;
    w->open[w->depth++] = w->at++;
    w->want = is_array ? WANT_VALUE_OR_END : WANT_KEY_OR_END;
    return true;
}

static bool walk_value(struct walk *w)
{
    const char *begin = w->at;
    char c = *w->at;
    struct slice text;

    if (c == '{' || c == '[')
        return open_container(w);
    w->want = w->depth == 0 ? WANT_NOTHING : WANT_COMMA_OR_END;
    if (c == '"')
        return walk_string(w, &text) && tell(w, JSON_WALK_STRING, false, text);
    bool is_number = c == '-' || (c >= '0' && c <= '9');
    if (!(is_number ? walk_number(w) : walk_word(w)))
        return false;
    text = (struct slice){begin, (size_t)(w->at - begin)};
    return tell(w, is_number ? JSON_WALK_NUMBER : JSON_WALK_WORD, false, text);
}

static bool walk_key(struct walk *w)
{
    if (!walk_string(w, &w->key))
        return false;
    skip_blanks(w);
    w->want = WANT_VALUE;
    return take(w, ':') || fail(w, "no colon behind a name");
}

/* Whether the innermost object or array may end here, and does. */
static bool is_at_end(const struct walk *w)
{
    bool may_end = w->want != WANT_VALUE && w->want != WANT_KEY && w->depth > 0;

    return may_end && *w->at == (is_in_array(w) ? ']' : '}');
}

static bool close_container(struct walk *w)
{
    enum json_walk_kind kind = is_in_array(w) ? JSON_WALK_ARRAY : JSON_WALK_OBJECT;
    const char *begin = w->open[--w->depth];

    w->at++;
    w->want = w->depth == 0 ? WANT_NOTHING : WANT_COMMA_OR_END;
    return tell(w, kind, true, (struct slice){begin, (size_t)(w->at - begin)});
}

static bool walk_step(struct walk *w)
{
    if (is_at_end(w))
        return close_container(w);
    switch (w->want) {
    case WANT_VALUE:
    case WANT_VALUE_OR_END:
        return walk_value(w);
    case WANT_KEY:
    case WANT_KEY_OR_END:
        return walk_key(w);
    case WANT_COMMA_OR_END:
        w->want = is_in_array(w) ? WANT_VALUE : WANT_KEY;
        return take(w, ',') || fail(w, "no comma between two values");
    case WANT_NOTHING:
        break;
    }
    return fail(w, "something behind the end");
}

int json_walk(struct slice text, unsigned depth_max, json_walk_fn on_value, void *arg,
              struct error *err)
{
    struct walk w = {.want = WANT_VALUE};

    CHECK(depth_max <= JSON_WALK_DEPTH_MAX);
    w.at = text.len > 0 ? text.ptr : "";
    w.end = w.at + text.len;
    w.depth_max = depth_max;
    w.on_value = on_value;
    w.arg = arg;
    for (skip_blanks(&w); w.at < w.end; skip_blanks(&w)) {
        if (!walk_step(&w))
            break;
    }
    if (w.rc == 0 && w.want != WANT_NOTHING)
        fail(&w, "an early end");
    if (w.wrong)
        error_set(err, w.rc, "JSON text at byte %zu: %s", text.len - (size_t)(w.end - w.at),
                  w.wrong);
    return w.rc;
}
