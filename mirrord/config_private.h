/*
 * The layout of struct config, shared by the files that load, read and print it. Nobody else
 * includes this; mirrord/configuration.h is the interface.
 */
#ifndef MIRRORD_CONFIG_PRIVATE_H
#define MIRRORD_CONFIG_PRIVATE_H

#include <stdatomic.h>

#include "mirrord/config_value.h"
#include "mirrord/configuration.h"

struct config {
    atomic_uint n_refs;
    char *file;
    char *flavor;
    struct strbuf warnings; /* lines */
    struct config_value values[OPT_MAX];
};

/* One reference, all options null. */
struct config *config_new(const char *file, const char *flavor);

#endif
