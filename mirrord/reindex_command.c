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
#include "mirrord/admin_client.h"
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

/* A full disk must not look like success. */
static int print(const char *text)
{
    CHECK(*text);
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int print_end(const struct ledger_report *r)
{
    char text[256];

    snprintf(text, sizeof(text),
             "%" PRIu64 " blobs, %" PRIu64 " bytes, of them %" PRIu64 " pushed and %" PRIu64
             " pinned; %" PRIu64 " links, tags and blobs looked at\n",
             r->bytes.n_blobs, r->bytes.blobs, r->bytes.pushed, r->bytes.pinned, r->n_walked);
    return print(text);
}

/* The daemon that uses the storage begins; nobody waits for its end. */
static int ask_daemon(const struct config *config, struct error *err)
{
    struct admin_client *client;
    struct admin_answer answer;
    int rc = admin_client_open(config, &client, err);

    CHECK(config && err);
    if (rc < 0)
        return error_wrap(err, "a running daemon uses the storage, and cannot be asked");
    rc = admin_client_call(client, "POST", "/ledger", &answer, err);
    if (rc == 0) {
        if (answer.status != 202)
            rc =
                error_set(err, -EPROTO, "the running daemon answers with status %d", answer.status);
        admin_answer_fini(&answer);
    }
    admin_client_close(&client);
    return rc;
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
        rc = ask_daemon(config, &err);
    if (rc == 0)
        return print("the running daemon does it in the background; GET /ledger of its admin "
                     "listener tells how far it is\n");
    fprintf(stderr, "mirrord reindex: %s\n", err.text);
    return EXIT_FAILURE;
}
