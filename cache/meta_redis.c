/* The metadata cache in a Redis server. Keys are strings with a prefix, values strings; GET, SET,
 * SETEX and DEL are all that is used, one key each. */
#include "config.h"

#include "cache/meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/redis.h"
#include "base/worker.h"
#include "cache/meta_private.h"

#define KEY_MAX_BYTES 1024 /* longer ones are not kept */

struct remote {
    struct meta meta; /* first */
    struct redis *redis;
    struct slice prefix;
};

/* A question under way. */
struct lookup {
    struct redis_call call; /* first */
    struct meta *meta;
    meta_get_fn done;
    void *arg;
};

/* Something that is being put or forgotten. */
struct change {
    struct redis_call call; /* first */
    struct meta *meta;
    bool is_forgetting;
};

static bool make_key(const struct remote *r, struct slice key, char text[KEY_MAX_BYTES],
                     struct slice *out)
{
    size_t len = r->prefix.len + key.len;

    if (len > KEY_MAX_BYTES)
        return false;
    memcpy(text, r->prefix.ptr, r->prefix.len);
    memcpy(text + r->prefix.len, key.ptr, key.len);
    *out = (struct slice){text, len};
    return true;
}

static void on_value(struct redis_call *call, int rc, struct slice value)
{
    struct lookup *l = (struct lookup *)call;

    meta_note_found(l->meta, rc == 0);
    l->done(l->arg, rc, value);
    free(l);
}

static int do_get(struct meta *meta, struct slice key, meta_get_fn done, void *arg)
{
    const struct remote *r = (struct remote *)meta;
    char text[KEY_MAX_BYTES];
    struct slice argv[] = {SLICE("GET"), SLICE_NONE};

    if (!make_key(r, key, text, &argv[1]))
        return -ENAMETOOLONG;
    struct lookup *l = xcalloc(1, sizeof(*l));
    *l = (struct lookup){.call = {.done = on_value}, .meta = meta, .done = done, .arg = arg};
    int rc = redis_send(r->redis, &l->call, 2, argv);
    if (rc < 0)
        free(l);
    return rc;
}

static void on_changed(struct redis_call *call, int rc, struct slice value)
{
    struct change *c = (struct change *)call;

    (void)value;
    if (rc < 0 && c->is_forgetting && c->meta->lost)
        c->meta->lost(c->meta->lost_arg);
    free(c);
}

static void change(struct meta *meta, bool is_forgetting, int argc, const struct slice *argv)
{
    const struct remote *r = (struct remote *)meta;
    struct change *c = xcalloc(1, sizeof(*c));

    *c = (struct change){{.done = on_changed}, meta, is_forgetting};
    if (!worker_current()) {
        redis_post(r->redis, &c->call, argc, argv);
        return;
    }
    int rc = redis_send(r->redis, &c->call, argc, argv);
    if (rc < 0)
        on_changed(&c->call, rc, SLICE_NONE);
}

static void do_put(struct meta *meta, struct slice key, struct slice value, unsigned ttl_s)
{
    char text[KEY_MAX_BYTES], seconds[16];
    struct slice name;

    if (!make_key((struct remote *)meta, key, text, &name))
        return;
    snprintf(seconds, sizeof(seconds), "%u", ttl_s);
    struct slice set[] = {SLICE("SET"), name, value};
    struct slice setex[] = {SLICE("SETEX"), name, slice_of(seconds), value};
    if (ttl_s > 0)
        change(meta, false, 4, setex);
    else
        change(meta, false, 3, set);
}

static void do_forget(struct meta *meta, struct slice key)
{
    char text[KEY_MAX_BYTES];
    struct slice argv[] = {SLICE("DEL"), SLICE_NONE};

    if (make_key((struct remote *)meta, key, text, &argv[1]))
        change(meta, true, 2, argv);
}

static void do_free(struct meta *meta)
{
    struct remote *r = (struct remote *)meta;

    free((char *)(uintptr_t)r->prefix.ptr);
    free(r);
}

static const struct meta_ops OPS = {do_get, do_put, do_forget, do_free};

struct meta *meta_redis_new(enum meta_role role, struct redis *redis, const char *prefix)
{
    struct remote *r = xcalloc(1, sizeof(*r));

    CHECK(redis && role < META_ROLE_MAX);
    r->meta = (struct meta){.ops = &OPS, .role = role, .is_shared = true};
    r->redis = redis;
    r->prefix = slice_of(xstrdup(prefix));
    return &r->meta;
}
