#include "config.h"

#include "upstream/fetch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/http_client.h"
#include "base/metric.h"
#include "tests/unit/fetch_probe.h"
#include "tests/unit/unit.h"

#define BLOB "sha256:00"

/* Serves the first half, then waits; with an argument it waits before the head, or never answers
 * well. */
enum manner { HOLD_HEAD, HOLD_BODY, FAIL_ALWAYS, SERVE };

static bool serve(struct script_request *r, void *arg)
{
    switch (atomic_load((atomic_int *)arg)) {
    case HOLD_HEAD:
        script_wait(r->server);
        return false;
    case HOLD_BODY:
        lab_serve_blob(r, LAB_BODY_BYTES / 2);
        script_wait(r->server);
        return false;
    case FAIL_ALWAYS:
        return script_printf(r, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    case SERVE:
        break;
    }
    return lab_serve_blob(r, UINT64_MAX);
}

static void open_lab(struct lab *lab, struct script_server **s, atomic_int *manner)
{
    struct upstream_config config = lab_config();

    config.backoff_base_ms = config.backoff_max_ms = 3600 * 1000;
    *s = script_server_new(serve, manner);
    lab_open(lab, &config, *s);
}

static void close_lab(struct lab *lab, struct script_server **s)
{
    lab_close(lab);
    script_server_free(s);
}

/* Nothing is told after a cancellation; probe callbacks CHECK that. */
static void test_cancel_at_once(void **state)
{
    atomic_int manner = SERVE;
    struct script_server *s;
    struct lab lab;

    (void)state;
    open_lab(&lab, &s, &manner);
    for (int i = 0; i < 20; i++) {
        struct probe p = {.act = PROBE_GO_ON};
        probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
        for (int turns = 0; turns < i; turns++)
            lab_settle(&lab, 1);
        probe_cancel(&p);
        probe_free(&p);
    }
    close_lab(&lab, &s);
}

static void test_cancel_before_head(void **state)
{
    atomic_int manner = HOLD_HEAD;
    struct script_server *s;
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    open_lab(&lab, &s, &manner);
    probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
    script_server_await(s, 1);
    probe_cancel(&p);
    assert_int_equal(p.n_calls, 0);
    probe_free(&p);
    close_lab(&lab, &s);
}

static void check_cancel_inside(enum probe_act act)
{
    atomic_int manner = HOLD_BODY;
    struct script_server *s;
    struct lab lab;
    struct probe p = {.act = act};

    open_lab(&lab, &s, &manner);
    probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
    probe_wait(&p);
    lab_settle(&lab, 0);
    assert_int_equal(p.n_calls, act == PROBE_CANCEL_IN_HEAD ? 1 : 2);
    probe_free(&p);
    close_lab(&lab, &s);
}

static void test_cancel_inside_callbacks(void **state)
{
    (void)state;
    check_cancel_inside(PROBE_CANCEL_IN_HEAD);
    check_cancel_inside(PROBE_CANCEL_IN_BODY);
}

static void test_cancel_paused(void **state)
{
    atomic_int manner = SERVE;
    struct script_server *s;
    struct lab lab;
    struct probe p = {.act = PROBE_HOLD}, q = {.act = PROBE_HOLD};

    (void)state;
    open_lab(&lab, &s, &manner);
    probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
    probe_wait_paused(&p);
    probe_cancel(&p);
    probe_free(&p);
    /* Also with the resumption on its way. */
    probe_start(&q, &lab, 0, FETCH_BLOB, BLOB);
    probe_wait_paused(&q);
    probe_resume(&q);
    probe_cancel(&q);
    probe_free(&q);
    close_lab(&lab, &s);
}

/* A pause longer than the idle limit is not a stall. */
static void test_pause(void **state)
{
    struct upstream_config config = lab_config();
    atomic_int manner = SERVE;
    struct script_server *s = script_server_new(serve, &manner);
    struct lab lab;
    struct probe p = {.act = PROBE_HOLD}, clock = {.act = PROBE_GO_ON};

    (void)state;
    config.idle_timeout_ms = 400;
    config.header_timeout_ms = 800;
    config.retries_max = 0;
    lab_open(&lab, &config, s);
    probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
    probe_wait_paused(&p);
    /* Another fetch on the same worker runs into a longer limit meanwhile. */
    manner = HOLD_HEAD;
    probe_run(&clock, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    assert_false(p.is_done);
    probe_resume(&p);
    probe_wait(&p);
    assert_int_equal(p.result.outcome, FETCH_OK);
    probe_check_body(&p, 0, LAB_BODY_BYTES);
    assert_int_equal(script_server_count(s), 2);
    probe_free(&clock);
    probe_free(&p);
    close_lab(&lab, &s);
}

static void test_cancel_backing_off(void **state)
{
    atomic_int manner = FAIL_ALWAYS;
    struct script_server *s;
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};
    int64_t before = metric_get(METRIC_UPSTREAM_RETRIES);

    (void)state;
    open_lab(&lab, &s, &manner);
    probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
    script_server_await(s, 1);
    while (metric_get(METRIC_UPSTREAM_RETRIES) == before)
        lab_settle(&lab, 0);
    probe_cancel(&p);
    assert_int_equal(p.n_calls, 0);
    assert_int_equal(script_server_count(s), 1);
    probe_free(&p);
    close_lab(&lab, &s);
}

static void close_client(void *arg)
{
    (void)arg;
    http_client_close();
}

/* Closing a worker's client ends its fetches, and those that come after. */
static void test_closed_client(void **state)
{
    atomic_int manner = HOLD_BODY;
    struct script_server *s;
    struct lab lab;
    struct probe running = {.act = PROBE_GO_ON}, late = {.act = PROBE_GO_ON};

    (void)state;
    open_lab(&lab, &s, &manner);
    probe_start(&running, &lab, 0, FETCH_BLOB, BLOB);
    script_server_await(s, 1);
    worker_call(lab.workers[0], close_client, NULL);
    probe_wait(&running);
    assert_int_equal(running.result.outcome, FETCH_UNAVAILABLE);
    probe_run(&late, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    assert_int_equal(script_server_count(s), 1);
    probe_free(&running);
    probe_free(&late);
    close_lab(&lab, &s);
}

/* So does one that waits for its next try, which would be in an hour. */
static void test_closed_client_backing_off(void **state)
{
    atomic_int manner = FAIL_ALWAYS;
    struct script_server *s;
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};
    int64_t before = metric_get(METRIC_UPSTREAM_RETRIES);

    (void)state;
    open_lab(&lab, &s, &manner);
    probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
    while (metric_get(METRIC_UPSTREAM_RETRIES) == before)
        lab_settle(&lab, 0);
    worker_call(lab.workers[0], close_client, NULL);
    probe_wait(&p);
    assert_int_equal(p.result.outcome, FETCH_UNAVAILABLE);
    assert_int_equal(script_server_count(s), 1);
    probe_free(&p);
    close_lab(&lab, &s);
}

static void check_breaker(struct upstream *u, const char *state)
{
    struct strbuf json = STRBUF_INIT;
    char wanted[64];

    snprintf(wanted, sizeof(wanted), "\"breaker\":\"%s\"", state);
    upstream_print_json(u, &json);
    assert_non_null(strstr(json.ptr, wanted));
    strbuf_fini(&json);
}

/* Opens, answers at once without asking, lets one probe through, closes. */
static void test_breaker(void **state)
{
    struct upstream_config config = lab_config();
    atomic_int manner = FAIL_ALWAYS;
    struct script_server *s = script_server_new(serve, &manner);
    struct lab lab;
    struct probe first = {.act = PROBE_GO_ON}, probing = {.act = PROBE_GO_ON};
    unsigned n_refused = 0;

    (void)state;
    config.breaker_failures = 2;
    config.breaker_cooldown_ms = 500;
    lab_open(&lab, &config, s);
    probe_run(&first, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    assert_int_equal(script_server_count(s), 2);
    check_breaker(lab.upstream, "open");
    manner = HOLD_BODY;
    /* Until the cooldown is over nobody gets through; then one does. */
    while (script_server_count(s) == 2) {
        struct probe p = {.act = PROBE_CANCEL_IN_HEAD};
        probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
        probe_wait(&p);
        n_refused += p.is_done;
        probe_free(&p);
    }
    assert_true(n_refused > 0);
    check_breaker(lab.upstream, "closed");
    manner = SERVE;
    probe_run(&probing, &lab, FETCH_BLOB, BLOB, FETCH_OK);
    probe_free(&first);
    probe_free(&probing);
    close_lab(&lab, &s);
}

/* A probe that leaves hands its turn to the next. */
static void test_breaker_probe_leaves(void **state)
{
    struct upstream_config config = lab_config();
    atomic_int manner = FAIL_ALWAYS;
    struct script_server *s = script_server_new(serve, &manner);
    struct lab lab;
    struct probe first = {.act = PROBE_GO_ON}, leaver = {.act = PROBE_GO_ON};
    struct probe refused = {.act = PROBE_GO_ON}, next = {.act = PROBE_GO_ON};

    (void)state;
    config.breaker_failures = 1;
    config.breaker_cooldown_ms = 0;
    lab_open(&lab, &config, s);
    probe_run(&first, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    unsigned n_before = script_server_count(s);
    manner = HOLD_HEAD;
    probe_start(&leaver, &lab, 0, FETCH_BLOB, BLOB);
    script_server_await(s, n_before + 1);
    probe_run(&refused, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    assert_int_equal(script_server_count(s), n_before + 1);
    probe_cancel(&leaver);
    manner = SERVE;
    probe_run(&next, &lab, FETCH_BLOB, BLOB, FETCH_OK);
    check_breaker(lab.upstream, "closed");
    probe_free(&first);
    probe_free(&leaver);
    probe_free(&refused);
    probe_free(&next);
    close_lab(&lab, &s);
}

/* Nobody listens: a failure like any other, told soon. */
static void test_refused_connection(void **state)
{
    struct upstream_config config = lab_config();
    atomic_int manner = SERVE;
    struct script_server *s = script_server_new(serve, &manner);
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    lab_open(&lab, &config, s);
    script_server_free(&s);
    probe_run(&p, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    assert_int_equal(p.result.status, 0);
    assert_int_equal(p.n_calls, 0);
    probe_free(&p);
    lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_at_once),
        cmocka_unit_test(test_cancel_before_head),
        cmocka_unit_test(test_cancel_inside_callbacks),
        cmocka_unit_test(test_cancel_paused),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_cancel_backing_off),
        cmocka_unit_test(test_closed_client),
        cmocka_unit_test(test_closed_client_backing_off),
        cmocka_unit_test(test_breaker),
        cmocka_unit_test(test_breaker_probe_leaves),
        cmocka_unit_test(test_refused_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
