/*
 * The shared cache of small objects: manifests and the configurations that they name, by digest, in
 * a Redis that evicts (cache_lru). What goes there came from an upstream, never from a push; what
 * comes from there is hashed before anybody sees it. Who may read an object is not its business:
 * callers ask when the repository's link has said so.
 *
 * A blob is known as a configuration while a manifest that names it has been read or kept here a
 * while ago. That is a hint in a table of fixed size (64 KiB): it may be forgotten, and then the
 * upstream is asked as for every other blob.
 *
 * One per process, owned by the cache; all functions take NULL for "nothing is shared". Nothing
 * blocks and nothing fails; what does not come within the server's timeout is not there.
 */
#ifndef CACHE_OBJECTS_H
#define CACHE_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/slice.h"

struct blob;
struct objects;

/* rc 0 with the bytes that have this digest (valid during the call), or a negative errno: there are
 * none. */
typedef void (*object_load_fn)(void *arg, int rc, struct slice body);
/* A worker's thread only. 0: done runs once, on this worker, never from inside; negative: there is
 * nothing, and done does not run. Larger ones than max_bytes count as missing. */
int objects_load(struct objects *os, const struct digest *d, size_t max_bytes, object_load_fn done,
                 void *arg);
/* Any thread. The bytes have this digest. Larger ones than the setting allows stay away. */
void objects_put(struct objects *os, const struct digest *d, struct slice body);
/* Any thread. The same for a stored one, which is read off the loop. */
void objects_put_blob(struct objects *os, struct blob *b);

/* Any thread. A mirrored manifest names its configuration: the body is looked through. */
void objects_note_config(struct objects *os, struct slice manifest);
/* Any thread. Whether this blob is known to be one, and small enough. */
bool objects_is_config(const struct objects *os, const struct digest *d);

#endif
