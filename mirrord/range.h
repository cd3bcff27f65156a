/*
 * Which bytes of an object a request asks for: Range and If-Range (RFC 9110 sections 14.1.2, 14.2,
 * 13.1.5), If-None-Match (section 13.1.2). Pure functions; any thread; the caller gives the room
 * for the results, whose bound is the defence against a header with thousands of ranges.
 */
#ifndef MIRRORD_RANGE_H
#define MIRRORD_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* As written: a-b, a- (last is UINT64_MAX), or -n (is_suffix, the length in first). One that ends
 * before it begins is invalid (RFC 9110 section 14.1.1) and, as in the OCI conformance suite and in
 * nginx, refused like one that holds nothing. */
struct range_spec {
    uint64_t first;
    uint64_t last;
    bool is_suffix;
};

/* The bytes [off, end) of an object whose size is known. */
struct byte_range {
    uint64_t off;
    uint64_t end;
};

/* How many ranges a header can hold at most; what range_parse needs room for. */
size_t range_count(struct slice value);
/* The ranges of a Range header, or 0 when it is to be ignored: another unit, malformed, or more
 * than n_max ranges. */
size_t range_parse(struct slice value, struct range_spec *out, size_t n_max);

/* Turns n specs into at most n ranges of an object of `size` bytes, leaving out what does not
 * exist; 0 means: not satisfiable. Ranges stay in the order asked for, unless some overlap: then
 * they are sorted and merged, as RFC 9110 section 15.3.7.2 allows, so that nobody makes the body
 * larger than the object. Ranges that only touch stay apart, since clients count the parts. */
size_t range_resolve(const struct range_spec *specs, size_t n, uint64_t size,
                     struct byte_range *out);

/* Whether an entity tag is in the list of an If-None-Match header; weak comparison, "*" is any.
 * etag is with its quotes. */
bool range_etag_matches(struct slice list, struct slice etag);
/* Whether Range may be applied: no If-Range, or exactly this (strong) entity tag. A date never
 * matches: what is addressed by digest has no better validator than its tag. */
bool range_may_apply(struct slice if_range, struct slice etag);

#endif
