#include "config.h"

#include "mirrord/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/strbuf.h"
#include "mirrord/head.h"

/* Lines of one worker are written when there are so many, or at the latest after so long. A pool
 * thread may have to wait for a core just when requests are many, so there is room for some tenths
 * of a second of them; what a burst took is given back. */
#define FLUSH_AT_BYTES (64 * 1024)
#define FLUSH_MS 1000
#define BUFFER_MAX_BYTES (4 * 1024 * 1024)
#define BUFFER_KEPT_BYTES (256 * 1024)

struct access_log {
    int fd; /* one number for ever: another file is put under it, so writers need no lock */
    atomic_int format;
    atomic_bool is_off;
    struct pool *pool;
};

struct access_buffer {
    struct pool_job job; /* first: it is cast back */
    struct access_log *log;
    struct worker *worker;
    struct event *timer;
    struct strbuf lines;   /* being filled */
    struct strbuf writing; /* the job's */
    int write_rc;          /* the job's */
    bool is_writing;
    bool is_failing; /* said so already */
    uint64_t n_lost;
    int64_t date_s;
    char date_combined[32], date_json[32];
    void (*closed)(void *arg); /* access_buffer_close was called */
    void *closed_arg;
};

/* --- the file --------------------------------------------------------------------------------- */

static int open_target(const char *path, int *fd_out, struct error *err)
{
    int fd;

    if (strcmp(path, "off") == 0)
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    else if (strcmp(path, "-") == 0)
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    else
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_sys(err, -errno, "open access log %s", path);
    *fd_out = fd;
    return 0;
}

int access_log_open(const char *path, enum access_format format, struct pool *pool,
                    struct access_log **out, struct error *err)
{
    int fd;
    int rc = open_target(path, &fd, err);

    CHECK(format < ACCESS_FORMAT_MAX);
    if (rc < 0)
        return rc;
    struct access_log *log = xcalloc(1, sizeof(*log));
    log->fd = fd;
    log->pool = pool;
    atomic_init(&log->format, (int)format);
    atomic_init(&log->is_off, strcmp(path, "off") == 0);
    *out = log;
    return 0;
}

int access_log_set(struct access_log *log, const char *path, enum access_format format,
                   struct error *err)
{
    int fd;
    int rc = open_target(path, &fd, err);

    CHECK(format < ACCESS_FORMAT_MAX);
    if (rc < 0)
        return rc;
    CHECK(dup3(fd, log->fd, O_CLOEXEC) == log->fd);
    close(fd);
    atomic_store(&log->format, (int)format);
    atomic_store(&log->is_off, strcmp(path, "off") == 0);
    return 0;
}

void access_log_close(struct access_log **log)
{
    if (!*log)
        return;
    close((*log)->fd);
    free(*log);
    *log = NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* All of it, or a negative errno; blocks if the target does. */
static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t n_written = write(fd, p, n);
        if (n_written < 0 && errno != EINTR)
            return -errno;
        if (n_written > 0) {
            p += n_written;
            n -= (size_t)n_written;
        }
    }
    return 0;
}

static void work_write(struct pool_job *job)
{
    struct access_buffer *b = (struct access_buffer *)job;

    b->write_rc = write_all(b->log->fd, b->writing.ptr, b->writing.len);
}

static void free_buffer(struct access_buffer *b)
{
    void (*closed)(void *arg) = b->closed;
    void *arg = b->closed_arg;

    event_free(b->timer);
    strbuf_fini(&b->lines);
    strbuf_fini(&b->writing);
    free(b);
    closed(arg);
}

static void flush(struct access_buffer *b);

/* Tells once that the file cannot be written, and once how much was lost. */
static void report(struct access_buffer *b)
{
    if (b->write_rc < 0 && !b->is_failing) {
        struct error err;
        error_sys(&err, b->write_rc, "write");
        log_error("access log", "%s", err.text);
    }
    b->is_failing = b->write_rc < 0;
    if (b->n_lost)
        log_warning("access log", "%llu lines lost, the target is too slow",
                    (unsigned long long)b->n_lost);
    b->n_lost = 0;
}

static void done_write(struct pool_job *job)
{
    struct access_buffer *b = (struct access_buffer *)job;

    b->is_writing = false;
    if (b->writing.cap > BUFFER_KEPT_BYTES)
        strbuf_fini(&b->writing);
    strbuf_clear(&b->writing);
    report(b);
    if (b->lines.len >= FLUSH_AT_BYTES || (b->closed && b->lines.len))
        flush(b);
    else if (b->closed)
        free_buffer(b);
}

/* Gives what has gathered to the pool, if it is not busy with what came before. */
static void flush(struct access_buffer *b)
{
    if (b->is_writing || b->lines.len == 0)
        return;
    struct strbuf full = b->lines;
    b->lines = b->writing;
    b->writing = full;
    b->is_writing = true;
    b->job.work = work_write;
    b->job.done = done_write;
    if (b->log->pool) {
        pool_submit(b->log->pool, &b->job, b->worker);
        return;
    }
    work_write(&b->job);
    done_write(&b->job);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct access_buffer *b = arg;
    static const struct timeval AGAIN = {FLUSH_MS / 1000, 0};

    (void)fd, (void)what;
    if (b->is_writing)
        event_add(b->timer, &AGAIN);
    else
        flush(b);
}

struct access_buffer *access_buffer_new(struct access_log *log, struct worker *w)
{
    struct access_buffer *b = xcalloc(1, sizeof(*b));

    b->log = log;
    b->worker = w;
    strbuf_init(&b->lines);
    strbuf_init(&b->writing);
    b->timer = event_new(worker_event_base(w), -1, 0, on_timer, b);
    CHECK(b->timer);
    return b;
}

void access_buffer_close(struct access_buffer *b, void (*done)(void *arg), void *arg)
{
    CHECK(!b->closed && done);
    b->closed = done;
    b->closed_arg = arg;
    event_del(b->timer);
    if (b->is_writing)
        return;
    if (b->lines.len)
        flush(b);
    else
        free_buffer(b);
}

/* --- lines ------------------------------------------------------------------------------------ */

static void refresh_dates(struct access_buffer *b)
{
    int64_t now_s = clock_wall_s();
    time_t t = (time_t)now_s;
    struct tm tm;
    char http_date[CLOCK_HTTP_DATE_SIZE];

    if (now_s == b->date_s)
        return;
    b->date_s = now_s;
    gmtime_r(&t, &tm);
    strftime(b->date_json, sizeof(b->date_json), "%Y-%m-%dT%H:%M:%SZ", &tm);
    /* The month's name from the HTTP date: strftime's would follow the locale. */
    clock_http_date(now_s, http_date);
    snprintf(b->date_combined, sizeof(b->date_combined), "%.2s/%.3s/%.4s:%.8s +0000", http_date + 5,
             http_date + 8, http_date + 12, http_date + 17);
}

/* Foreign bytes: quotes, backslashes, controls and what is not ASCII as \xHH. */
static void add_escaped(struct strbuf *out, struct slice s)
{
    static const char HEX[] = "0123456789abcdef";
    size_t n_clean = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            n_clean++;
            continue;
        }
        char escaped[4] = {'\\', 'x', HEX[c >> 4], HEX[c & 15]};
        strbuf_add(out, s.ptr + i - n_clean, n_clean);
        strbuf_add(out, escaped, sizeof(escaped));
        n_clean = 0;
    }
    if (n_clean)
        strbuf_add(out, s.ptr + s.len - n_clean, n_clean);
}

/* A field's value, without any query: a Referer may carry secrets in it. */
static struct slice field_of(const struct head *h, const char *name)
{
    struct slice value = head_field_find(h, name);

    return slice_cut(&value, '?');
}

/* The address without its port; "unix:" as it is. */
static struct slice host_of(const char *peer)
{
    struct slice s = slice_of(peer);
    const char *colon = strrchr(peer, ':');

    if (colon && colon[1])
        s.len = (size_t)(colon - peer);
    if (s.len > 1 && s.ptr[0] == '[')
        s = (struct slice){s.ptr + 1, s.len - 2};
    return s;
}

static void add_millis(struct strbuf *out, uint64_t us)
{
    unsigned ms = (unsigned)(us / 1000 % 1000);

    strbuf_add_u64(out, us / 1000000);
    strbuf_add_char(out, '.');
    strbuf_add_char(out, (char)('0' + ms / 100));
    strbuf_add_char(out, (char)('0' + ms / 10 % 10));
    strbuf_add_char(out, (char)('0' + ms % 10));
}

static void add_request(struct strbuf *out, const struct head *h)
{
    if (!h->method_text.ptr) {
        strbuf_add_str(out, "\"-\"");
        return;
    }
    strbuf_add_char(out, '"');
    add_escaped(out, h->method_text);
    strbuf_add_char(out, ' ');
    add_escaped(out, h->path);
    strbuf_add_str(out, " HTTP/1.");
    strbuf_add_char(out, (char)('0' + h->minor));
    strbuf_add_char(out, '"');
}

static void add_quoted(struct strbuf *out, struct slice s)
{
    strbuf_add_char(out, '"');
    add_escaped(out, s.len ? s : SLICE("-"));
    strbuf_add_char(out, '"');
}

static void add_combined(struct access_buffer *b, const struct access_entry *e)
{
    struct strbuf *out = &b->lines;

    strbuf_add_slice(out, host_of(e->peer));
    strbuf_add_str(out, " - - [");
    strbuf_add_str(out, b->date_combined);
    strbuf_add_str(out, "] ");
    add_request(out, e->head);
    strbuf_add_char(out, ' ');
    strbuf_add_u64(out, (uint64_t)e->status);
    strbuf_add_char(out, ' ');
    strbuf_add_u64(out, e->n_bytes);
    strbuf_add_char(out, ' ');
    add_quoted(out, field_of(e->head, "Referer"));
    strbuf_add_char(out, ' ');
    add_quoted(out, field_of(e->head, "User-Agent"));
    strbuf_add_char(out, ' ');
    strbuf_add_str(out, e->cache_status ? e->cache_status : "-");
    strbuf_add_char(out, ' ');
    add_millis(out, e->duration_us);
    strbuf_add_char(out, ' ');
    strbuf_add_str(out, e->outcome);
    strbuf_add_char(out, ' ');
    strbuf_add_str(out, e->origin ? e->origin : "-");
    if (e->upstream) {
        strbuf_add_char(out, ':');
        add_escaped(out, slice_of(e->upstream));
    }
    strbuf_add_char(out, '\n');
}

/* ,"name":"value" with foreign bytes escaped. */
static void add_member(struct strbuf *out, const char *name, struct slice value)
{
    strbuf_add_str(out, ",\"");
    strbuf_add_str(out, name);
    strbuf_add_str(out, "\":\"");
    strbuf_add_json(out, value);
    strbuf_add_char(out, '"');
}

static void add_number(struct strbuf *out, const char *name, uint64_t n)
{
    strbuf_add_str(out, ",\"");
    strbuf_add_str(out, name);
    strbuf_add_str(out, "\":");
    strbuf_add_u64(out, n);
}

static void add_json(struct access_buffer *b, const struct access_entry *e)
{
    struct strbuf *out = &b->lines;

    strbuf_add_str(out, "{\"time\":\"");
    strbuf_add_str(out, b->date_json);
    strbuf_add_char(out, '"');
    add_number(out, "id", e->id);
    add_member(out, "peer", slice_of(e->peer));
    add_member(out, "method", e->head->method_text);
    add_member(out, "path", e->head->path);
    add_number(out, "status", (uint64_t)e->status);
    add_number(out, "bytes", e->n_bytes);
    add_member(out, "referer", field_of(e->head, "Referer"));
    add_member(out, "user_agent", field_of(e->head, "User-Agent"));
    add_member(out, "cache", slice_of(e->cache_status));
    strbuf_add_str(out, ",\"seconds\":");
    add_millis(out, e->duration_us);
    add_member(out, "outcome", slice_of(e->outcome));
    add_member(out, "origin", slice_of(e->origin));
    add_member(out, "upstream", slice_of(e->upstream));
    strbuf_add_str(out, "}\n");
}

void access_buffer_add(struct access_buffer *b, const struct access_entry *e)
{
    static const struct timeval SOON = {FLUSH_MS / 1000, 0};
    bool was_empty = b->lines.len == 0;

    CHECK(!b->closed);
    if (atomic_load_explicit(&b->log->is_off, memory_order_relaxed))
        return;
    if (b->lines.len >= BUFFER_MAX_BYTES) {
        b->n_lost++;
        return;
    }
    refresh_dates(b);
    if (atomic_load_explicit(&b->log->format, memory_order_relaxed) == ACCESS_JSON)
        add_json(b, e);
    else
        add_combined(b, e);
    if (b->lines.len >= FLUSH_AT_BYTES)
        flush(b);
    else if (was_empty)
        event_add(b->timer, &SOON);
}
