#include "config.h"

#include "mirrord/gc_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/pool.h"
#include "cache/cache.h"
#include "cache/gc.h"
#include "mirrord/privileges.h"
#include "mirrord/settings.h"

static void print_candidate(void *arg, const struct digest *d, uint64_t size)
{
    char text[DIGEST_TEXT_SIZE];

    (void)arg;
    digest_format(d, text);
    printf("%s %" PRIu64 "\n", text, size);
}

static int dry_run(const struct cache_config *config, struct gc_report *report, struct error *err)
{
    if (access(config->storage_path, F_OK) < 0)
        return error_sys(err, -errno, "storage %s", config->storage_path);
    return gc_dry_run(config->storage_path, config->gc_grace_s, print_candidate, NULL, report, err);
}

/* What it writes must belong to the daemon's user. */
static int become_daemon(const struct config *config, struct error *err)
{
    return privileges_drop(config_str(config, OPT_REGISTRY_USER),
                           config_str(config, OPT_REGISTRY_GROUP), err);
}

static int collect(struct cache_config *config, struct gc_report *report, struct error *err)
{
    struct cache *cache;

    /* Opening makes folders; a wrong path is to be told. */
    if (access(config->storage_path, F_OK) < 0)
        return error_sys(err, -errno, "storage %s", config->storage_path);
    config->pool = pool_new(1);
    int rc = cache_open(config, &cache, err);
    if (rc == 0) {
        rc = gc_run_offline(cache_gc(cache), print_candidate, NULL, report, err);
        cache_close(&cache);
    }
    pool_free(&config->pool);
    return rc;
}

/* What happened, and whether all of it could be written where it goes. */
static int print_end(const struct gc_report *r, bool is_dry)
{
    CHECK(r->is_complete);
    printf("%s: %" PRIu64 " of %" PRIu64 " blobs, %" PRIu64 " bytes; %" PRIu64
           " unreferenced ones are younger than gc.grace\n",
           is_dry ? "would go" : "removed", r->n_removed, r->n_blobs, r->bytes_removed, r->n_young);
    if (fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    return r->n_errors > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int gc_command_run(const struct config *config, bool is_dry)
{
    struct cache_config cache = settings_cache(config, NULL);
    struct gc_report report = {0};
    struct error err;

    log_set_level(LOG_WARNING);
    int rc = is_dry ? 0 : become_daemon(config, &err);
    if (rc == 0)
        rc = is_dry ? dry_run(&cache, &report, &err) : collect(&cache, &report, &err);
    if (rc == 0)
        return print_end(&report, is_dry);
    fflush(stdout);
    if (rc == -EBUSY)
        fprintf(stderr,
                "mirrord gc: a running daemon uses %s. It collects by itself every gc.interval; to "
                "start a run now, send POST /gc to its admin listener (admin_listen: %s)\n",
                cache.storage_path, config_str(config, OPT_ADMIN_LISTEN));
    else
        fprintf(stderr, "mirrord gc: %s\n", err.text);
    return EXIT_FAILURE;
}
