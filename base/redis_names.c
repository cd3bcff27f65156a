#include "config.h"

#include "base/redis_names.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"

#define ADDRESSES_MAX 8
#define VALID_MS 30000 /* then it is looked up again, behind the back of who asks */

struct address {
    struct sockaddr_storage name;
    socklen_t len;
};

struct redis_names {
    char *host;
    char port[8];
    pthread_mutex_t lock; /* guards all below */
    unsigned refs;
    bool is_fixed; /* a path or a numeric address */
    bool is_busy;  /* a look-up runs */
    bool has_answer;
    uint64_t answered_ms;
    int gai_error; /* of the last look-up */
    unsigned n_addresses;
    struct address addresses[ADDRESSES_MAX];
};

static void set_path(struct redis_names *n)
{
    struct sockaddr_un *name = (struct sockaddr_un *)&n->addresses[0].name;

    n->is_fixed = n->has_answer = true;
    /* Cut off rather than refused: then nothing listens there, which is told. */
    name->sun_family = AF_UNIX;
    snprintf(name->sun_path, sizeof(name->sun_path), "%s", n->host);
    n->addresses[0].len = sizeof(*name);
    n->n_addresses = 1;
}

static unsigned copy_addresses(const struct addrinfo *list, struct address out[ADDRESSES_MAX])
{
    unsigned n = 0;

    for (; list && n < ADDRESSES_MAX; list = list->ai_next) {
        if (list->ai_addrlen > sizeof(out[n].name))
            continue;
        memcpy(&out[n].name, list->ai_addr, list->ai_addrlen);
        out[n++].len = list->ai_addrlen;
    }
    return n;
}

static int look_up(const struct redis_names *n, int flags, struct addrinfo **out)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};

    return getaddrinfo(n->host, n->port, &hints, out);
}

struct redis_names *redis_names_new(const char *host, unsigned port)
{
    struct redis_names *n = xcalloc(1, sizeof(*n));
    struct addrinfo *list = NULL;

    CHECK(host && *host && port <= 65535);
    n->refs = 1;
    n->host = xstrdup(host);
    snprintf(n->port, sizeof(n->port), "%u", port);
    pthread_mutex_init(&n->lock, NULL);
    if (host[0] == '/') {
        set_path(n);
    } else if (look_up(n, AI_NUMERICHOST, &list) == 0) {
        n->is_fixed = n->has_answer = true;
        n->n_addresses = copy_addresses(list, n->addresses);
        freeaddrinfo(list);
    }
    return n;
}

struct redis_names *redis_names_ref(struct redis_names *n)
{
    pthread_mutex_lock(&n->lock);
    CHECK(n->refs > 0);
    n->refs++;
    pthread_mutex_unlock(&n->lock);
    return n;
}

void redis_names_unref(struct redis_names **nn)
{
    struct redis_names *n = *nn;

    *nn = NULL;
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    bool is_last = --n->refs == 0;
    pthread_mutex_unlock(&n->lock);
    if (!is_last)
        return;
    pthread_mutex_destroy(&n->lock);
    free(n->host);
    free(n);
}

static void *run_look_up(void *arg)
{
    struct redis_names *n = arg;
    struct addrinfo *list = NULL;
    int gai_error = look_up(n, 0, &list);

    pthread_mutex_lock(&n->lock);
    n->is_busy = false;
    n->has_answer = true;
    n->answered_ms = clock_mono_ms();
    n->gai_error = gai_error;
    /* What was known before is better than nothing. */
    if (gai_error == 0)
        n->n_addresses = copy_addresses(list, n->addresses);
    pthread_mutex_unlock(&n->lock);
    if (list)
        freeaddrinfo(list);
    redis_names_unref(&n);
    return NULL;
}

static void begin_look_up_locked(struct redis_names *n)
{
    pthread_t thread;

    n->is_busy = true;
    n->refs++;
    thread_start(&thread, run_look_up, n);
    pthread_detach(thread);
}

int redis_names_get(struct redis_names *n, unsigned attempt, struct sockaddr_storage *out,
                    struct error *err)
{
    int rc = -EAGAIN;

    pthread_mutex_lock(&n->lock);
    bool is_old = !n->has_answer || clock_mono_ms() - n->answered_ms > VALID_MS;
    /* Names that could not be found are looked up with every attempt; attempts have their pauses.
     */
    if (!n->is_fixed && !n->is_busy && (is_old || n->gai_error != 0)) {
        bool is_told = n->has_answer && n->gai_error != 0;
        if (is_told && n->n_addresses == 0)
            rc = error_set(err, -EHOSTUNREACH, "%s: %s", n->host, gai_strerror(n->gai_error));
        begin_look_up_locked(n);
    }
    if (n->n_addresses > 0) {
        const struct address *a = &n->addresses[attempt % n->n_addresses];
        memcpy(out, &a->name, a->len);
        rc = (int)a->len;
    }
    pthread_mutex_unlock(&n->lock);
    return rc;
}
