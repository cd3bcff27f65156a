#include "config.h"

#include "cache/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "cache/upload_file.h"
#include "cache/upload_private.h"

#define N_BUCKETS 256

LIST_HEAD(bucket, upload);

struct uploads {
    struct layout *layout;
    struct errands *errands;
    struct store *store;
    struct links *links;
    struct vouches *vouches;
    unsigned n_open_max;
    pthread_mutex_t lock; /* guards all below, and what is in it */
    struct bucket buckets[N_BUCKETS];
    TAILQ_HEAD(, upload) idle; /* the one that waits longest first */
    unsigned n_idle;
};

/* One uploads_ask_size under way. */
struct size_ask {
    struct mail mail; /* first */
    struct errand errand;
    char *path;
    int rc;
    uint64_t size;
    upload_size_fn done;
    void *arg;
};

struct uploads *uploads_new(struct layout *l, struct errands *errands, struct store *store,
                            struct links *links, struct vouches *vouches,
                            const struct cache_config *config)
{
    struct uploads *us = xcalloc(1, sizeof(*us));

    CHECK(links && vouches);
    us->layout = l;
    us->errands = errands;
    us->store = store;
    us->links = links;
    us->vouches = vouches;
    us->n_open_max = config->uploads_open_max;
    pthread_mutex_init(&us->lock, NULL);
    TAILQ_INIT(&us->idle);
    return us;
}

void uploads_free(struct uploads **uus)
{
    struct uploads *us = *uus;

    if (!us)
        return;
    CHECK(!worker_current());
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (!LIST_EMPTY(&us->buckets[i])) {
            struct upload *u = LIST_FIRST(&us->buckets[i]);
            uploads_forget_locked(u);
            upload_abandon(u);
        }
    }
    pthread_mutex_destroy(&us->lock);
    free(us);
    *uus = NULL;
}

void uploads_lock(struct uploads *us)
{
    pthread_mutex_lock(&us->lock);
}

void uploads_unlock(struct uploads *us)
{
    pthread_mutex_unlock(&us->lock);
}

struct layout *uploads_layout(struct uploads *us)
{
    return us->layout;
}

struct errands *uploads_errands(struct uploads *us)
{
    return us->errands;
}

struct store *uploads_store(struct uploads *us)
{
    return us->store;
}

struct links *uploads_links(struct uploads *us)
{
    return us->links;
}

struct vouches *uploads_vouches(struct uploads *us)
{
    return us->vouches;
}

/* --- the table -------------------------------------------------------------------------------- */

/* Ids are random: their first digits are as good as a hash. */
static struct bucket *bucket_of(struct uploads *us, const char *id)
{
    int high = slice_hex_digit(id[0]), low = slice_hex_digit(id[1]);

    CHECK(high >= 0 && low >= 0);
    return &us->buckets[high * 16 + low];
}

static void enter_locked(struct upload *u)
{
    LIST_INSERT_HEAD(bucket_of(u->uploads, u->id), u, in_bucket);
    u->is_listed = true;
}

void uploads_forget_locked(struct upload *u)
{
    if (u->is_listed)
        LIST_REMOVE(u, in_bucket);
    u->is_listed = false;
}

/* Single ones are in the table, but not to be found. */
static struct upload *find_locked(struct uploads *us, struct slice repo, const char *id)
{
    struct upload *u;

    LIST_FOREACH(u, bucket_of(us, id), in_bucket)
    {
        if (!u->is_single && strcmp(u->id, id) == 0 && slice_equal(slice_of(u->repo), repo))
            return u;
    }
    return NULL;
}

/* An idle one is needed: for a holder, or for removal. */
static void take_idle_locked(struct upload *u)
{
    CHECK(u->state == UPLOAD_IDLE && u->uploads->n_idle > 0);
    TAILQ_REMOVE(&u->uploads->idle, u, in_idle);
    u->uploads->n_idle--;
}

static void close_first_locked(struct uploads *us)
{
    struct upload *u = TAILQ_FIRST(&us->idle);

    take_idle_locked(u);
    uploads_forget_locked(u);
    upload_goto_locked(u, UPLOAD_CLOSING);
    upload_poke_locked(u);
}

void uploads_rest_locked(struct upload *u)
{
    struct uploads *us = u->uploads;

    upload_goto_locked(u, UPLOAD_IDLE);
    TAILQ_INSERT_TAIL(&us->idle, u, in_idle);
    us->n_idle++;
    while (us->n_idle > us->n_open_max)
        close_first_locked(us);
}

static bool is_usable(struct slice repo, struct slice id)
{
    return layout_repo_is_valid(repo) && upload_id_is_valid(id);
}

/* --- asking for one --------------------------------------------------------------------------- */

static void on_answer(struct mail *m)
{
    struct upload_ask *ask = (struct upload_ask *)m;

    CHECK((ask->rc == 0) == (ask->upload != NULL));
    ask->done(ask->arg, ask->rc, ask->upload);
    free(ask);
}

static struct upload_ask *ask_new(upload_open_fn done, void *arg)
{
    struct upload_ask *ask = xcalloc(1, sizeof(*ask));

    ask->home = worker_current();
    CHECK(ask->home);
    ask->mail.fn = on_answer;
    ask->done = done;
    ask->arg = arg;
    return ask;
}

/* Work answers. */
static void load_locked(struct upload *u, struct upload_ask *ask)
{
    u->ask = ask;
    enter_locked(u);
    upload_poke_locked(u);
}

void uploads_create(struct uploads *us, struct slice repo, bool is_single, enum digest_alg alg,
                    upload_open_fn done, void *arg)
{
    struct upload_ask *ask = ask_new(done, arg);
    char id[UPLOAD_ID_SIZE];

    if (!layout_repo_is_valid(repo)) {
        ask->rc = -ENOENT;
        worker_later(ask->home, &ask->mail);
        return;
    }
    upload_id_make(id);
    struct upload *u = upload_new(us, repo, id, is_single);
    u->is_new = true;
    u->alg = alg;
    uploads_lock(us);
    load_locked(u, ask);
    uploads_unlock(us);
}

void uploads_open(struct uploads *us, struct slice repo, struct slice id, upload_open_fn done,
                  void *arg)
{
    struct upload_ask *ask = ask_new(done, arg);
    char text[UPLOAD_ID_SIZE] = "";

    if (!is_usable(repo, id)) {
        ask->rc = -ENOENT;
        worker_later(ask->home, &ask->mail);
        return;
    }
    memcpy(text, id.ptr, id.len);
    uploads_lock(us);
    struct upload *u = find_locked(us, repo, text);
    bool is_here = u != NULL;
    if (!u)
        load_locked(upload_new(us, repo, text, false), ask);
    else if (u->state != UPLOAD_IDLE)
        ask->rc = -EBUSY;
    else {
        take_idle_locked(u);
        u->home = ask->home;
        ask->upload = u;
        upload_goto_locked(u, UPLOAD_HELD);
        upload_poke_locked(u);
    }
    uploads_unlock(us);
    if (is_here)
        worker_later(ask->home, &ask->mail);
}

static void tell_size(struct size_ask *ask)
{
    ask->done(ask->arg, ask->rc, ask->size);
    free(ask->path);
    free(ask);
}

static void on_known(struct mail *m)
{
    tell_size((struct size_ask *)m);
}

static struct size_ask *size_ask_of(struct errand *e)
{
    return (struct size_ask *)((char *)e - offsetof(struct size_ask, errand));
}

static void do_look(struct errand *e)
{
    struct size_ask *ask = size_ask_of(e);

    ask->rc = upload_file_size(ask->path, &ask->size);
}

static void on_looked(struct errand *e)
{
    tell_size(size_ask_of(e));
}

/* From memory: false when only the disk can tell. */
static bool find_size(struct uploads *us, struct slice repo, struct slice id, struct size_ask *ask)
{
    char text[UPLOAD_ID_SIZE] = "";

    memcpy(text, id.ptr, id.len);
    uploads_lock(us);
    const struct upload *u = find_locked(us, repo, text);
    bool is_known = u && u->state != UPLOAD_LOADING;
    if (is_known) {
        ask->rc = u->state == UPLOAD_REMOVING ? -ENOENT : 0;
        ask->size = u->size;
    }
    uploads_unlock(us);
    return is_known;
}

void uploads_ask_size(struct uploads *us, struct slice repo, struct slice id, upload_size_fn done,
                      void *arg)
{
    struct size_ask *ask = xcalloc(1, sizeof(*ask));

    CHECK(worker_current());
    ask->mail.fn = on_known;
    ask->done = done;
    ask->arg = arg;
    if (!is_usable(repo, id)) {
        ask->rc = -ENOENT;
        worker_later(worker_current(), &ask->mail);
    } else if (find_size(us, repo, id, ask)) {
        worker_later(worker_current(), &ask->mail);
    } else {
        char *folder = layout_upload(us->layout, repo, id);
        ask->path = xasprintf("%s/data", folder);
        free(folder);
        errand_submit(us->errands, &ask->errand, do_look, on_looked);
    }
}

/* --- the sweep -------------------------------------------------------------------------------- */

static void claim_idle_locked(struct upload *u)
{
    take_idle_locked(u);
    u->is_swept = true;
    upload_goto_locked(u, UPLOAD_REMOVING);
    upload_poke_locked(u);
}

struct upload *uploads_claim_old(struct uploads *us, struct slice repo, struct slice id,
                                 int64_t oldest_s)
{
    char text[UPLOAD_ID_SIZE] = "";
    struct upload *claimed = NULL;

    CHECK(is_usable(repo, id));
    memcpy(text, id.ptr, id.len);
    uploads_lock(us);
    struct upload *u = find_locked(us, repo, text);
    if (!u) {
        claimed = upload_retain(upload_new(us, repo, text, false));
        claimed->is_working = true;
        enter_locked(claimed);
        upload_goto_locked(claimed, UPLOAD_REMOVING);
    } else if (u->state == UPLOAD_IDLE && u->touched_s < oldest_s)
        claim_idle_locked(u);
    uploads_unlock(us);
    return claimed;
}

bool uploads_own_file(struct uploads *us, const char *name)
{
    struct upload *u;
    bool is_ours = false;

    uploads_lock(us);
    for (size_t i = 0; i < N_BUCKETS && !is_ours; i++) {
        LIST_FOREACH(u, &us->buckets[i], in_bucket)
        is_ours = is_ours || (u->is_single && strcmp(strrchr(u->path, '/') + 1, name) == 0);
    }
    uploads_unlock(us);
    return is_ours;
}
