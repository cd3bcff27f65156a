/*
 * Asking about a tag that was served within its grace: has it moved? Once for all clients and
 * workers, on behalf of none of them; clients that must wait for the same question join it
 * (mirrord/resolve.h). A tag that has moved is told so only when the manifest it points to now is
 * here; until then, and if that fails, the remembered one goes on being served.
 *
 *   ASKING (HEAD) ──► LOOKING (is the new manifest here?) ──► FETCHING (GET by digest) ──► OVER
 *
 * Belongs to the worker whose client was served. Memory: itself, one per tag at most.
 */
#ifndef MIRRORD_REFRESH_H
#define MIRRORD_REFRESH_H

#include "base/slice.h"

struct api;
struct flights;

/* The table of those under way, one per API. */
struct flights *refresh_table(void);
/* Asks, unless that is under way, or the upstream had better be left alone. A worker's thread. */
void refresh_tag(struct api *api, struct slice repo, struct slice tag);

#endif
