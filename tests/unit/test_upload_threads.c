/* Uploads used from several workers at once, while the sweep runs. For the thread sanitizer. */
#include "config.h"

#include "cache/upload.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metric.h"
#include "tests/unit/unit.h"
#include "tests/unit/upload_desk.h"

#define N_STORIES 12
#define N_PARTS 16

/* One upload whose parts are brought by one worker after the other. */
struct story {
    struct place *place;
    unsigned index;
    unsigned n_written;
    struct upload *upload;
    char id[UPLOAD_ID_SIZE];
    const uint8_t *content;
    size_t size;
    const struct digest *digest;
    struct moment *over;
    int rc;
};

static struct slice repo_of(const struct story *s)
{
    return s->index % 2 ? SLICE("team/odd") : SLICE("team/even");
}

static void step_next(void *arg);

/* The next part is another worker's. */
static void hand_on(struct story *s)
{
    unsigned worker = (s->index + s->n_written) % PLACE_WORKERS;

    worker_call(s->place->workers[worker], step_next, s);
}

static void on_committed(void *arg, int rc, const struct digest *found, const struct error *err)
{
    struct story *s = arg;

    (void)err;
    s->rc = rc == 0 && !digest_equal(found, s->digest) ? -EINVAL : rc;
    moment_come(s->over);
}

static void write_part(struct story *s)
{
    size_t part = s->size / N_PARTS;
    size_t off = part * s->n_written;
    size_t n = s->n_written == N_PARTS - 1 ? s->size - off : part;
    int rc = upload_write(s->upload, s->content + off, n);

    s->rc = rc < 0 ? rc : s->rc;
    s->n_written++;
}

static void on_size(void *arg, int rc, uint64_t size)
{
    struct story *s = arg;

    if (rc != 0 || size > s->size)
        s->rc = -EINVAL;
    hand_on(s);
}

static void on_opened(void *arg, int rc, struct upload *u)
{
    struct story *s = arg;

    if (rc < 0) {
        s->rc = rc;
        moment_come(s->over);
        return;
    }
    s->upload = u;
    snprintf(s->id, sizeof(s->id), "%s", upload_id(u));
    if (s->n_written == N_PARTS) {
        upload_commit(&s->upload, s->digest, on_committed, s);
        return;
    }
    write_part(s);
    upload_release(&s->upload);
    uploads_ask_size(cache_uploads(s->place->cache), repo_of(s), slice_of(s->id), on_size, s);
}

static void step_next(void *arg)
{
    struct story *s = arg;
    struct uploads *us = cache_uploads(s->place->cache);

    if (s->n_written == 0)
        uploads_create(us, repo_of(s), false, DIGEST_SHA256, on_opened, s);
    else
        uploads_open(us, repo_of(s), slice_of(s->id), on_opened, s);
}

/* All at once; half of them bring the same content, and there are more than may stay open. */
static void test_many(void **state)
{
    struct place p;
    struct moment over;
    struct story stories[N_STORIES];
    struct digest digests[2];
    uint8_t *contents[2];

    (void)state;
    place_init(&p);
    p.config.uploads_open_max = 3;
    place_open(&p);
    moment_init(&over);
    for (unsigned i = 0; i < 2; i++)
        contents[i] = place_content(3000000 + i, i, &digests[i]);
    for (unsigned i = 0; i < N_STORIES; i++) {
        stories[i] = (struct story){
            .place = &p,
            .index = i,
            .content = contents[i % 2],
            .size = 3000000 + i % 2,
            .digest = &digests[i % 2],
            .over = &over,
        };
        hand_on(&stories[i]);
    }
    for (unsigned i = 0; i < N_STORIES; i++) {
        cache_sweep(p.cache);
        assert_true(moment_wait(&over));
    }
    for (unsigned i = 0; i < N_STORIES; i++)
        assert_int_equal(stories[i].rc, 0);
    moment_fini(&over);
    place_settle(&p);
    struct desk d;
    desk_init(&d, &p, 0, "team/even");
    assert_true(desk_has_blob(&d, &digests[0], contents[0], 3000000));
    d.repo = "team/odd";
    assert_true(desk_has_blob(&d, &digests[1], contents[1], 3000001));
    desk_fini(&d);
    assert_int_equal(
        place_count(&p, place_path(&p, "docker/registry/v2/repositories/team/odd/_uploads")), 0);
    place_close(&p);
    assert_int_equal(metric_get(METRIC_UPLOADS_OPEN), 0);
    place_fini(&p);
    free(contents[0]);
    free(contents[1]);
}

/* Many who want the same upload: each gets it when it is free, no byte is mixed up. */
struct crowd {
    struct place *place;
    char id[UPLOAD_ID_SIZE];
    atomic_uint n_held; /* never more than one */
    atomic_uint n_busy;
    atomic_uint n_bad;
    struct moment over;
};

struct member {
    struct crowd *crowd;
    unsigned worker;
    unsigned n_left;
};

static void step_want(void *arg);

static void on_got(void *arg, int rc, struct upload *u)
{
    struct member *m = arg;
    struct crowd *c = m->crowd;

    if (rc == -EBUSY)
        atomic_fetch_add(&c->n_busy, 1);
    else if (rc < 0)
        atomic_fetch_add(&c->n_bad, 1);
    else {
        char mark = (char)('a' + m->worker);
        if (atomic_fetch_add(&c->n_held, 1) != 0 || upload_write(u, &mark, 1) != 0)
            atomic_fetch_add(&c->n_bad, 1);
        atomic_fetch_sub(&c->n_held, 1);
        upload_release(&u);
        m->n_left--;
    }
    if (m->n_left == 0 || rc == -ENOENT)
        moment_come(&c->over);
    else
        worker_call(m->crowd->place->workers[m->worker], step_want, m);
}

static void step_want(void *arg)
{
    struct member *m = arg;

    uploads_open(cache_uploads(m->crowd->place->cache), SLICE("team/app"), slice_of(m->crowd->id),
                 on_got, m);
}

static void test_crowd(void **state)
{
    enum { N_MEMBERS = 9, N_EACH = 200 };
    struct place p;
    struct desk d;
    struct crowd c;
    struct member members[N_MEMBERS];

    (void)state;
    memset(&c, 0, sizeof(c));
    place_init(&p);
    p.config.uploads_open_max = 0;
    place_open(&p);
    desk_init(&d, &p, 0, "team/app");
    c.place = &p;
    moment_init(&c.over);
    assert_int_equal(desk_create(&d, false, DIGEST_SHA256), 0);
    memcpy(c.id, d.id, sizeof(c.id));
    desk_release(&d);
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        members[i] = (struct member){.crowd = &c, .worker = i % PLACE_WORKERS, .n_left = N_EACH};
        worker_call(p.workers[members[i].worker], step_want, &members[i]);
    }
    for (unsigned i = 0; i < N_MEMBERS; i++)
        assert_true(moment_wait(&c.over));
    assert_int_equal(c.n_bad, 0);
    assert_int_equal(desk_ask_size(&d, c.id), 0);
    assert_int_equal(d.size, N_MEMBERS * N_EACH);
    moment_fini(&c.over);
    desk_fini(&d);
    place_close(&p);
    assert_int_equal(metric_get(METRIC_UPLOADS_OPEN), 0);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_crowd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
