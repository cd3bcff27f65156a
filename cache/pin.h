/*
 * Pins: images that are never evicted, by a person's word. State, not cache: each is a small file
 * of its own, _mirrord/pins/<sha256 of its text>, whose text is "name:tag" or "name@digest" and a
 * newline. So they outlive a lost ledger, which has a copy. A pin may name what is not here (yet);
 * one of a tag holds whatever the tag points to, and all that this references.
 * Blocking: pool threads, start-up and tests only. One lock, held over I/O.
 */
#ifndef CACHE_PIN_H
#define CACHE_PIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"
#include "cache/layout.h"

struct pins;

#define PINS_MAX 100000 /* more are refused: -ENOSPC */

/* Durably, for every reader. -EINVAL: no valid name, or neither tag nor digest. Adding what is
 * there is no error; *is_new (may be NULL) tells. */
int pins_add_now(struct pins *ps, struct slice repo, struct slice reference, bool *is_new,
                 struct error *err);
/* -ENOENT when there was none. */
int pins_remove_now(struct pins *ps, struct slice repo, struct slice reference, struct error *err);
bool pins_have_now(struct pins *ps, struct slice repo, struct slice reference);

/* False ends the listing. The slices are valid during the call. */
typedef bool (*pin_fn)(void *arg, struct slice repo, struct slice reference);
/* All of them, in no order. Files that are no pins are left out. 0 or a negative errno. */
int pins_list_now(struct pins *ps, pin_fn tell, void *arg, struct error *err);

/* What the text of a pin's file says: its two halves are parts of it. A pure function
 * (tests/fuzz/fuzz_pin.c). */
bool pin_parse(struct slice text, struct slice *repo, struct slice *reference);

#endif
