/*
 * UTF-8 (RFC 3629 section 4): nothing longer than needed, no surrogates, nothing above U+10FFFF.
 * Pure functions; any thread.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* How many of the n > 0 bytes at p its first character has; 0 when it is no UTF-8. */
size_t utf8_length(const char *p, size_t n);
/* All of it. */
bool utf8_is_valid(struct slice s);

#endif
