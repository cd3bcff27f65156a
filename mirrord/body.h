/*
 * The framing of a request body: Content-Length or chunked (RFC 9112 section 7.1), strictly.
 *
 * A small state and a pure function: bytes in, payload out, in place; no memory, no sockets. A
 * chunk may be of any size and is never held. Chunk extensions and trailer fields are checked,
 * bounded and dropped. Belongs to whoever embeds it.
 */
#ifndef MIRRORD_BODY_H
#define MIRRORD_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct head;

struct body {
    uint8_t state;       /* enum body_state, private to body.c */
    uint8_t n_digits;    /* of the chunk size being read */
    uint16_t n_overhead; /* bytes of the current size line, or of all trailer fields */
    uint64_t left;       /* payload bytes of the length, or of the current chunk */
};

/* What the head announces; a body of none is complete from the start. */
void body_init(struct body *b, const struct head *head);
bool body_is_complete(const struct body *b);
/* Payload bytes that must still come: exact for a length, a lower bound for chunks. */
uint64_t body_left_min(const struct body *b);
bool body_is_chunked(const struct body *b);

/* Takes up to n bytes at p and moves the payload among them to the front of p. 0: *n_payload bytes
 * of payload stand at p, *n_used bytes were taken: all n, or fewer when the body is complete.
 * -400: broken framing; the rest of the connection's bytes means nothing then. */
int body_decode(struct body *b, char *p, size_t n, size_t *n_used, size_t *n_payload);

#endif
