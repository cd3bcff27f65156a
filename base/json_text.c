#include "config.h"

#include "base/json_text.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"

#define REPLACEMENT 0xFFFDu

/* The number behind "\u" at p. */
static uint32_t hex4(const char *p)
{
    uint32_t n = 0;

    for (int i = 0; i < 4; i++) {
        int digit = slice_hex_digit(p[i]);
        CHECK(digit >= 0);
        n = n << 4 | (uint32_t)digit;
    }
    return n;
}

/* Cuts one escape off, which stands at its backslash; its code point. */
static uint32_t cut_escape(struct slice *s)
{
    static const char NAMES[] = "\"\\/bfnrt", MEANINGS[] = "\"\\/\b\f\n\r\t";
    size_t n_taken = 2;
    uint32_t c;

    CHECK(s->len >= 2);
    const char *name = memchr(NAMES, s->ptr[1], sizeof(NAMES) - 1);
    if (name) {
        c = (uint32_t)MEANINGS[name - NAMES];
    } else {
        CHECK(s->ptr[1] == 'u' && s->len >= 6);
        c = hex4(s->ptr + 2);
        n_taken = 6;
        bool has_next =
            c >= 0xD800 && c < 0xDC00 && s->len >= 12 && s->ptr[6] == '\\' && s->ptr[7] == 'u';
        uint32_t low = has_next ? hex4(s->ptr + 8) : 0;
        if (low >= 0xDC00 && low < 0xE000) {
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
            n_taken = 12;
        } else if (c >= 0xD800 && c < 0xE000) {
            c = REPLACEMENT;
        }
    }
    s->ptr += n_taken;
    s->len -= n_taken;
    return c;
}

/* As UTF-8 (RFC 3629); the number of bytes. */
static size_t encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(0xF00 >> n | c);
    return n;
}

/* Cuts what one character of the string's text is written as; its bytes in UTF-8 (of foreign
 * bytes, one). */
static size_t cut_character(struct slice *s, char out[4])
{
    if (*s->ptr == '\\')
        return encode(cut_escape(s), out);
    out[0] = *s->ptr;
    s->ptr++;
    s->len--;
    return 1;
}

int json_text_undo(struct slice source, char *room, size_t room_size)
{
    size_t n = 0;
    char c[4];

    CHECK(room_size <= INT_MAX);
    while (source.len > 0) {
        size_t n_bytes = cut_character(&source, c);
        if (n_bytes > room_size - n)
            return -E2BIG;
        memcpy(room + n, c, n_bytes);
        n += n_bytes;
    }
    return (int)n;
}

bool json_text_is(struct slice source, struct slice plain)
{
    char c[4];

    while (source.len > 0) {
        size_t n = cut_character(&source, c);
        if (n > plain.len || memcmp(plain.ptr, c, n) != 0)
            return false;
        plain.ptr += n;
        plain.len -= n;
    }
    return plain.len == 0;
}
