#include "config.h"

#include "mirrord/transport.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"

/* -1 and errno become a negative errno; an interrupted call on a non-blocking socket is "not now".
 */
static ssize_t result(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static ssize_t do_recv(struct transport *t, void *p, size_t n)
{
    return result(recv(t->fd, p, n, 0));
}

/* For TCP, MSG_TRUNC drops the bytes in the kernel; other sockets copy them to p as usual. */
static ssize_t do_discard(struct transport *t, void *p, size_t n)
{
    return result(recv(t->fd, p, n, MSG_TRUNC));
}

static ssize_t do_sendv(struct transport *t, struct iovec *parts, unsigned n_parts, bool more)
{
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = n_parts};

    return result(sendmsg(t->fd, &m, MSG_NOSIGNAL | (more ? MSG_MORE : 0)));
}

static ssize_t do_sendfile(struct transport *t, int fd, uint64_t off, size_t n)
{
    off_t at = (off_t)off;

    return result(sendfile(t->fd, fd, &at, n));
}

static void do_finish(struct transport *t)
{
    /* It fails when the peer is gone already, which is as good. */
    (void)shutdown(t->fd, SHUT_WR);
}

static void do_close(struct transport *t)
{
    CHECK(t->fd >= 0);
    close(t->fd);
    t->fd = -1;
}

static const struct transport_ops PLAIN = {
    .recv = do_recv,
    .discard = do_discard,
    .sendv = do_sendv,
    .sendfile = do_sendfile,
    .finish = do_finish,
    .close = do_close,
};

void transport_init_plain(struct transport *t, int fd)
{
    CHECK(fd >= 0);
    t->ops = &PLAIN;
    t->fd = fd;
}

size_t transport_n_waiting(const struct transport *t)
{
    int n = 0;

    CHECK(t->fd >= 0);
    return ioctl(t->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

bool transport_is_readable(const struct transport *t)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

bool transport_is_dead(const struct transport *t)
{
    struct pollfd p = {.fd = t->fd, .events = 0};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}
