/*
 * Checks a JSON text (RFC 8259) that came from outside and tells the members of its outermost
 * object, without building a tree: memory is a few hundred bytes whatever the text is, time is
 * linear. For documents that are kept as they are (manifests) and of which little is read. That
 * strings are valid UTF-8 is not checked. A pure function; any thread.
 */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include "base/error.h"
#include "base/slice.h"

#define JSON_SCAN_DEPTH_MAX 512

enum json_scan_kind {
    JSON_SCAN_OBJECT,
    JSON_SCAN_ARRAY,
    JSON_SCAN_STRING,
    JSON_SCAN_NUMBER,
    JSON_SCAN_WORD, /* true, false, null */
    JSON_SCAN_KIND_MAX
};

/* One member of the outermost object. key and, for strings, text stand between their quotes as in
 * the source, escapes not undone; for objects and arrays text is empty. Believe it only when
 * json_scan returned 0; with a name twice, the last one counts. */
typedef void (*json_scan_fn)(void *arg, struct slice key, enum json_scan_kind kind,
                             struct slice text);

/* 0 when all of it is one JSON object; else -EBADMSG with what is wrong and where. */
int json_scan(struct slice text, json_scan_fn on_member, void *arg, struct error *err);

#endif
