#include "config.h"

#include "cache/team.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define N_PIECES 500

struct work {
    atomic_int n_done[N_PIECES];
    pthread_t own;
    atomic_int n_elsewhere;
    struct moment *other; /* comes when another thread than `own` has a piece; NULL: nobody waits */
};

static void do_piece(void *arg, size_t i)
{
    struct work *w = arg;

    atomic_fetch_add(&w->n_done[i], 1);
    if (!pthread_equal(pthread_self(), w->own)) {
        if (atomic_fetch_add(&w->n_elsewhere, 1) == 0 && w->other)
            moment_come(w->other);
    } else if (w->other && i == 0) {
        assert_true(moment_wait(w->other));
    }
}

static void check_all(struct work *w, int n_times)
{
    for (size_t i = 0; i < N_PIECES; i++)
        assert_int_equal(atomic_load(&w->n_done[i]), n_times);
}

/* Each piece is done once, and not all by the one who has them. */
static void test_together(void **state)
{
    struct pool *pool = pool_new(4);
    struct errands *errands = errands_new(pool);
    struct team *team = team_new(errands, 3);
    struct work w = {.own = pthread_self()};
    struct moment other;

    (void)state;
    for (int round = 1; round <= 50; round++) {
        moment_init(&other);
        w.other = &other;
        atomic_store(&w.n_elsewhere, 0);
        team_run(team, N_PIECES, do_piece, &w);
        check_all(&w, round);
        moment_fini(&other);
    }
    w.other = NULL;
    team_run(team, 1, do_piece, &w);
    team_run(team, 0, do_piece, &w);
    assert_int_equal(atomic_load(&w.n_done[0]), 51);
    errands_wait(errands);
    team_free(&team);
    errands_free(&errands);
    pool_free(&pool);
}

struct blocker {
    struct errand errand;
    struct moment begun, goes_on;
};

static void block(struct errand *e)
{
    struct blocker *b = (struct blocker *)e;

    moment_come(&b->begun);
    assert_true(moment_wait(&b->goes_on));
}

/* Nobody is waited for who has not begun: a pool whose threads are all busy is no reason to stop.
 */
static void test_alone(void **state)
{
    enum { THREADS = 4 };
    struct pool *pool = pool_new(THREADS);
    struct errands *errands = errands_new(pool);
    struct team *team = team_new(errands, 3);
    struct blocker blockers[THREADS];
    struct work w = {.own = pthread_self()};

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        moment_init(&blockers[i].begun);
        moment_init(&blockers[i].goes_on);
        errand_submit(errands, &blockers[i].errand, block, NULL);
    }
    for (int i = 0; i < THREADS; i++)
        assert_true(moment_wait(&blockers[i].begun));
    team_run(team, N_PIECES, do_piece, &w);
    check_all(&w, 1);
    assert_int_equal(atomic_load(&w.n_elsewhere), 0);
    /* The helpers that come late find nothing, or the next job. */
    for (int i = 0; i < THREADS; i++)
        moment_come(&blockers[i].goes_on);
    team_run(team, N_PIECES, do_piece, &w);
    check_all(&w, 2);
    errands_wait(errands);
    team_free(&team);
    for (int i = 0; i < THREADS; i++) {
        moment_fini(&blockers[i].begun);
        moment_fini(&blockers[i].goes_on);
    }
    errands_free(&errands);
    pool_free(&pool);
}

/* A small pool's threads are for others. */
static void test_small_pool(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
        struct pool *pool = pool_new(n_threads);
        struct errands *errands = errands_new(pool);
        struct team *team = team_new(errands, 3);
        struct work w = {.own = pthread_self()};
        team_run(team, N_PIECES, do_piece, &w);
        check_all(&w, 1);
        assert_int_equal(atomic_load(&w.n_elsewhere), 0);
        errands_wait(errands);
        team_free(&team);
        errands_free(&errands);
        pool_free(&pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_small_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
