#include "config.h"

#include "tests/bench/load_connection.h"

#include "base/check.h"
#include "base/slice.h"
#include "tests/bench/load_options.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (1 << 20)

uint64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static enum load_progress failed(struct load_connection *conn, const char *problem)
{
    conn->problem = problem;
    return LOAD_FAILED;
}

bool load_connection_open(struct load_connection *conn, const struct load_options *options)
{
    int on = 1;

    memset(conn, 0, sizeof(*conn));
    conn->options = options;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        conn->problem = strerror(errno);
        return false;
    }
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (options->rcvbuf_bytes > 0)
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &options->rcvbuf_bytes,
                   sizeof(options->rcvbuf_bytes));
    if (connect(conn->fd, (const struct sockaddr *)&options->address, sizeof(options->address))) {
        conn->problem = strerror(errno);
        load_connection_close(conn);
        return false;
    }
    return true;
}

void load_connection_close(struct load_connection *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->is_asking = false;
}

enum load_progress load_connection_ask(struct load_connection *conn, uint64_t start_ns)
{
    const struct load_options *options = conn->options;

    CHECK(!conn->is_asking);
    conn->is_asking = true;
    conn->has_head = false;
    conn->n_head = 0;
    conn->n_read = 0;
    conn->head_ns = conn->first_ns = conn->end_ns = 0;
    conn->start_ns = start_ns;
    /* A request is far smaller than an empty send buffer: it goes out whole or not at all. */
    ssize_t n = send(conn->fd, options->request, options->n_request, MSG_NOSIGNAL);
    if (n != (ssize_t)options->n_request)
        return failed(conn, "the request could not be sent");
    return LOAD_WAITS;
}

/* The value of Content-Length. The head is NUL-terminated. False: there is none. */
static bool find_length(const char *head, uint64_t *n_out)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");

    if (field == NULL)
        return false;
    const char *value = strchr(field, ':') + 1;
    const char *end = strstr(value, "\r\n");
    return slice_to_u64(slice_trim((struct slice){value, (size_t)(end - value)}), n_out);
}

/* Counts n body bytes; `bytes` is where they are, NULL when they were discarded. */
static enum load_progress take_body(struct load_connection *conn, const char *bytes, uint64_t n)
{
    const struct load_options *options = conn->options;

    if (n > conn->n_left)
        return failed(conn, "more came than was announced");
    if (options->reference != NULL && (conn->n_read + n > options->n_reference ||
                                       memcmp(options->reference + conn->n_read, bytes, n) != 0))
        return failed(conn, "wrong bytes");
    if (conn->first_ns == 0)
        conn->first_ns = load_now_ns();
    conn->n_left -= n;
    conn->n_read += n;
    conn->n_total += n;
    return LOAD_WAITS;
}

static enum load_progress complete(struct load_connection *conn)
{
    if (conn->options->reference != NULL && conn->n_read != conn->options->n_reference)
        return failed(conn, "the body is shorter than it should be");
    conn->end_ns = load_now_ns();
    if (conn->first_ns == 0)
        conn->first_ns = conn->end_ns;
    conn->is_asking = false;
    conn->n_done++;
    return LOAD_COMPLETE;
}

/* The head is complete and ends before `body`. */
static enum load_progress take_head(struct load_connection *conn, char *body)
{
    size_t n_body = conn->n_head - (size_t)(body - conn->head);
    char first = *body;

    *body = '\0';
    if (strncmp(conn->head, "HTTP/1.1 200 ", 13) != 0)
        return failed(conn, "the status is not 200");
    if (!find_length(conn->head, &conn->n_left))
        return failed(conn, "no length was announced");
    *body = first;
    conn->has_head = true;
    conn->head_ns = load_now_ns();
    if (n_body > 0 && take_body(conn, body, n_body) == LOAD_FAILED)
        return LOAD_FAILED;
    return LOAD_WAITS;
}

static enum load_progress read_head(struct load_connection *conn)
{
    size_t n_room = sizeof(conn->head) - 1 - conn->n_head;

    if (n_room == 0)
        return failed(conn, "the head is too long");
    ssize_t n = recv(conn->fd, conn->head + conn->n_head, n_room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? LOAD_WAITS : failed(conn, strerror(errno));
    if (n == 0)
        return failed(conn, "closed before the head was complete");
    conn->n_head += (size_t)n;
    conn->head[conn->n_head] = '\0';
    char *end = memmem(conn->head, conn->n_head, "\r\n\r\n", 4);
    return end == NULL ? LOAD_WAITS : take_head(conn, end + 4);
}

/* MSG_TRUNC makes the kernel drop the bytes without copying them, so that the client hardly costs.
 */
static enum load_progress read_body(struct load_connection *conn, uint64_t n_max)
{
    static __thread char buffer[CHUNK_BYTES];
    bool is_compared = conn->options->reference != NULL;

    while (n_max > 0 && conn->n_left > 0) {
        size_t n_wanted = sizeof(buffer);
        if (n_wanted > n_max)
            n_wanted = (size_t)n_max;
        if (n_wanted > conn->n_left)
            n_wanted = (size_t)conn->n_left;
        ssize_t n = recv(conn->fd, is_compared ? buffer : NULL, n_wanted,
                         MSG_DONTWAIT | (is_compared ? 0 : MSG_TRUNC));
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? LOAD_WAITS : failed(conn, strerror(errno));
        if (n == 0)
            return failed(conn, "closed before the body was complete");
        if (take_body(conn, buffer, (uint64_t)n) == LOAD_FAILED)
            return LOAD_FAILED;
        n_max -= (uint64_t)n;
    }
    return conn->n_left == 0 ? complete(conn) : LOAD_WAITS;
}

enum load_progress load_connection_read(struct load_connection *conn, uint64_t n_max)
{
    CHECK(conn->fd >= 0);
    if (!conn->is_asking)
        return failed(conn, "closed or sent something between two requests");
    if (!conn->has_head && read_head(conn) == LOAD_FAILED)
        return LOAD_FAILED;
    return conn->has_head ? read_body(conn, n_max) : LOAD_WAITS;
}
