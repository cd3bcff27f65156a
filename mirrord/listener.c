#include "config.h"

#include "mirrord/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "mirrord/conn.h"
#include "mirrord/lane.h"

#define BACKLOG 4096
#define ACCEPTS_PER_TURN 64
/* After running out of descriptors or memory: when to look again. */
#define RETRY_MS 100

struct listener {
    struct event *io, *timer;
    struct lane *lane;
    int fd;
    const char *mark;
    bool is_own;
    bool is_paused;
    bool has_complained; /* about missing descriptors, since it last worked */
    bool (*admit)(struct lane *lane);
};

/* --- sockets ---------------------------------------------------------------------------------- */

static int set_flag(int fd, int level, int option)
{
    int one = 1;

    return setsockopt(fd, level, option, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* One socket of the address; negative errno otherwise. */
static int open_tcp(const struct sockaddr_storage *address, socklen_t len)
{
    int rc = 0;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    /* TCP_NODELAY: accepted sockets inherit it, so no call per connection is needed. */
    if (set_flag(fd, SOL_SOCKET, SO_REUSEADDR) < 0 || set_flag(fd, SOL_SOCKET, SO_REUSEPORT) < 0 ||
        set_flag(fd, IPPROTO_TCP, TCP_NODELAY) < 0)
        rc = -errno;
    if (rc == 0 && address->ss_family == AF_INET6)
        rc = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (rc == 0 && bind(fd, (const struct sockaddr *)address, len) < 0)
        rc = -errno;
    if (rc == 0 && listen(fd, BACKLOG) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

/* Whether somebody else listens there already: with SO_REUSEPORT the kernel would let another
 * process of this user share the port, and each would get half of the clients. */
static int probe_taken(const struct sockaddr_storage *address, socklen_t len)
{
    int rc = 0;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (address->ss_family == AF_INET6)
        (void)set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (set_flag(fd, SOL_SOCKET, SO_REUSEADDR) < 0 ||
        bind(fd, (const struct sockaddr *)address, len) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

int listener_bind_tcp(struct sockaddr_storage *address, socklen_t len, unsigned n, int *fds_out,
                      struct error *err)
{
    int rc = probe_taken(address, len);

    for (unsigned i = 0; rc == 0 && i < n; i++) {
        int fd = open_tcp(address, len);
        if (fd < 0) {
            rc = fd;
            while (i > 0)
                close(fds_out[--i]);
            break;
        }
        fds_out[i] = fd;
        socklen_t same_len = len;
        CHECK(getsockname(fd, (struct sockaddr *)address, &same_len) == 0);
    }
    return rc < 0 ? error_sys(err, rc, "bind") : 0;
}

/* Removes a socket file behind which nobody listens any more. */
static int remove_dead_socket(const struct sockaddr_un *address)
{
    int rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : -EADDRINUSE;
    close(fd);
    if (rc == -ECONNREFUSED)
        rc = unlink(address->sun_path) < 0 ? -errno : 0;
    return rc == -ENOENT ? 0 : rc;
}

int listener_bind_unix(const char *path, int *fd_out, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(err, -ENAMETOOLONG, "bind %s: the path is too long", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int rc = remove_dead_socket(&address);
    if (rc < 0)
        return error_sys(err, rc, "bind %s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, -errno, "bind %s", path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0) {
        rc = error_sys(err, -errno, "bind %s", path);
        close(fd);
        return rc;
    }
    *fd_out = fd;
    return 0;
}

int listener_adopt(int fd, struct error *err)
{
    int is_listening = 0;
    socklen_t len = sizeof(is_listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0)
        return error_sys(err, -errno, "inherited descriptor %d", fd);
    if (!is_listening)
        return error_set(err, -EINVAL, "inherited descriptor %d: not a listening socket", fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return error_sys(err, -errno, "inherited descriptor %d", fd);
    /* It fails for unix sockets, which do not delay anyway. */
    (void)set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    return 0;
}

void listener_name(int fd, char out[LISTENER_NAME_SIZE])
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof(a);
    char host[INET6_ADDRSTRLEN] = "";

    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    if (a.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&a;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, LISTENER_NAME_SIZE, "%s:%u", host, (unsigned)ntohs(in->sin_port));
    } else if (a.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&a;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, LISTENER_NAME_SIZE, "[%s]:%u", host, (unsigned)ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_un *un = (const void *)&a;
        snprintf(out, LISTENER_NAME_SIZE, "unix:%.*s", (int)sizeof(un->sun_path), un->sun_path);
    }
}

/* --- accepting -------------------------------------------------------------------------------- */

static void pause_listener(struct listener *l)
{
    l->is_paused = true;
    event_del(l->io);
}

/* The descriptors or the memory of the system are used up. */
static void pause_for_a_while(struct listener *l, int rc)
{
    static const struct timeval WHILE = {0, RETRY_MS * 1000};
    struct error err;

    if (!l->has_complained) {
        error_sys(&err, rc, "accept a connection");
        log_error("listener", "%s", err.text);
        l->has_complained = true;
    }
    pause_listener(l);
    event_add(l->timer, &WHILE);
}

/* Takes one connection: false when that is all for now. */
static bool accept_one(struct listener *l)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);

    int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        l->has_complained = false;
        conn_new(l->lane, fd, (struct sockaddr *)&peer, l->mark);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        pause_for_a_while(l, -errno);
    /* A client that left before we came costs nothing but this call. */
    return errno == ECONNABORTED || errno == EINTR;
}

static void accept_some(struct listener *l, unsigned n_max)
{
    for (unsigned i = 0; i < n_max && !l->is_paused; i++) {
        if (!l->admit(l->lane)) {
            pause_listener(l);
            return;
        }
        if (!accept_one(l))
            return;
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    accept_some(arg, ACCEPTS_PER_TURN);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    listener_resume(arg);
}

void listener_mark(struct listener *l, const char *mark)
{
    l->mark = mark;
}

void listener_resume(struct listener *l)
{
    if (!l->is_paused)
        return;
    l->is_paused = false;
    event_del(l->timer);
    CHECK(event_add(l->io, NULL) == 0);
}

struct listener *listener_new(struct lane *lane, int fd, bool is_own, bool (*admit)(struct lane *))
{
    struct listener *l = xcalloc(1, sizeof(*l));
    struct event_base *base = worker_event_base(lane->worker);

    l->lane = lane;
    l->fd = fd;
    l->is_own = is_own;
    l->admit = admit;
    l->io = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, l);
    l->timer = event_new(base, -1, 0, on_retry, l);
    CHECK(l->io && l->timer && event_add(l->io, NULL) == 0);
    return l;
}

void listener_close(struct listener **ll)
{
    struct listener *l = *ll;

    if (!l)
        return;
    *ll = NULL;
    /* A shared socket's queue is left to whoever else accepts on it. */
    if (l->is_own)
        accept_some(l, BACKLOG);
    event_free(l->io);
    event_free(l->timer);
    if (l->is_own)
        close(l->fd);
    free(l);
}
