#include "config.h"

#include "cache/vouch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cache/cache_private.h"
#include "cache/vouch_private.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define GRACE_S 10
#define GRACE_MS 10000

/* The clock of this test: linked in place of the real one. */
static _Atomic uint64_t now_ms = 1000000;

uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void)
{
    return now_ms;
}

static void make_digest(unsigned n, struct digest *out)
{
    digest_of(DIGEST_SHA256, &n, sizeof(n), out);
}

static struct vouches *make(const struct place *p, struct layout **layout_out)
{
    *layout_out = layout_new(p->root);
    return vouches_new(*layout_out, GRACE_S);
}

/* A run that does nothing: what may be forgotten is. */
static void turn(struct vouches *vs)
{
    vouches_begin_run(vs);
    vouches_end_run(vs);
}

static void test_life(void **state)
{
    /* At these times after the first vouch a run begins. */
    static const struct {
        const char *name;
        unsigned runs_at_ms[4];
        bool want_held;
    } ROWS[] = {
        {"no run", {0}, true},
        {"at once", {1, 2, 3, 4}, true},
        {"within the grace period", {5000, 9000, 9998, 9999}, true},
        {"one run", {30000}, true},
        {"two runs, a grace period between", {10000, 20000}, false},
        {"two runs, less between", {10000, 19999}, true},
        {"many runs", {10000, 12000, 15000, 20001}, false},
    };
    struct place p;
    struct layout *layout;
    struct digest d, other;

    (void)state;
    place_init(&p);
    make_digest(1, &d);
    make_digest(2, &other);
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct vouches *vs = make(&p, &layout);
        assert_true(vouch_is_held(vs, &other));
        now_ms += GRACE_MS - 1;
        assert_true(vouch_is_held(vs, &other));
        now_ms += 1;
        assert_false(vouch_is_held(vs, &other));
        turn(vs);
        uint64_t start_ms = now_ms;
        vouch_for(vs, &d);
        for (size_t n = 0; n < N_ROWS(ROWS[i].runs_at_ms) && ROWS[i].runs_at_ms[n] > 0; n++) {
            now_ms = start_ms + ROWS[i].runs_at_ms[n];
            turn(vs);
        }
        if (vouch_is_held(vs, &d) != ROWS[i].want_held)
            fail_msg("%s", ROWS[i].name);
        assert_false(vouch_is_held(vs, &other));
        vouches_free(&vs);
        layout_free(&layout);
    }
    place_fini(&p);
}

/* Neither a run nor a manifest being put loses a vouch, however long they take. */
static void test_pins(void **state)
{
    struct place p;
    struct layout *layout;
    struct digest d;

    (void)state;
    place_init(&p);
    make_digest(1, &d);
    struct vouches *vs = make(&p, &layout);
    now_ms += GRACE_MS;
    vouch_for(vs, &d);
    now_ms += GRACE_MS - 1;
    vouches_begin_run(vs);
    for (unsigned i = 0; i < 10; i++) {
        now_ms += GRACE_MS;
        vouch_present_now(vs, &d, NULL);
        assert_true(vouch_is_held(vs, &d));
    }
    vouches_end_run(vs);

    unsigned hold = vouch_hold(vs);
    vouch_for(vs, &d);
    for (unsigned i = 0; i < 10; i++) {
        now_ms += GRACE_MS;
        turn(vs);
        assert_true(vouch_is_held(vs, &d));
    }
    unsigned second = vouch_hold(vs);
    vouch_release(vs, hold);
    for (unsigned i = 0; i < 3; i++) {
        now_ms += GRACE_MS;
        turn(vs);
    }
    assert_false(vouch_is_held(vs, &d));
    vouch_release(vs, second);
    vouches_free(&vs);
    layout_free(&layout);
    place_fini(&p);
}

static void test_present(void **state)
{
    struct place p;
    struct layout *layout;
    struct digest d;
    uint64_t size = 77;

    (void)state;
    place_init(&p);
    struct vouches *vs = make(&p, &layout);
    now_ms += GRACE_MS;
    make_digest(1, &d);
    assert_int_equal(vouch_present_now(vs, &d, &size), -ENOENT);
    assert_int_equal(size, 77);
    assert_true(vouch_is_held(vs, &d));
    place_write(&p, place_blob(&p, &d), "12345", 5);
    assert_int_equal(vouch_present_now(vs, &d, &size), 0);
    assert_int_equal(size, 5);
    assert_int_equal(vouch_present_now(vs, &d, NULL), 0);
    make_digest(2, &d);
    place_write(&p, place_path(&p, "%s/data", place_blob(&p, &d) + strlen(p.root) + 1), "", 0);
    assert_int_equal(vouch_present_now(vs, &d, &size), -ENOENT);
    vouches_free(&vs);
    layout_free(&layout);
    place_fini(&p);
}

/* --- threads -----------------------------------------------------------------------------------
 */

#define N_THREADS 4
#define N_ROUNDS 50
#define N_PER_ROUND 500

struct crowd {
    struct vouches *vouches;
    pthread_barrier_t begins, ends;
};

struct member {
    struct crowd *crowd;
    pthread_t thread;
    unsigned number;
    unsigned n_lost;
};

static unsigned name_of(const struct member *m, unsigned round, unsigned i)
{
    return (m->number * N_ROUNDS + round) * N_PER_ROUND + i;
}

/* Vouches while the generation changes once; none of it may be lost. */
static void *vouch_rounds(void *arg)
{
    struct member *m = arg;
    struct digest d;

    for (unsigned round = 0; round < N_ROUNDS; round++) {
        pthread_barrier_wait(&m->crowd->begins);
        for (unsigned i = 0; i < N_PER_ROUND; i++) {
            make_digest(name_of(m, round, i), &d);
            if (i % 16 == 0)
                vouch_present_now(m->crowd->vouches, &d, NULL);
            else
                vouch_for(m->crowd->vouches, &d);
        }
        pthread_barrier_wait(&m->crowd->ends);
        for (unsigned i = 0; i < N_PER_ROUND; i++) {
            make_digest(name_of(m, round, i), &d);
            m->n_lost += !vouch_is_held(m->crowd->vouches, &d);
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct place p;
    struct layout *layout;
    struct member members[N_THREADS];
    struct digest never;

    (void)state;
    place_init(&p);
    struct crowd crowd = {.vouches = make(&p, &layout)};
    now_ms += GRACE_MS;
    pthread_barrier_init(&crowd.begins, NULL, N_THREADS + 1);
    pthread_barrier_init(&crowd.ends, NULL, N_THREADS + 1);
    for (unsigned i = 0; i < N_THREADS; i++) {
        members[i] = (struct member){.crowd = &crowd, .number = i};
        assert_int_equal(pthread_create(&members[i].thread, NULL, vouch_rounds, &members[i]), 0);
    }
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        pthread_barrier_wait(&crowd.begins);
        now_ms += GRACE_MS;
        turn(crowd.vouches);
        pthread_barrier_wait(&crowd.ends);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        pthread_join(members[i].thread, NULL);
        assert_int_equal(members[i].n_lost, 0);
    }
    make_digest(UINT32_MAX, &never);
    assert_false(vouch_is_held(crowd.vouches, &never));
    pthread_barrier_destroy(&crowd.begins);
    pthread_barrier_destroy(&crowd.ends);
    vouches_free(&crowd.vouches);
    layout_free(&layout);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_present),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
