#include "config.h"

#include "mirrord/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metric.h"
#include "mirrord/address.h"
#include "tests/unit/server_probe.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

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

/* Starts on a free port, with the changes made to p->config. */
static struct probe *start(void **state)
{
    probe_start(*state, "127.0.0.1:0");
    return *state;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void test_memory_and_keep_alive(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    for (int i = 0; i < 100; i++) {
        probe_send(fd, GET("/memory"));
        probe_expect(fd, 200, "hello");
    }
    probe_send(fd, GET("/nothing"));
    probe_expect(fd, 404, "");
    probe_send(fd, "GET /memory HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    probe_expect(fd, 200, "hello");
    probe_expect_end(fd);
    close(fd);
}

static void test_heads(void **state)
{
    static const struct {
        const char *request, *has, *has_not;
    } CASES[] = {
        {GET("/memory"), "\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n",
         "Connection:"},
        {GET("/type"), "\r\ncontent-type: text/plain\r\n", "octet-stream"},
        {GET("/empty"), "HTTP/1.1 204 No Content\r\n", "Content-Length:"},
        {GET("/nothing"), "\r\nContent-Length: 0\r\n", "Content-Type:"},
        {"GET /memory HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\r\nConnection: keep-alive\r\n",
         "close"},
        {GET("/evil"), "\r\nA: b  Set-Cookie: x  z\r\n", "\nSet-Cookie"},
        {GET("/evil"), "1  B: c\r\n", "\nB: c"},
        {GET("/overlong"), "HTTP/1.1 500 ", "\nA: "},
    };
    struct probe *p = start(state);
    int fd = probe_connect(p);

    for (size_t i = 0; i < N_ROWS(CASES); i++) {
        struct answer a;
        probe_send(fd, CASES[i].request);
        probe_read(fd, false, &a);
        if (!strstr(a.head.ptr, CASES[i].has) || strstr(a.head.ptr, CASES[i].has_not))
            fail_msg("%s gave %s", CASES[i].request, a.head.ptr);
        assert_non_null(strstr(a.head.ptr, "\r\nServer: mirrord/"));
        assert_non_null(strstr(a.head.ptr, "\r\nDate: "));
        answer_fini(&a);
    }
    close(fd);
}

static void test_file_in_windows(void **state)
{
    struct probe *p = *state;
    struct answer a;

    p->config.limits.send_window_bytes = 4096;
    start(state);
    int fd = probe_connect(p);
    probe_send(fd, GET("/file"));
    probe_read(fd, false, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.len, PROBE_FILE_BYTES);
    assert_memory_equal(a.body.ptr, p->file, PROBE_FILE_BYTES);
    answer_fini(&a);
    probe_await(&p->closed);
    probe_send(fd, GET("/memory"));
    probe_expect(fd, 200, "hello");
    close(fd);
}

static void test_head_sends_no_body(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);
    struct answer a;

    probe_send(fd, "HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n");
    probe_read(fd, true, &a);
    assert_int_equal(a.status, 200);
    char length[64];
    snprintf(length, sizeof(length), "\r\nContent-Length: %d\r\n", PROBE_FILE_BYTES);
    assert_non_null(strstr(a.head.ptr, length));
    answer_fini(&a);
    probe_await(&p->closed);
    /* With a body of its own, which must not become the next request. */
    probe_send(fd, "HEAD /memory HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n" GET("/f"));
    probe_send(fd, GET("/memory"));
    probe_read(fd, true, &a);
    assert_int_equal(a.status, 200);
    answer_fini(&a);
    probe_expect(fd, 200, "hello");
    close(fd);
}

static void test_pipeline(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);
    struct strbuf text = STRBUF_INIT;

    /* More than a connection may do in one turn, and more than a buffer holds. */
    for (int i = 0; i < 300; i++)
        strbuf_add_str(&text, i % 3 ? GET("/memory") : GET("/nothing"));
    probe_send_bytes(fd, text.ptr, text.len);
    for (int i = 0; i < 300; i++)
        probe_expect(fd, i % 3 ? 200 : 404, i % 3 ? "hello" : "");
    /* Behind a close nothing is answered. */
    probe_send(fd, "GET /memory HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/memory"));
    probe_expect(fd, 200, "hello");
    probe_expect_end(fd);
    strbuf_fini(&text);
    close(fd);
}

static void test_late_answer(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, GET("/hold"));
    probe_await(&p->held);
    /* What comes meanwhile waits. */
    probe_send(fd, GET("/memory"));
    probe_release(p);
    probe_expect(fd, 200, "late");
    probe_expect(fd, 200, "hello");
    close(fd);
}

static void test_head_goes_out_before_the_body_is_there(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);
    struct strbuf head = STRBUF_INIT;
    char byte;

    probe_send(fd, GET("/wait"));
    probe_await(&p->held);
    while (head.len < 4 || memcmp(head.ptr + head.len - 4, "\r\n\r\n", 4) != 0) {
        assert_int_equal(recv(fd, &byte, 1, 0), 1);
        strbuf_add_char(&head, byte);
    }
    probe_release(p);
    for (size_t i = 0; i < PROBE_FILE_BYTES;) {
        char piece[65536];
        ssize_t n = recv(fd, piece, sizeof(piece), 0);
        assert_true(n > 0 && i + (size_t)n <= PROBE_FILE_BYTES);
        assert_memory_equal(piece, p->file + i, (size_t)n);
        i += (size_t)n;
    }
    strbuf_fini(&head);
    close(fd);
}

/* --- endings ---------------------------------------------------------------------------------- */

static void test_broken_body_ends_short_and_in_order(void **state)
{
    struct probe *p = start(state);
    struct answer a;

    for (int i = 0; i < 2; i++) {
        int fd = probe_connect(p);
        probe_send(fd, i ? GET("/short") : GET("/cut"));
        probe_read(fd, false, &a);
        assert_int_equal(a.status, 200);
        size_t n = i ? PROBE_FILE_BYTES : 1000;
        assert_int_equal(a.body.len, n);
        assert_memory_equal(a.body.ptr, p->file, n);
        answer_fini(&a);
        probe_expect_end(fd);
        close(fd);
    }
    assert_int_equal(metric_get(METRIC_HTTP_BODIES_CUT), 2);
}

static void test_source_that_fails_at_once_is_an_error(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, GET("/cut0"));
    probe_expect(fd, 502, NULL);
    probe_await(&p->closed);
    probe_send(fd, GET("/memory"));
    probe_expect(fd, 200, "hello");
    close(fd);
}

/* Ends a connection by a reset. */
static void reset(int fd)
{
    struct linger now = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

static void test_client_leaves_while_the_handler_thinks(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, GET("/gone"));
    probe_await(&p->held);
    reset(fd);
    probe_await(&p->gone);

    /* Without on_gone the handler answers into nothing. */
    fd = probe_connect(p);
    probe_send(fd, GET("/hold"));
    probe_await(&p->held);
    reset(fd);
    probe_release(p);

    /* While its source waits. */
    fd = probe_connect(p);
    probe_send(fd, GET("/wait"));
    probe_await(&p->held);
    reset(fd);
    probe_await(&p->closed);

    /* In the middle of a file. */
    fd = probe_connect(p);
    probe_send(fd, GET("/file"));
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    reset(fd);
    probe_await(&p->closed);
}

static void test_half_closed_client_gets_its_answer(void **state)
{
    struct probe *p = start(state);
    int fd = probe_connect(p);

    probe_send(fd, GET("/hold"));
    probe_await(&p->held);
    shutdown(fd, SHUT_WR);
    /* Another request goes through the loop, so that the half-close was seen. */
    int other = probe_connect(p);
    probe_send(other, GET("/memory"));
    probe_expect(other, 200, "hello");
    probe_release(p);
    probe_expect(fd, 200, "late");
    probe_expect_end(fd);
    close(fd);
    close(other);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void test_connection_limit(void **state)
{
    struct probe *p = *state;
    int fds[4];

    p->config.connections_max = 3;
    start(state);
    for (size_t i = 0; i < 3; i++) {
        fds[i] = probe_connect(p);
        probe_send(fds[i], GET("/memory"));
        probe_expect(fds[i], 200, "hello");
    }
    fds[3] = probe_connect(p);
    probe_send(fds[3], GET("/memory"));
    probe_send(fds[0], GET("/memory"));
    probe_expect(fds[0], 200, "hello");
    assert_int_equal(server_connections(p->server), 3);
    close(fds[1]);
    probe_expect(fds[3], 200, "hello");
    close(fds[0]);
    close(fds[2]);
    close(fds[3]);
}

static void test_requests_per_connection(void **state)
{
    struct probe *p = *state;

    p->config.limits.requests_max = 2;
    start(state);
    int fd = probe_connect(p);
    probe_send(fd, GET("/memory") GET("/memory") GET("/memory"));
    probe_expect(fd, 200, "hello");
    probe_expect(fd, 200, "hello");
    probe_expect_end(fd);
    close(fd);
}

static void test_new_limits(void **state)
{
    struct probe *p = start(state);
    struct server_limits limits = p->config.limits;
    int fd = probe_connect(p);

    probe_send(fd, GET("/memory"));
    probe_expect(fd, 200, "hello");
    limits.head.target_max_bytes = 3;
    server_set_limits(p->server, &limits);
    probe_settle(p);
    probe_send(fd, GET("/memory"));
    probe_expect(fd, 414, NULL);
    probe_expect_end(fd);
    close(fd);
}

/* --- life ------------------------------------------------------------------------------------- */

static void on_drained(void *arg)
{
    sem_post(arg);
}

/* Ends a probe that was drained by the test itself. */
static void test_drain(void **state)
{
    struct probe own, *p = &own;

    (void)state;
    probe_init(p);
    probe_start(p, "127.0.0.1:0");
    int idle = probe_connect(p), busy = probe_connect(p);
    probe_send(idle, GET("/memory"));
    probe_expect(idle, 200, "hello");
    probe_send(busy, GET("/hold"));
    probe_await(&p->held);
    server_drain(p->server, on_drained, &p->drained);
    probe_expect_end(idle);
    probe_release(p);
    struct answer a;
    probe_read(busy, false, &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head.ptr, "\r\nConnection: close\r\n"));
    answer_fini(&a);
    probe_expect_end(busy);
    close(busy);
    close(idle);
    probe_await(&p->drained);
    worker_stop(p->worker);
    worker_join(&p->worker);
    server_free(&p->server);
    close(p->file_fd);
    free(p->file);
}

static void test_unix_socket(void **state)
{
    struct probe *p = *state;
    char folder[] = "/tmp/test-server-XXXXXX", address[64];

    assert_non_null(mkdtemp(folder));
    snprintf(address, sizeof(address), "unix:%s/s", folder);
    probe_start(p, address);
    assert_string_equal(server_address(p->server, 0), address);
    int fd = probe_connect(p);
    probe_send(fd, GET("/memory"));
    probe_expect(fd, 200, "hello");
    probe_send(fd, GET("/gone"));
    probe_await(&p->held);
    close(fd);
    /* A closed unix socket is known to be dead in both directions. */
    probe_await(&p->gone);
    fd = probe_connect(p);
    probe_send(fd, GET("/file"));
    probe_expect(fd, 200, NULL);
    close(fd);
    unlink(address + 5);
    rmdir(folder);
}

/* Without a free descriptor connections wait, and are served when there is one again. */
static void test_no_descriptors(void **state)
{
    struct probe *p = start(state);
    struct rlimit before, none;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    close(fd);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)fd + 1;
    setrlimit(RLIMIT_NOFILE, &none);
    fd = probe_connect(p);
    probe_send(fd, GET("/memory"));
    probe_settle(p);
    setrlimit(RLIMIT_NOFILE, &before);
    probe_expect(fd, 200, "hello");
    close(fd);
}

static void test_inherited_socket(void **state)
{
    struct probe *p = *state;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct error err;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->server = server_new(&p->config);
    assert_int_equal(server_listen_fd(p->server, fd, &err), -EINVAL);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(server_listen_fd(p->server, fd, &err), 0);
    p->worker = worker_new(0);
    server_start_on(p->server, p->worker);
    worker_start(p->worker);
    fd = probe_connect(p);
    probe_send(fd, GET("/memory"));
    probe_expect(fd, 200, "hello");
    close(fd);
}

static void test_inherited_environment(void **state)
{
    char pid[16];

    (void)state;
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
    assert_int_equal(server_inherited_fds(), 2);
    /* Once only, and not another process'. */
    assert_int_equal(server_inherited_fds(), 0);
    setenv("LISTEN_PID", "1", 1);
    setenv("LISTEN_FDS", "2", 1);
    assert_int_equal(server_inherited_fds(), 0);
}

/* An address that is taken is an error, although our own lanes share it. */
static void test_taken_address(void **state)
{
    struct probe *p = start(state);
    struct server *other = server_new(&p->config);
    struct address address;
    struct error err;

    assert_int_equal(address_parse(slice_of(server_address(p->server, 0)), &address, &err), 0);
    assert_int_equal(server_listen(other, &address, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "listen on 127.0.0.1"));
    server_free(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, take_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_memory_and_keep_alive),
        TEST(test_heads),
        TEST(test_file_in_windows),
        TEST(test_head_sends_no_body),
        TEST(test_pipeline),
        TEST(test_late_answer),
        TEST(test_head_goes_out_before_the_body_is_there),
        TEST(test_broken_body_ends_short_and_in_order),
        TEST(test_source_that_fails_at_once_is_an_error),
        TEST(test_client_leaves_while_the_handler_thinks),
        TEST(test_half_closed_client_gets_its_answer),
        TEST(test_connection_limit),
        TEST(test_requests_per_connection),
        TEST(test_new_limits),
        cmocka_unit_test(test_drain),
        TEST(test_unix_socket),
        TEST(test_no_descriptors),
        TEST(test_inherited_socket),
        cmocka_unit_test(test_inherited_environment),
        TEST(test_taken_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
