#include "config.h"

#include "mirrord/range_body.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/check.h"

enum { BOUNDARY_BYTES = 16, BOUNDARY_SIZE = 2 * BOUNDARY_BYTES + 1, LINES_SIZE = 256 };

/* The body is a run of pieces: for each range its lines (several ranges only) and its bytes, then
 * the closing lines. Piece 2i is the lines before range i, piece 2i+1 its bytes, 2n the end. */
struct range_body {
    const struct object_source *ops;
    void *source;
    uint64_t size;
    uint64_t length;
    size_t piece;       /* that `next` is in */
    uint64_t piece_off; /* where it begins in the body */
    bool is_sought;     /* the source was told of this piece */
    char boundary[BOUNDARY_SIZE];
    char lines[LINES_SIZE]; /* of the piece in hand */
    size_t n;
    struct byte_range ranges[];
};

static bool is_multipart(const struct range_body *b)
{
    return b->n > 1;
}

/* A boundary that the object does not contain: nobody can have known it when making the object. */
static void make_boundary(char out[BOUNDARY_SIZE])
{
    uint8_t bytes[BOUNDARY_BYTES];

    CHECK(getrandom(bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* The lines of a piece that is not bytes of the object; returns their length. */
static size_t print_lines(struct range_body *b, size_t piece)
{
    int len;

    if (!is_multipart(b))
        return 0;
    if (piece == 2 * b->n) {
        len = snprintf(b->lines, sizeof(b->lines), "\r\n--%s--\r\n", b->boundary);
    } else {
        const struct byte_range *range = &b->ranges[piece / 2];
        len = snprintf(b->lines, sizeof(b->lines),
                       "%s--%s\r\nContent-Type: application/octet-stream\r\n"
                       "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                       piece > 0 ? "\r\n" : "", b->boundary, range->off, range->end - 1, b->size);
    }
    CHECK(len > 0 && (size_t)len < sizeof(b->lines));
    return (size_t)len;
}

static uint64_t piece_length(struct range_body *b, size_t piece)
{
    const struct byte_range *range = &b->ranges[piece / 2];

    return piece % 2 ? range->end - range->off : print_lines(b, piece);
}

struct range_body *range_body_new(const struct byte_range *ranges, size_t n, uint64_t size,
                                  const struct object_source *ops, void *source)
{
    struct range_body *b = xcalloc(1, sizeof(*b) + n * sizeof(b->ranges[0]));

    CHECK(n > 0);
    b->ops = ops;
    b->source = source;
    b->size = size;
    b->n = n;
    memcpy(b->ranges, ranges, n * sizeof(ranges[0]));
    if (is_multipart(b))
        make_boundary(b->boundary);
    for (size_t i = 0; i <= 2 * n; i++)
        b->length += piece_length(b, i);
    return b;
}

uint64_t range_body_length(const struct range_body *b)
{
    return b->length;
}

void range_body_headers(const struct range_body *b, struct reply *r)
{
    if (is_multipart(b))
        reply_headerf(r, "Content-Type", "multipart/byteranges; boundary=%s", b->boundary);
    else
        reply_headerf(r, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                      b->ranges[0].off, b->ranges[0].end - 1, b->size);
}

/* Makes the piece that has body offset `off` the one in hand. Offsets never go back. */
static uint64_t find_piece(struct range_body *b, uint64_t off)
{
    uint64_t length = piece_length(b, b->piece);

    CHECK(off >= b->piece_off && off < b->length);
    while (off >= b->piece_off + length) {
        b->piece_off += length;
        b->piece++;
        b->is_sought = false;
        length = piece_length(b, b->piece);
    }
    return length;
}

static int do_next(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    struct range_body *b = source;
    uint64_t length = find_piece(b, off);
    uint64_t within = off - b->piece_off;
    uint64_t left = length - within;

    if (want > left)
        want = left;
    if (b->piece % 2 == 0) {
        *out = (struct body_part){.ptr = b->lines + within, .fd = -1, .len = want};
        return 1;
    }
    const struct byte_range *range = &b->ranges[b->piece / 2];
    if (!b->is_sought && b->ops->seek)
        b->ops->seek(b->source, range->off, range->end);
    b->is_sought = true;
    return b->ops->body.next(b->source, range->off + within, want, out);
}

static void do_close(void *source)
{
    struct range_body *b = source;

    b->ops->body.close(b->source);
    free(b);
}

const struct body_source RANGE_BODY_OPS = {do_next, do_close};
