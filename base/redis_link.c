#include "config.h"

#include "base/redis_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <hiredis.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/redis_private.h"

#define REST_MIN_MS 50       /* the first pause; then it doubles */
#define LOOK_UP_MS 20        /* until the name is asked for again */
#define READ_BYTES 65536     /* in one turn */
#define OUT_KEPT_BYTES 65536 /* a larger buffer that has gone out is given back */

#define ELEMENTS_MAX 16 /* of an array; a message has three */

#if HIREDIS_MAJOR >= 1
typedef size_t elements_n;
#else
typedef int elements_n;
#endif

enum link_state { LINK_RESTING, LINK_CONNECTING, LINK_GREETING, LINK_UP, LINK_STATE_MAX };

#define TO(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next;
    const char *turn;
} STATES[] = {
    [LINK_RESTING] = {"resting", TO(LINK_RESTING) | TO(LINK_CONNECTING), "timer"},
    [LINK_CONNECTING] = {"connecting", TO(LINK_RESTING) | TO(LINK_GREETING), "server"},
    [LINK_GREETING] = {"greeting", TO(LINK_RESTING) | TO(LINK_UP), "server"},
    [LINK_UP] = {"up", TO(LINK_RESTING), "us"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == LINK_STATE_MAX, "a row for every state");

struct redis_link {
    struct redis *server;
    struct worker *worker;
    const struct redis_link_ops *ops;
    void *arg;
    enum link_state state;
    int fd; /* -1: none */
    struct event *readable, *writable;
    struct event *timer; /* resting: its end; connecting and greeting: its limit */
    redisReader *reader;
    size_t n_unanswered_bytes; /* read since the last whole answer */
    struct strbuf out;
    size_t out_off;       /* sent of it */
    unsigned n_greetings; /* answers still to come before it is up */
    unsigned n_failures;  /* since something was answered */
    unsigned n_attempts;
};

static void link_goto(struct redis_link *l, enum link_state next)
{
    CHECK(STATES[l->state].next & TO(next));
    log_debug(redis_prefix(l->server), "%s -> %s, turn of the %s", STATES[l->state].name,
              STATES[next].name, STATES[next].turn);
    l->state = next;
}

static void start_timer(struct redis_link *l, unsigned ms)
{
    struct timeval after = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

    CHECK(evtimer_add(l->timer, &after) == 0);
}

/* --- the end of a connection ------------------------------------------------------------------ */

static void disconnect(struct redis_link *l)
{
    if (l->readable)
        event_free(l->readable);
    if (l->writable)
        event_free(l->writable);
    l->readable = l->writable = NULL;
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    if (l->reader)
        redisReaderFree(l->reader);
    l->reader = NULL;
    l->n_unanswered_bytes = 0;
    strbuf_fini(&l->out);
    l->out_off = 0;
    event_del(l->timer);
}

/* Doubles with every failure, and a random part of it is left out, so that not all come at once. */
static unsigned pause_ms(const struct redis_link *l)
{
    unsigned max_ms = l->server->config.retry_max_ms, ms = REST_MIN_MS, noise;

    for (unsigned i = 1; i < l->n_failures && ms < max_ms; i++)
        ms *= 2;
    if (ms > max_ms)
        ms = max_ms;
    CHECK(getentropy(&noise, sizeof(noise)) == 0);
    return ms / 2 + noise % (ms / 2 + 1);
}

static void note_down(struct redis_link *l, bool was_up, const struct error *why)
{
    struct redis *r = l->server;

    if (was_up) {
        atomic_fetch_sub(&r->n_up, 1);
        metric_add(r->config.metrics.links, -1);
    }
    /* One line for all connections and all attempts. */
    if (!atomic_exchange(&r->is_failing, true))
        log_warning(redis_prefix(r), "%s: %s; going on without it", r->config.host, why->text);
    else
        log_debug(redis_prefix(r), "%s: %s", r->config.host, why->text);
}

static void rest(struct redis_link *l, unsigned ms)
{
    link_goto(l, LINK_RESTING);
    start_timer(l, ms);
}

void redis_link_fail(struct redis_link *l, const struct error *why)
{
    struct error copy = *why;
    bool was_up = l->state == LINK_UP;

    if (l->state == LINK_RESTING)
        return;
    disconnect(l);
    note_down(l, was_up, &copy);
    l->n_failures++;
    rest(l, pause_ms(l));
    if (was_up)
        l->ops->on_down(l->arg, &copy);
}

static void fail_sys(struct redis_link *l, int code, const char *what)
{
    struct error why;

    error_sys(&why, code, "%s", what);
    redis_link_fail(l, &why);
}

static void fail_text(struct redis_link *l, int code, const char *what)
{
    struct error why;

    error_set(&why, code, "%s", what);
    redis_link_fail(l, &why);
}

void redis_link_note_use(struct redis_link *l)
{
    l->n_failures = 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* True when all has gone out, or the connection has failed. */
static bool flush(struct redis_link *l)
{
    while (l->out_off < l->out.len) {
        ssize_t n = send(l->fd, l->out.ptr + l->out_off, l->out.len - l->out_off, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0) {
            fail_sys(l, -errno, "send");
            return true;
        }
        l->out_off += (size_t)n;
    }
    l->out_off = 0;
    if (l->out.cap > OUT_KEPT_BYTES)
        strbuf_fini(&l->out);
    else
        strbuf_clear(&l->out);
    return true;
}

static void wait_writable(struct redis_link *l)
{
    CHECK(event_add(l->writable, NULL) == 0);
}

static void append(struct redis_link *l, int argc, const struct slice *argv)
{
    strbuf_addf(&l->out, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        strbuf_addf(&l->out, "$%zu\r\n", argv[i].len);
        strbuf_add(&l->out, argv[i].ptr, argv[i].len);
        strbuf_add(&l->out, "\r\n", 2);
    }
}

int redis_link_send(struct redis_link *l, int argc, const struct slice *argv)
{
    size_t n_bytes = 32;

    CHECK(worker_is_current(l->worker));
    if (l->state != LINK_UP)
        return -ENOTCONN;
    for (int i = 0; i < argc; i++)
        n_bytes += argv[i].len + 32;
    if (n_bytes > l->server->config.buffer_bytes ||
        l->out.len - l->out_off > l->server->config.buffer_bytes - n_bytes)
        return -ENOBUFS;
    append(l, argc, argv);
    wait_writable(l);
    return 0;
}

/* --- greeting --------------------------------------------------------------------------------- */

/* All in one piece; a server that is not well, or none at all, does not answer all of it. */
static void greet(struct redis_link *l)
{
    const struct redis_config *c = &l->server->config;
    char db[16];
    struct slice auth[] = {SLICE("AUTH"), SLICE_NONE};
    struct slice select_db[] = {SLICE("SELECT"), SLICE_NONE};
    struct slice ping[] = {SLICE("PING")};

    link_goto(l, LINK_GREETING);
    if (c->password) {
        auth[1] = slice_of(c->password);
        append(l, 2, auth);
        l->n_greetings++;
    }
    if (c->db > 0) {
        snprintf(db, sizeof(db), "%u", c->db);
        select_db[1] = slice_of(db);
        append(l, 2, select_db);
        l->n_greetings++;
    }
    append(l, 1, ping);
    l->n_greetings++;
    start_timer(l, c->timeout_ms);
    CHECK(event_add(l->readable, NULL) == 0);
    if (!flush(l))
        wait_writable(l);
}

static void come_up(struct redis_link *l)
{
    struct redis *r = l->server;

    event_del(l->timer);
    link_goto(l, LINK_UP);
    atomic_fetch_add(&r->n_up, 1);
    metric_add(r->config.metrics.links, 1);
    if (atomic_exchange(&r->is_failing, false))
        log_info(redis_prefix(r), "%s answers again", r->config.host);
    l->ops->on_up(l->arg);
}

static void use_greeting(struct redis_link *l, const redisReply *reply)
{
    struct error why;

    if (reply->type == REDIS_REPLY_ERROR) {
        /* The first word only: what follows may be what we said, the password too. */
        error_set(&why, -EREMOTEIO, "it refuses: %.*s", (int)strcspn(reply->str, " "), reply->str);
        redis_link_fail(l, &why);
    } else if (reply->type != REDIS_REPLY_STATUS) {
        fail_text(l, -EPROTO, "its answer to the greeting is none");
    } else if (--l->n_greetings == 0) {
        if (strcmp(reply->str, "PONG") == 0)
            come_up(l);
        else
            fail_text(l, -EPROTO, "its answer to PING is none");
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

/* One whole answer; false: there is none, or the connection has failed. */
static bool use_one(struct redis_link *l)
{
    void *reply = NULL;
    struct error why;

    if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
        error_set(&why, -EPROTO, "what it says is not Redis: %s", l->reader->errstr);
        redis_link_fail(l, &why);
        return false;
    }
    if (!reply)
        return false;
    l->n_unanswered_bytes = 0;
    if (l->state == LINK_GREETING)
        use_greeting(l, reply);
    else
        l->ops->on_reply(l->arg, reply);
    freeReplyObject(reply);
    return l->reader != NULL;
}

static pthread_once_t functions_once = PTHREAD_ONCE_INIT;
static redisReplyObjectFunctions functions;
static void *(*create_any_array)(const redisReadTask *task, elements_n n);

/* Arrays are made when their size has come; a billion of nothing would take seconds to free. */
static void *create_small_array(const redisReadTask *task, elements_n n)
{
    return n <= ELEMENTS_MAX ? create_any_array(task, n) : NULL;
}

static void make_functions(void)
{
    redisReader *usual = redisReaderCreate();

    CHECK(usual);
    functions = *usual->fn;
    redisReaderFree(usual);
    create_any_array = functions.createArray;
    functions.createArray = create_small_array;
}

static redisReader *make_reader(void)
{
    pthread_once(&functions_once, make_functions);
    redisReader *reader = redisReaderCreateWithFunctions(&functions);
    CHECK(reader);
    return reader;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *l = arg;
    char *bytes = worker_scratch(l->worker);
    ssize_t n = recv(fd, bytes, READ_BYTES, 0);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail_sys(l, n < 0 ? -errno : -ECONNRESET, n < 0 ? "recv" : "it hung up");
        return;
    }
    l->n_unanswered_bytes += (size_t)n;
    if (redisReaderFeed(l->reader, bytes, (size_t)n) != REDIS_OK) {
        fail_text(l, -EPROTO, "its answer cannot be read");
        return;
    }
    while (use_one(l))
        ;
    /* The largest we ask for is a value that we have sent through the same buffer. */
    if (l->n_unanswered_bytes > l->server->config.buffer_bytes + READ_BYTES)
        fail_text(l, -EMSGSIZE, "its answer is too large");
}

/* --- connecting ------------------------------------------------------------------------------- */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *l = arg;
    int code = 0;
    socklen_t len = sizeof(code);

    (void)what;
    if (l->state != LINK_CONNECTING) {
        if (!flush(l))
            wait_writable(l);
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
        code = errno;
    if (code != 0)
        fail_sys(l, -code, "connect");
    else
        greet(l);
}

static void open_socket(struct redis_link *l, const struct sockaddr_storage *name, socklen_t len)
{
    struct event_base *base = worker_event_base(l->worker);
    int one = 1;

    l->fd = socket(name->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 ||
        (connect(l->fd, (const struct sockaddr *)name, len) < 0 && errno != EINPROGRESS)) {
        fail_sys(l, -errno, "connect");
        return;
    }
    if (name->ss_family != AF_UNIX)
        setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    l->reader = make_reader();
    l->readable = event_new(base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
    l->writable = event_new(base, l->fd, EV_WRITE, on_writable, l);
    CHECK(l->readable && l->writable);
    start_timer(l, l->server->config.connect_timeout_ms);
    wait_writable(l);
}

static void begin(struct redis_link *l)
{
    struct sockaddr_storage name;
    struct error why;
    int len = redis_names_get(l->server->names, l->n_attempts, &name, &why);

    if (len == -EAGAIN) {
        rest(l, LOOK_UP_MS);
        return;
    }
    link_goto(l, LINK_CONNECTING);
    l->n_greetings = 0;
    l->n_attempts++;
    if (len < 0)
        redis_link_fail(l, &why);
    else
        open_socket(l, &name, (socklen_t)len);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *l = arg;

    (void)fd, (void)what;
    if (l->state == LINK_RESTING)
        begin(l);
    else
        fail_sys(l, -ETIMEDOUT, STATES[l->state].name);
}

/* --- life ------------------------------------------------------------------------------------- */

struct redis_link *redis_link_new(struct redis *server, const struct redis_link_ops *ops, void *arg)
{
    struct redis_link *l = xcalloc(1, sizeof(*l));

    l->worker = worker_current();
    CHECK(l->worker);
    l->server = server;
    l->ops = ops;
    l->arg = arg;
    l->fd = -1;
    strbuf_init(&l->out);
    l->timer = evtimer_new(worker_event_base(l->worker), on_timer, l);
    CHECK(l->timer);
    start_timer(l, 0);
    return l;
}

void redis_link_free(struct redis_link **ll)
{
    struct redis_link *l = *ll;

    *ll = NULL;
    if (!l)
        return;
    CHECK(worker_is_current(l->worker));
    if (l->state == LINK_UP) {
        atomic_fetch_sub(&l->server->n_up, 1);
        metric_add(l->server->config.metrics.links, -1);
    }
    disconnect(l);
    event_free(l->timer);
    free(l);
}

bool redis_link_is_up(const struct redis_link *l)
{
    return l->state == LINK_UP;
}
