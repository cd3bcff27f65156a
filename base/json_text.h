/*
 * What a JSON string says (RFC 8259 section 7), from what stands between its quotes in the source.
 * The source has passed json_walk(). Pure functions; any thread.
 */
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* Undoes the escapes into room, without a NUL behind; the length, or -E2BIG when it does not fit.
 * Half a surrogate pair becomes U+FFFD. "\u0000" becomes a NUL: look at the length. */
int json_text_undo(struct slice source, char *room, size_t room_size);
/* Whether it says this. */
bool json_text_is(struct slice source, struct slice plain);

#endif
