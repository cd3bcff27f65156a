/*
 * The bytes of a running fill as a body: a reader of the fill, and what it is to wake. Before the
 * reply began that is its maker (which waits for the size), afterwards the reply.
 *
 * Belongs to the worker of the transaction. Owns its reader and a reference to the fill; freed by
 * close, or by fill_body_free when no reply was made of it.
 */
#ifndef MIRRORD_FILL_BODY_H
#define MIRRORD_FILL_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/fill.h"
#include "mirrord/range_body.h"

struct fill_body;

extern const struct object_source FILL_BODY_OPS;

/* Takes a reference of its own. wake(arg) runs, never from inside a call of this header, when the
 * size may have become known or the fill failed, until fill_body_start. */
struct fill_body *fill_body_new(struct fill *f, uint64_t off, uint64_t end, fill_wake_fn wake,
                                void *arg);
/* True when size or failure is known already; otherwise wake follows. */
bool fill_body_want_size(struct fill_body *b);
/* From now on the reply is woken, and [off, end) is read. Call before reply_send_source. */
void fill_body_start(struct fill_body *b, struct reply *r, uint64_t off, uint64_t end);
void fill_body_free(struct fill_body **b);

#endif
