/*
 * What a repository holds, in the layout of registry:2: docker/registry/v2/repositories/<name>/
 * _manifests/{tags,revisions}, _layers. Walks are blocking inside and run off the loop.
 */
#ifndef CACHE_REPO_H
#define CACHE_REPO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct repos;

/* A sorted list of names, in one block; repo_names_free() it. */
struct repo_names {
    char **names;
    size_t n;
    bool has_more; /* the listing went on behind the last one */
};
void repo_names_free(struct repo_names **names);

/* rc 0 with a list that the callee owns, -ENOENT (no such repository), or another negative errno;
 * on the worker that asked. */
typedef void (*repo_names_fn)(void *arg, int rc, struct repo_names *names);

/* Which tags: those with a pushed half, or those with a mirrored one, cost a look into each. */
enum repo_tags { REPO_TAGS_ALL, REPO_TAGS_PUSHED, REPO_TAGS_MIRRORED, REPO_TAGS_MAX };

struct repo_page {
    struct slice repo;
    struct slice last; /* empty: from the start */
    size_t n_max;
    enum repo_tags which;
};

/* Tags of a repository / repositories of the store, in ASCII order behind `last`, at most n_max.
 * What the page borrows is copied. A worker's thread only. */
void repos_list_tags(struct repos *rs, const struct repo_page *page, repo_names_fn done, void *arg);
void repos_list(struct repos *rs, struct slice last, size_t n_max, repo_names_fn done, void *arg);

/* Pool threads. Whether there is a repository of this name. */
bool repos_have_now(const struct repos *rs, struct slice repo);

#endif
