/*
 * What the process may do: gives up root, and takes as many descriptors as it may have. Called once
 * from the main thread before other threads matter.
 */
#ifndef MIRRORD_PRIVILEGES_H
#define MIRRORD_PRIVILEGES_H

#include "base/error.h"

/* Becomes that user and group when started as root (NULL: stays; a group alone is allowed). The
 * user's own group when none is named. -ENOENT for unknown names, -EPERM when not root and the
 * process is not that user already. */
int privileges_drop(const char *user, const char *group, struct error *err);
/* The soft limit of descriptors becomes the hard one: each client and open blob takes one. */
void privileges_raise_limits(void);

#endif
