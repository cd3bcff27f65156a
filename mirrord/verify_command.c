#include "config.h"

#include "mirrord/verify_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "cache/cache.h"
#include "cache/scrub.h"
#include "mirrord/admin_client.h"
#include "mirrord/command.h"
#include "mirrord/config_number.h"
#include "mirrord/configuration.h"
#include "mirrord/privileges.h"
#include "mirrord/settings.h"

#define BAR_WIDTH 40
#define BAR_EVERY_MS 100
#define JOBS_MAX 64

struct display {
    bool is_terminal; /* standard error, which gets the bar */
    bool has_bar;     /* one stands in the present line */
    uint64_t drawn_at_ms;
    struct digest *damaged; /* the first SCRUB_SUSPECTS_MAX of n_damaged, for a daemon */
    size_t n_damaged;
};

/* --- what is shown ---------------------------------------------------------------------------- */

static void wipe(struct display *s)
{
    if (s->has_bar)
        fputs("\r\033[K", stderr);
    s->has_bar = false;
}

static void on_progress(void *arg, unsigned permille, const struct scrub_report *so_far)
{
    struct display *s = arg;
    uint64_t now_ms = clock_mono_ms();
    unsigned n_full = permille * BAR_WIDTH / 1000;
    char bar[BAR_WIDTH + 1];

    if (!s->is_terminal || (s->has_bar && now_ms - s->drawn_at_ms < BAR_EVERY_MS))
        return;
    memset(bar, ' ', BAR_WIDTH);
    memset(bar, '#', n_full);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3u%% %" PRIu64 " blobs, %" PRIu64 " MiB\033[K", bar, permille / 10,
            so_far->n_blobs, so_far->bytes >> 20);
    fflush(stderr);
    s->has_bar = true;
    s->drawn_at_ms = now_ms;
}

static const char *const NEWS[] = {
    [SCRUB_NEWS_DAMAGED] = "damaged",   [SCRUB_NEWS_REMOVED] = "removed",
    [SCRUB_NEWS_BAD_PUSHED] = "pushed", [SCRUB_NEWS_HEALED] = "healed",
    [SCRUB_NEWS_UNREADABLE] = "error",  [SCRUB_NEWS_LINK] = "link",
    [SCRUB_NEWS_MISSING] = "missing",   [SCRUB_NEWS_TAG_REMOVED] = "removed",
    [SCRUB_NEWS_BAD_TAG] = "pushed",
};
_Static_assert(sizeof(NEWS) / sizeof(NEWS[0]) == SCRUB_NEWS_MAX, "a word for all news");

static void note_damaged(struct display *s, const struct digest *d)
{
    if (!s->damaged)
        s->damaged = xcalloc(SCRUB_SUSPECTS_MAX, sizeof(s->damaged[0]));
    if (s->n_damaged < SCRUB_SUSPECTS_MAX)
        s->damaged[s->n_damaged] = *d;
    s->n_damaged++;
}

static void on_news(void *arg, enum scrub_news news, const struct digest *d, const char *detail)
{
    char text[DIGEST_TEXT_SIZE] = "-";

    wipe(arg);
    if (d)
        digest_format(d, text);
    if (news == SCRUB_NEWS_DAMAGED)
        note_damaged(arg, d);
    printf("%s %s %s\n", NEWS[news], text, detail);
    fflush(stdout);
}

static int print_end(const struct scrub_report *r, bool is_dry)
{
    bool is_clean = r->n_damaged + r->n_unreadable + r->n_links_repaired + r->n_missing +
                        r->n_bad_pushed + r->n_tags_removed + r->n_bad_tags ==
                    0;

    printf("%s: %" PRIu64 " blobs, %" PRIu64 " bytes, %" PRIu64 " links; damaged %" PRIu64
           ", %s %" PRIu64 ", pushed and damaged %" PRIu64 ", missing %" PRIu64
           ", links %s %" PRIu64 ", not readable %" PRIu64 "; %" PRIu64 " tags, %s %" PRIu64
           ", pushed and damaged %" PRIu64 "\n",
           is_clean ? "clean" : "not clean", r->n_blobs, r->bytes, r->n_links, r->n_damaged,
           is_dry ? "would be removed" : "removed", r->n_removed, r->n_bad_pushed, r->n_missing,
           is_dry ? "to be repaired" : "repaired", r->n_links_repaired, r->n_unreadable, r->n_tags,
           is_dry ? "would be removed" : "removed", r->n_tags_removed, r->n_bad_tags);
    if (fflush(stdout) != 0) {
        perror("mirrord: standard output");
        return EXIT_FAILURE;
    }
    return is_clean ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- beside a daemon -------------------------------------------------------------------------- */

/* -EBUSY: it takes no more, or scrub.rate forbids it. */
static int post(struct admin_client *client, const char *path, struct error *err)
{
    struct admin_answer answer;
    int rc = admin_client_call(client, "POST", path, &answer, err);

    if (rc < 0)
        return rc;
    if (answer.status != 202)
        rc = error_set(err, answer.status == 409 ? -EBUSY : -EPROTO,
                       "it answers with status %d: %.*s", answer.status, (int)answer.body.len,
                       answer.body.ptr ? answer.body.ptr : "");
    admin_answer_fini(&answer);
    return rc;
}

/* One by one; what it does not take so it finds in a pass over all. */
static int give(struct admin_client *client, const struct display *s, bool *is_pass,
                struct error *err)
{
    char path[DIGEST_TEXT_SIZE + 32] = "/scrub?digest=";
    size_t n_prefix = strlen(path);
    int rc = 0;

    CHECK(s->n_damaged > 0 && s->damaged);
    for (size_t i = 0; i < s->n_damaged && i < SCRUB_SUSPECTS_MAX && rc == 0; i++) {
        digest_format(&s->damaged[i], path + n_prefix);
        rc = post(client, path, err);
    }
    *is_pass = rc == -EBUSY || (rc == 0 && s->n_damaged > SCRUB_SUSPECTS_MAX);
    return *is_pass ? post(client, "/scrub", err) : rc;
}

/* The daemon looks for itself, and knows what it has open and whom to ask. */
static void give_to_daemon(const struct config *config, const struct display *s)
{
    struct admin_client *client = NULL;
    struct error err;
    bool is_pass = false;

    if (s->n_damaged == 0)
        return;
    int rc = admin_client_open(config, &client, &err);
    if (rc == 0)
        rc = give(client, s, &is_pass, &err);
    admin_client_close(&client);
    if (rc < 0)
        fprintf(stderr, "mirrord verify: the daemon is not told of what is damaged: %s\n",
                err.text);
    else
        fprintf(stderr, "mirrord verify: the daemon is told of %zu damaged blobs%s\n", s->n_damaged,
                is_pass ? ", and looks at all" : "");
}

/* --- what is done ----------------------------------------------------------------------------- */

/* What it writes must belong to the daemon's user. */
static int become_daemon(const struct config *config, struct error *err)
{
    return privileges_drop(config_str(config, OPT_REGISTRY_USER),
                           config_str(config, OPT_REGISTRY_GROUP), err);
}

static int verify(struct cache_config *config, const struct scrub_verify *how,
                  struct scrub_report *report, struct error *err)
{
    struct cache *cache;

    /* Opening makes folders; a wrong path is to be told. */
    if (access(config->storage_path, F_OK) < 0)
        return error_sys(err, -errno, "storage %s", config->storage_path);
    if (how->is_dry)
        return scrub_verify(NULL, config->storage_path, how, report, err);
    config->pool = pool_new(1);
    int rc = cache_open(config, &cache, err);
    if (rc == 0) {
        rc = scrub_verify(cache_scrub(cache), config->storage_path, how, report, err);
        cache_close(&cache);
    }
    pool_free(&config->pool);
    return rc;
}

static bool read_numbers(const struct command_line *line, struct scrub_verify *how)
{
    uint64_t n_jobs = 1;
    int64_t rate = 0;

    if (line->jobs &&
        (!slice_to_u64(slice_of(line->jobs), &n_jobs) || n_jobs == 0 || n_jobs > JOBS_MAX)) {
        fprintf(stderr, "mirrord verify: --jobs: a number from 1 to %d\n", JOBS_MAX);
        return false;
    }
    if (line->rate && (!config_number_bytes(slice_of(line->rate), &rate) || rate <= 0)) {
        fprintf(stderr, "mirrord verify: --rate: bytes per second, such as 50MiB\n");
        return false;
    }
    how->n_threads = (unsigned)n_jobs;
    how->rate_bytes = (uint64_t)rate;
    return true;
}

int verify_command_run(const struct command_line *line, struct config *config)
{
    struct display display = {.is_terminal = isatty(STDERR_FILENO)};
    struct scrub_verify how = {
        .is_dry = line->is_dry, .tell = on_news, .progress = on_progress, .arg = &display};
    struct cache_config cache = settings_cache(config, NULL);
    struct scrub_report report = {0};
    struct error err;

    if (!read_numbers(line, &how))
        return 2;
    log_set_level(LOG_ERROR);
    int rc = how.is_dry ? 0 : become_daemon(config, &err);
    if (rc == 0)
        rc = verify(&cache, &how, &report, &err);
    bool has_daemon = rc == -EBUSY;
    if (has_daemon) {
        fprintf(stderr,
                "mirrord verify: a running daemon uses %s: nothing is changed here, it is told of "
                "what is damaged\n",
                cache.storage_path);
        how.is_dry = true;
        rc = verify(&cache, &how, &report, &err);
    }
    wipe(&display);
    if (has_daemon && rc == 0)
        give_to_daemon(config, &display);
    free(display.damaged);
    if (rc == 0)
        return print_end(&report, how.is_dry);
    fflush(stdout);
    fprintf(stderr, "mirrord verify: %s\n", err.text);
    return EXIT_FAILURE;
}
