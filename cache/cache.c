#include "config.h"

#include "cache/cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/redis.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/evict.h"
#include "cache/gc_private.h"
#include "cache/scrub_private.h"
#include "cache/ledger_private.h"
#include "cache/link.h"
#include "cache/meta.h"
#include "cache/news.h"
#include "cache/store_private.h"
#include "cache/tag.h"

struct cache {
    struct layout *layout;
    struct errands *errands;
    struct redis *redis, *redis_objects; /* NULL: none */
    struct meta *meta;
    struct meta *meta_objects; /* NULL: none */
    struct objects *objects;   /* NULL: none */
    struct news *news;         /* NULL: none */
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
    struct scrub *scrub;
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
static void make_lock(struct cache *c)
{
    struct error why;

    c->lock = storage_lock_new(c->layout, &why);
    if (!c->lock)
        log_warning("gc", "%s; nothing is collected", why.text);
}

static struct gc *make_gc(struct cache *c, const struct cache_config *config)
{
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

static struct scrub *make_scrub(struct cache *c)
{
    struct scrub_place place = {
        .layout = c->layout,
        .store = c->store,
        .vouches = c->vouches,
        .manifests = c->manifests,
        .tags = c->tags,
        .lock = c->lock,
    };
    return scrub_new(&place);
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

/* --- other processes -------------------------------------------------------------------------- */

static void on_news(void *arg, enum news_kind kind, struct slice repo, struct slice name)
{
    struct cache *c = arg;
    struct digest d;

    if (kind == NEWS_TAG)
        tags_doubt(c->tags, repo, name);
    else if (digest_parse(name, &d))
        links_doubt(c->links, kind == NEWS_LAYER ? LINK_LAYER : LINK_REVISION, repo, &d);
}

static void on_doubt(void *arg)
{
    struct cache *c = arg;

    tags_doubt_all(c->tags);
    links_doubt_all(c->links);
}

static void on_distrust(void *arg, int64_t until_s)
{
    struct cache *c = arg;

    tags_distrust(c->tags, until_s);
}

static const struct news_ops NEWS_OPS = {on_news, on_doubt, on_distrust};

static void on_lost(void *arg)
{
    struct cache *c = arg;

    news_note_lost(c->news);
}

static void make_shared(struct cache *c, const struct cache_config *config)
{
    const char *first = config->redis_prefix ? config->redis_prefix : "";
    const char *scope = config->redis_scope ? config->redis_scope : "";
    char *prefix = xasprintf("%s:1:%s:", first, scope);
    char *objects = xasprintf("%s:1:", first);
    char *channel = xasprintf("%s:1:news", first);

    c->redis = config->redis;
    c->redis_objects = config->redis_objects;
    if (c->redis) {
        c->meta = meta_redis_new(META_TAGS, c->redis, prefix);
        meta_on_lost(c->meta, on_lost, c);
        c->news = news_new(c->redis, channel, config->redis_unheard_ms);
        news_set_ops(c->news, &NEWS_OPS, c);
    } else {
        c->meta = meta_memory_new(META_TAGS, config->manifest_memory_bytes / 64);
    }
    if (c->redis_objects) {
        c->meta_objects = meta_redis_new(META_OBJECTS, c->redis_objects, objects);
        c->objects = objects_new(c->meta_objects, c->errands, config->redis_object_max_bytes);
    }
    free(prefix);
    free(objects);
    free(channel);
}

void cache_open_here(struct cache *c)
{
    if (c->redis)
        redis_open_here(c->redis);
    if (c->redis_objects)
        redis_open_here(c->redis_objects);
    if (c->redis && redis_herald(c->redis) == worker_current())
        news_open_here(c->news);
}

void cache_close_here(struct cache *c)
{
    if (c->redis && redis_herald(c->redis) == worker_current())
        news_close_here(c->news);
    if (c->redis)
        redis_close_here(c->redis);
    if (c->redis_objects)
        redis_close_here(c->redis_objects);
}

void cache_print_shared_json(const struct cache *c, struct strbuf *out)
{
    if (c->redis) {
        strbuf_add_str(out, ",\"cache\":");
        redis_print_json(c->redis, out);
    }
    if (c->redis_objects) {
        strbuf_add_str(out, ",\"cache_lru\":");
        redis_print_json(c->redis_objects, out);
    }
}

/* ---------------------------------------------------------------------------------------------- */

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
    make_lock(c);
    make_shared(c, config);
    c->links = links_new(layout, c->errands, config->manifest_memory_bytes / 8, c->lock, c->news);
    struct manifest_tools tools = {.errands = c->errands,
                                   .store = c->store,
                                   .links = c->links,
                                   .vouches = c->vouches,
                                   .meta = c->meta,
                                   .objects = c->objects};
    c->manifests = manifests_new(&tools, config->manifest_memory_bytes / 8 * 5);
    c->tags = tags_new(layout, c->errands, config->manifest_memory_bytes / 64 * 13, c->lock,
                       c->meta, c->news);
    c->repos = repos_new(layout, c->errands);
    c->referrers = referrers_new(layout, c->errands, config->manifest_memory_bytes / 32);
    c->uploads = uploads_new(layout, c->errands, c->store, c->links, c->vouches, config);
    c->gc = make_gc(c, config);
    c->scrub = make_scrub(c);
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
    scrub_free(&c->scrub);
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
    meta_free(&c->meta);
    objects_free(&c->objects);
    meta_free(&c->meta_objects);
    news_free(&c->news);
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

struct scrub *cache_scrub(struct cache *c)
{
    return c->scrub;
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

struct objects *cache_objects(struct cache *c)
{
    return c->objects;
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

int cache_reindex_now(struct cache *c, struct ledger_report *out, struct error *err)
{
    if (!c->lock)
        return error_set(err, -ENOLCK, "the storage could not be locked");
    int rc = storage_lock_enter(c->lock);
    if (rc < 0)
        return error_sys(err, rc, "lock the storage");
    storage_lock_leave(c->lock);
    rc = ledger_walk_now(c->ledger, true, err);
    ledger_read_report(c->ledger, out);
    return rc;
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
