/* What an implementation of cache/meta.h is made of; only cache/meta*.c include it. */
#ifndef CACHE_META_PRIVATE_H
#define CACHE_META_PRIVATE_H

#include "cache/meta.h"

struct meta_ops {
    int (*get)(struct meta *m, struct slice key, meta_get_fn done, void *arg);
    void (*put)(struct meta *m, struct slice key, struct slice value, unsigned ttl_s);
    void (*forget)(struct meta *m, struct slice key);
    void (*free)(struct meta *m);
};

struct meta {
    const struct meta_ops *ops;
    enum meta_role role;
    bool is_shared;
    void (*lost)(void *arg);
    void *lost_arg;
};

/* Counts what a look-up found. */
void meta_note_found(const struct meta *m, bool is_found);

#endif
