#include "config.h"

#include "mirrord/body.h"

#include <string.h>

#include "base/check.h"
#include "base/slice.h"
#include "mirrord/head.h"

enum body_state {
    BODY_LENGTH,       /* `left` bytes, then complete */
    BODY_SIZE,         /* hexadecimal digits of a chunk size */
    BODY_EXTENSION,    /* behind ';' */
    BODY_SIZE_LF,      /* the LF of the size line */
    BODY_CHUNK,        /* `left` bytes of payload */
    BODY_CHUNK_CR,     /* the CRLF behind them */
    BODY_CHUNK_LF,     /* */
    BODY_TRAILER_LINE, /* first byte of a trailer field, or of the end */
    BODY_TRAILER_NAME, /* inside a trailer field's name */
    BODY_TRAILER_TEXT, /* inside its value */
    BODY_TRAILER_LF,   /* the LF of its line */
    BODY_END_LF,       /* the last LF of all */
    BODY_COMPLETE,
    BODY_STATE_MAX
};

/* 15 digits: 2^60 bytes. More is no size of anything and would overflow with what follows. */
#define SIZE_DIGITS_MAX 15
/* Extensions and trailer fields are dropped; nobody needs many of them. */
#define EXTENSION_MAX_BYTES 256
#define TRAILERS_MAX_BYTES 4096

void body_init(struct body *b, const struct head *head)
{
    *b = (struct body){.state = BODY_COMPLETE};
    if (head->is_chunked) {
        b->state = BODY_SIZE;
    } else if (head->has_length && head->length > 0) {
        b->state = BODY_LENGTH;
        b->left = head->length;
    }
}

bool body_is_complete(const struct body *b)
{
    return b->state == BODY_COMPLETE;
}

bool body_is_chunked(const struct body *b)
{
    return b->state != BODY_LENGTH && b->state != BODY_COMPLETE;
}

uint64_t body_left_min(const struct body *b)
{
    return b->left;
}

static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* A byte of the chunk size. Blanks before ';' are not forgiven: proxies disagree about them. */
static int step_size(struct body *b, unsigned char c)
{
    int digit = slice_hex_digit((char)c);

    if (digit >= 0) {
        b->left = b->left << 4 | (unsigned)digit;
        return ++b->n_digits <= SIZE_DIGITS_MAX ? BODY_SIZE : -400;
    }
    if (b->n_digits == 0)
        return -400;
    if (c == ';')
        return BODY_EXTENSION;
    return c == '\r' ? BODY_SIZE_LF : -400;
}

static int step_extension(struct body *b, unsigned char c)
{
    if (c == '\r')
        return BODY_SIZE_LF;
    return is_control(c) || ++b->n_overhead > EXTENSION_MAX_BYTES ? -400 : BODY_EXTENSION;
}

static int step_size_lf(struct body *b, unsigned char c)
{
    b->n_digits = 0;
    b->n_overhead = 0;
    if (c != '\n')
        return -400;
    return b->left > 0 ? BODY_CHUNK : BODY_TRAILER_LINE;
}

/* A byte of the trailer section: lines as in a head, thrown away. */
static int step_trailer(struct body *b, unsigned char c)
{
    if (++b->n_overhead > TRAILERS_MAX_BYTES)
        return -400;
    switch (b->state) {
    case BODY_TRAILER_LINE:
        if (c == '\r')
            return BODY_END_LF;
        return is_token(c) ? BODY_TRAILER_NAME : -400;
    case BODY_TRAILER_NAME:
        if (c == ':')
            return BODY_TRAILER_TEXT;
        return is_token(c) ? BODY_TRAILER_NAME : -400;
    case BODY_TRAILER_TEXT:
        if (c == '\r')
            return BODY_TRAILER_LF;
        return is_control(c) ? -400 : BODY_TRAILER_TEXT;
    default:
        return c == '\n' ? BODY_TRAILER_LINE : -400;
    }
}

/* One byte that is not payload: the next state or -400. */
static int step(struct body *b, unsigned char c)
{
    switch (b->state) {
    case BODY_SIZE:
        return step_size(b, c);
    case BODY_EXTENSION:
        return step_extension(b, c);
    case BODY_SIZE_LF:
        return step_size_lf(b, c);
    case BODY_CHUNK_CR:
        return c == '\r' ? BODY_CHUNK_LF : -400;
    case BODY_CHUNK_LF:
        return c == '\n' ? BODY_SIZE : -400;
    case BODY_END_LF:
        return c == '\n' ? BODY_COMPLETE : -400;
    default:
        return step_trailer(b, c);
    }
}

/* Moves what p + at holds of the current run of payload to the front; returns how much that is. */
static size_t take_payload(struct body *b, char *p, size_t at, size_t n, size_t n_payload)
{
    size_t n_run = n - at;

    if (n_run > b->left)
        n_run = (size_t)b->left;
    if (at != n_payload)
        memmove(p + n_payload, p + at, n_run);
    b->left -= n_run;
    if (b->left == 0)
        b->state = b->state == BODY_LENGTH ? BODY_COMPLETE : BODY_CHUNK_CR;
    return n_run;
}

int body_decode(struct body *b, char *p, size_t n, size_t *n_used, size_t *n_payload)
{
    size_t at = 0, n_out = 0;

    CHECK(b->state < BODY_STATE_MAX);
    while (at < n && b->state != BODY_COMPLETE) {
        if (b->state == BODY_LENGTH || b->state == BODY_CHUNK) {
            size_t n_run = take_payload(b, p, at, n, n_out);
            at += n_run;
            n_out += n_run;
            continue;
        }
        int next = step(b, (unsigned char)p[at++]);
        if (next < 0)
            return next;
        b->state = (uint8_t)next;
    }
    CHECK(n_out <= at && at <= n);
    *n_used = at;
    *n_payload = n_out;
    return 0;
}
