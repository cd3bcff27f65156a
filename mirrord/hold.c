#include "config.h"

#include "mirrord/hold.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"
#include "mirrord/name.h"

struct hold {
    struct digest key;
    uint64_t from_ms, until_ms;
};

struct holds {
    pthread_mutex_t lock;
    size_t n;
    struct hold entries[];
};

struct holds *holds_new(size_t n_entries)
{
    struct holds *hs = xcalloc(1, sizeof(*hs) + n_entries * sizeof(hs->entries[0]));

    CHECK(n_entries > 0);
    hs->n = n_entries;
    pthread_mutex_init(&hs->lock, NULL);
    return hs;
}

void holds_free(struct holds **hs)
{
    if (!*hs)
        return;
    pthread_mutex_destroy(&(*hs)->lock);
    free(*hs);
    *hs = NULL;
}

/* Addressed by a digest of the name, so that nobody can make two names meet. */
static void make_key(enum hold_kind kind, struct slice repo, struct slice reference,
                     struct digest *out)
{
    char text[2 + NAME_FULL_MAX + DIGEST_TEXT_SIZE + 1];
    size_t n = 0;

    CHECK(kind < HOLD_KIND_MAX && repo.len + reference.len + 2 <= sizeof(text));
    text[n++] = (char)kind;
    memcpy(text + n, repo.ptr, repo.len);
    n += repo.len;
    text[n++] = '\0';
    memcpy(text + n, reference.ptr, reference.len);
    digest_of(DIGEST_SHA256, text, n + reference.len, out);
}

static struct hold *entry_of_locked(struct holds *hs, const struct digest *key)
{
    return &hs->entries[digest_key(key) % hs->n];
}

void holds_set(struct holds *hs, enum hold_kind kind, struct slice repo, struct slice reference,
               int64_t seconds)
{
    uint64_t now_ms = clock_mono_ms();
    struct digest key;

    CHECK(seconds <= INT64_MAX / 1000);
    make_key(kind, repo, reference, &key);
    pthread_mutex_lock(&hs->lock);
    struct hold *h = entry_of_locked(hs, &key);
    if (seconds > 0)
        *h = (struct hold){key, now_ms, now_ms + (uint64_t)seconds * 1000};
    else if (digest_equal(&h->key, &key))
        h->until_ms = 0;
    pthread_mutex_unlock(&hs->lock);
}

int64_t holds_age_ms(struct holds *hs, enum hold_kind kind, struct slice repo,
                     struct slice reference)
{
    uint64_t now_ms = clock_mono_ms();
    struct digest key;

    make_key(kind, repo, reference, &key);
    pthread_mutex_lock(&hs->lock);
    const struct hold *h = entry_of_locked(hs, &key);
    bool is_held = now_ms < h->until_ms && digest_equal(&h->key, &key);
    int64_t age_ms = is_held && now_ms > h->from_ms ? (int64_t)(now_ms - h->from_ms) : 0;
    pthread_mutex_unlock(&hs->lock);
    return is_held ? age_ms : -1;
}

bool holds_has(struct holds *hs, enum hold_kind kind, struct slice repo, struct slice reference)
{
    return holds_age_ms(hs, kind, repo, reference) >= 0;
}
