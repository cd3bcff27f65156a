/*
 * How values of the metadata cache are written: one line of text that begins with the version of
 * the form and the kind. What is read may come from anybody, so whatever is not just what would
 * have been written here is refused. Pure functions; any thread.
 *
 *   1 mirrored sha256:<hex> <first seen> <confirmed> <upstream, or ->
 *   1 absent <confirmed>
 *   1 facts <bytes> <media type>
 */
#ifndef CACHE_META_VALUE_H
#define CACHE_META_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/tag.h"

struct meta_facts {
    uint64_t size;
    struct slice media_type;
};

/* The mirrored half, which says something. */
void meta_value_print_tag(const struct tag_record *record, struct strbuf *out);
/* *out gets a mirrored half and nothing else. */
bool meta_value_parse_tag(struct slice text, struct tag_record *out);

void meta_value_print_facts(const struct meta_facts *facts, struct strbuf *out);
/* The media type of *out is a part of the text. */
bool meta_value_parse_facts(struct slice text, struct meta_facts *out);

#endif
