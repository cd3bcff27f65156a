/*
 * Reads a JSON text (RFC 8259) that came from outside and tells its values one after the other,
 * with where they stand, without building a tree: memory is one pointer per level of nesting, time
 * is linear. For documents that are kept as they are (manifests) and of which little is read.
 * Strictly the grammar; only that strings are valid UTF-8 is not checked. A pure function; any
 * thread (tests/fuzz/fuzz_json_walk.c).
 */
#ifndef BASE_JSON_WALK_H
#define BASE_JSON_WALK_H

#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"

#define JSON_WALK_DEPTH_MAX 512

enum json_walk_kind {
    JSON_WALK_OBJECT,
    JSON_WALK_ARRAY,
    JSON_WALK_STRING,
    JSON_WALK_NUMBER,
    JSON_WALK_WORD, /* true, false, null */
    JSON_WALK_KIND_MAX
};

/* One value, or the end of one. All slices are parts of the source. */
struct json_value {
    enum json_walk_kind kind;
    bool is_end;       /* objects and arrays are told twice: where they begin and where they end */
    unsigned depth;    /* how many objects and arrays are around it; 0: the outermost value */
    struct slice key;  /* of a member of an object, between its quotes, escapes not undone
                          (base/json_text.h undoes them); ptr NULL for elements of arrays, for the
                          outermost value, and at ends */
    struct slice text; /* strings: between the quotes, escapes not undone; numbers and words: as
                          written; objects and arrays: empty at their begin, all of it from bracket
                          to bracket at their end */
};

/* Negative stops the walk and is its result. What a name that is there twice means is for this
 * function to say: it sees both, in order. Believe nothing before json_walk returned 0. */
typedef int (*json_walk_fn)(void *arg, const struct json_value *value);

/* 0 when the text is one JSON value; -EBADMSG with what is wrong and where, -E2BIG when objects and
 * arrays are nested deeper than depth_max (at most JSON_WALK_DEPTH_MAX; 1: flat); or what on_value
 * returned. on_value may be NULL. */
int json_walk(struct slice text, unsigned depth_max, json_walk_fn on_value, void *arg,
              struct error *err);

#endif
