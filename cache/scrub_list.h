/*
 * All stored blobs, one after the other, in the order of their names, so that a walk can go on
 * behind the last one it has seen, also in another process. What comes or goes meanwhile is met,
 * perhaps. One owner, one thread at a time; blocking. Memory: a bounded run of names.
 */
#ifndef CACHE_SCRUB_LIST_H
#define CACHE_SCRUB_LIST_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/error.h"
#include "cache/layout.h"

struct scrub_list;

/* From the first, or from behind `after` (may be NULL). */
struct scrub_list *scrub_list_new(const struct layout *l, const struct digest *after);
void scrub_list_free(struct scrub_list **l);
/* 1 with the next; 0 at the end; a negative errno when a folder cannot be read: the next call goes
 * on behind it. Looks into one folder after the other until there is something. */
int scrub_list_next(struct scrub_list *l, struct digest *out, struct error *err);
/* How far it has come, of 1000. */
unsigned scrub_list_permille(const struct scrub_list *l);

#endif
