/*
 * The registries that are mirrored: the one of mirroring.source, which is the default, and those of
 * mirroring.upstreams. Made at start, immutable, lives as long as the API; any thread, no lock, and
 * looking something up allocates nothing.
 *
 * A repository has one name in the storage: that of the default registry as it is
 * ("library/nginx"), that of another behind the registry's host ("ghcr.io/org/app"). This storage
 * name is what all of cache/ and the API's stories carry. Only where an upstream is asked it is
 * taken apart again, by registries_of and registry_repo. What a client asked for becomes a storage
 * name in registry_route.h. docs/design/many-upstreams.md has the reasons.
 *
 * Memory: some hundred bytes for each registry and each of its names.
 */
#ifndef MIRRORD_REGISTRIES_H
#define MIRRORD_REGISTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "mirrord/name.h"

struct registries;
struct upstream;

/* How long what it says is good for, in seconds; -1: as the settings say for all. A rule of a
 * pattern comes before these. */
struct registry_times {
    int64_t ttl_s, grace_s, keep_s; /* of tags */
    int64_t negative_ttl_s;
};

struct registry {
    struct slice host;         /* "ghcr.io", as clients call it; empty: the default has no source */
    struct slice prefix;       /* "ghcr.io/" before its names in the storage; empty: the default */
    struct upstream *upstream; /* NULL: nobody is asked */
    const char *origin;        /* its name in records of what is mirrored; NULL: none */
    bool is_hub;               /* Docker Hub: "nginx" is "library/nginx" */
    struct registry_times times;
    unsigned cost; /* to fetch something again from it: cache/evict.h */
};

/* By what a registry is chosen. */
enum registry_way {
    REGISTRY_BY_NS,     /* ns=ghcr.io */
    REGISTRY_BY_HOST,   /* the Host field, or the address of the listener */
    REGISTRY_BY_PREFIX, /* /ghcr.io/v2/…; its texts begin with a slash */
    REGISTRY_BY_NAME,   /* /v2/ghcr.io/org/app/… */
    REGISTRY_WAY_MAX
};

/* Texts are copied. What is not valid has been refused by config_upstreams.h. */
struct registry_config {
    const char *host;          /* NULL: the default without a source */
    bool is_default;           /* exactly one is */
    struct upstream *upstream; /* a reference is taken; NULL: nobody is asked */
    bool is_hub;
    struct registry_times times;
    unsigned cost;
    const char *const
        *ways[REGISTRY_WAY_MAX]; /* the texts that choose it, NULL-terminated or NULL */
};

#define REGISTRY_TIMES_DEFAULT ((struct registry_times){-1, -1, -1, -1})

struct registries *registries_new(const struct registry_config *configs, size_t n);
void registries_free(struct registries **r);

const struct registry *registries_default(const struct registries *r);
/* In the order of the configuration, the default first; NULL behind the last. */
const struct registry *registries_item(const struct registries *r, size_t i);

/* Whose text this is; NULL: nobody's. *text becomes the table's own copy, valid as long as the
 * table. Case matters: give it in lower case. hot */
const struct registry *registries_find(const struct registries *r, enum registry_way way,
                                       struct slice *text);
/* Where content of this repository, given by its storage name, comes from. Never NULL. hot */
const struct registry *registries_of(const struct registries *r, struct slice repo);
/* What the registry calls the repository with this storage name. */
struct slice registry_repo(const struct registry *g, struct slice repo);
/* The storage name of what this registry calls `repo` (valid, or empty). The length written to out;
 * 0 when it is too long. */
size_t registry_store_name(const struct registry *g, struct slice repo, char out[NAME_FULL_MAX]);

/* A list of what is known of all upstreams, for the admin listing; and their metrics in Prometheus'
 * text format. */
void registries_print_json(const struct registries *r, struct strbuf *out);
void registries_print_metrics(const struct registries *r, struct strbuf *out);

#endif
