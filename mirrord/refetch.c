#include "config.h"

#include "mirrord/refetch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/fill.h"
#include "cache/store.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/resolve.h"

#define PREFIX "scrub"

struct item {
    struct item *next;
    enum link_kind kind;
    struct digest digest;
    char *repo;
};

struct refetch {
    struct api *api;
    struct worker *home;
    /* Of the home worker. At most one of fill and is_asking is on. */
    struct item *now;
    struct fill *fill;
    struct fill_reader *reader;
    bool is_asking;
    struct resolve_waiter waiter;
    pthread_mutex_t lock; /* guards what follows */
    struct item *first, **last;
    unsigned n;
    bool is_stopping;
};

struct refetch *refetch_new(struct api *api, struct worker *home)
{
    struct refetch *r = xcalloc(1, sizeof(*r));

    CHECK(api && home);
    r->api = api;
    r->home = home;
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void item_free(struct item **it)
{
    if (*it)
        free((*it)->repo);
    free(*it);
    *it = NULL;
}

void refetch_free(struct refetch **rr)
{
    struct refetch *r = *rr;

    if (!r)
        return;
    CHECK(!r->reader && !r->fill);
    item_free(&r->now);
    while (r->first) {
        struct item *it = r->first;
        r->first = it->next;
        item_free(&it);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
    *rr = NULL;
}

/* --- one of them ------------------------------------------------------------------------------ */

static void do_next(void *arg);

static void finish(struct refetch *r, bool is_back)
{
    char text[DIGEST_TEXT_SIZE];

    CHECK(r->now && !r->fill && !r->is_asking);
    digest_format(&r->now->digest, text);
    log_info(PREFIX, "%s of %s %s", text, r->now->repo,
             is_back ? "was fetched again" : "could not be fetched again");
    item_free(&r->now);
    worker_call(r->home, do_next, r);
}

static void on_fill(void *arg)
{
    struct refetch *r = arg;

    if (!fill_reader_want_end(r->reader))
        return;
    struct blob *blob = fill_blob(r->fill);
    bool is_back = blob != NULL;
    blob_unref(&blob);
    fill_reader_close(&r->reader);
    fill_unref(&r->fill);
    finish(r, is_back);
}

static void bring_blob(struct refetch *r)
{
    struct slice repo = slice_of(r->now->repo);
    struct pull_tools tools = api_pull_tools(r->api, repo);
    const struct digest *d = &r->now->digest;
    bool is_new;

    links_note_pending(tools.links, repo, d);
    r->fill = fills_join(r->api->fills, d, &is_new);
    r->reader = fill_reader_open(r->fill, 0, FILL_SIZE_UNKNOWN, on_fill, r);
    if (is_new)
        pull_start(&tools, r->fill, repo, 0, FILL_SIZE_UNKNOWN);
    else
        links_drop_pending(tools.links, repo, d);
    on_fill(r);
}

static void on_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct refetch *r = arg;

    (void)is_first;
    r->is_asking = false;
    finish(r, a->error == API_ERROR_NONE && a->manifest && a->is_kept);
}

static void bring_manifest(struct refetch *r)
{
    char text[DIGEST_TEXT_SIZE];
    struct slice repo = slice_of(r->now->repo);
    struct slice digest = {text, digest_format(&r->now->digest, text)};

    if (resolve_is_held(r->api->resolver, repo, digest)) {
        finish(r, false);
        return;
    }
    r->is_asking = true;
    r->waiter = (struct resolve_waiter){.done = on_answer, .arg = r};
    resolve_ask(r->api->resolver, RESOLVE_DIGEST_GET, repo, digest, &r->waiter);
}

/* --- all of them ------------------------------------------------------------------------------ */

/* No client waits for it: what is left of the upstream's limit is for those who do. Any thread. */
static bool may_ask(const struct refetch *r, const char *repo)
{
    struct slice name = slice_of(repo);

    return precedence_can_ask(r->api, name, SLICE_NONE) && !api_is_saving(r->api, name);
}

static struct item *take(struct refetch *r)
{
    pthread_mutex_lock(&r->lock);
    struct item *it = r->is_stopping ? NULL : r->first;
    if (it) {
        r->first = it->next;
        if (!r->first)
            r->last = &r->first;
        r->n--;
    }
    pthread_mutex_unlock(&r->lock);
    return it;
}

/* The upstream may have become one that is not to be asked since it was queued: then it is gone
 * from here, too, and is not tried again. */
static void skip(struct item **it)
{
    char text[DIGEST_TEXT_SIZE];

    digest_format(&(*it)->digest, text);
    log_info(PREFIX, "%s of %s is left to the next client", text, (*it)->repo);
    item_free(it);
}

static void do_next(void *arg)
{
    struct refetch *r = arg;

    if (r->now)
        return;
    while ((r->now = take(r)) && !may_ask(r, r->now->repo))
        skip(&r->now);
    if (r->now && r->now->kind == LINK_REVISION)
        bring_manifest(r);
    else if (r->now)
        bring_blob(r);
}

bool refetch_ask(void *arg, enum link_kind kind, const char *repo, const struct digest *d)
{
    struct refetch *r = arg;

    if (!may_ask(r, repo))
        return false;
    pthread_mutex_lock(&r->lock);
    bool can = !r->is_stopping && r->n < REFETCH_MAX;
    if (can) {
        struct item *it = xcalloc(1, sizeof(*it));
        it->kind = kind;
        it->digest = *d;
        it->repo = xstrdup(repo);
        *r->last = it;
        r->last = &it->next;
        r->n++;
    }
    pthread_mutex_unlock(&r->lock);
    if (can)
        worker_call(r->home, do_next, r);
    return can;
}

static void do_stop(void *arg)
{
    struct refetch *r = arg;

    if (r->reader)
        fill_reader_close(&r->reader);
    fill_unref(&r->fill);
    if (r->is_asking && resolve_leave(r->api->resolver, &r->waiter))
        r->is_asking = false;
}

void refetch_stop(struct refetch *r)
{
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_mutex_unlock(&r->lock);
    worker_call(r->home, do_stop, r);
}
