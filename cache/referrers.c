#include "config.h"

#include "cache/referrers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/cache_private.h"
#include "cache/lru.h"
#include "cache/referrer_entry.h"
#include "cache/referrers_page.h"
#include "cache/referrers_update.h"

#define N_SHARDS 8

/* A repository with questions. Its errand goes round by round: an update, then a page for each of
 * those who asked before it began. */
struct book {
    struct errand errand; /* first */
    struct book *next;    /* guarded by the lock of the referrers */
    struct referrers *referrers;
    char *repo;
    struct story *waiting, **waiting_end; /* for the next round; guarded by the same lock */
    /* Of this round, on a pool thread. */
    struct story *serving;
    struct referrers_update *update;
    int update_rc;
};

/* One question. */
struct story {
    struct mail mail; /* first */
    struct story *next;
    struct referrers *referrers;
    struct worker *home;
    struct referrers_query query; /* its slices are the two texts */
    char *repo, *artifact_type;
    struct referrers_page *page;
    struct strbuf kept;
    int rc;
    struct referrers_answer answer;
    referrers_fn done;
    void *arg;
};

/* A subject of which the upstream has no referrers. */
struct none {
    struct lru_item item; /* first */
    struct digest key;
    int64_t at_s;
};

struct referrers {
    struct layout *layout;
    struct errands *errands;
    struct lru *nones;
    pthread_mutex_t lock; /* guards books and who waits in them */
    struct book *books;
};

static bool none_has_key(const struct lru_item *it, const void *key)
{
    return digest_equal(&((const struct none *)it)->key, key);
}

static bool none_take(struct lru_item *it, void *out)
{
    *(int64_t *)out = ((struct none *)it)->at_s;
    return true;
}

static void none_drop(struct lru_item *it)
{
    free(it);
}

static const struct lru_kind NONES = {none_has_key, none_take, none_drop};

struct referrers *referrers_new(struct layout *l, struct errands *errands, size_t memory_bytes)
{
    struct referrers *rs = xcalloc(1, sizeof(*rs));

    rs->layout = l;
    rs->errands = errands;
    rs->nones = lru_new(&NONES, memory_bytes, N_SHARDS);
    pthread_mutex_init(&rs->lock, NULL);
    return rs;
}

void referrers_free(struct referrers **rrs)
{
    struct referrers *rs = *rrs;

    if (!rs)
        return;
    CHECK(!rs->books);
    lru_free(&rs->nones);
    pthread_mutex_destroy(&rs->lock);
    free(rs);
    *rrs = NULL;
}

/* --- subjects without referrers upstream ------------------------------------------------------ */

static void none_key(struct slice repo, const struct digest *subject, struct digest *out)
{
    struct hasher *h = hasher_new(DIGEST_SHA256);
    char text[DIGEST_TEXT_SIZE];
    size_t n = digest_format(subject, text);

    hasher_update(h, repo.ptr, repo.len);
    hasher_update(h, "@", 1);
    hasher_update(h, text, n);
    hasher_final(h, out);
    hasher_free(&h);
}

static bool find_none(struct referrers *rs, struct slice repo, const struct digest *subject,
                      int64_t *at_s)
{
    struct digest key;

    none_key(repo, subject, &key);
    return lru_find(rs->nones, digest_key(&key), &key, at_s);
}

static void note_none(struct referrers *rs, struct slice repo, const struct digest *subject,
                      bool is_none, int64_t at_s)
{
    struct digest key;

    none_key(repo, subject, &key);
    if (!is_none) {
        lru_remove(rs->nones, digest_key(&key), &key);
        return;
    }
    struct none *none = xcalloc(1, sizeof(*none));
    none->key = key;
    none->at_s = at_s;
    lru_put(rs->nones, &none->item, digest_key(&key), &key, sizeof(*none));
}

/* --- questions -------------------------------------------------------------------------------- */

static void story_free(struct story *s)
{
    referrers_page_free(&s->page);
    referrer_list_free(&s->answer.list);
    strbuf_fini(&s->kept);
    free(s->repo);
    free(s->artifact_type);
    free(s);
}

/* Home again. */
static void on_told(struct mail *m)
{
    struct story *s = (struct story *)m;
    struct errands *errands = s->referrers->errands;
    struct referrers_answer answer = s->answer;

    CHECK((s->rc == 0) == (answer.list != NULL));
    s->answer.list = NULL;
    s->done(s->arg, s->rc, s->rc == 0 ? &answer : NULL);
    story_free(s);
    errands_release(errands);
}

static bool has_subject(const struct story *s)
{
    char *path = layout_revision_link(s->referrers->layout, s->query.repo, &s->query.subject);
    bool is_there = access(path, F_OK) == 0;

    free(path);
    return is_there;
}

/* Pool thread: what is known beside the page. */
static void finish_answer(struct story *s)
{
    const struct referrers_query *q = &s->query;
    struct referrers_answer *a = &s->answer;

    a->has_more = referrers_page_has_more(s->page);
    a->list = referrers_page_take(s->page);
    a->has_subject = has_subject(s);
    a->has_kept = find_none(s->referrers, q->repo, &q->subject, &a->kept.fetched_at_s);
    if (a->has_kept)
        return;
    a->has_kept =
        referrer_entry_read_upstream(s->referrers->layout, q->repo, &q->subject, q->kept_max_bytes,
                                     &s->kept, &a->kept.fetched_at_s) == 0;
    a->kept.body = (struct slice){s->kept.ptr, s->kept.len};
}

/* Pool thread; the first of those who are served: true when it has been told. */
static bool step_story(struct book *b, struct story *s)
{
    struct error err = {.code = 0};
    int rc = b->update_rc;

    if (rc == 0) {
        if (!s->page)
            s->page = referrers_page_new(b->referrers->layout, &s->query);
        rc = referrers_page_step(s->page, &err);
    }
    if (rc > 0)
        return false;
    if (rc == 0)
        finish_answer(s);
    else if (err.code)
        log_error("referrers", "referrers in %s not found: %s", b->repo, err.text);
    s->rc = rc;
    worker_post(s->home, &s->mail);
    return true;
}

/* --- rounds: pool threads --------------------------------------------------------------------- */

/* Takes the book off the table. */
static void close_book_locked(struct book *b)
{
    struct book **at = &b->referrers->books;

    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
}

/* False: nobody asks any more, and the book is gone. */
static bool begin_round(struct book *b)
{
    struct referrers *rs = b->referrers;

    pthread_mutex_lock(&rs->lock);
    b->serving = b->waiting;
    b->waiting = NULL;
    b->waiting_end = &b->waiting;
    if (!b->serving)
        close_book_locked(b);
    pthread_mutex_unlock(&rs->lock);
    if (b->serving) {
        b->update_rc = 0;
        b->update = referrers_update_new(rs->layout, slice_of(b->repo),
                                         b->serving->query.manifest_max_bytes);
        return true;
    }
    free(b->repo);
    free(b);
    return false;
}

static void step_update(struct book *b)
{
    struct error err = {.code = 0};
    int rc = referrers_update_step(b->update, &err);

    if (rc > 0)
        return;
    if (rc < 0)
        log_error("referrers", "index of %s not brought up to date: %s", b->repo, err.text);
    b->update_rc = rc;
    referrers_update_free(&b->update);
}

/* One step; the pool's other work comes in between. */
static void do_round(struct errand *e)
{
    struct book *b = (struct book *)e;

    if (!b->update && !b->serving && !begin_round(b))
        return;
    if (b->update) {
        step_update(b);
    } else {
        struct story *s = b->serving;
        struct story *next = s->next;
        if (step_story(b, s))
            b->serving = next;
    }
    errand_submit(b->referrers->errands, e, do_round, NULL);
}

/* --- asking ----------------------------------------------------------------------------------- */

static struct story *story_new(struct referrers *rs, const struct referrers_query *q,
                               referrers_fn done, void *arg)
{
    struct story *s = xcalloc(1, sizeof(*s));

    s->mail.fn = on_told;
    s->referrers = rs;
    s->home = worker_current();
    s->query = *q;
    s->repo = xmemdup0(q->repo.ptr, q->repo.len);
    s->query.repo.ptr = s->repo;
    s->artifact_type =
        xmemdup0(q->artifact_type.len ? q->artifact_type.ptr : "", q->artifact_type.len);
    s->query.artifact_type.ptr = s->artifact_type;
    s->done = done;
    s->arg = arg;
    return s;
}

static struct book *find_book_locked(struct referrers *rs, struct slice repo)
{
    struct book *b = rs->books;

    while (b && !slice_equal(slice_of(b->repo), repo))
        b = b->next;
    return b;
}

void referrers_list(struct referrers *rs, const struct referrers_query *q, referrers_fn done,
                    void *arg)
{
    struct story *s = story_new(rs, q, done, arg);
    bool is_new;

    CHECK(s->home && q->n_max > 0 && layout_repo_is_valid(q->repo));
    errands_hold(rs->errands);
    pthread_mutex_lock(&rs->lock);
    struct book *b = find_book_locked(rs, q->repo);
    is_new = !b;
    if (is_new) {
        b = xcalloc(1, sizeof(*b));
        b->referrers = rs;
        b->repo = xmemdup0(q->repo.ptr, q->repo.len);
        b->waiting_end = &b->waiting;
        b->next = rs->books;
        rs->books = b;
    }
    *b->waiting_end = s;
    b->waiting_end = &s->next;
    pthread_mutex_unlock(&rs->lock);
    if (is_new)
        errand_submit(rs->errands, &b->errand, do_round, NULL);
}

/* --- what the upstream said ------------------------------------------------------------------- */

struct keeping {
    struct errand errand; /* first */
    struct referrers *referrers;
    char *repo;
    struct digest subject;
    struct strbuf body;
    int64_t fetched_at_s;
    void (*done)(void *arg);
    void *arg;
};

static void do_keep(struct errand *e)
{
    struct keeping *k = (struct keeping *)e;
    struct error err;

    if (referrer_entry_write_upstream(k->referrers->layout, slice_of(k->repo), &k->subject,
                                      (struct slice){k->body.ptr, k->body.len}, k->fetched_at_s,
                                      &err) < 0)
        log_warning("referrers", "the upstream's referrers in %s not kept: %s", k->repo, err.text);
    note_none(k->referrers, slice_of(k->repo), &k->subject, k->body.len == 0, k->fetched_at_s);
}

static void on_kept(struct errand *e)
{
    struct keeping *k = (struct keeping *)e;

    if (k->done)
        k->done(k->arg);
    strbuf_fini(&k->body);
    free(k->repo);
    free(k);
}

void referrers_keep_upstream(struct referrers *rs, struct slice repo, const struct digest *subject,
                             const struct referrers_kept *kept, void (*done)(void *arg), void *arg)
{
    struct keeping *k = xcalloc(1, sizeof(*k));

    CHECK(layout_repo_is_valid(repo));
    k->referrers = rs;
    k->repo = xmemdup0(repo.ptr, repo.len);
    k->subject = *subject;
    strbuf_add_slice(&k->body, kept->body);
    k->fetched_at_s = kept->fetched_at_s;
    k->done = done;
    k->arg = arg;
    errand_submit(rs->errands, &k->errand, do_keep, on_kept);
}
