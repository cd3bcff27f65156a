#include "config.h"

#include "base/http_call.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/http_client.h"
#include "base/strbuf.h"
#include "base/worker.h"
#include "tests/unit/script_server.h"
#include "tests/unit/unit.h"

/* One call after the other on one worker; the last `done` stops it. Resuming, cancelling and
 * time limits are tested with the fetches. */
struct
try {
    struct worker *worker;
    struct http_call_spec spec;
    struct http_call *call;
    struct try *then; /* started from inside the head callback */
    unsigned *n_left;
    int status;
    char value[64]; /* of the header field "X-Answer" */
    char second[64];
    struct strbuf body;
    struct http_call_result result;
};

static void start(struct try *t);

static void copy_text(char *out, size_t n, struct slice s)
{
    CHECK(s.len < n);
    memcpy(out, s.ptr ? s.ptr : "", s.len);
    out[s.len] = '\0';
}

static int on_head(void *arg, struct http_call *call)
{
    struct try *t = arg;

    t->status = http_call_status(call);
    copy_text(t->value, sizeof(t->value), http_call_header(call, "x-answer", 0));
    copy_text(t->second, sizeof(t->second), http_call_header(call, "X-Answer", 1));
    assert_null(http_call_header(call, "X-Absent", 0).ptr);
    if (t->then)
        start(t->then);
    return 0;
}

static int on_data(void *arg, const void *p, size_t n)
{
    strbuf_add(&((struct try *)arg)->body, p, n);
    return 0;
}

static void on_done(void *arg, const struct http_call_result *result)
{
    struct try *t = arg;

    t->result = *result;
    if (--*t->n_left == 0) {
        http_client_close();
        worker_stop(t->worker);
    }
}

static const struct http_call_ops ops = {on_head, on_data, on_done};

static void start(struct try *t)
{
    t->call = http_call_start(&t->spec, &ops, t);
}

static void do_start(void *arg)
{
    start(arg);
}

/* Runs `first` and what it starts, n in all. */
static void run(struct try *first, unsigned n)
{
    struct worker *w = worker_new(0);

    setenv("no_proxy", "*", 1);
    for (struct try *t = first; t; t = t->then) {
        t->worker = w;
        t->n_left = &n;
        t->spec.connect_timeout_ms = 5000;
        t->spec.header_timeout_ms = 10000;
        t->spec.idle_timeout_ms = 10000;
        t->spec.host_connections_max = 8;
    }
    worker_call(w, do_start, first);
    worker_run(w);
    worker_join(&w);
}

/* Reads the body of the request and sends it back. */
static bool serve_echo(struct script_request *r, void *arg)
{
    char text[64], body[4096];
    size_t n = 0, length = 0;

    (void)arg;
    if (script_header(r, "Content-Length", text, sizeof(text)))
        length = (size_t)atoi(text);
    assert_true(length <= sizeof(body));
    while (n < length) {
        ssize_t got = recv(r->fd, body + n, length - n, 0);
        assert_true(got > 0);
        n += (size_t)got;
    }
    assert_false(script_header(r, "Expect", text, sizeof(text)));
    if (!script_header(r, "Content-Type", text, sizeof(text)))
        strcpy(text, "none");
    script_printf(r,
                  "HTTP/1.1 200 OK\r\nX-Answer:  %s %s \r\nx-answer: two\r\n"
                  "Content-Length: %zu\r\n\r\n",
                  r->method, text, n);
    return strcmp(r->method, "HEAD") == 0 || script_send(r, body, n);
}

static const struct {
    const char *method, *line, *body, *value;
} echo_rows[] = {
    {"GET", "A: b", NULL, "GET none"},
    {"HEAD", "A: b", NULL, "HEAD none"},
    {"DELETE", "A: b", NULL, "DELETE none"},
    {"PUT", "A: b", "some bytes", "PUT none"},
    {"POST", "Content-Type: text/plain", "some bytes", "POST text/plain"},
    {"PUT", "A: b", "", "PUT none"},
};

static void test_methods(void **state)
{
    struct script_server *s = script_server_new(serve_echo, NULL);
    char url[64];

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/a/../b?c=d", script_server_port(s));
    for (size_t i = 0; i < N_ROWS(echo_rows); i++) {
        const char *lines[] = {echo_rows[i].line};
        struct try t = {.spec = {.method = echo_rows[i].method, .url = url}};
        t.spec.header_lines = lines;
        t.spec.n_header_lines = 1;
        t.spec.body = slice_of(echo_rows[i].body);
        run(&t, 1);
        assert_int_equal(t.result.end, HTTP_END_OK);
        assert_int_equal(t.status, 200);
        assert_string_equal(t.value, echo_rows[i].value);
        assert_string_equal(t.second, "two");
        assert_string_equal(t.body.ptr ? t.body.ptr : "",
                            echo_rows[i].body ? echo_rows[i].body : "");
        strbuf_fini(&t.body);
    }
    char *log = script_server_log(s);
    assert_memory_equal(log, "GET /a/../b?c=d\n", 16); /* the path goes as it is */
    free(log);
    script_server_free(&s);
}

/* A call may be started from the callback of another. */
static void test_nested(void **state)
{
    struct script_server *s = script_server_new(serve_echo, NULL);
    struct try inner = {.spec = {.method = "GET"}}, outer = {.spec = {.method = "GET"}};
    char url[64];

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", script_server_port(s));
    inner.spec.url = outer.spec.url = url;
    outer.then = &inner;
    run(&outer, 2);
    assert_int_equal(outer.result.end, HTTP_END_OK);
    assert_int_equal(inner.result.end, HTTP_END_OK);
    script_server_free(&s);
}

static bool serve_text(struct script_request *r, void *arg)
{
    const char *text = arg;

    script_send(r, text, strlen(text));
    return false;
}

static bool serve_huge_head(struct script_request *r, void *arg)
{
    (void)arg;
    script_printf(r, "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i < HTTP_CALL_HEAD_BYTES_MAX / 1000 + 2; i++)
        if (!script_printf(r, "X-%u: %0990u\r\n", i, i))
            return false;
    script_printf(r, "Content-Length: 0\r\n\r\n");
    return false;
}

/* How an answer ends, and what of it was told. */
static const struct {
    const char *name;
    script_fn fn;
    const char *text;
    bool is_bulk;
    enum http_end end;
    int status;
    const char *value, *body;
} end_rows[] = {
    {"whole", serve_text, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", false, HTTP_END_OK, 200,
     "", "ab"},
    {"chunked with a trailer", serve_text,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Answer: c\r\n\r\n",
     true, HTTP_END_OK, 200, "", "ab"},
    {"interim first", serve_text,
     "HTTP/1.1 103 Hints\r\nX-Answer: no\r\n\r\nHTTP/1.1 201 OK\r\nX-Answer: yes\r\n"
     "Content-Length: 0\r\n\r\n",
     false, HTTP_END_OK, 201, "yes", ""},
    {"redirect is not followed", serve_text,
     "HTTP/1.1 302 Go\r\nLocation: /x\r\nX-Answer: 1\r\nContent-Length: 0\r\n\r\n", false,
     HTTP_END_OK, 302, "1", ""},
    {"encoding is not undone", serve_text,
     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab", true, HTTP_END_OK,
     200, "", "ab"},
    {"cut", serve_text, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", true, HTTP_END_CUT, 200,
     "", "ab"},
    {"cut in chunks", serve_text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
     true, HTTP_END_CUT, 200, "", "ab"},
    {"nothing", serve_text, "", false, HTTP_END_CUT, 0, "", ""},
    {"cut in the head", serve_text, "HTTP/1.1 200 OK\r\nX: y", false, HTTP_END_CUT, 0, "", ""},
    {"no http", serve_text, "SSH-2.0-x\r\n", false, HTTP_END_PROTOCOL, 0, "", ""},
    {"head too large", serve_huge_head, "", false, HTTP_END_PROTOCOL, 0, "", ""},
};

static void test_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(end_rows); i++) {
        struct script_server *s =
            script_server_new(end_rows[i].fn, (void *)(uintptr_t)end_rows[i].text);
        struct try t = {.spec = {.method = "GET", .is_bulk = end_rows[i].is_bulk}};
        char url[64];
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/", script_server_port(s));
        t.spec.url = url;
        run(&t, 1);
        if (t.result.end != end_rows[i].end || t.status != end_rows[i].status)
            fail_msg("%s: %s, status %d (%s)", end_rows[i].name, http_end_name(t.result.end),
                     t.status, t.result.error.text);
        assert_int_equal(t.result.error.code == 0, t.result.end == HTTP_END_OK);
        assert_string_equal(t.value, end_rows[i].value);
        assert_string_equal(t.body.ptr ? t.body.ptr : "", end_rows[i].body);
        strbuf_fini(&t.body);
        script_server_free(&s);
    }
}

static void do_nothing(void *arg)
{
    http_client_close();
    http_client_close();
    worker_stop(arg);
}

/* Closing a client that never was. */
static void test_unused(void **state)
{
    struct worker *w = worker_new(0);

    (void)state;
    worker_call(w, do_nothing, w);
    worker_run(w);
    worker_join(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_unused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
