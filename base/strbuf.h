/*
 * A growing byte string, always NUL-terminated behind its length. Embedded by value.
 * One owner, one thread. It grows without limit: whoever appends foreign bytes checks `len` first.
 */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stddef.h>

#include "base/slice.h"

struct strbuf {
    char *ptr;
    size_t len;
    size_t cap;
};

#define STRBUF_INIT                                                                                \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void strbuf_init(struct strbuf *b);
void strbuf_fini(struct strbuf *b);
void strbuf_clear(struct strbuf *b);
void strbuf_reserve(struct strbuf *b, size_t n_more);
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_add_str(struct strbuf *b, const char *s);
void strbuf_add_slice(struct strbuf *b, struct slice s);
void strbuf_add_char(struct strbuf *b, char c);
void strbuf_add_u64(struct strbuf *b, uint64_t n);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The text with control characters, quotes and backslashes escaped as JSON asks; without quotes.
 * Bytes that are no UTF-8 are taken for Latin-1 and escaped, so that the result always is. */
void strbuf_add_json(struct strbuf *b, struct slice s);
/* Gives the text away (never NULL; free() it) and leaves the buffer empty. */
char *strbuf_take(struct strbuf *b);

#endif
