/*
 * Brings back what was mirrored, was found damaged and is gone (cache/scrub.h), without a client:
 * one after the other, so that it never competes with what clients wait for. What does not fit into
 * the queue, or fails, is fetched when somebody asks for it; so is what is queued when this mirror
 * goes offline or little is left of the upstream's limit. Nothing is tried twice.
 *
 * Belongs to one worker; asking is for any thread. Memory: REFETCH_MAX small entries.
 */
#ifndef MIRRORD_REFETCH_H
#define MIRRORD_REFETCH_H

#include <stdbool.h>

#include "base/digest.h"
#include "cache/link.h"

#define REFETCH_MAX 256

struct api;
struct refetch;
struct worker;

struct refetch *refetch_new(struct api *api, struct worker *home);
/* After its worker ended. */
void refetch_free(struct refetch **r);
/* A scrub_refetch_fn; arg is the struct refetch. False when the upstream may not be asked about
 * this repository, when its quota is low, or too much is waiting. */
bool refetch_ask(void *arg, enum link_kind kind, const char *repo, const struct digest *d);
/* Nothing more is begun, and what is under way is left to itself. Any thread. */
void refetch_stop(struct refetch *r);

#endif
