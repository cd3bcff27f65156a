/* Request bodies, refusals and deadlines; test_server.c has the answers and the life of a server.
 */
#include "config.h"

#include "mirrord/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "mirrord/access_log.h"
#include "tests/unit/server_probe.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define PUT(path) "PUT " path " HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static int set_up(void **state)
{
    static struct probe p;

    probe_init(&p);
    *state = &p;
    return 0;
}

static int take_down(void **state)
{
    probe_stop(*state);
    return 0;
}

static struct probe *start(void **state)
{
    probe_start(*state, "127.0.0.1:0");
    return *state;
}

/* --- bodies ----------------------------------------------------------------------------------- */

static void test_small_bodies(void **state)
{
    static const struct {
        const char *request;
        int status;
        const char *body;
        bool closes;
    } CASES[] = {
        {PUT("/body") "Content-Length: 5\r\n\r\nhello", 200, "5", false},
        {PUT("/body") "Content-Length: 0\r\n\r\n", 200, "0", false},
        {PUT("/body") "\r\n", 200, "0", false},
        {PUT("/body") CHUNKED "5\r\nhello\r\n0\r\n\r\n", 200, "5", false},
        {PUT("/pause") CHUNKED "5;x=1\r\nhello\r\n1\r\n \r\n0\r\nA: b\r\n\r\n", 200, "6", false},
        {PUT("/body") CHUNKED "+5\r\nhello\r\n0\r\n\r\n", 400, NULL, true},
        {PUT("/body") CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", 400, NULL, true},
        {PUT("/body") CHUNKED "5 junk\r\nhello\r\n0\r\n\r\n", 400, NULL, true},
        {PUT("/body") CHUNKED "5\r\nhelloXX0\r\n\r\n", 400, NULL, true},
        {PUT("/body") "Content-Length: 8388609\r\n\r\n", 413, NULL, true},
        {PUT("/stop") "Content-Length: 5\r\n\r\nhel", 401, "", false},
    };
    struct probe *p = start(state);

    for (size_t i = 0; i < N_ROWS(CASES); i++) {
        int fd = probe_connect(p);
        probe_send(fd, CASES[i].request);
        probe_expect(fd, CASES[i].status, CASES[i].body);
        if (CASES[i].closes) {
            probe_expect_end(fd);
        } else if (CASES[i].status == 200) {
            probe_send(fd, GET("/memory"));
            probe_expect(fd, 200, "hello");
        }
        close(fd);
    }
}

/* More than one piece; another request follows in the same bytes. */
static void test_large_bodies(void **state)
{
    struct probe *p = start(state);
    struct strbuf text = STRBUF_INIT;
    char wanted[32];

    for (int is_pausing = 0; is_pausing < 2; is_pausing++) {
        int fd = probe_connect(p);
        strbuf_clear(&text);
        strbuf_add_str(&text, is_pausing ? PUT("/pause") CHUNKED : PUT("/body") CHUNKED);
        size_t n_chunks = 40, n_chunk = 70001;
        for (size_t i = 0; i < n_chunks; i++) {
            strbuf_addf(&text, "%zx\r\n", n_chunk);
            strbuf_add(&text, p->file + i, n_chunk);
            strbuf_add_str(&text, "\r\n");
        }
        strbuf_add_str(&text, "0\r\n\r\n" GET("/memory") GET("/memory"));
        snprintf(wanted, sizeof(wanted), "%zu", n_chunks * n_chunk);
        probe_send_bytes(fd, text.ptr, text.len);
        probe_expect(fd, 200, wanted);
        probe_expect(fd, 200, "hello");
        probe_expect(fd, 200, "hello");

        snprintf(wanted, sizeof(wanted), "%d", PROBE_FILE_BYTES);
        strbuf_clear(&text);
        strbuf_addf(&text, "PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n",
                    is_pausing ? "/pause" : "/body", wanted);
        strbuf_add(&text, p->file, PROBE_FILE_BYTES);
        strbuf_add_str(&text, GET("/memory"));
        probe_send_bytes(fd, text.ptr, text.len);
        probe_expect(fd, 200, wanted);
        probe_expect(fd, 200, "hello");
        close(fd);
    }
    strbuf_fini(&text);
}

/* The limit applies to the running total of a chunk that announces 4 GiB. */
static void test_running_total(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, PUT("/body") CHUNKED "100000000\r\n");
    for (size_t n = 0; n <= PROBE_BODY_MAX; n += PROBE_FILE_BYTES)
        probe_send_bytes(fd, p->file, PROBE_FILE_BYTES);
    probe_expect(fd, 413, NULL);
    probe_expect_end(fd);
    assert_int_equal(p->body_rc, -EFBIG);
    close(fd);
}

static void test_expect_continue(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, PUT("/body") "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    probe_expect(fd, 100, "");
    probe_send(fd, "hello");
    probe_expect(fd, 200, "5");
    /* It did not wait: no invitation. */
    probe_send(fd, PUT("/body") "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    probe_expect(fd, 200, "5");
    /* Refused at once: the final answer, and the end. */
    probe_send(fd, PUT("/refuse") "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    probe_expect(fd, 401, "no");
    probe_expect_end(fd);
    close(fd);
    fd = probe_connect(p);
    probe_send(fd, PUT("/body") "Expect: 100-continue\r\nContent-Length: 8388609\r\n\r\n");
    probe_expect(fd, 413, NULL);
    probe_expect_end(fd);
    close(fd);
}

static void test_unread_bodies(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    /* Small ones are discarded, also when they come later. */
    probe_send(fd, PUT("/refuse") "Content-Length: 5\r\n\r\nhello" GET("/memory"));
    probe_expect(fd, 401, "no");
    probe_expect(fd, 200, "hello");
    probe_send(fd, PUT("/refuse") "Content-Length: 100000\r\n\r\n");
    probe_expect(fd, 401, "no");
    probe_send_bytes(fd, p->file, 100000);
    probe_send(fd, GET("/memory"));
    probe_expect(fd, 200, "hello");
    probe_send(fd, PUT("/refuse") CHUNKED "5\r\nhello\r\n");
    probe_expect(fd, 401, "no");
    probe_send(fd, "0\r\n\r\n" GET("/memory"));
    probe_expect(fd, 200, "hello");
    /* Broken framing in one that nobody wanted: what follows is no request. */
    probe_send(fd, PUT("/refuse") CHUNKED "+5\r\nhello\r\n0\r\n\r\n" GET("/memory"));
    probe_expect(fd, 400, NULL);
    probe_expect_end(fd);
    close(fd);
    /* The same when it breaks behind the answer. */
    fd = probe_connect(p);
    probe_send(fd, PUT("/refuse") CHUNKED "5\r\nhe");
    probe_expect(fd, 401, "no");
    probe_send(fd, "lloXX0\r\n\r\n" GET("/memory"));
    probe_expect_end(fd);
    close(fd);
}

/* A client that sends all before it reads gets its answer. */
static void test_lingering_close(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, PUT("/refuse") "Content-Length: 33554432\r\n\r\n");
    for (size_t n = 0; n < 33554432; n += 1 << 20)
        probe_send_bytes(fd, p->file, 1 << 20);
    probe_expect(fd, 401, "no");
    probe_expect_end(fd);
    close(fd);
}

/* Beyond the bound it is not read any more. */
static void test_lingering_is_bounded(void **state)
{
    struct probe *p = *state;
    struct timeval soon = {0, 200000};
    size_t n_sent = 0;
    ssize_t n;

    p->config.limits.linger_bytes = 1 << 20;
    p->config.limits.linger_ms = 3600 * 1000;
    start(state);
    int fd = probe_connect(p);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
    probe_send(fd, PUT("/refuse") "Content-Length: 1073741824\r\n\r\n");
    while (n_sent < 1 << 28 && (n = send(fd, p->file, 1 << 20, MSG_NOSIGNAL)) > 0)
        n_sent += (size_t)n;
    assert_true(n_sent < 1 << 28);
    probe_expect(fd, 401, "no");
    probe_expect_end(fd);
    close(fd);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *request;
        int status;
    } CASES[] = {
        {"GET / HTTP/1.1\n\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {PUT("/body") "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
        {PUT("/body") "Content-Length: 5\r\n" CHUNKED, 400},
        {PUT("/body") "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {PUT("/body") "Expect: more\r\n\r\n", 417},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
    };
    struct probe *p = start(state);

    for (size_t i = 0; i < N_ROWS(CASES); i++) {
        struct answer a;
        int fd = probe_connect(p);
        probe_send(fd, CASES[i].request);
        probe_send(fd, GET("/memory"));
        probe_read(fd, false, &a);
        assert_int_equal(a.status, CASES[i].status);
        assert_non_null(strstr(a.head.ptr, "\r\nConnection: close\r\n"));
        assert_non_null(strstr(a.head.ptr, "\r\nContent-Type: application/json\r\n"));
        assert_memory_equal(a.body.ptr, "{\"errors\":[{\"code\":\"", 20);
        answer_fini(&a);
        probe_expect_end(fd);
        close(fd);
    }
}

/* A target and a field that are too long come in many pieces, and the answer is not lost. */
static void test_too_long(void **state)
{
    struct probe *p = start(state);
    struct strbuf text = STRBUF_INIT;

    for (int is_field = 0; is_field < 2; is_field++) {
        strbuf_clear(&text);
        strbuf_add_str(&text, is_field ? "GET / HTTP/1.1\r\nHost: a\r\nA: " : "GET /");
        for (int i = 0; i < 70000; i++)
            strbuf_add_char(&text, 'a');
        strbuf_add_str(&text, is_field ? "\r\n\r\n" : " HTTP/1.1\r\nHost: a\r\n\r\n");
        int fd = probe_connect(p);
        probe_send_bytes(fd, text.ptr, text.len);
        probe_expect(fd, is_field ? 431 : 414, NULL);
        probe_expect_end(fd);
        close(fd);
    }
    strbuf_fini(&text);
}

/* A head larger than one buffer, with a body behind it. */
static void test_long_head(void **state)
{
    struct probe *p = start(state);
    struct strbuf text = STRBUF_INIT;
    int fd = probe_connect(p);

    strbuf_add_str(&text, PUT("/body") "Content-Length: 5\r\nA: ");
    for (int i = 0; i < 30000; i++)
        strbuf_add_char(&text, 'a');
    strbuf_add_str(&text, "\r\n\r\nhello" GET("/memory"));
    probe_send_bytes(fd, text.ptr, text.len);
    probe_expect(fd, 200, "5");
    probe_expect(fd, 200, "hello");
    strbuf_fini(&text);
    close(fd);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static void test_deadlines(void **state)
{
    struct probe *p = *state;
    struct server_limits *limits = &p->config.limits;

    limits->head_ms = limits->body_ms = limits->send_ms = limits->idle_ms = 50;
    limits->linger_ms = 50;
    start(state);
    /* Never a byte, and nothing after an answer: the end without a word. */
    int silent = probe_connect(p), idle = probe_connect(p);
    probe_send(idle, GET("/memory"));
    probe_expect(idle, 200, "hello");
    probe_expect_end(idle);
    probe_expect_end(silent);
    /* Half a head, half a body. */
    int head = probe_connect(p);
    probe_send(head, "GET / HT");
    probe_expect(head, 408, NULL);
    probe_expect_end(head);
    int body = probe_connect(p);
    probe_send(body, PUT("/body") "Content-Length: 5\r\n\r\nhel");
    probe_expect(body, 408, "3");
    probe_expect_end(body);
    assert_int_equal(p->body_rc, -ETIMEDOUT);
    int unread = probe_connect(p);
    probe_send(unread, PUT("/refuse") "Content-Length: 5\r\n\r\nhel");
    probe_expect(unread, 401, "no");
    probe_expect_end(unread);
    int fds[] = {silent, idle, head, body, unread};
    for (size_t i = 0; i < N_ROWS(fds); i++)
        close(fds[i]);
}

static void test_send_deadline(void **state)
{
    struct probe *p = *state;
    int small = 4096;

    p->config.limits.send_ms = 50;
    start(state);
    int fd = probe_connect(p);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    /* Requests until the answers do not fit into the sockets. */
    for (int i = 0; i < 20; i++)
        probe_send(fd, GET("/file"));
    /* One source is closed by its end, or all: the last one by the deadline. */
    probe_await(&p->closed);
    while (server_connections(p->server) > 0)
        probe_settle(p);
    close(fd);
}

/* None of them runs while the handler or the source is what all wait for. */
static void test_deadlines_rest_while_we_think(void **state)
{
    struct probe *p = *state;
    struct server_limits *limits = &p->config.limits;

    limits->head_ms = limits->body_ms = limits->send_ms = limits->idle_ms = 20;
    start(state);
    int held = probe_connect(p);
    probe_send(held, GET("/hold"));
    probe_await(&p->held);
    /* Others come to their ends meanwhile, several times over. */
    for (int i = 0; i < 5; i++) {
        int other = probe_connect(p);
        probe_expect_end(other);
        close(other);
    }
    probe_release(p);
    probe_expect(held, 200, "late");
    close(held);
}

/* --- the access log --------------------------------------------------------------------------- */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = xcalloc(1, 65536);

    assert_non_null(f);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

static const char *const LOGGED[] = {
    "127.0.0.1 - - [",
    "] \"GET /memory HTTP/1.1\" 200 5 \"http://r/\" \"a\\x22b\\xff\" hit 0.0",
    " complete -\n",
    "\"GET /cut HTTP/1.1\" 200 1000 \"-\" \"-\" - 0.0",
    " cut -\n",
    "] \"-\" 400 ",
    "\"path\":\"/memory\",\"status\":200,\"bytes\":5,\"referer\":\"\",",
    "\"user_agent\":\"j\",\"cache\":\"hit\",\"seconds\":0.0",
    "\"outcome\":\"complete\",\"origin\":\"\",\"upstream\":\"\"}\n",
};

static void test_access_log(void **state)
{
    struct probe *p = *state;
    struct pool *pool = pool_new(1);
    char path[] = "/tmp/test-access-XXXXXX";
    struct error err;

    close(mkstemp(path));
    assert_int_equal(access_log_open(path, ACCESS_COMBINED, pool, &p->config.access, &err), 0);
    start(state);
    int fd = probe_connect(p);
    probe_send(fd, "GET /memory?token=secret HTTP/1.1\r\nHost: a\r\nReferer: http://r/?secret\r\n"
                   "Authorization: Bearer secret\r\nUser-Agent: a\"b\xff\r\n\r\n");
    probe_expect(fd, 200, "hello");
    probe_send(fd, GET("/cut"));
    probe_expect(fd, 200, NULL);
    close(fd);
    fd = probe_connect(p);
    probe_send(fd, "secret\n");
    probe_expect(fd, 400, NULL);
    close(fd);
    probe_settle(p);
    assert_int_equal(access_log_set(p->config.access, path, ACCESS_JSON, &err), 0);
    fd = probe_connect(p);
    probe_send(fd, "GET /memory?secret HTTP/1.1\r\nHost: a\r\nUser-Agent: j\r\n\r\n");
    probe_expect(fd, 200, "hello");
    close(fd);
    assert_true(access_log_set(p->config.access, "/nowhere/at/all", ACCESS_JSON, &err) < 0);

    struct access_log *log = p->config.access;
    probe_stop(p);
    access_log_close(&log);
    pool_free(&pool);
    char *text = read_file(path);
    for (size_t i = 0; i < N_ROWS(LOGGED); i++)
        if (!strstr(text, LOGGED[i]))
            fail_msg("%s is missing in %s", LOGGED[i], text);
    assert_null(strstr(text, "secret"));
    free(text);
    unlink(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, take_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_bodies),
        TEST(test_large_bodies),
        TEST(test_running_total),
        TEST(test_expect_continue),
        TEST(test_unread_bodies),
        TEST(test_lingering_close),
        TEST(test_lingering_is_bounded),
        TEST(test_refusals),
        TEST(test_too_long),
        TEST(test_long_head),
        TEST(test_deadlines),
        TEST(test_send_deadline),
        TEST(test_deadlines_rest_while_we_think),
        cmocka_unit_test_setup(test_access_log, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
