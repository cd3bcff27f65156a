#include "config.h"

#include "cache/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/doubts.h"
#include "cache/ledger.h"
#include "cache/link_file.h"
#include "cache/lru.h"
#include "cache/news.h"
#include "cache/storage_lock.h"

#define N_SHARDS 8
#define N_STRIPES                                                                                  \
    (STORAGE_PLACES - STORAGE_LINKS) /* they are places in the storage's lock, too                 \
                                      */
#define N_BUCKETS 256

/* What the memory front knows: links that are. */
struct entry {
    struct lru_item item; /* first */
    enum link_kind kind;
    uint32_t doubts; /* when the storage was read, or written */
    struct origin origin;
    struct digest digest;
    size_t n_repo;
    char repo[];
};

/* A fill runs through this repository, or is about to. */
struct pending {
    struct pending *next;
    struct digest digest;
    unsigned n;
    size_t n_repo;
    char repo[];
};

struct links {
    struct layout *layout;
    struct errands *errands;
    struct ledger *ledger; /* NULL: nobody wants to know. Told under the stripe, in order */
    struct lru *lru;
    struct news *news;              /* NULL: nobody to tell */
    struct storage_lock *lock_file; /* NULL: not to be had */
    struct doubts doubts;
    struct doubts removals; /* counts those that were removed; under the stripe */
    /* Held over work on a link's files and its place in memory, so that both say the same after
     * any mix of adding, loading and removing. Pool threads only. */
    pthread_mutex_t stripes[N_STRIPES];
    pthread_mutex_t lock; /* guards the buckets */
    struct pending *buckets[N_BUCKETS];
    atomic_uint n_pending; /* in the buckets */
};

/* One load, or adding of a mirrored link, under way. */
struct story {
    struct errand errand; /* first */
    struct links *links;
    enum link_kind kind;
    struct digest digest;
    struct origin origin;
    uint32_t n_removals; /* when it was noted */
    int rc;
    link_load_fn loaded;
    void *arg;
    size_t n_repo;
    char repo[];
};

/* --- memory ----------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct link_name *name)
{
    return lru_hash(name->repo.ptr, name->repo.len, digest_key(name->digest) + name->kind);
}

static bool entry_has_key(const struct lru_item *it, const void *key)
{
    const struct entry *e = (const struct entry *)it;
    const struct link_name *name = key;

    return e->kind == name->kind && digest_equal(&e->digest, name->digest) &&
           slice_equal((struct slice){e->repo, e->n_repo}, name->repo);
}

/* What is looked for, and where to. */
struct finding {
    const struct links *links;
    struct origin *out;
};

static bool entry_take(struct lru_item *it, void *out)
{
    const struct entry *e = (const struct entry *)it;
    const struct finding *f = out;

    if (doubts_now(&f->links->doubts, it->hash) != e->doubts)
        return false;
    *f->out = e->origin;
    return true;
}

static void entry_drop(struct lru_item *it)
{
    free(it);
}

static const struct lru_kind ENTRIES = {
    .has_key = entry_has_key,
    .take = entry_take,
    .drop = entry_drop,
};

/* doubts: from before the storage was read or written. is_news: replaces what is remembered. */
static void remember(struct links *ls, const struct link_name *name, const struct origin *origin,
                     uint32_t doubts, bool is_news)
{
    struct origin known;
    size_t bytes = sizeof(struct entry) + name->repo.len;
    struct entry *e = xcalloc(1, bytes);

    e->kind = name->kind;
    e->doubts = doubts;
    e->origin = *origin;
    e->digest = *name->digest;
    e->n_repo = name->repo.len;
    memcpy(e->repo, name->repo.ptr, name->repo.len);
    /* What is there and in doubt is replaced as well. */
    if (is_news || !links_find_origin(ls, name->kind, name->repo, name->digest, &known))
        lru_put(ls->lru, &e->item, hash_of(name), name, bytes);
    else
        lru_put_new(ls->lru, &e->item, hash_of(name), name, bytes);
}

struct links *links_new(struct layout *l, struct errands *errands, size_t memory_bytes,
                        struct storage_lock *lock, struct news *news)
{
    struct links *ls = xcalloc(1, sizeof(*ls));

    ls->lock_file = lock;
    ls->news = news;

    ls->layout = l;
    ls->errands = errands;
    ls->lru = lru_new(&ENTRIES, memory_bytes, N_SHARDS);
    for (size_t i = 0; i < N_STRIPES; i++)
        pthread_mutex_init(&ls->stripes[i], NULL);
    pthread_mutex_init(&ls->lock, NULL);
    return ls;
}

void links_set_ledger(struct links *ls, struct ledger *ledger)
{
    ls->ledger = ledger;
}

void links_free(struct links **lls)
{
    struct links *ls = *lls;

    if (!ls)
        return;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (ls->buckets[i]) {
            struct pending *p = ls->buckets[i];
            ls->buckets[i] = p->next;
            free(p);
        }
    }
    pthread_mutex_destroy(&ls->lock);
    for (size_t i = 0; i < N_STRIPES; i++)
        pthread_mutex_destroy(&ls->stripes[i]);
    lru_free(&ls->lru);
    free(ls);
    *lls = NULL;
}

bool links_find_origin(struct links *ls, enum link_kind kind, struct slice repo,
                       const struct digest *d, struct origin *out)
{
    struct link_name name = {kind, repo, d};
    struct finding finding = {ls, out};

    return lru_find(ls->lru, hash_of(&name), &name, &finding);
}

/* --- other processes -------------------------------------------------------------------------- */

static uint32_t doubts_of(const struct links *ls, const struct link_name *name)
{
    return doubts_now(&ls->doubts, hash_of(name));
}

static void tell(struct links *ls, const struct link_name *name)
{
    char digest[DIGEST_TEXT_SIZE];
    size_t n = digest_format(name->digest, digest);

    news_tell(ls->news, name->kind == LINK_LAYER ? NEWS_LAYER : NEWS_REVISION, name->repo,
              (struct slice){digest, n});
}

void links_doubt(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d)
{
    struct link_name name = {kind, repo, d};

    doubts_raise(&ls->doubts, hash_of(&name));
}

void links_doubt_all(struct links *ls)
{
    doubts_raise_all(&ls->doubts);
}

/* --- what is being asked ---------------------------------------------------------------------- */

/* Where the entry of this blob and repository hangs, or where the chain ends. */
static struct pending **find_pending_locked(struct links *ls, struct slice repo,
                                            const struct digest *d)
{
    struct pending **at = &ls->buckets[digest_key(d) % N_BUCKETS];

    while (*at && !(digest_equal(&(*at)->digest, d) &&
                    slice_equal((struct slice){(*at)->repo, (*at)->n_repo}, repo)))
        at = &(*at)->next;
    return at;
}

static bool is_pending(struct links *ls, struct slice repo, const struct digest *d)
{
    if (atomic_load(&ls->n_pending) == 0)
        return false;
    pthread_mutex_lock(&ls->lock);
    bool is_there = *find_pending_locked(ls, repo, d) != NULL;
    pthread_mutex_unlock(&ls->lock);
    return is_there;
}

void links_note_pending(struct links *ls, struct slice repo, const struct digest *d)
{
    pthread_mutex_lock(&ls->lock);
    struct pending **at = find_pending_locked(ls, repo, d);
    if (!*at) {
        struct pending *p = xcalloc(1, sizeof(*p) + repo.len);
        p->digest = *d;
        p->n_repo = repo.len;
        memcpy(p->repo, repo.ptr, repo.len);
        *at = p;
        atomic_fetch_add(&ls->n_pending, 1);
    }
    (*at)->n++;
    pthread_mutex_unlock(&ls->lock);
}

void links_drop_pending(struct links *ls, struct slice repo, const struct digest *d)
{
    struct pending *gone = NULL;

    pthread_mutex_lock(&ls->lock);
    struct pending **at = find_pending_locked(ls, repo, d);
    CHECK(*at && (*at)->n > 0);
    if (--(*at)->n == 0) {
        gone = *at;
        *at = gone->next;
        atomic_fetch_sub(&ls->n_pending, 1);
    }
    pthread_mutex_unlock(&ls->lock);
    free(gone);
}

enum link_state links_find(struct links *ls, enum link_kind kind, struct slice repo,
                           const struct digest *d)
{
    struct origin origin;

    if (links_find_origin(ls, kind, repo, d, &origin))
        return LINK_YES;
    return kind == LINK_LAYER && is_pending(ls, repo, d) ? LINK_PENDING : LINK_UNKNOWN;
}

/* --- the storage ------------------------------------------------------------------------------ */

static unsigned stripe_number(const struct link_name *name)
{
    return (unsigned)(digest_key(name->digest) % N_STRIPES);
}

static pthread_mutex_t *stripe_of(struct links *ls, const struct link_name *name)
{
    return &ls->stripes[stripe_number(name)];
}

/* Other threads, then other processes are kept out. */
static void begin_change(struct links *ls, const struct link_name *name)
{
    pthread_mutex_lock(stripe_of(ls, name));
    storage_lock_hold(ls->lock_file, STORAGE_LINKS + stripe_number(name));
}

static void end_change(struct links *ls, const struct link_name *name)
{
    storage_lock_release(ls->lock_file, STORAGE_LINKS + stripe_number(name));
    pthread_mutex_unlock(stripe_of(ls, name));
}

int links_load_now(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d,
                   struct origin *out)
{
    struct link_name name = {kind, repo, d};
    struct origin origin;
    int rc = 0;

    if (!layout_repo_is_valid(repo))
        return -ENOENT;
    uint32_t doubts = doubts_of(ls, &name);
    if (!links_find_origin(ls, kind, repo, d, &origin)) {
        pthread_mutex_lock(stripe_of(ls, &name));
        rc = link_file_load(ls->layout, &name, &origin);
        if (rc == 0)
            remember(ls, &name, &origin, doubts, false);
        pthread_mutex_unlock(stripe_of(ls, &name));
    }
    if (rc == 0 && out)
        *out = origin;
    return rc;
}

/* Into the storage, then into memory. */
uint32_t links_removals(struct links *ls, enum link_kind kind, struct slice repo,
                        const struct digest *d)
{
    struct link_name name = {kind, repo, d};

    return doubts_now(&ls->removals, hash_of(&name));
}

/* since: not when it was removed since then; NULL: whatever was. */
static int add_now(struct links *ls, const struct link_name *name, const struct origin *origin,
                   struct slice media_type, const uint32_t *since, struct error *err)
{
    struct origin now = *origin;
    uint32_t doubts = doubts_of(ls, name);

    if (!layout_repo_is_valid(name->repo))
        return error_set(err, -EINVAL, "repository name not usable");
    begin_change(ls, name);
    bool is_removed = since && *since != doubts_now(&ls->removals, hash_of(name));
    int rc = is_removed ? error_set(err, -ECANCELED, "it was removed meanwhile")
                        : link_file_add(ls->layout, name, media_type, &now, err);
    if (rc == 0) {
        remember(ls, name, &now, doubts, true);
        ledger_note_link(ls->ledger, name->kind, name->repo, name->digest, &now);
    }
    end_change(ls, name);
    /* Others may remember where it came from before. */
    if (rc == 0 && origin->is_pushed && name->kind == LINK_REVISION)
        tell(ls, name);
    return rc;
}

int links_add_layer_now(struct links *ls, struct slice repo, const struct digest *d,
                        const struct origin *origin, struct error *err)
{
    struct link_name name = {LINK_LAYER, repo, d};
    struct origin known;

    /* What a mirrored manifest references is known already when it comes again. */
    if (!origin->is_pushed && links_find_origin(ls, LINK_LAYER, repo, d, &known))
        return 0;
    return add_now(ls, &name, origin, SLICE_NONE, NULL, err);
}

int links_add_revision_now(struct links *ls, struct slice repo, const struct digest *d,
                           const struct origin *origin, struct slice media_type, struct error *err)
{
    struct link_name name = {LINK_REVISION, repo, d};

    return add_now(ls, &name, origin, media_type, NULL, err);
}

int links_keep_revision_now(struct links *ls, struct slice repo, const struct digest *d,
                            const struct link_kept *kept, struct error *err)
{
    struct link_name name = {LINK_REVISION, repo, d};

    return add_now(ls, &name, &kept->origin, kept->media_type, &kept->n_removals, err);
}

int links_remove_now(struct links *ls, enum link_kind kind, struct slice repo,
                     const struct digest *d, struct error *err)
{
    struct link_name name = {kind, repo, d};

    if (!layout_repo_is_valid(repo))
        return -ENOENT;
    struct origin known;
    begin_change(ls, &name);
    /* What was noted and is on its way to the storage is here for those who ask; it turns back. */
    bool is_noted = links_find_origin(ls, kind, repo, d, &known);
    int rc = link_file_remove(ls->layout, &name, DISK_DURABLE, err);
    if (rc == -ENOENT && is_noted)
        rc = 0;
    if (rc == 0)
        doubts_raise(&ls->removals, hash_of(&name));
    if (rc == 0 || rc == -ENOENT)
        ledger_note_link_gone(ls->ledger, kind, repo, d);
    /* Whatever happened: the storage is asked next time. */
    lru_remove(ls->lru, hash_of(&name), &name);
    end_change(ls, &name);
    tell(ls, &name);
    return rc;
}

int links_drop_mirrored_now(struct links *ls, enum link_kind kind, struct slice repo,
                            const struct digest *d, struct error *err)
{
    struct link_name name = {kind, repo, d};

    if (!layout_repo_is_valid(repo))
        return -ENOENT;
    pthread_mutex_lock(stripe_of(ls, &name));
    int rc = link_file_look(ls->layout, &name);
    if (rc == 0)
        rc = link_file_remove(ls->layout, &name, DISK_WHOLE, err);
    else if (rc != -ENOENT && rc != -EEXIST)
        error_sys(err, rc, "read a link of %.*s", SLICE_ARG(repo));
    if (rc != -EEXIST)
        lru_remove(ls->lru, hash_of(&name), &name);
    pthread_mutex_unlock(stripe_of(ls, &name));
    return rc;
}

void links_media_type_now(struct links *ls, struct slice repo, const struct digest *d,
                          struct strbuf *out)
{
    struct link_name name = {LINK_REVISION, repo, d};

    if (layout_repo_is_valid(repo))
        link_file_media_type(ls->layout, &name, out);
}

/* --- off the loop ----------------------------------------------------------------------------- */

static struct story *story_new(struct links *ls, enum link_kind kind, struct slice repo,
                               const struct digest *d)
{
    struct story *s = xcalloc(1, sizeof(*s) + repo.len);

    s->links = ls;
    s->kind = kind;
    s->digest = *d;
    s->n_repo = repo.len;
    memcpy(s->repo, repo.ptr, repo.len);
    return s;
}

static struct slice repo_of(const struct story *s)
{
    return (struct slice){s->repo, s->n_repo};
}

static void do_load(struct errand *e)
{
    struct story *s = (struct story *)e;

    s->rc = links_load_now(s->links, s->kind, repo_of(s), &s->digest, NULL);
}

static void on_loaded(struct errand *e)
{
    struct story *s = (struct story *)e;

    s->loaded(s->arg, s->rc);
    free(s);
}

void links_load(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d,
                link_load_fn done, void *arg)
{
    struct story *s = story_new(ls, kind, repo, d);

    s->loaded = done;
    s->arg = arg;
    errand_submit(ls->errands, &s->errand, do_load, on_loaded);
}

static void do_add(struct errand *e)
{
    struct story *s = (struct story *)e;
    struct link_name name = {LINK_LAYER, repo_of(s), &s->digest};
    char digest[DIGEST_TEXT_SIZE];
    struct error err;

    digest_format(&s->digest, digest);
    int rc = add_now(s->links, &name, &s->origin, SLICE_NONE, &s->n_removals, &err);
    if (rc < 0 && rc != -ECANCELED)
        log_warning("store", "%s not linked into %.*s: %s", digest, SLICE_ARG(name.repo), err.text);
    free(s);
}

/* upstream may be NULL: one whose name cannot be told. */
static struct origin mirrored_now(const char *upstream)
{
    return (struct origin){.upstream = upstream ? origin_upstream(slice_of(upstream)) : NULL,
                           .at_s = clock_wall_s()};
}

void links_note(struct links *ls, enum link_kind kind, struct slice repo, const struct digest *d,
                const char *upstream)
{
    struct link_name name = {kind, repo, d};
    struct origin origin = mirrored_now(upstream);

    if (layout_repo_is_valid(repo))
        remember(ls, &name, &origin, doubts_of(ls, &name), false);
}

void links_add(struct links *ls, struct slice repo, const struct digest *d, const char *upstream)
{
    struct origin known;

    if (!layout_repo_is_valid(repo) || links_find_origin(ls, LINK_LAYER, repo, d, &known))
        return;
    struct story *s = story_new(ls, LINK_LAYER, repo, d);
    struct link_name name = {LINK_LAYER, repo, d};
    s->origin = mirrored_now(upstream);
    s->n_removals = links_removals(ls, LINK_LAYER, repo, d);
    remember(ls, &name, &s->origin, doubts_of(ls, &name), false);
    errand_submit(ls->errands, &s->errand, do_add, NULL);
}
