/*
 * The bytes of a stored blob as a body: the source is the struct blob itself, whose reference goes
 * with it, so that a warm download needs no memory of its own.
 */
#ifndef MIRRORD_BLOB_BODY_H
#define MIRRORD_BLOB_BODY_H

#include "mirrord/range_body.h"

extern const struct object_source BLOB_BODY_OPS;

#endif
