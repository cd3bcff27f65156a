#include "config.h"

#include "mirrord/yaml_scalar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define NUMBER_LEN_MAX 128 /* longer texts are no numbers to us */

/* A number without its sign and underscores, to be matched from left to right. */
struct cursor {
    char text[NUMBER_LEN_MAX + 1];
    const char *at;
    bool is_negative;
};

static bool is_one_of(struct slice text, const char *const *words)
{
    for (; *words; words++)
        if (slice_equal(text, slice_of(*words)))
            return true;
    return false;
}

static bool is_null(struct slice text)
{
    static const char *const words[] = {"~", "null", "Null", "NULL", NULL};
    return text.len == 0 || is_one_of(text, words);
}

static bool resolve_bool(struct slice text, struct yaml_scalar *out)
{
    static const char *const yes[] = {"yes",  "Yes", "YES", "true", "True",
                                      "TRUE", "on",  "On",  "ON",   NULL};
    static const char *const no[] = {"no",    "No",  "NO",  "false", "False",
                                     "FALSE", "off", "Off", "OFF",   NULL};
    if (!is_one_of(text, yes) && !is_one_of(text, no))
        return false;
    out->kind = YAML_SCALAR_BOOL;
    out->boolean = is_one_of(text, yes);
    return true;
}

/* Counts and skips characters of a set. */
static size_t skip(struct cursor *c, const char *set)
{
    size_t n = strspn(c->at, set);
    c->at += n;
    return n;
}

/* Copies the text without underscores; false when it cannot be a number. An underscore may stand
 * nowhere before the first digit, but anywhere behind it. */
static bool cursor_init(struct cursor *c, struct slice text)
{
    size_t n = 0;
    size_t i = 0;
    c->is_negative = false;
    if (text.len == 0 || text.len > NUMBER_LEN_MAX)
        return false;
    if (text.ptr[0] == '-' || text.ptr[0] == '+') {
        c->is_negative = text.ptr[0] == '-';
        i = 1;
    }
    if (i == text.len || text.ptr[i] == '_')
        return false;
    for (; i < text.len; i++) {
        if (text.ptr[i] == '\0')
            return false;
        if (text.ptr[i] != '_')
            c->text[n++] = text.ptr[i];
    }
    CHECK(n <= NUMBER_LEN_MAX);
    c->text[n] = '\0';
    c->at = c->text;
    return n > 0;
}

/* Digits of a base up to the end of the text; false when foreign, empty or too large. */
static bool read_digits(const char *digits, int base, uint64_t *out)
{
    uint64_t value = 0;
    if (!*digits)
        return false;
    for (; *digits; digits++) {
        int d = *digits >= '0' && *digits <= '9'   ? *digits - '0'
                : *digits >= 'a' && *digits <= 'f' ? *digits - 'a' + 10
                : *digits >= 'A' && *digits <= 'F' ? *digits - 'A' + 10
                                                   : base;
        if (d >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)d, &value))
            return false;
    }
    *out = value;
    return true;
}

/* "12:30:45": decimal, then groups of one or two digits below sixty. Leaves the cursor behind. */
static bool read_base_sixty(struct cursor *c, uint64_t *out)
{
    uint64_t value = 0;
    unsigned n_groups = 0;
    for (; *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c->at - '0'), &value))
            return false;
    for (; *c->at == ':'; n_groups++) {
        c->at++;
        const char *group = c->at;
        size_t n = skip(c, "0123456789");
        if (n == 0 || n > 2 || (n == 2 && group[0] > '5'))
            return false;
        uint64_t part = n == 2 ? (uint64_t)(group[0] - '0') * 10 + (uint64_t)(group[1] - '0')
                               : (uint64_t)(group[0] - '0');
        if (__builtin_mul_overflow(value, 60u, &value) ||
            __builtin_add_overflow(value, part, &value))
            return false;
    }
    *out = value;
    return n_groups > 0;
}

static bool read_int(struct cursor *c, uint64_t *out)
{
    const char *s = c->text;
    if (s[0] == '0' && s[1] == 'b')
        return read_digits(s + 2, 2, out);
    if (s[0] == '0' && s[1] == 'x')
        return read_digits(s + 2, 16, out);
    if (s[0] == '0')
        return read_digits(s, 8, out);
    if (s[0] < '1' || s[0] > '9')
        return false;
    if (strchr(s, ':'))
        return read_base_sixty(c, out) && *c->at == '\0';
    return read_digits(s, 10, out);
}

static bool resolve_int(struct slice text, struct yaml_scalar *out)
{
    struct cursor c;
    uint64_t value;
    if (!cursor_init(&c, text) || !read_int(&c, &value) || value > INT64_MAX)
        return false;
    out->kind = YAML_SCALAR_INT;
    out->integer = c.is_negative ? -(int64_t)value : (int64_t)value;
    return true;
}

/* digits.digits[e±digits] or .digits[e±digits]: the point is a must, and so is the sign of the
 * exponent. */
static bool is_decimal_fraction(struct cursor *c)
{
    size_t before = skip(c, "0123456789");
    if (*c->at != '.')
        return false;
    c->at++;
    size_t after = skip(c, "0123456789");
    if (before + after == 0)
        return false;
    if (*c->at == 'e' || *c->at == 'E') {
        c->at++;
        if ((*c->at != '+' && *c->at != '-') || !c->at[1])
            return false;
        c->at++;
        skip(c, "0123456789");
    }
    return *c->at == '\0';
}

/* "12:30.5": the seconds of a base-sixty number with a fraction. */
static bool read_base_sixty_fraction(struct cursor *c, double *out)
{
    uint64_t whole;
    if (*c->at < '0' || *c->at > '9' || !read_base_sixty(c, &whole) || *c->at != '.')
        return false;
    double fraction = strtod(c->at, NULL);
    c->at++;
    skip(c, "0123456789");
    *out = (double)whole + fraction;
    return *c->at == '\0';
}

static bool read_float(struct cursor *c, double *out)
{
    static const char *const infinite[] = {".inf", ".Inf", ".INF", NULL};
    static const char *const none[] = {".nan", ".NaN", ".NAN", NULL};
    if (is_one_of(slice_of(c->text), infinite)) {
        *out = INFINITY;
        return true;
    }
    if (is_one_of(slice_of(c->text), none)) {
        *out = NAN;
        return true;
    }
    if (is_decimal_fraction(c)) {
        *out = strtod(c->text, NULL); /* LC_NUMERIC stays C: the daemon sets no locale */
        return true;
    }
    c->at = c->text;
    return read_base_sixty_fraction(c, out);
}

static bool resolve_float(struct slice text, struct yaml_scalar *out)
{
    struct cursor c;
    double value;
    if (!cursor_init(&c, text) || !read_float(&c, &value))
        return false;
    out->kind = YAML_SCALAR_FLOAT;
    out->real = c.is_negative ? -value : value;
    return true;
}

/* Matches text against a pattern in which 9 stands for a digit and all else for itself. */
static bool has_shape(struct slice text, const char *shape)
{
    size_t i = 0;
    for (; shape[i]; i++) {
        if (i == text.len)
            return false;
        bool is_digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        if (shape[i] == '9' ? !is_digit : text.ptr[i] != shape[i])
            return false;
    }
    return true;
}

/* A date, alone or with a time of day behind it. */
static bool is_date(struct slice text)
{
    if (!has_shape(text, "9999-99-99"))
        return false;
    if (text.len == 10)
        return true;
    struct slice time = {text.ptr + 11, text.len - 11};
    return strchr("Tt \t", text.ptr[10]) && has_shape(time, "99:99:99");
}

void yaml_scalar_resolve(struct slice text, struct yaml_scalar *out)
{
    CHECK(out);
    *out = (struct yaml_scalar){.kind = YAML_SCALAR_TEXT};
    if (is_null(text))
        out->kind = YAML_SCALAR_NULL;
    else if (!resolve_bool(text, out) && !resolve_int(text, out) && !resolve_float(text, out) &&
             is_date(text))
        out->kind = YAML_SCALAR_DATE;
}
