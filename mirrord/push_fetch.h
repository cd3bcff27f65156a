/*
 * Brings what a manifest that is being pushed references and only the upstream has. Who builds upon
 * a mirrored base and pushes under the upstream's name asks for the base's layers, is told that
 * they are here (since they can be had here), and does not upload them: so they are fetched now.
 * What is here but not linked into this repository is taken when the upstream says that its
 * repository has it, too; otherwise knowing a digest would be enough to read any blob.
 *
 * Belongs to the worker that started it. A few at a time. Memory: itself; bytes go through fills.
 */
#ifndef MIRRORD_PUSH_FETCH_H
#define MIRRORD_PUSH_FETCH_H

#include "base/slice.h"
#include "mirrord/api_error.h"

struct api;
struct push_fetch;
struct push_refs;

/* error: API_ERROR_NONE, or why some could not be had, if for another reason than that the upstream
 * has none; what was brought is to be seen by push_refs_check. It is freed after this. */
typedef void (*push_fetch_fn)(void *arg, enum api_error error, int retry_after_s);

/* repo and refs stay as they are until done(arg) ran, which is never from inside, or it was
 * cancelled. */
struct push_fetch *push_fetch_start(struct api *api, struct slice repo, struct push_refs *refs,
                                    push_fetch_fn done, void *arg);
/* done does not run; repo and refs are not touched any more. */
void push_fetch_cancel(struct push_fetch **f);

#endif
