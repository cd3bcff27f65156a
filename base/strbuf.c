#include "config.h"

#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/utf8.h"

void strbuf_init(struct strbuf *b)
{
    *b = (struct strbuf)STRBUF_INIT;
}

void strbuf_fini(struct strbuf *b)
{
    free(b->ptr);
    strbuf_init(b);
}

void strbuf_clear(struct strbuf *b)
{
    b->len = 0;
    if (b->ptr)
        b->ptr[0] = '\0';
}

void strbuf_reserve(struct strbuf *b, size_t n_more)
{
    size_t need = b->len + n_more + 1;

    CHECK(need > b->len);
    if (need <= b->cap)
        return;
    size_t cap = b->cap ? b->cap * 2 : 64;
    if (cap < need)
        cap = need;
    b->ptr = xrealloc(b->ptr, cap);
    b->cap = cap;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    strbuf_reserve(b, n);
    if (n)
        memcpy(b->ptr + b->len, p, n);
    b->len += n;
    b->ptr[b->len] = '\0';
}

void strbuf_add_str(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_add_slice(struct strbuf *b, struct slice s)
{
    strbuf_add(b, s.ptr, s.len);
}

void strbuf_add_char(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_add_u64(struct strbuf *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    strbuf_add(b, digits + at, sizeof(digits) - at);
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(n >= 0);
    strbuf_reserve(b, (size_t)n);
    va_start(args, fmt);
    vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

void strbuf_add_json(struct strbuf *b, struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;

    for (size_t i = 0, length; i < s.len; i += length) {
        length = utf8_length(s.ptr + i, s.len - i);
        if (p[i] == '"' || p[i] == '\\')
            strbuf_addf(b, "\\%c", p[i]);
        else if (p[i] < 0x20 || p[i] == 0x7f || length == 0)
            strbuf_addf(b, "\\u%04x", p[i]);
        else
            strbuf_add(b, p + i, length);
        if (length == 0)
            length = 1;
    }
}

char *strbuf_take(struct strbuf *b)
{
    strbuf_reserve(b, 0);
    b->ptr[b->len] = '\0';
    char *text = b->ptr;
    strbuf_init(b);
    return text;
}
