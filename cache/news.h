/*
 * What processes that share a storage tell each other through Redis: "this tag, or this link, has
 * changed", so that what the others remember of it is read again. A message carries names and
 * nothing to believe; the storage says what is so now.
 *
 * Messages get lost while there is no connection. So whoever (re)subscribes doubts all that it
 * remembers; while it cannot hear, it does so again every unheard_ms; and whoever could not tell
 * something says so when it can, and then all doubt all. docs/design/redis.md.
 *
 * One per process; telling: any thread; hearing: the worker that opened it. Bounded by the Redis
 * client's own limits.
 */
#ifndef CACHE_NEWS_H
#define CACHE_NEWS_H

#include <stdint.h>

#include "base/slice.h"

struct news;
struct redis;

enum news_kind { NEWS_TAG, NEWS_LAYER, NEWS_REVISION, NEWS_KIND_MAX };

struct news_ops {
    /* name: the tag, or the digest as text. */
    void (*on_changed)(void *arg, enum news_kind kind, struct slice repo, struct slice name);
    /* Anything may have changed. */
    void (*on_doubt)(void *arg);
    /* What is in the shared cache from then or before may have been taken back; any thread. */
    void (*on_distrust)(void *arg, int64_t until_s);
};

struct news *news_new(struct redis *redis, const char *channel, unsigned unheard_ms);
void news_free(struct news **n);
/* Before it is opened. */
void news_set_ops(struct news *n, const struct news_ops *ops, void *arg);

/* The herald of the Redis client only: listens from now on; ends that. */
void news_open_here(struct news *n);
void news_close_here(struct news *n);

/* Any thread; n may be NULL: nobody listens. After the change is in the storage. */
void news_tell(struct news *n, enum news_kind kind, struct slice repo, struct slice name);
/* Any thread; n may be NULL: something could not be taken back from the shared cache. It will be
 * told that nothing of up to now is to be believed. */
void news_note_lost(struct news *n);

#endif
