#include "config.h"

#include "mirrord/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/worker.h"
#include "mirrord/access_log.h"
#include "mirrord/address.h"
#include "mirrord/conn.h"
#include "mirrord/lane.h"
#include "mirrord/listener.h"

#define SOCKETS_MAX 64
#define INHERITED_FIRST_FD 3

/* One listen address. */
struct socket_set {
    char name[LISTENER_NAME_SIZE];
    const char *mark;      /* see server_mark; or NULL */
    char unlink_path[108]; /* of a unix socket that we made; empty otherwise */
    bool is_shared;        /* fds[0] serves all lanes; otherwise each has its own */
    int *fds;              /* n_lanes; -1: taken over by a listener, or none */
};

struct server_lane {
    struct lane lane; /* first: it is cast back */
    struct mail resume;
    struct listener *listeners[SOCKETS_MAX];
    bool is_ending; /* the last connection is gone */
};

struct server {
    struct server_config config;
    struct socket_set sockets[SOCKETS_MAX];
    unsigned n_sockets;
    const char *mark; /* of what will be listened on */
    unsigned n_started;
    atomic_uint n_conns;
    atomic_bool is_any_paused; /* a listener waits for n_conns to fall */
    atomic_bool is_draining;
    atomic_uint n_listening; /* lanes that still accept */
    atomic_uint n_running;   /* lanes that have not ended */
    void (*done)(void *arg);
    void *done_arg;
    struct server_lane *lanes;
};

struct new_limits {
    struct lane *lane;
    struct server_limits limits;
};

struct server_config server_config_default(void)
{
    return (struct server_config){
        .limits =
            {
                .head = {.target_max_bytes = 8 * 1024,
                         .head_max_bytes = 32 * 1024,
                         .fields_max = HEAD_HEADERS_MAX},
                .head_ms = 30 * 1000,
                .body_ms = 60 * 1000,
                .send_ms = 60 * 1000,
                .idle_ms = 75 * 1000,
                .linger_ms = 5 * 1000,
                .linger_bytes = 64 * 1024 * 1024,
                .discard_bytes = 256 * 1024,
                .send_window_bytes = 2 * 1024 * 1024,
                .requests_max = 100000,
            },
        .connections_max = 16384,
        .n_lanes = 1,
    };
}

struct server *server_new(const struct server_config *config)
{
    struct server *s = xcalloc(1, sizeof(*s));

    CHECK(config->handler && config->n_lanes > 0 && config->connections_max > 0);
    CHECK(config->limits.send_window_bytes > 0);
    s->config = *config;
    s->lanes = xcalloc(config->n_lanes, sizeof(*s->lanes));
    /* sendfile has no flag that would keep a closed socket from raising it. */
    signal(SIGPIPE, SIG_IGN);
    return s;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static struct socket_set *add_set(struct server *s, bool is_shared)
{
    struct socket_set *set = &s->sockets[s->n_sockets++];

    set->is_shared = is_shared;
    set->mark = s->mark;
    set->fds = xcalloc(s->config.n_lanes, sizeof(*set->fds));
    for (unsigned i = 0; i < s->config.n_lanes; i++)
        set->fds[i] = -1;
    return set;
}

static int check_room(const struct server *s, struct error *err)
{
    CHECK(s->n_started == 0);
    if (s->n_sockets < SOCKETS_MAX)
        return 0;
    return error_set(err, -EMFILE, "more than %d listen addresses", SOCKETS_MAX);
}

/* Binds one resolved address for all lanes. */
static int listen_resolved(struct server *s, const struct addrinfo *a, uint16_t *port,
                           struct error *err)
{
    struct sockaddr_storage address = {0};
    int *fds = xcalloc(s->config.n_lanes, sizeof(*fds));
    int rc = check_room(s, err);

    CHECK(a->ai_addrlen <= sizeof(address));
    memcpy(&address, a->ai_addr, a->ai_addrlen);
    /* sin_port and sin6_port stand at the same place. */
    ((struct sockaddr_in *)&address)->sin_port = *port;
    if (rc == 0)
        rc = listener_bind_tcp(&address, a->ai_addrlen, s->config.n_lanes, fds, err);
    if (rc == 0) {
        struct socket_set *set = add_set(s, false);
        memcpy(set->fds, fds, s->config.n_lanes * sizeof(*fds));
        listener_name(fds[0], set->name);
        *port = ((struct sockaddr_in *)&address)->sin_port;
    }
    free(fds);
    return rc;
}

/* Whether a failed address of several may be left out: this machine does not have it. */
static bool is_absent(int rc)
{
    return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL;
}

static int listen_tcp(struct server *s, const struct address *address, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    uint16_t port = htons(address->port);
    char text[8];
    unsigned n_bound = 0;
    int rc = 0;

    snprintf(text, sizeof(text), "%u", (unsigned)address->port);
    int gai = getaddrinfo(address->host[0] ? address->host : NULL, text, &hints, &found);
    if (gai != 0)
        return error_set(err, -EADDRNOTAVAIL, "listen on %s:%s: %s", address->host, text,
                         gai_strerror(gai));
    for (const struct addrinfo *a = found; a && (rc == 0 || is_absent(rc)); a = a->ai_next) {
        rc = listen_resolved(s, a, &port, err);
        n_bound += rc == 0;
    }
    freeaddrinfo(found);
    if (rc == 0 || (is_absent(rc) && n_bound > 0))
        return 0;
    return error_wrap(err, "listen on %s:%s", address->host, text);
}

static int listen_unix(struct server *s, const struct address *address, struct error *err)
{
    int fd;
    int rc = check_room(s, err);

    if (rc == 0)
        rc = listener_bind_unix(address->path, &fd, err);
    if (rc < 0)
        return error_wrap(err, "listen");
    struct socket_set *set = add_set(s, true);
    set->fds[0] = fd;
    listener_name(fd, set->name);
    snprintf(set->unlink_path, sizeof(set->unlink_path), "%s", address->path);
    return 0;
}

void server_mark(struct server *s, const char *mark)
{
    s->mark = mark;
}

int server_listen(struct server *s, const struct address *address, struct error *err)
{
    switch (address->kind) {
    case ADDRESS_TCP:
        return listen_tcp(s, address, err);
    case ADDRESS_UNIX:
        return listen_unix(s, address, err);
    default:
        return 0;
    }
}

int server_listen_fd(struct server *s, int fd, struct error *err)
{
    int rc = check_room(s, err);

    if (rc == 0)
        rc = listener_adopt(fd, err);
    if (rc < 0)
        return rc;
    struct socket_set *set = add_set(s, true);
    set->fds[0] = fd;
    listener_name(fd, set->name);
    return 0;
}

unsigned server_inherited_fds(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    uint64_t wanted_pid, n_fds = 0;

    if (!pid || !n || !slice_to_u64(slice_of(pid), &wanted_pid) ||
        wanted_pid != (uint64_t)getpid() || !slice_to_u64(slice_of(n), &n_fds) ||
        n_fds > SOCKETS_MAX)
        n_fds = 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return (unsigned)n_fds;
}

const char *server_address(const struct server *s, unsigned i)
{
    return i < s->n_sockets ? s->sockets[i].name : NULL;
}

/* Closes what no listener has taken over. */
static void close_sockets(struct server *s)
{
    for (unsigned i = 0; i < s->n_sockets; i++) {
        struct socket_set *set = &s->sockets[i];
        for (unsigned k = 0; k < s->config.n_lanes; k++) {
            if (set->fds[k] >= 0)
                close(set->fds[k]);
            set->fds[k] = -1;
        }
        if (set->unlink_path[0])
            (void)unlink(set->unlink_path);
        set->unlink_path[0] = '\0';
    }
}

/* --- counting --------------------------------------------------------------------------------- */

/* Whether there is room for one more connection. The flag is set before the second look, and
 * on_count looks at it after counting down, so one of the two sees the other. */
static bool admit(struct lane *lane)
{
    struct server *s = lane->server;

    if (atomic_load(&s->n_conns) < s->config.connections_max)
        return true;
    atomic_store(&s->is_any_paused, true);
    return atomic_load(&s->n_conns) < s->config.connections_max;
}

static void on_resume(struct mail *m)
{
    struct server_lane *sl =
        (struct server_lane *)((char *)m - offsetof(struct server_lane, resume));

    for (unsigned i = 0; i < sl->lane.server->n_sockets; i++)
        if (sl->listeners[i])
            listener_resume(sl->listeners[i]);
}

static void maybe_end(struct server_lane *sl);

static void on_count(struct lane *lane, int change)
{
    struct server *s = lane->server;

    if (change > 0) {
        atomic_fetch_add(&s->n_conns, 1);
        return;
    }
    CHECK(atomic_fetch_sub(&s->n_conns, 1) > 0);
    if (lane->is_draining)
        maybe_end((struct server_lane *)lane);
    else if (atomic_load(&s->is_any_paused) && atomic_exchange(&s->is_any_paused, false))
        for (unsigned i = 0; i < s->n_started; i++)
            worker_post(s->lanes[i].lane.worker, &s->lanes[i].resume);
}

unsigned server_connections(const struct server *s)
{
    return atomic_load(&s->n_conns);
}

/* --- life ------------------------------------------------------------------------------------- */

void server_start_on(struct server *s, struct worker *w)
{
    unsigned index = s->n_started;
    struct server_lane *sl = &s->lanes[index];

    CHECK(index < s->config.n_lanes);
    lane_init(&sl->lane, s, &s->config);
    sl->lane.worker = w;
    sl->lane.on_count = on_count;
    sl->resume.fn = on_resume;
    if (s->config.access)
        sl->lane.access = access_buffer_new(s->config.access, w);
    for (unsigned i = 0; i < s->n_sockets; i++) {
        struct socket_set *set = &s->sockets[i];
        int *fd = &set->fds[set->is_shared ? 0 : index];
        sl->listeners[i] = listener_new(&sl->lane, *fd, !set->is_shared, admit);
        listener_mark(sl->listeners[i], set->mark);
        if (!set->is_shared)
            *fd = -1;
    }
    atomic_fetch_add(&s->n_listening, 1);
    atomic_fetch_add(&s->n_running, 1);
    s->n_started++;
}

static void do_set_limits(void *arg)
{
    struct new_limits *n = arg;

    n->lane->limits = n->limits;
    free(n);
}

void server_set_limits(struct server *s, const struct server_limits *limits)
{
    CHECK(limits->send_window_bytes > 0);
    if (s->n_started == 0)
        s->config.limits = *limits;
    for (unsigned i = 0; i < s->n_started; i++) {
        struct new_limits *n = xmalloc(sizeof(*n));
        n->lane = &s->lanes[i].lane;
        n->limits = *limits;
        worker_call(n->lane->worker, do_set_limits, n);
    }
}

/* A lane's very last act; the last lane's tells the caller, who may free everything in it. */
static void do_end(void *arg)
{
    struct server *s = arg;

    if (atomic_fetch_sub(&s->n_running, 1) == 1)
        s->done(s->done_arg);
}

/* Through the mailbox, so that nobody who is on the stack now needs the server any more. */
static void on_log_closed(void *arg)
{
    struct server_lane *sl = arg;

    sl->lane.access = NULL;
    worker_call(sl->lane.worker, do_end, sl->lane.server);
}

static void maybe_end(struct server_lane *sl)
{
    if (sl->lane.n_conns > 0 || sl->is_ending)
        return;
    sl->is_ending = true;
    if (sl->lane.access)
        access_buffer_close(sl->lane.access, on_log_closed, sl);
    else
        on_log_closed(sl);
}

static void do_drain(void *arg)
{
    struct server_lane *sl = arg;
    struct server *s = sl->lane.server;

    if (sl->lane.is_draining)
        return;
    for (unsigned i = 0; i < s->n_sockets; i++)
        listener_close(&sl->listeners[i]);
    if (atomic_fetch_sub(&s->n_listening, 1) == 1)
        close_sockets(s);
    sl->lane.is_draining = true;
    for (struct conn *c = sl->lane.conns, *next; c; c = next) {
        next = c->next;
        conn_drain(c);
    }
    maybe_end(sl);
}

void server_drain(struct server *s, void (*done)(void *arg), void *arg)
{
    CHECK(done && s->n_started > 0);
    CHECK(!atomic_exchange(&s->is_draining, true));
    s->done = done;
    s->done_arg = arg;
    for (unsigned i = 0; i < s->n_started; i++)
        worker_call(s->lanes[i].lane.worker, do_drain, &s->lanes[i]);
}

static void do_stop(void *arg)
{
    struct server_lane *sl = arg;

    for (struct conn *c = sl->lane.conns, *next; c; c = next) {
        next = c->next;
        conn_end(c, CONN_REASON_STOP);
    }
}

void server_stop(struct server *s)
{
    CHECK(atomic_load(&s->is_draining));
    for (unsigned i = 0; i < s->n_started; i++)
        worker_call(s->lanes[i].lane.worker, do_stop, &s->lanes[i]);
}

void server_free(struct server **ss)
{
    struct server *s = *ss;

    if (!s)
        return;
    CHECK(atomic_load(&s->n_running) == 0);
    close_sockets(s);
    for (unsigned i = 0; i < s->n_sockets; i++)
        free(s->sockets[i].fds);
    for (unsigned i = 0; i < s->n_started; i++)
        lane_fini(&s->lanes[i].lane);
    free(s->lanes);
    free(s);
    *ss = NULL;
}
