#include "config.h"

#include "cache/cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/evict.h"
#include "cache/gc_private.h"
#include "cache/ledger_private.h"
#include "cache/store_private.h"

struct cache {
    struct layout *layout;
    struct errands *errands;
    struct vouches *vouches;
    struct store *store;
    struct fills *fills;
    struct links *links;
    struct manifests *manifests;
    struct tags *tags;
    struct repos *repos;
    struct referrers *referrers;
    struct storage_lock *lock; /* NULL: not to be had, and nothing is collected */
    struct gc *gc;
    struct pins *pins;
    struct ledger *ledger;
    struct evict *evict;
    struct uploads *uploads;
    struct sweep_ages sweep_ages;
    struct errand sweeping;
    atomic_bool is_sweeping;
};

static int make_folders(const struct layout *l, struct error *err)
{
    const char *const folders[] = {
        layout_blobs(l),
        layout_repositories(l),
        layout_fills(l),
        layout_tmp(l),
    };

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int rc = disk_make_folders(folders[i], err);
        /* What is there can be served all the same. */
        if (rc == -EROFS && disk_make_folders(layout_root(l), NULL) == 0) {
            log_warning("store", "%s; nothing new will be kept", err->text);
            return 0;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* From here on other processes know of this one. */
static struct gc *make_gc(struct cache *c, const struct cache_config *config)
{
    struct error why;

    c->lock = storage_lock_new(c->layout, &why);
    if (!c->lock)
        log_warning("gc", "%s; nothing is collected", why.text);
    struct gc_place place = {
        .layout = c->layout,
        .store = c->store,
        .links = c->links,
        .lock = c->lock,
        .vouches = c->vouches,
        .grace_s = config->gc_grace_s,
    };
    return gc_new(&place, c->errands, config->gc_batch);
}

static void on_grown(void *arg)
{
    struct cache *c = arg;

    evict_start(c->evict);
}

/* What is stored is noted from here on. */
static void make_ledger(struct cache *c)
{
    c->pins = pins_new(c->layout);
    c->ledger = ledger_new(c->layout, c->errands, c->pins);
    pins_set_ledger(c->pins, c->ledger);
    store_set_ledger(c->store, c->ledger);
    links_set_ledger(c->links, c->ledger);
    tags_set_ledger(c->tags, c->ledger);
    struct evict_place place = {
        .errands = c->errands,
        .ledger = c->ledger,
        .store = c->store,
        .links = c->links,
        .tags = c->tags,
        .manifests = c->manifests,
        .fills = c->fills,
        .vouches = c->vouches,
        .lock = c->lock,
    };
    c->evict = evict_new(&place);
    ledger_on_grown(c->ledger, on_grown, c);
}

int cache_open(const struct cache_config *config, struct cache **out, struct error *err)
{
    struct error why;
    struct layout *layout = layout_new(config->storage_path);
    int rc = make_folders(layout, &why);

    if (rc < 0) {
        layout_free(&layout);
        return error_set(err, rc, "storage: %s", why.text);
    }
    struct cache *c = xcalloc(1, sizeof(*c));
    c->layout = layout;
    c->errands = errands_new(config->pool);
    c->sweep_ages = (struct sweep_ages){config->partial_max_age_s, config->upload_max_age_s};
    c->vouches = vouches_new(layout, config->gc_grace_s);
    c->store = store_new(layout, c->errands, c->vouches, config);
    c->fills = fills_new(layout, c->errands, c->store, config);
    /* Bodies are larger than records and links, and there are fewer of them. */
    c->links = links_new(layout, c->errands, config->manifest_memory_bytes / 8);
    struct manifest_tools tools = {c->errands, c->store, c->links, c->vouches};
    c->manifests = manifests_new(&tools, config->manifest_memory_bytes / 8 * 5);
    c->tags = tags_new(layout, c->errands, config->manifest_memory_bytes / 32 * 7);
    c->repos = repos_new(layout, c->errands);
    c->referrers = referrers_new(layout, c->errands, config->manifest_memory_bytes / 32);
    c->uploads = uploads_new(layout, c->errands, c->store, c->links, c->vouches, config);
    c->gc = make_gc(c, config);
    make_ledger(c);
    *out = c;
    return 0;
}

void cache_drain(struct cache *c)
{
    errands_wait(c->errands);
}

void cache_close(struct cache **cc)
{
    struct cache *c = *cc;

    if (!c)
        return;
    CHECK(!worker_current());
    gc_stop(c->gc);
    evict_stop(c->evict);
    ledger_stop(c->ledger);
    errands_wait(c->errands);
    gc_free(&c->gc);
    ledger_close(c->ledger);
    evict_free(&c->evict);
    uploads_free(&c->uploads);
    fills_free(&c->fills);
    referrers_free(&c->referrers);
    repos_free(&c->repos);
    tags_free(&c->tags);
    manifests_free(&c->manifests);
    links_free(&c->links);
    store_free(&c->store);
    /* Closing the last descriptors may have become errands. */
    errands_wait(c->errands);
    errands_free(&c->errands);
    vouches_free(&c->vouches);
    storage_lock_free(&c->lock);
    ledger_free(&c->ledger);
    pins_free(&c->pins);
    layout_free(&c->layout);
    free(c);
    *cc = NULL;
}

struct store *cache_store(struct cache *c)
{
    return c->store;
}

struct vouches *cache_vouches(struct cache *c)
{
    return c->vouches;
}

struct fills *cache_fills(struct cache *c)
{
    return c->fills;
}

struct manifests *cache_manifests(struct cache *c)
{
    return c->manifests;
}

struct tags *cache_tags(struct cache *c)
{
    return c->tags;
}

struct repos *cache_repos(struct cache *c)
{
    return c->repos;
}

struct referrers *cache_referrers(struct cache *c)
{
    return c->referrers;
}

struct links *cache_links(struct cache *c)
{
    return c->links;
}

struct gc *cache_gc(struct cache *c)
{
    return c->gc;
}

struct ledger *cache_ledger(struct cache *c)
{
    return c->ledger;
}

struct pins *cache_pins(struct cache *c)
{
    return c->pins;
}

struct evict *cache_evict(struct cache *c)
{
    return c->evict;
}

struct uploads *cache_uploads(struct cache *c)
{
    return c->uploads;
}

static void do_sweep(struct errand *e)
{
    struct cache *c = (struct cache *)((char *)e - offsetof(struct cache, sweeping));

    sweep_run(c->layout, c->fills, c->uploads, &c->sweep_ages);
    atomic_store(&c->is_sweeping, false);
}

void cache_tend(struct cache *c)
{
    ledger_tend(c->ledger);
    evict_start(c->evict);
}

void cache_sweep(struct cache *c)
{
    /* One at a time; a second one would find nothing else. */
    if (!atomic_exchange(&c->is_sweeping, true))
        errand_submit(c->errands, &c->sweeping, do_sweep, NULL);
}
