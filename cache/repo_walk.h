/*
 * A walk over the folders of all repositories, one at a time, so that it can be paused between two.
 * Repositories nest ("library" may be one beside "library/redis"), so every folder with a valid
 * name is told; whether it is one, its content says. What exists from the beginning of the walk to
 * its end is met for certain; what comes or goes meanwhile, perhaps.
 * One owner, one thread at a time; each step blocks. Memory and open folders are bounded by the
 * depth of a name.
 */
#ifndef CACHE_REPO_WALK_H
#define CACHE_REPO_WALK_H

#include "base/error.h"
#include "cache/layout.h"

struct repo_walk;

struct repo_walk *repo_walk_new(const struct layout *l);
void repo_walk_free(struct repo_walk **w);
/* 1 with the name of a folder, valid until the next call; 0 at the end; a negative errno (text in
 * *err, which may be NULL) when a part cannot be read: the next call goes on behind it. */
int repo_walk_next(struct repo_walk *w, const char **name_out, struct error *err);
/* What is below the folder that was told last is left out. */
void repo_walk_skip(struct repo_walk *w);

#endif
