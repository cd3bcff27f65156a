#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/strbuf.h"
#include "mirrord/http_status.h"
#include "mirrord/lane.h"
#include "mirrord/txn_private.h"

/* More head than this no client reads. */
#define REPLY_HEAD_MAX_BYTES (64 * 1024)

static struct txn *txn_of(struct reply *r)
{
    return (struct txn *)((char *)r - offsetof(struct txn, reply));
}

/* --- building the head ------------------------------------------------------------------------ */

/* Room for n more bytes of head; NULL when there would be too many, which spoils the reply. */
static char *head_room(struct reply *r, size_t n)
{
    size_t cap = r->head_cap;

    if (n <= cap - r->head_len)
        return r->head + r->head_len;
    while (cap - r->head_len < n && cap <= REPLY_HEAD_MAX_BYTES)
        cap *= 2;
    char *larger = cap <= REPLY_HEAD_MAX_BYTES ? arena_alloc(&txn_of(r)->arena, cap) : (char *)NULL;
    if (!larger) {
        r->is_overlong = true;
        return NULL;
    }
    memcpy(larger, r->head, r->head_len);
    r->head = larger;
    r->head_cap = cap;
    return larger + r->head_len;
}

static void add(struct reply *r, struct slice s)
{
    char *at = head_room(r, s.len);

    if (at && s.len) {
        memcpy(at, s.ptr, s.len);
        r->head_len += s.len;
    }
}

static void add_status_line(struct reply *r, int status)
{
    unsigned len;
    const char *line = http_status_line(status, &len);

    if (line) {
        add(r, (struct slice){line, len});
        return;
    }
    char text[64];
    int n = snprintf(text, sizeof(text), "HTTP/1.1 %d Unknown\r\n", status);
    add(r, (struct slice){text, (size_t)n});
}

struct reply *txn_reply(struct txn *t, int status)
{
    struct reply *r = &t->reply;

    CHECK(status >= 200 && status < 600 && !r->status && !t->is_over);
    r->status = status;
    r->head = r->first_head;
    r->head_cap = sizeof(r->first_head);
    add_status_line(r, status);
    add(r, lane_date_line(t->conn->lane));
    if (t->ns.len)
        reply_header(r, "OCI-Namespace", t->ns);
    return r;
}

static bool is_type_line(struct slice line)
{
    static const struct slice TYPE = {"Content-Type:", 13};

    return line.len >= TYPE.len && slice_equal_case((struct slice){line.ptr, TYPE.len}, TYPE);
}

/* A line break in a value would let foreign bytes write our head: controls become blanks. */
static void disarm(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
            p[i] = ' ';
}

void reply_header(struct reply *r, const char *name, struct slice value)
{
    size_t n_name = strlen(name);
    char *at = head_room(r, n_name + value.len + 4);

    CHECK(!r->is_ready);
    if (!at)
        return;
    memcpy(at, name, n_name);
    memcpy(at + n_name, ": ", 2);
    if (value.len)
        memcpy(at + n_name + 2, value.ptr, value.len);
    disarm(at + n_name + 2, value.len);
    memcpy(at + n_name + 2 + value.len, "\r\n", 2);
    r->head_len += n_name + value.len + 4;
    r->has_type |= is_type_line((struct slice){at, n_name + 1});
}

void reply_headerf(struct reply *r, const char *name, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    CHECK(n >= 0);
    if ((size_t)n < sizeof(text)) {
        reply_header(r, name, (struct slice){text, (size_t)n});
        return;
    }
    char *longer = arena_alloc(&txn_of(r)->arena, (size_t)n + 1);
    if (!longer) {
        r->is_overlong = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(longer, (size_t)n + 1, fmt, args);
    va_end(args);
    reply_header(r, name, (struct slice){longer, (size_t)n});
}

void reply_header_lines(struct reply *r, struct slice lines)
{
    struct slice rest = lines;

    CHECK(!r->is_ready && (lines.len == 0 || slice_ends(lines, SLICE("\r\n"))));
    add(r, lines);
    while (!r->has_type && rest.len)
        r->has_type = is_type_line(slice_cut(&rest, '\n'));
}

/* --- the writer's own lines ------------------------------------------------------------------- */

static void add_length(struct reply *r, uint64_t length)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + length % 10);
        length /= 10;
    } while (length);
    add(r, SLICE("Content-Length: "));
    add(r, (struct slice){digits + at, sizeof(digits) - at});
    add(r, SLICE("\r\n"));
}

/* Whether the connection can go on behind this reply. */
static bool may_keep(const struct txn *t)
{
    const struct lane *lane = t->conn->lane;
    const struct server_limits *limits = &lane->limits;

    if (!t->head.keep_alive || t->must_close || lane->is_draining || limits->idle_ms == 0)
        return false;
    if (limits->requests_max && t->conn->n_requests >= limits->requests_max)
        return false;
    if (body_is_complete(&t->body))
        return true;
    /* A client that waits for 100 Continue may send its body or not: nobody knows what follows. */
    if (t->head.expect_continue && !t->has_continued)
        return false;
    return body_is_chunked(&t->body) || body_left_min(&t->body) <= limits->discard_bytes;
}

/* Statuses that never have a body (RFC 9110 sections 15.3.5 and 15.4.5). */
static bool has_no_body(int status)
{
    return status == 204 || status == 304;
}

/* Adds what belongs to the writer, and hands over to the connection. hot */
static void finish_head(struct reply *r, uint64_t length)
{
    struct txn *t = txn_of(r);

    CHECK(r->status && !r->is_ready);
    if (!has_no_body(r->status)) {
        if (!r->has_type && length > 0)
            add(r, SLICE("Content-Type: application/octet-stream\r\n"));
        add_length(r, length);
    }
    r->is_head_only = t->head.method == HTTP_HEAD || has_no_body(r->status);
    r->keep_alive = may_keep(t);
    if (!r->keep_alive)
        add(r, SLICE("Connection: close\r\n"));
    else if (t->head.minor == 0)
        add(r, SLICE("Connection: keep-alive\r\n"));
    add(r, SLICE("\r\n"));
    r->length = r->is_head_only ? 0 : length;
    r->is_ready = true;
    t->on_gone = NULL;
}

/* Begins anew with an error instead of what was said so far; nothing of it is out. */
static void replace_by_error(struct txn *t, int status)
{
    CHECK(t->reply.head_sent == 0);
    reply_drop(t);
    memset(&t->reply, 0, offsetof(struct reply, first_head));
    reply_send_http_error(t, status);
}

static void hand_over(struct reply *r)
{
    struct txn *t = txn_of(r);

    if (r->is_overlong)
        replace_by_error(t, 500);
    else if (r->is_head_only)
        reply_drop(t);
    conn_kick(t->conn);
}

void reply_send_memory(struct reply *r, const void *p, size_t n, void (*release)(void *arg),
                       void *arg)
{
    finish_head(r, n);
    r->memory = p;
    r->release = release;
    r->release_arg = arg;
    hand_over(r);
}

void reply_send_source(struct reply *r, uint64_t length, const struct body_source *ops,
                       void *source)
{
    CHECK(ops && ops->next && ops->close);
    finish_head(r, length);
    r->ops = ops;
    r->source = source;
    hand_over(r);
}

void reply_send_empty(struct reply *r)
{
    finish_head(r, 0);
    hand_over(r);
}

void reply_send_http_error(struct txn *t, int status)
{
    const struct http_error_row *row = http_error_get(http_error_of_status(status));
    struct reply *r = txn_reply(t, row->status);
    char *text = arena_printf(&t->arena, "{\"errors\":[{\"code\":\"%s\",\"message\":\"%s\"}]}\n",
                              row->code, row->message);

    if (row->close)
        t->must_close = true;
    if (!text) {
        reply_send_empty(r);
        return;
    }
    reply_header(r, "Content-Type", SLICE("application/json"));
    reply_send_memory(r, text, strlen(text), NULL, NULL);
}

void reply_wake(struct reply *r)
{
    CHECK(r->is_ready);
    r->is_woken = true;
    conn_kick(txn_of(r)->conn);
}

void reply_drop(struct txn *t)
{
    struct reply *r = &t->reply;
    const struct body_source *ops = r->ops;
    void (*release)(void *arg) = r->release;

    r->ops = NULL;
    r->release = NULL;
    r->memory = NULL;
    if (ops)
        ops->close(r->source);
    if (release)
        release(r->release_arg);
}

/* --- sending ---------------------------------------------------------------------------------- */

enum outcome {
    OUT_MORE,    /* all of it went out; go on */
    OUT_FULL,    /* the socket takes no more now */
    OUT_NOT_YET, /* the source has nothing yet */
    OUT_CUT,     /* the source failed */
    OUT_GONE     /* the client is gone */
};

/* Accounts for n bytes of head and memory that the socket took of those offered. */
static enum outcome took(struct reply *r, ssize_t n, size_t n_offered)
{
    size_t n_head = r->head_len - r->head_sent;

    if (n < 0)
        return n == -EAGAIN ? OUT_FULL : OUT_GONE;
    if ((size_t)n < n_head) {
        r->head_sent += (size_t)n;
        return OUT_FULL;
    }
    r->head_sent = r->head_len;
    r->off += (size_t)n - n_head;
    metric_add(METRIC_HTTP_BYTES_OUT, (int64_t)((size_t)n - n_head));
    return (size_t)n < n_offered ? OUT_FULL : OUT_MORE;
}

/* Sends what is left of the head and n bytes of memory behind it, in one call. hot */
static enum outcome send_memory(struct txn *t, const char *p, size_t n, bool more)
{
    struct reply *r = &t->reply;
    struct transport *transport = &t->conn->transport;
    struct iovec parts[2];
    unsigned n_parts = 0;
    size_t n_head = r->head_len - r->head_sent;

    if (n_head)
        parts[n_parts++] = (struct iovec){r->head + r->head_sent, n_head};
    if (n) {
        parts[n_parts].iov_len = n;
        /* iovec serves readers and writers, so it cannot say that this is only read. */
        memcpy(&parts[n_parts++].iov_base, &p, sizeof(p));
    }
    return took(r, transport->ops->sendv(transport, parts, n_parts, more), n_head + n);
}

/* Sends a part of a file; the head, when it is still here, goes before it into the same packet. */
static enum outcome send_file(struct txn *t, const struct body_part *part)
{
    struct reply *r = &t->reply;
    struct transport *transport = &t->conn->transport;

    if (r->head_sent < r->head_len) {
        enum outcome out = send_memory(t, NULL, 0, true);
        if (out != OUT_MORE)
            return out;
    }
    ssize_t n = transport->ops->sendfile(transport, part->fd, part->off, part->len);
    /* 0: the file is shorter than it was when we announced its size. */
    if (n == 0 || n == -EIO)
        return OUT_CUT;
    return took(r, n, part->len);
}

/* Pulls at most `window` bytes from the source and sends them. */
static enum outcome send_source(struct txn *t, size_t window)
{
    struct reply *r = &t->reply;
    uint64_t n_left = r->length - r->off;
    uint64_t want = n_left < window ? n_left : window;
    struct body_part part = {.fd = -1};

    r->is_woken = false;
    int rc = r->ops->next(r->source, r->off, want, &part);
    if (rc < 0)
        return OUT_CUT;
    if (rc == 0) {
        /* The head goes out at once, whatever the body waits for. */
        enum outcome out = r->head_sent < r->head_len ? send_memory(t, NULL, 0, false) : OUT_MORE;
        return out == OUT_MORE ? OUT_NOT_YET : out;
    }
    CHECK(part.len > 0 && part.len <= want);
    if (part.ptr)
        return send_memory(t, part.ptr, part.len, false);
    CHECK(part.fd >= 0);
    return send_file(t, &part);
}

static enum outcome send_some(struct txn *t, size_t window)
{
    struct reply *r = &t->reply;
    uint64_t n_left = r->length - r->off;

    if (r->ops && n_left > 0)
        return send_source(t, window);
    return send_memory(t, r->memory ? r->memory + r->off : NULL,
                       n_left < window ? (size_t)n_left : window, false);
}

static bool is_all_out(const struct reply *r)
{
    return r->off == r->length && r->head_sent == r->head_len;
}

/* The source failed. Before anything is out it becomes an error; later the body ends short. */
static int cut(struct txn *t)
{
    struct reply *r = &t->reply;

    metric_inc(METRIC_HTTP_BODIES_CUT);
    if (r->head_sent == 0) {
        replace_by_error(t, 502);
        return reply_step(t);
    }
    r->is_cut = true;
    reply_drop(t);
    return 1;
}

/* The socket is full, or we had our share: back when it can be written. The client's time begins
 * anew with each step forward. */
static int wait_for_socket(struct txn *t, bool has_moved)
{
    struct conn *c = t->conn;

    if (has_moved || c->watch != CONN_WATCH_WRITE)
        conn_deadline_send(c);
    conn_watch(c, CONN_WATCH_WRITE);
    return 0;
}

int reply_step(struct txn *t)
{
    struct reply *r = &t->reply;
    size_t window = t->conn->lane->limits.send_window_bytes;
    uint64_t n_before = r->head_sent + r->off;

    CHECK(r->is_ready && !t->is_over);
    while (!is_all_out(r)) {
        uint64_t off = r->off;
        if (window == 0)
            return wait_for_socket(t, r->head_sent + r->off > n_before);
        enum outcome out = send_some(t, window);
        window -= (size_t)(r->off - off);
        switch (out) {
        case OUT_MORE:
            break;
        case OUT_FULL:
            return wait_for_socket(t, r->head_sent + r->off > n_before);
        case OUT_NOT_YET:
            if (r->is_woken)
                break;
            conn_wait_for_us(t->conn);
            return 0;
        case OUT_CUT:
            return cut(t);
        case OUT_GONE:
            return -ECONNRESET;
        }
    }
    reply_drop(t);
    return 1;
}
