#include "config.h"

#include "mirrord/reindex_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/pool.h"
#include "cache/cache.h"
#include "cache/ledger.h"
#include "mirrord/configuration.h"
#include "mirrord/privileges.h"
#include "mirrord/settings.h"

/* What it writes must belong to the daemon's user. */
static int reindex(struct config *config, struct ledger_report *report, struct error *err)
{
    struct cache_config place = settings_cache(config, NULL);
    struct cache *cache;

    CHECK(!worker_current());
    int rc = privileges_drop(config_str(config, OPT_REGISTRY_USER),
                             config_str(config, OPT_REGISTRY_GROUP), err);
    if (rc < 0)
        return rc;
    /* Opening makes folders; a wrong path is to be told. */
    if (access(place.storage_path, F_OK) < 0)
        return error_sys(err, -errno, "storage %s", place.storage_path);
    place.pool = pool_new(1);
    rc = cache_open(&place, &cache, err);
    if (rc == 0) {
        rc = cache_reindex_now(cache, report, err);
        cache_close(&cache);
    }
    pool_free(&place.pool);
    return rc;
}

static int print_end(const struct ledger_report *r)
{
    printf("%" PRIu64 " blobs, %" PRIu64 " bytes, of them %" PRIu64 " pushed and %" PRIu64
           " pinned; %" PRIu64 " links, tags and blobs looked at\n",
           r->bytes.n_blobs, r->bytes.blobs, r->bytes.pushed, r->bytes.pinned, r->n_walked);
    if (fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

int reindex_command_run(const struct command_line *line, struct config *config)
{
    struct ledger_report report = {0};
    struct error err;

    (void)line;
    log_set_level(LOG_WARNING);
    int rc = reindex(config, &report, &err);
    if (rc == 0)
        return print_end(&report);
    if (rc == -EBUSY)
        fprintf(stderr,
                "mirrord reindex: a running daemon uses %s; to have it do it, send POST /ledger to "
                "its admin listener (admin_listen: %s)\n",
                config_str(config, OPT_STORAGE_PATH), config_str(config, OPT_ADMIN_LISTEN));
    else
        fprintf(stderr, "mirrord reindex: %s\n", err.text);
    return EXIT_FAILURE;
}
