#include "config.h"

#include "base/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "tests/unit/unit.h"

#define N_THREADS 4
#define N_MAILS 20000

struct counter {
    struct mail mail;
    struct worker *worker;
    int *n;
};

static int n_delivered;

static void on_counter(struct mail *m)
{
    struct counter *c = (struct counter *)m;

    assert_ptr_equal(worker_current(), c->worker);
    ++*c->n;
    free(c);
}

static void *post_many(void *arg)
{
    for (int i = 0; i < N_MAILS; i++) {
        struct counter *c = xcalloc(1, sizeof(*c));
        c->mail.fn = on_counter;
        c->worker = arg;
        c->n = &n_delivered;
        worker_post(arg, &c->mail);
    }
    return NULL;
}

/* Nothing is lost, even what is posted just before the end. */
static void test_all_mail_arrives(void **state)
{
    struct worker *w = worker_new(3);
    pthread_t threads[N_THREADS];

    (void)state;
    n_delivered = 0;
    assert_int_equal(worker_index(w), 3);
    worker_start(w);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, w), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    worker_stop(w);
    worker_join(&w);
    assert_null(w);
    assert_int_equal(n_delivered, N_THREADS * N_MAILS);
}

static struct {
    struct mail twice, later;
    struct worker *worker;
    char order[16];
    size_t n;
} turn;

static void note(char c)
{
    turn.order[turn.n++] = c;
}

static void on_buried(void *arg)
{
    note(*(char *)arg);
}

static void on_later(struct mail *m)
{
    (void)m;
    note('l');
    worker_stop(turn.worker);
}

static void on_twice(struct mail *m)
{
    static char b = 'b';

    (void)m;
    note('m');
    worker_bury(turn.worker, on_buried, &b);
    worker_later(turn.worker, &turn.later);
    worker_later(turn.worker, &turn.later);
    note('e');
}

/* A mail posted twice is delivered once; `later` runs after the callback, the dead go last. */
static void test_order_in_a_turn(void **state)
{
    (void)state;
    turn.worker = worker_new(0);
    turn.twice.fn = on_twice;
    turn.later.fn = on_later;
    worker_post(turn.worker, &turn.twice);
    worker_post(turn.worker, &turn.twice);
    worker_run(turn.worker);
    worker_join(&turn.worker);
    assert_string_equal(turn.order, "melb");
}

static struct {
    struct worker *worker;
    struct mail tick, long_works[3];
    char order[32];
    size_t n;
} turns;

/* Something else that is ready all the time. */
static void on_tick(struct mail *m)
{
    turns.order[turns.n++] = '.';
    if (turns.n < 8)
        worker_later(turns.worker, m);
    else
        worker_stop(turns.worker);
}

static void on_long_work(struct mail *m)
{
    turns.order[turns.n++] = (char)('a' + (m - turns.long_works));
}

static void start_long_works(void *arg)
{
    (void)arg;
    worker_later(turns.worker, &turns.tick);
    for (size_t i = 0; i < N_ROWS(turns.long_works); i++)
        worker_in_turn(turns.worker, &turns.long_works[i]);
    worker_in_turn(turns.worker, &turns.long_works[0]);
}

/* Long works run one a turn, in order, and others have their turn between them. */
static void test_one_long_work_a_turn(void **state)
{
    (void)state;
    turns.worker = worker_new(0);
    turns.tick.fn = on_tick;
    for (size_t i = 0; i < N_ROWS(turns.long_works); i++)
        turns.long_works[i].fn = on_long_work;
    worker_call(turns.worker, start_long_works, NULL);
    worker_run(turns.worker);
    worker_join(&turns.worker);
    assert_memory_equal(turns.order, ".a.b.c..", 8);
}

struct story {
    struct pool_job job;
    struct worker *home;
    atomic_int *n_worked;
    int *n_done;
};

static void do_work(struct pool_job *job)
{
    struct story *s = (struct story *)job;

    assert_null(worker_current());
    atomic_fetch_add(s->n_worked, 1);
}

static void do_done(struct pool_job *job)
{
    struct story *s = (struct story *)job;

    assert_ptr_equal(worker_current(), s->home);
    if (++*s->n_done == 100)
        worker_stop(s->home);
    free(s);
}

static void test_pool(void **state)
{
    struct pool *pool = pool_new(3);
    struct worker *w = worker_new(0);
    atomic_int n_worked = 0;
    int n_done = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        struct story *s = xcalloc(1, sizeof(*s));
        *s = (struct story){.home = w, .n_worked = &n_worked, .n_done = &n_done};
        s->job.work = do_work;
        s->job.done = do_done;
        pool_submit(pool, &s->job, w);
    }
    worker_run(w);
    assert_int_equal(pool_wait(pool), 100);
    pool_free(&pool);
    worker_join(&w);
    assert_int_equal(n_worked, 100);
    assert_int_equal(n_done, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_mail_arrives),
        cmocka_unit_test(test_order_in_a_turn),
        cmocka_unit_test(test_one_long_work_a_turn),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
