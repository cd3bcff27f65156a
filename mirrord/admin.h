/*
 * What the admin listener answers: /metrics (Prometheus text), /healthz, /fills (running fills as
 * JSON), /upstream and /upstreams (health and quota of the source, and of all registries, as JSON),
 * /gc (the last run of the garbage collector; POST starts one), /scrub (what hashing again has
 * found; POST starts a pass, admin_scrub.c), /offline (whether upstreams are asked; POST with
 * value=true, false or setting changes it), /repositories and /tags (what is here and where it came
 * from, admin_tags.c). It is the handler of a server of its own, meant for operators: no client of
 * the registry reaches it.
 *
 * Runs on the control worker. Shared and read only; the caller keeps cache and upstream alive as
 * long as the server runs.
 */
#ifndef MIRRORD_ADMIN_H
#define MIRRORD_ADMIN_H

struct api;
struct cache;
struct offline;
struct pool;
struct registries;
struct scrubber;
struct txn;

struct admin {
    struct cache *cache;
    struct offline *offline;
    const struct registries *registries;
    struct api *api; /* for the rules in force */
    struct pool *pool;
    struct scrubber *scrubber;
};

/* A txn_handler_fn; ctx is the struct admin. */
void admin_handle(struct txn *txn, void *ctx);

#endif
