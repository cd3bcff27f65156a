/* Questions that many have at once, from several workers. */
#include "config.h"

#include "mirrord/flight.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define N_ASKERS 60

/* A question whose answer the test gives. */
struct story {
    struct flight flight; /* first */
    int answer;
};

static atomic_uint n_made, n_started, n_stopped, n_freed;
static atomic_bool can_stop;
static struct story *_Atomic newest;

static struct flight *do_make(void *arg)
{
    struct story *s = xcalloc(1, sizeof(*s));

    (void)arg;
    atomic_fetch_add(&n_made, 1);
    return &s->flight;
}

static void do_start(struct flight *f)
{
    atomic_fetch_add(&n_started, 1);
    atomic_store(&newest, (struct story *)f);
}

static bool do_stop(struct flight *f)
{
    (void)f;
    atomic_fetch_add(&n_stopped, 1);
    return atomic_load(&can_stop);
}

static void do_free(struct flight *f)
{
    atomic_fetch_add(&n_freed, 1);
    free(f);
}

static const struct flight_ops OPS = {do_make, do_start, do_stop, do_free};

struct asker {
    struct flights *flights;
    const char *key;
    struct flight_waiter waiter;
    struct moment over;
    struct flight *kept;
    bool wants_ref;
    bool is_first, has_left;
    int answer;
    unsigned n_max;
};

static void on_told(void *arg, struct flight *f, bool is_first)
{
    struct asker *a = arg;

    a->answer = ((struct story *)f)->answer;
    a->is_first = is_first;
    if (a->wants_ref)
        a->kept = flight_ref(f);
    moment_come(&a->over);
}

static void do_join(void *arg)
{
    struct asker *a = arg;

    a->waiter.done = on_told;
    a->waiter.arg = a;
    flights_join(a->flights, slice_of(a->key), a, &a->waiter);
}

static void do_leave(void *arg)
{
    struct asker *a = arg;

    a->has_left = flights_leave(a->flights, &a->waiter, a->n_max);
}

static void do_land(void *arg)
{
    struct story *s = arg;

    s->answer = 42;
    flight_land(&s->flight);
}

static void reset(struct place *p)
{
    place_init(p);
    place_open(p);
    atomic_store(&n_made, 0);
    atomic_store(&n_started, 0);
    atomic_store(&n_stopped, 0);
    atomic_store(&n_freed, 0);
    atomic_store(&can_stop, true);
}

static void test_one_answer(void **state)
{
    struct asker askers[N_ASKERS] = {{.key = "a"}};
    struct flights *flights = flights_new(&OPS);
    struct place p;
    unsigned n_first = 0;

    (void)state;
    reset(&p);
    for (unsigned i = 0; i < N_ASKERS; i++) {
        askers[i] = (struct asker){.flights = flights, .key = "a", .wants_ref = i == 7};
        moment_init(&askers[i].over);
        place_run(&p, i % PLACE_WORKERS, do_join, &askers[i]);
    }
    assert_int_equal(n_made, 1);
    assert_int_equal(n_started, 1);
    place_run(&p, 0, do_land, newest);
    for (unsigned i = 0; i < N_ASKERS; i++) {
        assert_true(moment_wait(&askers[i].over));
        assert_int_equal(askers[i].answer, 42);
        n_first += askers[i].is_first;
        moment_fini(&askers[i].over);
    }
    place_settle(&p);
    assert_int_equal(n_first, 1);
    assert_int_equal(n_freed, 0);
    flight_unref(&askers[7].kept);
    assert_int_equal(n_freed, 1);
    flights_free(&flights);
    place_close(&p);
    place_fini(&p);
}

static void test_leaving(void **state)
{
    struct flights *flights = flights_new(&OPS);
    struct asker one = {.flights = flights, .key = "a", .n_max = 1}, two = one;
    struct place p;

    (void)state;
    reset(&p);
    moment_init(&two.over);
    place_run(&p, 0, do_join, &one);
    place_run(&p, 1, do_join, &two);
    place_run(&p, 0, do_leave, &one);
    assert_true(one.has_left);
    place_run(&p, 0, do_land, newest);
    assert_true(moment_wait(&two.over));
    place_run(&p, 1, do_leave, &two);
    assert_false(two.has_left);
    assert_int_equal(n_freed, 1);
    moment_fini(&two.over);
    flights_free(&flights);
    place_close(&p);
    place_fini(&p);
}

/* Nobody waits: it goes on while there are few, is stopped when there are many; and a new question
 * is not joined to one that is being stopped. */
static void test_lonely(void **state)
{
    struct flights *flights = flights_new(&OPS);
    struct asker a = {.flights = flights, .key = "a", .n_max = 1};
    struct place p;

    (void)state;
    reset(&p);
    place_run(&p, 0, do_join, &a);
    place_run(&p, 0, do_leave, &a);
    place_settle(&p);
    assert_int_equal(n_stopped, 0);
    place_run(&p, 1, do_join, &a);
    assert_int_equal(n_made, 1);
    a.n_max = 0;
    place_run(&p, 1, do_leave, &a);
    place_settle(&p);
    assert_int_equal(n_stopped, 1);
    assert_int_equal(n_freed, 1);
    /* One that cannot stop lands later. */
    atomic_store(&can_stop, false);
    place_run(&p, 2, do_join, &a);
    struct story *first = newest;
    place_run(&p, 2, do_leave, &a);
    place_settle(&p);
    assert_int_equal(n_stopped, 2);
    moment_init(&a.over);
    place_run(&p, 1, do_join, &a);
    assert_int_equal(n_made, 3);
    place_run(&p, 2, do_land, first);
    place_settle(&p);
    assert_int_equal(n_freed, 2);
    place_run(&p, 1, do_land, newest);
    assert_true(moment_wait(&a.over));
    moment_fini(&a.over);
    place_settle(&p);
    assert_int_equal(n_freed, 3);
    flights_free(&flights);
    place_close(&p);
    place_fini(&p);
}

/* At the end of the process. */
static void test_unanswered(void **state)
{
    struct flights *flights = flights_new(&OPS);
    struct asker a = {.flights = flights, .key = "a"}, b = {.flights = flights, .key = "b"};
    struct place p;

    (void)state;
    reset(&p);
    place_run(&p, 0, do_join, &a);
    place_run(&p, 0, do_join, &b);
    assert_int_equal(n_made, 2);
    flights_free(&flights);
    assert_int_equal(n_freed, 2);
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_answer),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_lonely),
        cmocka_unit_test(test_unanswered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
