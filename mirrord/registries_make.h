/*
 * The table of registries that a configuration asks for, with their upstreams. At start; does not
 * touch the network.
 */
#ifndef MIRRORD_REGISTRIES_MAKE_H
#define MIRRORD_REGISTRIES_MAKE_H

#include "base/error.h"

struct config;
struct registries;

/* 0, or a negative errno with the reason. */
int registries_make(const struct config *config, struct registries **out, struct error *err);

#endif
