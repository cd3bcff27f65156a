/*
 * One connection to a Redis server, on one worker's loop: looks the name up, connects, says
 * AUTH and SELECT, makes sure with a PING that somebody answers, and tries again after growing
 * pauses whatever went wrong. Commands are put into a buffer that goes out in one piece at the
 * end of the turn; what is read goes through hiredis' reader (why not through its asynchronous
 * connection: docs/design/redis.md).
 *
 * Owned by who made it, on the worker where it was made. Memory: the buffer of commands and one
 * answer under way, both bounded by the server's settings. Nothing blocks.
 *
 *   RESTING ──timer──► CONNECTING ──► GREETING ──► UP
 *      ▲                   │             │          │
 *      └────── whatever fails, or takes too long ───┘
 */
#ifndef BASE_REDIS_LINK_H
#define BASE_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/slice.h"

struct redis;
struct redisReply;
struct redis_link;

struct redis_link_ops {
    /* Commands may be sent from now on. */
    void (*on_up)(void *arg);
    /* To the commands in their order; the reply is valid until this returns. */
    void (*on_reply)(void *arg, const struct redisReply *reply);
    /* No answer will come any more to what was sent while it was up. */
    void (*on_down)(void *arg, const struct error *why);
};

struct redis_link *redis_link_new(struct redis *server, const struct redis_link_ops *ops,
                                  void *arg);
/* Not from inside a callback of it. on_down is not called. */
void redis_link_free(struct redis_link **l);

bool redis_link_is_up(const struct redis_link *l);
/* 0, -ENOTCONN, or -ENOBUFS: the buffer is full. No callback runs from inside. */
int redis_link_send(struct redis_link *l, int argc, const struct slice *argv);
/* Gives the connection up and tries again later; on_down runs if it was up. Also from inside
 * on_reply. */
void redis_link_fail(struct redis_link *l, const struct error *why);
/* What was asked of this connection has been answered: its next failure is the first. */
void redis_link_note_use(struct redis_link *l);

#endif
