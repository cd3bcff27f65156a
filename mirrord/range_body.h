/*
 * A body made of ranges of an object: one range, or several as multipart/byteranges (RFC 9110
 * section 14.6). Its length is known beforehand. It owns the source of the object's bytes and
 * closes it with itself; memory: one block, bounded by the number of ranges.
 *
 * Belongs to the worker of the transaction it answers.
 */
#ifndef MIRRORD_RANGE_BODY_H
#define MIRRORD_RANGE_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "mirrord/range.h"
#include "mirrord/txn.h"

/* Where an object's bytes come from; offsets are the object's. */
struct object_source {
    struct body_source body;
    /* What follows reads [off, end) only; NULL when the source does not care. */
    void (*seek)(void *source, uint64_t off, uint64_t end);
};

struct range_body;

extern const struct body_source RANGE_BODY_OPS;

/* n ranges (at least one) of an object of `size` bytes; ranges are copied, the source is taken. */
struct range_body *range_body_new(const struct byte_range *ranges, size_t n, uint64_t size,
                                  const struct object_source *ops, void *source);
uint64_t range_body_length(const struct range_body *b);
/* Content-Range for one range, multipart Content-Type for several. */
void range_body_headers(const struct range_body *b, struct reply *r);

#endif
