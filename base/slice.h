/*
 * A borrowed run of bytes, not NUL-terminated. It owns nothing: whoever made it says how long the
 * bytes live (a parsed head's slices: until its connection parses the next head).
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})
/* For printf's "%.*s". */
#define SLICE_ARG(s) (int)(s).len, (s).ptr

struct slice slice_of(const char *s);
bool slice_equal(struct slice a, struct slice b);
/* ASCII case does not matter. */
bool slice_equal_case(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
/* Without spaces and tabs at both ends. */
struct slice slice_trim(struct slice s);
/* Cuts off and returns what stands before the first `sep`; *rest becomes what stands after it
 * (ptr NULL when there was no separator left). */
struct slice slice_cut(struct slice *rest, char sep);
/* Unsigned decimal, digits only, no sign, no blank. False when empty, foreign or too large. */
bool slice_to_u64(struct slice s, uint64_t *out);
/* The value of a hexadecimal digit of either case, or -1. */
int slice_hex_digit(char c);

#endif
