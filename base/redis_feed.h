/*
 * Messages of one channel of a Redis server: a subscription on a connection of its own, kept up,
 * and asked every second whether it still stands, since a peer that vanished sends nothing either.
 * Messages that are sent while it is down are lost; on_up says from when on none are.
 *
 * Belongs to the worker that made it. Memory: one message of at most the server's buffer_bytes.
 */
#ifndef BASE_REDIS_FEED_H
#define BASE_REDIS_FEED_H

#include "base/slice.h"

struct redis;
struct redis_feed;

struct redis_feed_ops {
    void (*on_up)(void *arg);   /* from now on every message comes */
    void (*on_down)(void *arg); /* until then */
    void (*on_message)(void *arg, struct slice message);
};

/* A worker's thread. */
struct redis_feed *redis_feed_new(struct redis *r, const char *channel,
                                  const struct redis_feed_ops *ops, void *arg);
/* Not from inside a callback of it. */
void redis_feed_free(struct redis_feed **f);

#endif
