/*
 * Keeps what pushes a manifest apart from what deletes it: each does several things to a revision
 * and its tags, and a tag must never be left pointing to a revision that is gone. Striped by
 * digest, one table per process. Held over work on the storage: pool threads only, and nothing else
 * is waited for meanwhile.
 */
#ifndef MIRRORD_REVISION_LOCK_H
#define MIRRORD_REVISION_LOCK_H

#include "base/digest.h"

void revision_lock(const struct digest *d);
void revision_unlock(const struct digest *d);

#endif
