#include "config.h"

#include "mirrord/config_number.h"

#include <stddef.h>

#include "base/check.h"

struct unit {
    const char *name;
    int64_t factor;
};

/* The last one of these whose factor divides a size is what it is printed in. */
static const struct unit byte_units[] = {
    {"", 1},        {"KiB", 1 << 10}, {"MiB", 1 << 20},   {"GiB", 1 << 30},      {"b", 1},
    {"k", 1 << 10}, {"m", 1 << 20},   {"g", 1 << 30},     {"t", 1LL << 40},      {"TiB", 1LL << 40},
    {"kB", 1000},   {"MB", 1000000},  {"GB", 1000000000}, {"TB", 1000000000000}, {NULL, 0},
};
#define N_BYTE_UNITS_PRINTED 4

static const struct unit time_units[] = {
    {"", 1000},     {"ms", 1},       {"s", 1000},      {"m", 60000}, {"min", 60000},
    {"h", 3600000}, {"d", 86400000}, {"w", 604800000}, {NULL, 0},
};

static bool find_unit(const struct unit *units, struct slice name, int64_t *factor)
{
    for (; units->name; units++) {
        if (slice_equal_case(slice_of(units->name), name)) {
            *factor = units->factor;
            return true;
        }
    }
    return false;
}

/* Cuts the digits off the beginning of *s. */
static struct slice take_digits(struct slice *s)
{
    struct slice digits = {s->ptr, 0};
    while (digits.len < s->len && s->ptr[digits.len] >= '0' && s->ptr[digits.len] <= '9')
        digits.len++;
    s->ptr += digits.len;
    s->len -= digits.len;
    return digits;
}

/* The part of a unit that stands behind the point, cut off to whole numbers. */
static int64_t fraction_of(struct slice digits, int64_t factor)
{
    double value = 0;
    double weight = 0.1;
    for (size_t i = 0; i < digits.len; i++, weight /= 10)
        value += weight * (digits.ptr[i] - '0');
    return (int64_t)(value * (double)factor + 1e-6);
}

static bool parse(struct slice text, const struct unit *units, int64_t *out)
{
    text = slice_trim(text);
    uint64_t whole;
    int64_t value;
    int64_t factor;
    struct slice fraction = SLICE_NONE;
    if (!slice_to_u64(take_digits(&text), &whole) || whole > INT64_MAX)
        return false;
    if (text.len && text.ptr[0] == '.') {
        text.ptr++;
        text.len--;
        fraction = take_digits(&text);
        if (fraction.len == 0)
            return false;
    }
    if (!find_unit(units, slice_trim(text), &factor) ||
        __builtin_mul_overflow((int64_t)whole, factor, &value) ||
        __builtin_add_overflow(value, fraction_of(fraction, factor), &value))
        return false;
    *out = value;
    return true;
}

bool config_number_bytes(struct slice text, int64_t *out)
{
    return parse(text, byte_units, out);
}

bool config_number_ms(struct slice text, int64_t *out)
{
    return parse(text, time_units, out);
}

void config_number_print_bytes(int64_t n_bytes, struct strbuf *out)
{
    CHECK(n_bytes >= 0);
    size_t i = 0;
    while (n_bytes && i + 1 < N_BYTE_UNITS_PRINTED && n_bytes % byte_units[i + 1].factor == 0)
        i++;
    strbuf_addf(out, "%lld%s", (long long)(n_bytes / byte_units[i].factor), byte_units[i].name);
}

void config_number_print_ms(int64_t ms, struct strbuf *out)
{
    CHECK(ms >= 0);
    if (ms % 1000 == 0)
        strbuf_addf(out, "%lld", (long long)(ms / 1000));
    else
        strbuf_addf(out, "%lldms", (long long)ms);
}
