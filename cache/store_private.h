/* What the store offers to the rest of its folder only. */
#ifndef CACHE_STORE_PRIVATE_H
#define CACHE_STORE_PRIVATE_H

#include "cache/store.h"

/* Takes the descriptor of a blob that just got its final name, and puts it among the open ones, so
 * that it is found from now on. The caller gets a reference. Any thread. */
struct blob *store_add(struct store *s, const struct digest *d, int fd);
/* For who gives a blob its final name without store_put_now. */
struct vouches *store_vouches(struct store *s);

#endif
