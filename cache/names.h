/*
 * The n_max smallest names behind a given one, out of any number offered in any order: how lists
 * are paged with bounded memory. One owner, one thread.
 */
#ifndef CACHE_NAMES_H
#define CACHE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "cache/repo.h"

struct names {
    const char *last; /* borrowed: only names behind it count */
    size_t n_max;
    struct repo_names *list; /* sorted */
};

void names_init(struct names *n, const char *last, size_t n_max);
/* The name is copied if it is among the smallest so far. */
void names_offer(struct names *n, const char *name);
/* No name with this beginning could count any more. */
bool names_refuses_prefix(const struct names *n, const char *prefix);
/* The caller owns the list. */
struct repo_names *names_take(struct names *n);

#endif
