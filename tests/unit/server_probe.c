#include "config.h"

#include "tests/unit/server_probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "mirrord/address.h"

/* --- bodies ----------------------------------------------------------------------------------- */

static int next_file(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    struct probe *p = source;

    *out = (struct body_part){.fd = p->file_fd, .off = off, .len = want};
    return 1;
}

static int next_held(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    struct probe *p = source;

    if (!p->is_released) {
        p->is_source_waiting = true;
        sem_post(&p->held);
        return 0;
    }
    *out = (struct body_part){.ptr = p->file + off, .len = want};
    return 1;
}

static int next_cut(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    struct probe *p = source;

    if (off >= 1000)
        return -EIO;
    *out = (struct body_part){.ptr = p->file, .len = want < 1000 - off ? want : 1000 - off};
    return 1;
}

static int next_never(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    (void)source, (void)off, (void)want, (void)out;
    return -EIO;
}

static void close_source(void *source)
{
    struct probe *p = source;

    sem_post(&p->closed);
}

static const struct body_source FILE_SOURCE = {next_file, close_source};
static const struct body_source HELD_SOURCE = {next_held, close_source};
static const struct body_source CUT_SOURCE = {next_cut, close_source};
static const struct body_source NEVER_SOURCE = {next_never, close_source};

/* --- sinks ------------------------------------------------------------------------------------ */

static int take(void *arg, const void *bytes, size_t n)
{
    struct probe *p = arg;

    (void)bytes;
    p->n_body += n;
    return 0;
}

static int take_and_pause(void *arg, const void *bytes, size_t n)
{
    struct probe *p = arg;

    take(arg, bytes, n);
    worker_later(p->worker, &p->resume);
    return 1;
}

static void on_resume(struct mail *m)
{
    struct probe *p = (struct probe *)((char *)m - offsetof(struct probe, resume));

    txn_body_resume(p->body_txn);
}

static int take_and_stop(void *arg, const void *bytes, size_t n)
{
    struct probe *p = arg;

    (void)bytes, (void)n;
    reply_send_empty(txn_reply(p->body_txn, 401));
    return -1;
}

/* Answers with the number of bytes, or with what went wrong. */
static void end_body(void *arg, int rc)
{
    struct probe *p = arg;
    int status = rc == 0 ? 200 : rc == -EFBIG ? 413 : rc == -ETIMEDOUT ? 408 : 400;
    struct reply *r = txn_reply(p->body_txn, status);
    char *text = xasprintf("%llu", (unsigned long long)p->n_body);

    p->body_rc = rc;
    reply_send_memory(r, text, strlen(text), free, text);
}

static const struct body_sink COUNT = {take, end_body};
static const struct body_sink PAUSE = {take_and_pause, end_body};
static const struct body_sink STOP = {take_and_stop, end_body};

static void read_body(struct probe *p, struct txn *t, const struct body_sink *sink)
{
    p->n_body = 0;
    p->body_txn = t;
    txn_read_body(t, PROBE_BODY_MAX, sink, p);
}

/* --- the handler ------------------------------------------------------------------------------ */

static void on_gone(void *arg)
{
    struct probe *p = arg;

    sem_post(&p->gone);
}

static void answer_evil(struct probe *p, struct txn *t)
{
    struct reply *r = txn_reply(t, 200);

    (void)p;
    reply_header(r, "A", SLICE("b\r\nSet-Cookie: x\n\x01z"));
    reply_headerf(r, "Long", "%0300d\r\nB: c", 1);
    reply_send_empty(r);
}

static void answer_overlong(struct probe *p, struct txn *t)
{
    struct reply *r = txn_reply(t, 200);

    for (int i = 0; i < 1000; i++)
        reply_header(r, "A", (struct slice){p->file, 1000});
    reply_send_source(r, PROBE_FILE_BYTES, &FILE_SOURCE, p);
}

/* Paths that read the body or answer later. */
static bool answer_later(struct probe *p, struct txn *t, struct slice path)
{
    if (slice_equal(path, SLICE("/body"))) {
        read_body(p, t, &COUNT);
    } else if (slice_equal(path, SLICE("/pause"))) {
        read_body(p, t, &PAUSE);
    } else if (slice_equal(path, SLICE("/stop"))) {
        read_body(p, t, &STOP);
    } else if (slice_equal(path, SLICE("/hold"))) {
        p->held_txn = t;
        sem_post(&p->held);
    } else if (slice_equal(path, SLICE("/gone"))) {
        txn_on_gone(t, on_gone, p);
        sem_post(&p->held);
    } else {
        return false;
    }
    return true;
}

/* Paths with a source. */
static bool answer_source(struct probe *p, struct txn *t, struct slice path)
{
    static const struct {
        const char *path;
        uint64_t length;
        const struct body_source *ops;
    } SOURCES[] = {
        {"/file", PROBE_FILE_BYTES, &FILE_SOURCE},
        {"/wait", PROBE_FILE_BYTES, &HELD_SOURCE},
        {"/cut", 5000, &CUT_SOURCE},
        {"/cut0", 5000, &NEVER_SOURCE},
        {"/short", 2 * PROBE_FILE_BYTES, &FILE_SOURCE},
    };

    for (size_t i = 0; i < N_ROWS(SOURCES); i++) {
        if (!slice_equal(path, slice_of(SOURCES[i].path)))
            continue;
        p->is_released = false;
        p->held_reply = txn_reply(t, 200);
        reply_send_source(p->held_reply, SOURCES[i].length, SOURCES[i].ops, p);
        return true;
    }
    return false;
}

static void handle(struct txn *t, void *ctx)
{
    struct probe *p = ctx;
    struct slice path = txn_head(t)->path;

    if (answer_later(p, t, path) || answer_source(p, t, path))
        return;
    if (slice_equal(path, SLICE("/evil"))) {
        answer_evil(p, t);
    } else if (slice_equal(path, SLICE("/overlong"))) {
        answer_overlong(p, t);
    } else if (slice_equal(path, SLICE("/empty"))) {
        reply_send_empty(txn_reply(t, 204));
    } else if (slice_equal(path, SLICE("/refuse"))) {
        reply_send_memory(txn_reply(t, 401), "no", 2, NULL, NULL);
    } else if (slice_equal(path, SLICE("/memory"))) {
        txn_note_cache(t, "hit");
        reply_send_memory(txn_reply(t, 200), "hello", 5, NULL, NULL);
    } else if (slice_equal(path, SLICE("/type"))) {
        struct reply *r = txn_reply(t, 200);
        reply_header_lines(r, SLICE("A: b\r\ncontent-type: text/plain\r\n"));
        reply_send_memory(r, "hello", 5, NULL, NULL);
    } else {
        reply_send_empty(txn_reply(t, 404));
    }
}

/* --- life ------------------------------------------------------------------------------------- */

void probe_init(struct probe *p)
{
    *p = (struct probe){.config = server_config_default(), .resume = {.fn = on_resume}};
    p->config.handler = handle;
    p->config.ctx = p;
    p->file = xmalloc(PROBE_FILE_BYTES);
    for (size_t i = 0; i < PROBE_FILE_BYTES; i++)
        p->file[i] = (char)(i * 2654435761u >> 13);
    p->file_fd = memfd_create("probe", MFD_CLOEXEC);
    assert_int_equal(write(p->file_fd, p->file, PROBE_FILE_BYTES), PROBE_FILE_BYTES);
    sem_init(&p->held, 0, 0);
    sem_init(&p->gone, 0, 0);
    sem_init(&p->closed, 0, 0);
    sem_init(&p->drained, 0, 0);
}

void probe_start(struct probe *p, const char *address)
{
    struct address parsed;
    struct error err;

    p->server = server_new(&p->config);
    assert_int_equal(address_parse(slice_of(address), &parsed, &err), 0);
    if (server_listen(p->server, &parsed, &err) < 0)
        fail_msg("%s", err.text);
    p->worker = worker_new(0);
    server_start_on(p->server, p->worker);
    worker_start(p->worker);
}

static void on_settled(void *arg)
{
    sem_post(arg);
}

void probe_settle(struct probe *p)
{
    sem_t settled;

    sem_init(&settled, 0, 0);
    worker_call(p->worker, on_settled, &settled);
    probe_await(&settled);
    sem_destroy(&settled);
}

void probe_await(sem_t *s)
{
    struct timespec end;
    int rc;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PROBE_TIMEOUT_S;
    while ((rc = sem_timedwait(s, &end)) < 0 && errno == EINTR)
        continue;
    assert_int_equal(rc, 0);
}

static void on_drained(void *arg)
{
    struct probe *p = arg;

    sem_post(&p->drained);
}

void probe_stop(struct probe *p)
{
    server_drain(p->server, on_drained, p);
    server_stop(p->server);
    probe_await(&p->drained);
    worker_stop(p->worker);
    worker_join(&p->worker);
    assert_int_equal(server_connections(p->server), 0);
    assert_int_equal(metric_get(METRIC_HTTP_CONNS_OPEN), 0);
    server_free(&p->server);
    close(p->file_fd);
    free(p->file);
    sem_destroy(&p->held);
    sem_destroy(&p->gone);
    sem_destroy(&p->closed);
    sem_destroy(&p->drained);
}

static void do_release(void *arg)
{
    struct probe *p = arg;
    struct txn *t = p->held_txn;

    p->is_released = true;
    p->held_txn = NULL;
    if (t)
        reply_send_memory(txn_reply(t, 200), "late", 4, NULL, NULL);
    if (p->is_source_waiting)
        reply_wake(p->held_reply);
    p->is_source_waiting = false;
}

void probe_release(struct probe *p)
{
    worker_call(p->worker, do_release, p);
}

/* --- the client ------------------------------------------------------------------------------- */

int probe_connect(const struct probe *p)
{
    const char *name = server_address(p->server, 0);
    struct timeval limit = {PROBE_TIMEOUT_S, 0};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET};
    bool is_unix = strncmp(name, "unix:", 5) == 0;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (is_unix) {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", name + 5);
        assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    } else {
        in.sin_port = htons((uint16_t)atoi(strrchr(name, ':') + 1));
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    }
    return fd;
}

void probe_send_bytes(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;

    while (n > 0) {
        ssize_t n_sent = send(fd, at, n, MSG_NOSIGNAL);
        if (n_sent < 0)
            fail_msg("send: %s", strerror(errno));
        at += n_sent;
        n -= (size_t)n_sent;
    }
}

void probe_send(int fd, const char *text)
{
    probe_send_bytes(fd, text, strlen(text));
}

/* Adds at most n bytes; fails on errors, false at the end. */
static bool receive(int fd, struct strbuf *out, size_t n)
{
    char piece[16384];
    ssize_t n_got = recv(fd, piece, n < sizeof(piece) ? n : sizeof(piece), 0);

    if (n_got < 0)
        fail_msg("recv: %s", strerror(errno));
    strbuf_add(out, piece, (size_t)n_got);
    return n_got > 0;
}

static size_t length_of(const struct answer *a)
{
    const char *at = a->head.ptr;

    while ((at = strstr(at, "\r\n"))) {
        at += 2;
        if (strncasecmp(at, "Content-Length: ", 16) == 0)
            return (size_t)atol(at + 16);
    }
    return 0;
}

void probe_read(int fd, bool is_head, struct answer *a)
{
    strbuf_init(&a->head);
    strbuf_init(&a->body);
    while (a->head.len < 4 || memcmp(a->head.ptr + a->head.len - 4, "\r\n\r\n", 4) != 0)
        if (!receive(fd, &a->head, 1))
            fail_msg("no answer, only: %.*s", (int)a->head.len, a->head.ptr ? a->head.ptr : "");
    a->status = atoi(a->head.ptr + strlen("HTTP/1.1 "));
    size_t n = is_head ? 0 : length_of(a);
    while (a->body.len < n && receive(fd, &a->body, n - a->body.len))
        continue;
}

void probe_expect(int fd, int status, const char *body)
{
    struct answer a;

    probe_read(fd, false, &a);
    if (a.status != status)
        fail_msg("%d instead of %d", a.status, status);
    if (body) {
        assert_int_equal(a.body.len, strlen(body));
        assert_memory_equal(a.body.len ? a.body.ptr : "", body, a.body.len);
    }
    answer_fini(&a);
}

void probe_expect_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);

    if (n != 0)
        fail_msg("%s instead of the end", n > 0 ? "more" : strerror(errno));
}

void answer_fini(struct answer *a)
{
    strbuf_fini(&a->head);
    strbuf_fini(&a->body);
}
