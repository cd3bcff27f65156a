#include "config.h"

#include "upstream/token.h"

#include "upstream/token_private.h"
#include "upstream/upstream_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "base/worker.h"
#include "upstream/backoff.h"

#define N_BUCKETS 256
#define KEEP_UNAVAILABLE_MS 2000 /* how long a failure is remembered */
#define KEEP_REFUSED_MS 5000
#define KEEP_THROTTLED_MAX_MS 60000

/* One who waits. Listed in its entry until the end is known; from then on its mail is on its way
 * home, where it is freed. */
struct token_wait {
    struct mail mail; /* first */
    struct token_wait *next;
    struct token_cache *cache;
    struct token_entry *entry; /* NULL once the end is known; guarded by the cache's lock */
    struct worker *home;
    token_fn fn; /* NULL: cancelled; own thread only */
    void *arg;
    struct token_result result;
    char *text; /* own copy */
};

struct token_entry {
    struct token_entry *bucket_next;
    struct token_entry *newer, *older; /* by last use */
    char *key;
    char *text; /* NULL: none kept */
    uint64_t expires_ms, refresh_ms;
    struct token_result failure; /* what came last instead of a token */
    uint64_t failure_until_ms;
    bool is_asking; /* its request is on its way; it must stay in the table */
    struct token_wait *waits;
};

struct token_cache {
    pthread_mutex_t lock; /* guards all below and all entries */
    struct token_entry *buckets[N_BUCKETS];
    struct token_entry *newest, *oldest;
    unsigned n_entries;
};

struct token_cache *token_cache_new(void)
{
    struct token_cache *t = xcalloc(1, sizeof(*t));

    pthread_mutex_init(&t->lock, NULL);
    return t;
}

static void wipe_and_free(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

/* The whole key as one string; a newline cannot stand in any part of it. */
static char *join_key(const struct upstream *u, const struct token_key *key)
{
    return xasprintf("%s\n%s\n%s\n%s", key->realm, key->service ? key->service : "",
                     key->scope ? key->scope : "",
                     key->is_anonymous || !u->username ? "" : u->username);
}

/* FNV-1a: the keys are few and come from upstreams that were chosen. */
static unsigned bucket_of(const char *key)
{
    uint32_t h = 2166136261u;

    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h % N_BUCKETS;
}

static void unlink_use_locked(struct token_cache *t, struct token_entry *e)
{
    if (e->newer)
        e->newer->older = e->older;
    else
        t->newest = e->older;
    if (e->older)
        e->older->newer = e->newer;
    else
        t->oldest = e->newer;
}

static void link_newest_locked(struct token_cache *t, struct token_entry *e)
{
    e->newer = NULL;
    e->older = t->newest;
    if (t->newest)
        t->newest->newer = e;
    else
        t->oldest = e;
    t->newest = e;
}

static void entry_free_locked(struct token_cache *t, struct token_entry *e)
{
    struct token_entry **at = &t->buckets[bucket_of(e->key)];

    CHECK(!e->waits && !e->is_asking);
    while (*at != e)
        at = &(*at)->bucket_next;
    *at = e->bucket_next;
    unlink_use_locked(t, e);
    t->n_entries--;
    wipe_and_free(&e->text);
    free(e->key);
    free(e);
}

void token_cache_free(struct token_cache **tt)
{
    struct token_cache *t = *tt;

    CHECK(t);
    while (t->oldest)
        entry_free_locked(t, t->oldest);
    pthread_mutex_destroy(&t->lock);
    free(t);
    *tt = NULL;
}

/* Drops the least recently used entry that nobody is asking for. */
static void make_room_locked(struct token_cache *t)
{
    struct token_entry *e = t->oldest;

    while (e && e->is_asking)
        e = e->newer;
    if (e)
        entry_free_locked(t, e);
}

static struct token_entry *find_locked(struct token_cache *t, const char *key)
{
    struct token_entry *e = t->buckets[bucket_of(key)];

    while (e && strcmp(e->key, key) != 0)
        e = e->bucket_next;
    return e;
}

/* The entry of that key, made if need be, now the most recently used. Takes the key over. */
static struct token_entry *get_locked(struct token_cache *t, char *key)
{
    struct token_entry *e = find_locked(t, key);

    if (e) {
        free(key);
        unlink_use_locked(t, e);
    } else {
        if (t->n_entries >= TOKEN_ENTRIES_MAX)
            make_room_locked(t);
        e = xcalloc(1, sizeof(*e));
        e->key = key;
        e->bucket_next = t->buckets[bucket_of(key)];
        t->buckets[bucket_of(key)] = e;
        t->n_entries++;
    }
    link_newest_locked(t, e);
    return e;
}

static void on_wait_over(struct mail *m)
{
    struct token_wait *wait = (struct token_wait *)m;

    wait->result.text = wait->text;
    if (wait->fn)
        wait->fn(wait->arg, &wait->result);
    wipe_and_free(&wait->text);
    free(wait);
}

/* Fills in the end; the mail is to be sent by the caller. */
static void settle_locked(struct token_wait *wait, const struct token_result *result)
{
    CHECK(result->end != TOKEN_OK || result->text);
    wait->entry = NULL;
    wait->result = *result;
    wait->result.text = NULL;
    if (result->text)
        wait->text = xstrdup(result->text);
}

/* Answers from memory if it can: a token that lives, or a failure that is still fresh. */
static bool answer_locked(struct token_entry *e, struct token_wait *wait, uint64_t now_ms)
{
    struct token_result kept = {.end = TOKEN_OK, .status = 200, .retry_after_s = -1};

    if (e->text && now_ms < e->expires_ms) {
        kept.text = e->text;
    } else if (e->failure.end != TOKEN_OK && now_ms < e->failure_until_ms) {
        kept = e->failure;
        kept.again_ms = (unsigned)(e->failure_until_ms - now_ms);
    } else {
        return false;
    }
    settle_locked(wait, &kept);
    return true;
}

/* Is there a reason to ask the realm now? */
static bool should_ask_locked(const struct token_entry *e, bool is_answered, uint64_t now_ms)
{
    if (e->is_asking)
        return false;
    if (!is_answered)
        return true;
    return e->text && now_ms >= e->refresh_ms && now_ms < e->expires_ms;
}

struct token_wait *token_ask(struct upstream *u, const struct token_key *key, token_fn fn,
                             void *arg)
{
    struct token_cache *t = u->tokens;
    struct token_wait *wait = xcalloc(1, sizeof(*wait));
    uint64_t now_ms = clock_mono_ms();

    wait->mail.fn = on_wait_over;
    wait->cache = t;
    wait->home = worker_current();
    wait->fn = fn;
    wait->arg = arg;
    CHECK(wait->home && key->realm);
    pthread_mutex_lock(&t->lock);
    struct token_entry *e = get_locked(t, join_key(u, key));
    bool is_answered = answer_locked(e, wait, now_ms);
    bool is_asking = should_ask_locked(e, is_answered, now_ms);
    if (is_asking)
        e->is_asking = true;
    if (!is_answered) {
        wait->entry = e;
        wait->next = e->waits;
        e->waits = wait;
    }
    pthread_mutex_unlock(&t->lock);
    if (is_answered)
        worker_later(wait->home, &wait->mail);
    if (is_asking)
        token_request_start(u, key, e);
    return wait;
}

void token_wait_cancel(struct token_wait **w)
{
    struct token_wait *wait = *w;

    *w = NULL;
    if (!wait)
        return;
    CHECK(worker_is_current(wait->home));
    wait->fn = NULL;
    pthread_mutex_lock(&wait->cache->lock);
    bool is_listed = wait->entry != NULL;
    if (is_listed) {
        struct token_wait **at = &wait->entry->waits;
        while (*at != wait)
            at = &(*at)->next;
        *at = wait->next;
    }
    pthread_mutex_unlock(&wait->cache->lock);
    if (is_listed)
        free(wait);
}

/* Keeps a failure for a while, so that a refused or absent realm is not asked for each request. */
static void keep_failure_locked(struct token_entry *e, const struct token_result *result,
                                uint64_t now_ms)
{
    uint64_t keep_ms = KEEP_REFUSED_MS;

    if (result->end == TOKEN_UNAVAILABLE)
        keep_ms = KEEP_UNAVAILABLE_MS;
    if (result->end == TOKEN_THROTTLED && result->retry_after_s >= 0) {
        keep_ms = (uint64_t)result->retry_after_s * 1000;
        if (keep_ms > KEEP_THROTTLED_MAX_MS)
            keep_ms = KEEP_THROTTLED_MAX_MS;
    }
    e->failure = *result;
    e->failure_until_ms = now_ms + keep_ms;
    if (e->refresh_ms < e->failure_until_ms)
        e->refresh_ms = e->failure_until_ms;
}

static void keep_token_locked(struct token_entry *e, const char *text, unsigned life_s,
                              uint64_t now_ms)
{
    uint64_t life_ms = (uint64_t)life_s * 1000;

    wipe_and_free(&e->text);
    e->text = xstrdup(text);
    e->expires_ms = now_ms + life_ms;
    /* Spread, so that the tokens of one pull are not all renewed at once. */
    e->refresh_ms = now_ms + life_ms * (800 + backoff_random() % 100) / 1000;
    e->failure.end = TOKEN_OK;
}

void token_entry_finish(struct upstream *u, struct token_entry *e,
                        const struct token_result *result, unsigned life_s)
{
    struct token_cache *t = u->tokens;
    uint64_t now_ms = clock_mono_ms();
    struct token_wait *next;

    pthread_mutex_lock(&t->lock);
    CHECK(e->is_asking);
    e->is_asking = false;
    if (result->end == TOKEN_OK)
        keep_token_locked(e, result->text, life_s, now_ms);
    else
        keep_failure_locked(e, result, now_ms);
    struct token_wait *waits = e->waits;
    e->waits = NULL;
    /* A waiter that is settled may be freed at home from here on, but only after its mail. */
    for (struct token_wait *wait = waits; wait; wait = wait->next)
        settle_locked(wait, result);
    pthread_mutex_unlock(&t->lock);
    for (struct token_wait *wait = waits; wait; wait = next) {
        next = wait->next;
        worker_post(wait->home, &wait->mail);
    }
}

void token_drop(struct upstream *u, const struct token_key *key, const char *text)
{
    struct token_cache *t = u->tokens;
    char *joined = join_key(u, key);

    pthread_mutex_lock(&t->lock);
    struct token_entry *e = find_locked(t, joined);
    if (e && e->text && strcmp(e->text, text) == 0)
        wipe_and_free(&e->text);
    pthread_mutex_unlock(&t->lock);
    free(joined);
}
