#include "config.h"

#include "upstream/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metric.h"
#include "tests/unit/fetch_probe.h"
#include "tests/unit/unit.h"

#define BLOB "sha256:00"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

/* Most tests: one script, one fetch with the usual limits, its outcome. */
static void run(script_fn fn, struct probe *p, enum fetch_kind kind, enum fetch_outcome outcome,
                unsigned n_requests)
{
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(fn, NULL);
    struct lab lab;

    lab_open(&lab, &config, s);
    probe_run(p, &lab, kind, kind == FETCH_BLOB ? BLOB : "latest", outcome);
    assert_int_equal(script_server_count(s), n_requests);
    probe_free(p);
    lab_close(&lab);
    script_server_free(&s);
}

static bool serve_plain(struct script_request *r, void *arg)
{
    char value[600];

    (void)arg;
    assert_string_equal(r->target, "/v2/library/x/blobs/" BLOB);
    assert_true(script_header(r, "Accept", value, sizeof(value)));
    assert_string_equal(value, "*/*");
    assert_true(script_header(r, "Accept-Encoding", value, sizeof(value)));
    assert_string_equal(value, "identity");
    assert_true(script_header(r, "User-Agent", value, sizeof(value)));
    assert_string_equal(value, "mirrord-test");
    assert_false(script_header(r, "Authorization", value, sizeof(value)));
    assert_false(script_header(r, "Range", value, sizeof(value)));
    return lab_serve_blob(r, UINT64_MAX);
}

static void test_plain(void **state)
{
    struct probe p = {.act = PROBE_GO_ON};
    int64_t before = metric_get(METRIC_UPSTREAM_BLOB_GETS);

    (void)state;
    run(serve_plain, &p, FETCH_BLOB, FETCH_OK, 1);
    assert_int_equal(p.head.status, 200);
    assert_int_equal(p.head.size, LAB_BODY_BYTES);
    assert_false(p.head.is_range);
    assert_string_equal(p.media_type, "application/octet-stream");
    assert_int_equal(p.result.status, 200);
    assert_int_equal(metric_get(METRIC_UPSTREAM_BLOB_GETS), before + 1);
}

static void test_body_bytes(void **state)
{
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(serve_plain, NULL);
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON}, q = {.act = PROBE_PAUSE};

    (void)state;
    lab_open(&lab, &config, s);
    probe_run(&p, &lab, FETCH_BLOB, BLOB, FETCH_OK);
    probe_check_body(&p, 0, LAB_BODY_BYTES);
    probe_run(&q, &lab, FETCH_BLOB, BLOB, FETCH_OK);
    probe_check_body(&q, 0, LAB_BODY_BYTES);
    assert_true(q.n_pauses > 2);
    probe_free(&p);
    probe_free(&q);
    lab_close(&lab);
    script_server_free(&s);
}

static bool serve_manifest(struct script_request *r, void *arg)
{
    char value[600];

    (void)arg;
    assert_string_equal(r->target, "/v2/library/x/manifests/latest");
    assert_true(script_header(r, "Accept", value, sizeof(value)));
    assert_non_null(strstr(value, "application/vnd.oci.image.index.v1+json"));
    assert_non_null(strstr(value, "manifest.list.v2+json"));
    assert_non_null(strstr(value, "v1+prettyjws"));
    return script_printf(r,
                         "HTTP/1.1 200 OK\r\nContent-Type: %s; charset=utf-8\r\n"
                         "Docker-Content-Digest: sha256:ab\r\nContent-Length: 2\r\n"
                         "ratelimit-limit: 100;w=21600\r\nratelimit-remaining: 7;w=21600\r\n\r\n%s",
                         MANIFEST_TYPE, strcmp(r->method, "HEAD") == 0 ? "" : "{}");
}

static void test_manifest(void **state)
{
    struct probe head = {.spec.is_head = true}, get = {.act = PROBE_GO_ON};

    (void)state;
    run(serve_manifest, &head, FETCH_MANIFEST, FETCH_OK, 1);
    assert_int_equal(head.head.size, 2);
    assert_string_equal(head.digest, "sha256:ab");
    assert_string_equal(head.media_type, MANIFEST_TYPE);
    assert_int_equal(head.n_calls, 1);
    run(serve_manifest, &get, FETCH_MANIFEST, FETCH_OK, 1);
}

static void test_quota(void **state)
{
    struct probe p = {.act = PROBE_GO_ON};
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(serve_manifest, NULL);
    struct upstream_state told;
    struct lab lab;

    (void)state;
    lab_open(&lab, &config, s);
    upstream_look(lab.upstream, &told);
    assert_int_equal(told.quota_limit, -1);
    probe_run(&p, &lab, FETCH_MANIFEST, "latest", FETCH_OK);
    upstream_look(lab.upstream, &told);
    assert_int_equal(told.quota_limit, 100);
    assert_int_equal(told.quota_remaining, 7);
    probe_free(&p);
    lab_close(&lab);
    script_server_free(&s);
}

static bool serve_tags(struct script_request *r, void *arg)
{
    (void)arg;
    assert_string_equal(r->target, "/v2/library/x/tags/list?n=2&last=a%2Fb");
    return script_printf(r, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                            "Link: </v2/library/x/tags/list?n=2&last=c>; rel=\"next\"\r\n"
                            "Content-Length: 2\r\n\r\n{}");
}

static void test_tags(void **state)
{
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(serve_tags, NULL);
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    lab_open(&lab, &config, s);
    probe_run(&p, &lab, FETCH_TAGS, "n=2&last=a%2Fb", FETCH_OK);
    assert_string_equal(p.link, "</v2/library/x/tags/list?n=2&last=c>; rel=\"next\"");
    assert_int_equal(p.body.len, 2);
    probe_free(&p);
    lab_close(&lab);
    script_server_free(&s);
}

static bool serve_referrers(struct script_request *r, void *arg)
{
    char value[200];

    (void)arg;
    assert_string_equal(r->target,
                        r->nth == 0 ? "/v2/library/x/referrers/sha256:00"
                                    : "/v2/library/x/referrers/sha256:00?n=2&last=a%2Fb+c;d=(e)");
    assert_true(script_header(r, "Accept", value, sizeof(value)));
    assert_string_equal(value, "application/vnd.oci.image.index.v1+json");
    return script_printf(r, "HTTP/1.1 200 OK\r\n"
                            "Content-Type: application/vnd.oci.image.index.v1+json\r\n"
                            "Link: <?n=2&last=c>; rel=\"next\"\r\nContent-Length: 2\r\n\r\n{}");
}

static void test_referrers(void **state)
{
    static const char *const references[] = {"sha256:00", "sha256:00?n=2&last=a%2Fb+c;d=(e)"};
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(serve_referrers, NULL);
    int64_t before = metric_get(METRIC_UPSTREAM_REFERRERS_GETS);
    struct lab lab;

    (void)state;
    lab_open(&lab, &config, s);
    for (size_t i = 0; i < N_ROWS(references); i++) {
        struct probe p = {.act = PROBE_GO_ON};
        probe_run(&p, &lab, FETCH_REFERRERS, references[i], FETCH_OK);
        assert_string_equal(p.link, "<?n=2&last=c>; rel=\"next\"");
        assert_string_equal(p.media_type, "application/vnd.oci.image.index.v1+json");
        assert_int_equal(p.body.len, 2);
        probe_free(&p);
    }
    assert_int_equal(metric_get(METRIC_UPSTREAM_REFERRERS_GETS), before + 2);
    lab_close(&lab);
    script_server_free(&s);
}

/* Answers that end a fetch at once. */
static const struct {
    const char *name;
    enum fetch_kind kind;
    const char *answer;
    enum fetch_outcome outcome;
    int status, retry_after_s;
} final_rows[] = {
    {"absent", FETCH_BLOB, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", FETCH_NOT_FOUND,
     404, -1},
    {"gone", FETCH_MANIFEST, "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", FETCH_NOT_FOUND, 410,
     -1},
    {"forbidden", FETCH_BLOB, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", FETCH_DENIED, 403,
     -1},
    {"long throttle", FETCH_MANIFEST,
     "HTTP/1.1 429 Slow\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n", FETCH_THROTTLED, 429,
     100},
    {"page for a blob", FETCH_BLOB,
     "HTTP/1.1 200 OK\r\nContent-Type: text/html; x\r\nContent-Length: 2\r\n\r\n<>",
     FETCH_BAD_ANSWER, 200, -1},
    {"page for a manifest", FETCH_MANIFEST,
     "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n<>", FETCH_BAD_ANSWER,
     200, -1},
    {"page in disguise", FETCH_MANIFEST,
     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n<>",
     FETCH_BAD_ANSWER, 200, -1},
    {"text for a manifest", FETCH_MANIFEST,
     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", FETCH_BAD_ANSWER,
     200, -1},
    {"no such API", FETCH_REFERRERS,
     "HTTP/1.1 404 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
     FETCH_NOT_FOUND, 404, -1},
    {"method not allowed for referrers", FETCH_REFERRERS,
     "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n", FETCH_BAD_ANSWER, 405, -1},
    {"page for referrers", FETCH_REFERRERS,
     "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n<>", FETCH_BAD_ANSWER,
     200, -1},
    {"text for referrers", FETCH_REFERRERS,
     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", FETCH_BAD_ANSWER,
     200, -1},
    {"compressed", FETCH_BLOB,
     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx", FETCH_BAD_ANSWER,
     200, -1},
    {"odd status", FETCH_BLOB, "HTTP/1.1 418 Tea\r\nContent-Length: 0\r\n\r\n", FETCH_BAD_ANSWER,
     418, -1},
    {"not modified", FETCH_BLOB, "HTTP/1.1 304 Same\r\n\r\n", FETCH_BAD_ANSWER, 304, -1},
    {"redirect to nowhere", FETCH_BLOB, "HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n",
     FETCH_BAD_ANSWER, 302, -1},
    {"redirect to a file", FETCH_BLOB,
     "HTTP/1.1 302 Go\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
     FETCH_BAD_ANSWER, 302, -1},
    {"redirect to itself", FETCH_BLOB,
     "HTTP/1.1 302 Go\r\nLocation: /v2/library/x/blobs/sha256:00\r\nContent-Length: 0\r\n\r\n",
     FETCH_BAD_ANSWER, 302, -1},
    {"redirect with a password", FETCH_BLOB,
     "HTTP/1.1 302 Go\r\nLocation: http://a:b@c/\r\nContent-Length: 0\r\n\r\n", FETCH_BAD_ANSWER,
     302, -1},
    {"interim answers", FETCH_BLOB,
     "HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
     FETCH_NOT_FOUND, 404, -1},
    {"empty blob", FETCH_BLOB, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", FETCH_OK, 200, -1},
    {"no length", FETCH_BLOB, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", FETCH_OK, 200, -1},
};

static bool serve_text(struct script_request *r, void *arg)
{
    const char *text = arg;

    script_send(r, text, strlen(text));
    return !strstr(text, "Connection: close");
}

static void test_final_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(final_rows); i++) {
        struct upstream_config config = lab_config();
        struct script_server *s =
            script_server_new(serve_text, (void *)(uintptr_t)final_rows[i].answer);
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON};
        lab_open(&lab, &config, s);
        probe_start(&p, &lab, 0, final_rows[i].kind, BLOB);
        probe_wait(&p);
        if (p.result.outcome != final_rows[i].outcome || script_server_count(s) != 1)
            fail_msg("%s: %s (%s), %u requests", final_rows[i].name,
                     fetch_outcome_name(p.result.outcome), p.result.error.text,
                     script_server_count(s));
        assert_int_equal(p.result.status, final_rows[i].status);
        assert_int_equal(p.result.retry_after_s, final_rows[i].retry_after_s);
        probe_free(&p);
        lab_close(&lab);
        script_server_free(&s);
    }
}

/* Answers that are tried again until it was often enough. */
static const struct {
    const char *name, *answer;
    enum fetch_outcome outcome;
} stubborn_rows[] = {
    {"broken", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", FETCH_UNAVAILABLE},
    {"throttled without a time", "HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", FETCH_THROTTLED},
    {"throttled for no time", "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
     FETCH_THROTTLED},
    {"a range nobody asked for",
     "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-1/2\r\nContent-Length: 2\r\n\r\nxx",
     FETCH_BAD_ANSWER},
    {"nothing", "Connection: close", FETCH_BAD_ANSWER},
};

static void test_stubborn_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(stubborn_rows); i++) {
        struct upstream_config config = lab_config();
        struct script_server *s =
            script_server_new(serve_text, (void *)(uintptr_t)stubborn_rows[i].answer);
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON};
        lab_open(&lab, &config, s);
        probe_start(&p, &lab, 0, FETCH_BLOB, BLOB);
        probe_wait(&p);
        if (p.result.outcome != stubborn_rows[i].outcome || script_server_count(s) != 4)
            fail_msg("%s: %s (%s), %u requests", stubborn_rows[i].name,
                     fetch_outcome_name(p.result.outcome), p.result.error.text,
                     script_server_count(s));
        assert_int_equal(p.n_calls, 0);
        probe_free(&p);
        lab_close(&lab);
        script_server_free(&s);
    }
}

static bool serve_after_troubles(struct script_request *r, void *arg)
{
    static const char *const troubles[] = {
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    };

    (void)arg;
    if (r->nth < 2)
        return script_send(r, troubles[r->nth], strlen(troubles[r->nth]));
    if (r->nth == 2)
        return false; /* hangs up without an answer */
    return lab_serve_blob(r, UINT64_MAX);
}

static void test_troubles_pass(void **state)
{
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    run(serve_after_troubles, &p, FETCH_BLOB, FETCH_OK, 4);
}

static bool serve_range(struct script_request *r, void *arg)
{
    uint64_t first, last;

    (void)arg;
    assert_true(script_range(r, &first, &last));
    assert_int_equal(first, 1000);
    assert_int_equal(last, 1999);
    return lab_serve_blob(r, UINT64_MAX);
}

static bool serve_whole_to_range(struct script_request *r, void *arg)
{
    (void)arg;
    script_printf(r, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LAB_BODY_BYTES);
    return script_send(r, lab_body(0), LAB_BODY_BYTES);
}

static void test_first_range(void **state)
{
    struct probe part = {.spec = {.off = 1000, .end = 2000}};
    struct probe whole = {.spec = {.off = 1000, .end = 2000}};

    (void)state;
    run(serve_range, &part, FETCH_BLOB, FETCH_OK, 1);
    assert_int_equal(part.head.status, 206);
    assert_true(part.head.is_range);
    assert_int_equal(part.head.size, LAB_BODY_BYTES);
    run(serve_whole_to_range, &whole, FETCH_BLOB, FETCH_OK, 1);
    assert_int_equal(whole.head.status, 200);
    assert_false(whole.head.is_range);
}

static void check_refusal(enum probe_act act)
{
    struct probe p = {.act = act};

    run(serve_plain, &p, FETCH_BLOB, FETCH_REFUSED, 1);
    assert_int_equal(p.n_heads, 1);
}

static void test_refusals(void **state)
{
    (void)state;
    check_refusal(PROBE_REFUSE_HEAD);
    check_refusal(PROBE_REFUSE_BODY);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < FETCH_OUTCOME_MAX; i++)
        assert_non_null(fetch_outcome_name((enum fetch_outcome)i));
}

#define N_MANY 100

/* Many at once, on both workers. */
static void test_many(void **state)
{
    struct upstream_config config = lab_config();
    struct script_server *s = script_server_new(serve_plain, NULL);
    struct probe *p = calloc(N_MANY, sizeof(*p));
    struct lab lab;

    (void)state;
    assert_non_null(p);
    config.connections_max = 16;
    lab_open(&lab, &config, s);
    for (unsigned i = 0; i < N_MANY; i++)
        probe_start(&p[i], &lab, i % LAB_WORKERS, FETCH_BLOB, BLOB);
    for (unsigned i = 0; i < N_MANY; i++) {
        probe_wait(&p[i]);
        assert_int_equal(p[i].result.outcome, FETCH_OK);
        probe_check_body(&p[i], 0, LAB_BODY_BYTES);
        probe_free(&p[i]);
    }
    assert_int_equal(script_server_count(s), N_MANY);
    lab_close(&lab);
    script_server_free(&s);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_body_bytes),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_final_answers),
        cmocka_unit_test(test_stubborn_answers),
        cmocka_unit_test(test_troubles_pass),
        cmocka_unit_test(test_first_range),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_referrers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
