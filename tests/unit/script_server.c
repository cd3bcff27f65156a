#include "config.h"

#include "tests/unit/script_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"

struct connection {
    struct connection *next;
    struct script_server *server;
    pthread_t thread;
    int fd;
    bool is_closed;
};

struct script_server {
    script_fn fn;
    void *arg;
    int fd;
    unsigned port;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct connection *connections;
    unsigned n_requests;
    struct strbuf log;
    bool is_released;
    bool is_stopping;
};

/* Reads up to the empty line; what stands behind it is not expected. */
static bool read_head(int fd, char *head, size_t n)
{
    size_t len = 0;

    while (len + 1 < n) {
        ssize_t got = recv(fd, head + len, 1, 0);
        if (got <= 0)
            return false;
        head[++len] = '\0';
        if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

static void note_request(struct script_request *r)
{
    struct script_server *s = r->server;

    pthread_mutex_lock(&s->lock);
    r->nth = s->n_requests++;
    strbuf_addf(&s->log, "%s %s\n", r->method, r->target);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    struct script_request r = {.server = c->server, .fd = c->fd};
    bool is_open = true;

    while (is_open && read_head(c->fd, r.head, sizeof(r.head))) {
        CHECK(sscanf(r.head, "%7s %1023s", r.method, r.target) == 2);
        note_request(&r);
        is_open = c->server->fn(&r, c->server->arg);
    }
    pthread_mutex_lock(&c->server->lock);
    c->is_closed = true;
    close(c->fd);
    pthread_mutex_unlock(&c->server->lock);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct script_server *s = arg;
    int fd;

    while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct connection *c = xcalloc(1, sizeof(*c));
        c->server = s;
        c->fd = fd;
        pthread_mutex_lock(&s->lock);
        c->next = s->connections;
        s->connections = c;
        CHECK(pthread_create(&c->thread, NULL, serve, c) == 0);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

struct script_server *script_server_new(script_fn fn, void *arg)
{
    struct script_server *s = xcalloc(1, sizeof(*s));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof(address);

    s->fn = fn;
    s->arg = arg;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&address, n) == 0);
    CHECK(listen(s->fd, 128) == 0);
    CHECK(getsockname(s->fd, (struct sockaddr *)&address, &n) == 0);
    s->port = ntohs(address.sin_port);
    CHECK(pthread_create(&s->thread, NULL, accept_all, s) == 0);
    return s;
}

void script_server_free(struct script_server **ss)
{
    struct script_server *s = *ss;

    script_release(s);
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    pthread_mutex_lock(&s->lock);
    for (struct connection *c = s->connections; c; c = c->next)
        if (!c->is_closed)
            shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    while (s->connections) {
        struct connection *c = s->connections;
        s->connections = c->next;
        pthread_join(c->thread, NULL);
        free(c);
    }
    strbuf_fini(&s->log);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *ss = NULL;
}

unsigned script_server_port(const struct script_server *s)
{
    return s->port;
}

unsigned script_server_count(struct script_server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned n = s->n_requests;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void script_server_await(struct script_server *s, unsigned n_requests)
{
    pthread_mutex_lock(&s->lock);
    while (s->n_requests < n_requests)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

char *script_server_log(struct script_server *s)
{
    pthread_mutex_lock(&s->lock);
    char *log = xmemdup0(s->log.ptr ? s->log.ptr : "", s->log.len);
    pthread_mutex_unlock(&s->lock);
    return log;
}

void script_wait(struct script_server *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->is_released)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void script_release(struct script_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_released = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

bool script_send(const struct script_request *r, const void *p, size_t n)
{
    const char *at = p;

    while (n) {
        ssize_t sent = send(r->fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool script_printf(const struct script_request *r, const char *fmt, ...)
{
    char text[4096];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof(text));
    return script_send(r, text, (size_t)n);
}

bool script_header(const struct script_request *r, const char *name, char *out, size_t n)
{
    size_t n_name = strlen(name);

    for (const char *at = strstr(r->head, "\r\n"); at; at = strstr(at, "\r\n")) {
        at += 2;
        if (strncasecmp(at, name, n_name) != 0 || at[n_name] != ':')
            continue;
        at += n_name + 1;
        at += strspn(at, " ");
        size_t n_value = strcspn(at, "\r");
        CHECK(n_value < n);
        memcpy(out, at, n_value);
        out[n_value] = '\0';
        return true;
    }
    return false;
}

bool script_range(const struct script_request *r, uint64_t *first, uint64_t *last)
{
    char value[128];
    unsigned long long a, b;

    if (!script_header(r, "Range", value, sizeof(value)))
        return false;
    int n = sscanf(value, "bytes=%llu-%llu", &a, &b);
    CHECK(n >= 1);
    *first = a;
    *last = n == 2 ? b : UINT64_MAX;
    return true;
}
