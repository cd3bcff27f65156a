#include "config.h"

#include "tests/unit/upload_desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* A call on its way to the worker. */
struct call {
    struct desk *desk;
    bool is_single;
    enum digest_alg alg;
    const char *id;
    const void *p;
    size_t n;
    const struct digest *digest;
};

void desk_init(struct desk *d, struct place *p, unsigned worker, const char *repo)
{
    memset(d, 0, sizeof(*d));
    d->place = p;
    d->worker = worker;
    d->repo = repo;
    moment_init(&d->over);
    moment_init(&d->room);
}

void desk_fini(struct desk *d)
{
    moment_fini(&d->over);
    moment_fini(&d->room);
}

static struct uploads *uploads_of(struct desk *d)
{
    return cache_uploads(d->place->cache);
}

/* Runs it on the worker and waits for its callback. */
static void run(struct call *c, worker_fn fn)
{
    place_run(c->desk->place, c->desk->worker, fn, c);
    CHECK(moment_wait(&c->desk->over));
}

static void expect_home(struct desk *d)
{
    CHECK(worker_is_current(d->place->workers[d->worker]));
}

static void on_room(void *arg)
{
    struct desk *d = arg;

    expect_home(d);
    moment_come(&d->room);
}

static void on_opened(void *arg, int rc, struct upload *u)
{
    struct desk *d = arg;

    expect_home(d);
    d->rc = rc;
    d->upload = u;
    d->id[0] = '\0';
    if (u) {
        snprintf(d->id, sizeof(d->id), "%s", upload_id(u));
        d->size = upload_size(u);
        upload_on_room(u, on_room, d);
    }
    moment_come(&d->over);
}

static void do_create(void *arg)
{
    struct call *c = arg;

    uploads_create(uploads_of(c->desk), slice_of(c->desk->repo), c->is_single, c->alg, on_opened,
                   c->desk);
}

int desk_create(struct desk *d, bool is_single, enum digest_alg alg)
{
    struct call c = {.desk = d, .is_single = is_single, .alg = alg};

    run(&c, do_create);
    return d->rc;
}

static void do_open(void *arg)
{
    struct call *c = arg;

    uploads_open(uploads_of(c->desk), slice_of(c->desk->repo), slice_of(c->id), on_opened, c->desk);
}

int desk_open(struct desk *d, const char *id)
{
    char copy[64];
    struct call c = {.desk = d, .id = copy};

    snprintf(copy, sizeof(copy), "%s", id);
    run(&c, do_open);
    return d->rc;
}

static void on_size(void *arg, int rc, uint64_t size)
{
    struct desk *d = arg;

    expect_home(d);
    d->rc = rc;
    d->size = size;
    moment_come(&d->over);
}

static void do_ask_size(void *arg)
{
    struct call *c = arg;

    uploads_ask_size(uploads_of(c->desk), slice_of(c->desk->repo), slice_of(c->id), on_size,
                     c->desk);
}

int desk_ask_size(struct desk *d, const char *id)
{
    struct call c = {.desk = d, .id = id};

    run(&c, do_ask_size);
    return d->rc;
}

static void do_write(void *arg)
{
    struct call *c = arg;

    c->desk->rc = upload_write(c->desk->upload, c->p, c->n);
    c->desk->size = upload_size(c->desk->upload);
}

int desk_write(struct desk *d, const void *p, size_t n)
{
    struct call c = {.desk = d, .p = p, .n = n};

    place_run(d->place, d->worker, do_write, &c);
    return d->rc;
}

static void do_release(void *arg)
{
    struct desk *d = arg;

    upload_release(&d->upload);
    CHECK(!d->upload);
}

void desk_release(struct desk *d)
{
    place_run(d->place, d->worker, do_release, d);
}

static void on_committed(void *arg, int rc, const struct digest *found, const struct error *err)
{
    struct desk *d = arg;

    expect_home(d);
    d->rc = rc;
    d->found = *found;
    snprintf(d->why, sizeof(d->why), "%s", err->text);
    moment_come(&d->over);
}

static void do_commit(void *arg)
{
    struct call *c = arg;

    upload_commit(&c->desk->upload, c->digest, on_committed, c->desk);
}

int desk_commit(struct desk *d, const struct digest *digest)
{
    struct call c = {.desk = d, .digest = digest};

    run(&c, do_commit);
    return d->rc;
}

static void on_cancelled(void *arg)
{
    struct desk *d = arg;

    expect_home(d);
    moment_come(&d->over);
}

static void do_cancel(void *arg)
{
    struct call *c = arg;

    upload_cancel(&c->desk->upload, on_cancelled, c->desk);
}

void desk_cancel(struct desk *d)
{
    struct call c = {.desk = d};

    run(&c, do_cancel);
}

const char *desk_folder(struct desk *d, const char *id)
{
    return place_path(d->place, "docker/registry/v2/repositories/%s/_uploads/%s", d->repo, id);
}

const char *desk_file(struct desk *d, const char *id, const char *file)
{
    return place_path(d->place, "docker/registry/v2/repositories/%s/_uploads/%s/%s", d->repo, id,
                      file);
}

const char *desk_link(struct desk *d, const struct digest *digest)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(digest, hex);
    return place_path(d->place, "docker/registry/v2/repositories/%s/_layers/%s/%s/link", d->repo,
                      digest_alg_name(digest->alg), hex);
}

bool desk_has_blob(struct desk *d, const struct digest *digest, const void *p, size_t n)
{
    char text[DIGEST_TEXT_SIZE], linked[DIGEST_TEXT_SIZE];
    char *found = malloc(n + 1);
    size_t len = digest_format(digest, text);
    long got = place_read(d->place, place_blob(d->place, digest), found, n + 1);
    bool is_same = got == (long)n && memcmp(found, p, n) == 0;

    free(found);
    got = place_read(d->place, desk_link(d, digest), linked, sizeof(linked));
    return is_same && got == (long)len && memcmp(linked, text, len) == 0;
}
