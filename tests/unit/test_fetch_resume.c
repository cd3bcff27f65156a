#include "config.h"

#include "upstream/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metric.h"
#include "tests/unit/fetch_probe.h"
#include "tests/unit/unit.h"

#define BLOB "sha256:00"
#define N LAB_BODY_BYTES
#define OCTETS "Content-Type: application/octet-stream\r\n"

/* One script, one blob. */
static void run_with(struct upstream_config config, script_fn fn, struct probe *p,
                     enum fetch_outcome outcome, unsigned n_requests)
{
    struct script_server *s = script_server_new(fn, NULL);
    struct lab lab;

    lab_open(&lab, &config, s);
    probe_run(p, &lab, FETCH_BLOB, BLOB, outcome);
    assert_int_equal(script_server_count(s), n_requests);
    if (outcome == FETCH_OK)
        probe_check_body(p, p->head.is_range ? p->spec.off : 0,
                         p->head.is_range && p->spec.end < N
                             ? p->spec.end - p->spec.off
                             : N - (p->head.is_range ? p->spec.off : 0));
    probe_free(p);
    lab_close(&lab);
    script_server_free(&s);
}

static void run(script_fn fn, struct probe *p, enum fetch_outcome outcome, unsigned n_requests)
{
    run_with(lab_config(), fn, p, outcome, n_requests);
}

/* Cuts after 70,000 bytes, again and again. */
static bool serve_cuts(struct script_request *r, void *arg)
{
    uint64_t first = 0, last;

    (void)arg;
    assert_int_equal(script_range(r, &first, &last), r->nth > 0);
    assert_int_equal(first, r->nth * 70000);
    return lab_serve_blob(r, 70000);
}

static void test_cuts(void **state)
{
    struct probe p = {.act = PROBE_GO_ON};
    int64_t before = metric_get(METRIC_UPSTREAM_RESUMES);

    (void)state;
    run(serve_cuts, &p, FETCH_OK, 5);
    assert_int_equal(metric_get(METRIC_UPSTREAM_RESUMES), before + 4);
}

/* A single byte each time is still progress; the range of the caller is kept. */
static bool serve_drops(struct script_request *r, void *arg)
{
    uint64_t first = 0, last;

    (void)arg;
    assert_true(script_range(r, &first, &last));
    assert_int_equal(first, 1000 + r->nth);
    assert_int_equal(last, 1009);
    return lab_serve_blob(r, 1);
}

static void test_single_bytes(void **state)
{
    struct probe p = {.spec = {.off = 1000, .end = 1010}};

    (void)state;
    run(serve_drops, &p, FETCH_OK, 10);
}

/* Every stretch without progress has its own tries, and they end. */
static bool serve_cut_then_nothing(struct script_request *r, void *arg)
{
    (void)arg;
    return lab_serve_blob(r, r->nth == 0 ? 100 : 0);
}

static void test_no_more_progress(void **state)
{
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    run(serve_cut_then_nothing, &p, FETCH_UNAVAILABLE, 4);
    assert_int_equal(p.n_heads, 1);
}

/* Sends half and then nothing, with the connection open. */
static bool serve_stall(struct script_request *r, void *arg)
{
    (void)arg;
    if (r->nth > 0)
        return lab_serve_blob(r, UINT64_MAX);
    lab_serve_blob(r, N / 2);
    script_wait(r->server);
    return false;
}

static void test_stall(void **state)
{
    struct upstream_config config = lab_config();
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    config.idle_timeout_ms = 500;
    run_with(config, serve_stall, &p, FETCH_OK, 2);
}

static bool serve_silence(struct script_request *r, void *arg)
{
    (void)arg;
    if (r->nth > 1)
        return lab_serve_blob(r, UINT64_MAX);
    if (r->nth == 1)
        script_printf(r, "HTTP/1.1 200 OK\r\nX: y\r\n"); /* half a head */
    script_wait(r->server);
    return false;
}

static void test_no_head(void **state)
{
    struct upstream_config config = lab_config();
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    config.header_timeout_ms = 500;
    run_with(config, serve_silence, &p, FETCH_OK, 3);
}

/* A chunked body without a length that is cut: the resumption tells the size. */
static bool serve_chunked_cut(struct script_request *r, void *arg)
{
    (void)arg;
    if (r->nth > 0)
        return lab_serve_blob(r, UINT64_MAX);
    script_printf(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n");
    script_send(r, lab_body(0), 4096);
    script_printf(r, "\r\n2000\r\n");
    script_send(r, lab_body(4096), 100);
    return false;
}

static void test_chunked_cut(void **state)
{
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    run(serve_chunked_cut, &p, FETCH_OK, 2);
    assert_true(p.head.size == UINT64_MAX);
}

/* What a resumption may be answered with. The first request is always cut after 1,000 bytes. */
static const struct {
    const char *name, *head;
    uint64_t first, n; /* of the body that is sent */
    enum fetch_outcome outcome;
    unsigned n_requests;
} resume_rows[] = {
    {"right",
     "HTTP/1.1 206 P\r\nContent-Range: bytes 1000-299999/300000\r\n"
     "Content-Length: 299000\r\n",
     1000, 299000, FETCH_OK, 2},
    {"whole, from the start", "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n", 0, N, FETCH_OK, 2},
    {"another start",
     "HTTP/1.1 206 P\r\nContent-Range: bytes 999-299999/300000\r\n"
     "Content-Length: 299001\r\n",
     999, 299001, FETCH_BAD_ANSWER, 4},
    {"another size",
     "HTTP/1.1 206 P\r\nContent-Range: bytes 1000-299999/300001\r\n"
     "Content-Length: 299000\r\n",
     1000, 299000, FETCH_BAD_ANSWER, 4},
    {"no size",
     "HTTP/1.1 206 P\r\nContent-Range: bytes 1000-299999/*\r\n"
     "Content-Length: 299000\r\n",
     1000, 299000, FETCH_BAD_ANSWER, 4},
    {"length against range",
     "HTTP/1.1 206 P\r\nContent-Range: bytes 1000-299999/300000\r\n"
     "Content-Length: 298999\r\n",
     1000, 298999, FETCH_BAD_ANSWER, 4},
    {"no range", "HTTP/1.1 206 P\r\nContent-Length: 299000\r\n", 1000, 299000, FETCH_BAD_ANSWER, 4},
    {"whole of another size", "HTTP/1.1 200 OK\r\nContent-Length: 300001\r\n", 0, N,
     FETCH_BAD_ANSWER, 4},
    {"page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 300000\r\n", 0, N,
     FETCH_BAD_ANSWER, 2},
    {"too much",
     "HTTP/1.1 206 P\r\nContent-Range: bytes 1000-299999/300000\r\n"
     "Connection: close\r\n",
     0, N, FETCH_BAD_ANSWER, 2},
    {"cannot", "HTTP/1.1 416 R\r\nContent-Range: bytes */300000\r\nContent-Length: 300000\r\n", 0,
     N, FETCH_BAD_ANSWER, 2},
    {"gone", "HTTP/1.1 404 N\r\nContent-Length: 300000\r\n", 0, N, FETCH_NOT_FOUND, 2},
};

static bool serve_resumption(struct script_request *r, void *arg)
{
    size_t i = *(size_t *)arg;

    if (r->nth == 0)
        return lab_serve_blob(r, 1000);
    script_printf(r, "%s\r\n", resume_rows[i].head);
    script_send(r, lab_body(resume_rows[i].first), resume_rows[i].n);
    return false;
}

static void test_resumptions(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(resume_rows); i++) {
        struct upstream_config config = lab_config();
        struct script_server *s = script_server_new(serve_resumption, &i);
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON};
        lab_open(&lab, &config, s);
        probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
        probe_wait(&p);
        if (p.result.outcome != resume_rows[i].outcome ||
            script_server_count(s) != resume_rows[i].n_requests)
            fail_msg("%s: %s (%s), %u requests", resume_rows[i].name,
                     fetch_outcome_name(p.result.outcome), p.result.error.text,
                     script_server_count(s));
        if (p.result.outcome == FETCH_OK)
            probe_check_body(&p, 0, N);
        else
            assert_memory_equal(p.body.ptr, lab_body(0), 1000);
        probe_free(&p);
        lab_close(&lab);
        script_server_free(&s);
    }
}

/* A caller's range that is cut, continued by a server that begins anew: no byte behind the range.
 */
static bool serve_range_then_whole(struct script_request *r, void *arg)
{
    (void)arg;
    if (r->nth == 0)
        return lab_serve_blob(r, 50);
    script_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", N);
    script_send(r, lab_body(0), N);
    return false;
}

static void test_range_then_whole(void **state)
{
    struct probe p = {.spec = {.off = 5000, .end = 105000}};

    (void)state;
    run(serve_range_then_whole, &p, FETCH_OK, 2);
    assert_true(p.head.is_range);
}

/* A manifest is continued only if its digest says that it is the same. */
static bool serve_manifest_cut(struct script_request *r, void *arg)
{
    const char *const *digests = arg;

    script_printf(r,
                  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
                  "%s\r\n",
                  digests[r->nth > 0]);
    script_send(r, "{\"a\":\"bc\"}", r->nth > 0 ? 10 : 4);
    return r->nth > 0;
}

static const struct {
    const char *digests[2];
    enum fetch_outcome outcome;
    unsigned n_requests;
} manifest_rows[] = {
    {{"Docker-Content-Digest: sha256:1\r\n", "Docker-Content-Digest: sha256:1\r\n"}, FETCH_OK, 2},
    {{"Docker-Content-Digest: sha256:1\r\n", "Docker-Content-Digest: sha256:2\r\n"},
     FETCH_BAD_ANSWER,
     4},
    {{"Docker-Content-Digest: sha256:1\r\n", ""}, FETCH_BAD_ANSWER, 4},
    {{"", ""}, FETCH_UNAVAILABLE, 1},
};

static void test_manifest_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(manifest_rows); i++) {
        struct upstream_config config = lab_config();
        struct script_server *s =
            script_server_new(serve_manifest_cut, (void *)(uintptr_t)manifest_rows[i].digests);
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON};
        lab_open(&lab, &config, s);
        probe_run(&p, &lab, FETCH_MANIFEST, "latest", manifest_rows[i].outcome);
        assert_int_equal(script_server_count(s), manifest_rows[i].n_requests);
        if (p.result.outcome == FETCH_OK)
            assert_string_equal(p.body.ptr, "{\"a\":\"bc\"}");
        probe_free(&p);
        lab_close(&lab);
        script_server_free(&s);
    }
}

/* The registry redirects to a CDN that does as its script says; the registry is asked anew. */
struct cdn {
    struct script_server *server;
    const char *answer; /* NULL: the blob, cut after 1,000 bytes at the first time */
};

static bool serve_redirect(struct script_request *r, void *arg)
{
    const struct cdn *cdn = arg;

    return script_printf(r,
                         "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%u/signed?nth=%u\r\n"
                         "Content-Length: 5\r\n\r\nhello",
                         script_server_port(cdn->server), r->nth);
}

static bool serve_cdn(struct script_request *r, void *arg)
{
    const struct cdn *cdn = arg;
    char value[64], target[64];
    uint64_t first = 0, last;

    snprintf(target, sizeof(target), "/signed?nth=%u", r->nth);
    assert_string_equal(r->target, target);
    assert_false(script_header(r, "Authorization", value, sizeof(value)));
    if (!cdn->answer)
        return lab_serve_blob(r, r->nth == 0 ? 1000 : UINT64_MAX);
    if (r->nth == 0)
        return lab_serve_blob(r, 1000);
    if (r->nth == 1)
        return script_send(r, cdn->answer, strlen(cdn->answer));
    assert_true(script_range(r, &first, &last));
    assert_int_equal(first, 1000);
    return lab_serve_blob(r, UINT64_MAX);
}

static const char *const cdn_answers[] = {
    NULL,
    "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"cdn\"\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 403 Expired\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanother",
};

static void test_cdn(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(cdn_answers); i++) {
        struct upstream_config config = lab_config();
        struct cdn cdn = {.answer = cdn_answers[i]};
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON};
        cdn.server = script_server_new(serve_cdn, &cdn);
        struct script_server *s = script_server_new(serve_redirect, &cdn);
        lab_open(&lab, &config, s);
        probe_run(&p, &lab, FETCH_BLOB, BLOB, FETCH_OK);
        probe_check_body(&p, 0, N);
        assert_int_equal(script_server_count(s), cdn.answer ? 3 : 2);
        assert_int_equal(script_server_count(cdn.server), cdn.answer ? 3 : 2);
        probe_free(&p);
        lab_close(&lab);
        script_server_free(&s);
        script_server_free(&cdn.server);
    }
}

/* A CDN that is down costs tries, not the registry's good name. */
static bool serve_dead_redirect(struct script_request *r, void *arg)
{
    (void)arg;
    return script_printf(r, "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/x\r\n"
                            "Content-Length: 0\r\n\r\n");
}

static void test_dead_cdn(void **state)
{
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(serve_dead_redirect, NULL);
    struct strbuf json = STRBUF_INIT;
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    config.breaker_failures = 1;
    lab_open(&lab, &config, s);
    probe_run(&p, &lab, FETCH_BLOB, BLOB, FETCH_UNAVAILABLE);
    assert_int_equal(script_server_count(s), 4);
    upstream_print_json(lab.upstream, &json);
    assert_non_null(strstr(json.ptr, "\"breaker\":\"closed\""));
    strbuf_fini(&json);
    probe_free(&p);
    lab_close(&lab);
    script_server_free(&s);
}

static bool serve_circle(struct script_request *r, void *arg)
{
    (void)arg;
    return script_printf(r, "HTTP/1.1 302 Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n",
                         strcmp(r->target, "/a") == 0 ? "/b" : "/a");
}

static bool serve_endless(struct script_request *r, void *arg)
{
    (void)arg;
    return script_printf(r, "HTTP/1.1 302 Go\r\nLocation: /%u\r\nContent-Length: 0\r\n\r\n",
                         r->nth);
}

static void test_endless_redirects(void **state)
{
    struct probe circle = {.act = PROBE_GO_ON}, endless = {.act = PROBE_GO_ON};

    (void)state;
    run(serve_circle, &circle, FETCH_BAD_ANSWER, 3);
    run(serve_endless, &endless, FETCH_BAD_ANSWER, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_single_bytes),
        cmocka_unit_test(test_no_more_progress),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_no_head),
        cmocka_unit_test(test_chunked_cut),
        cmocka_unit_test(test_resumptions),
        cmocka_unit_test(test_range_then_whole),
        cmocka_unit_test(test_manifest_cut),
        cmocka_unit_test(test_cdn),
        cmocka_unit_test(test_dead_cdn),
        cmocka_unit_test(test_endless_redirects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
