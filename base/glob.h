/*
 * Patterns in settings, over names of repositories and the like: '*' stands for any characters,
 * '/' included, '?' for one; everything else for itself. A pure function; linear in both lengths
 * but for the product in the worst case, which settings choose and clients cannot.
 */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <stdbool.h>

#include "base/slice.h"

bool glob_match(struct slice pattern, struct slice text);

#endif
