/*
 * The load generator for pushes: connections that each push their share of distinct blobs as docker
 * does, with POST, a PATCH in the chunked coding and PUT. The blobs are one file, mapped, whose
 * last bytes are overwritten by the number of the blob: nothing is read, copied or hashed while
 * time is taken. One thread per connection, with blocking sockets: it has nothing else to do. All
 * connect and hash first and begin together. Prints one line of JSON; status 1 when an answer was
 * not what it should be.
 */
#include "config.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SUFFIX_BYTES 16   /* the number of a blob, in hexadecimal */
#define CHUNK_BYTES 32768 /* what Go's HTTP client makes chunks of */
#define CHUNKS_AT_ONCE 32 /* per system call */
#define HEAD_BYTES_MAX 4096

static const char usage[] =
    "usage: push [-c CONNECTIONS] [-n BLOBS] ADDRESS PORT REPOSITORY FILE\n";

struct options {
    struct sockaddr_in address;
    const char *host, *port, *repository;
    const char *base; /* the mapped file */
    size_t n_base;
    unsigned n_connections, n_blobs;
    char (*digests)[DIGEST_TEXT_SIZE]; /* one per blob */
};

struct pusher {
    pthread_t id;
    const struct options *options;
    unsigned first; /* blob; then every n_connections-th */
    int fd;
    const char *problem; /* NULL while all is well */
    uint64_t n_bytes;
    unsigned n_done;
    double slowest_s;
    uint64_t start_ns, end_ns;
    char head[HEAD_BYTES_MAX];
    char location[HEAD_BYTES_MAX];
};

static pthread_barrier_t all_connected;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool fail(struct pusher *p, const char *problem)
{
    if (p->problem == NULL)
        p->problem = problem;
    return false;
}

static bool connect_to(struct pusher *p)
{
    int on = 1;

    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 ||
        connect(p->fd, (const struct sockaddr *)&p->options->address, sizeof(p->options->address)))
        return fail(p, "cannot connect");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return true;
}

/* All of it, however often the kernel takes only a part. Changes the vectors. */
static bool send_all(struct pusher *p, struct iovec *parts, size_t n)
{
    while (n > 0) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};
        ssize_t sent = sendmsg(p->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return fail(p, "the server closed while it was sent to");
        while (n > 0 && (size_t)sent >= parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++;
            n--;
        }
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
    return true;
}

static bool send_text(struct pusher *p, char *text)
{
    struct iovec part = {text, strlen(text)};
    bool is_sent = send_all(p, &part, 1);

    free(text);
    return is_sent;
}

/* The value of a field as a slice of the head, or an empty one. */
static struct slice field(const struct pusher *p, const char *name)
{
    const char *found = strcasestr(p->head, name);

    if (found == NULL)
        return (struct slice){"", 0};
    found += strlen(name);
    return slice_trim((struct slice){found, strcspn(found, "\r")});
}

/* Where the next request goes: the path of the Location, which may be absolute. */
static bool note_location(struct pusher *p)
{
    struct slice value = field(p, "\r\nLocation:");
    const char *path = value.ptr;

    if (value.len >= sizeof(p->location))
        return fail(p, "the location is too long");
    if (value.len > 7 && memcmp(path, "http://", 7) == 0)
        path = memchr(path + 7, '/', value.len - 7);
    if (value.len == 0 || path == NULL)
        return fail(p, "no location");
    size_t n = value.len - (size_t)(path - value.ptr);
    memcpy(p->location, path, n);
    p->location[n] = '\0';
    return true;
}

/* One answer without a body. */
static bool expect(struct pusher *p, const char *status)
{
    size_t n = 0;

    do {
        ssize_t got = recv(p->fd, p->head + n, sizeof(p->head) - 1 - n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(p, "closed before the answer was complete");
        n += (size_t)got;
        p->head[n] = '\0';
    } while (n < sizeof(p->head) - 1 && strstr(p->head, "\r\n\r\n") == NULL);
    if (strncmp(p->head, "HTTP/1.1 ", 9) != 0 || strncmp(p->head + 9, status, 3) != 0)
        return fail(p, strncmp(status, "202", 3) == 0 ? "the status is not 202"
                                                      : "the status is not 201");
    struct slice length = field(p, "\r\nContent-Length:");
    if (length.len != 1 || *length.ptr != '0')
        return fail(p, "an answer with a body");
    return true;
}

/* Up to CHUNKS_AT_ONCE chunks of the mapped file from offset; returns how many bytes they hold. */
static size_t send_chunks(struct pusher *p, size_t offset, size_t end)
{
    struct iovec parts[3 * CHUNKS_AT_ONCE];
    char sizes[CHUNKS_AT_ONCE][16];
    size_t n = 0, start = offset;

    for (size_t i = 0; i < CHUNKS_AT_ONCE && offset < end; i++) {
        size_t size = end - offset < CHUNK_BYTES ? end - offset : CHUNK_BYTES;
        int n_text = snprintf(sizes[i], sizeof(sizes[i]), "%zx\r\n", size);
        parts[n++] = (struct iovec){sizes[i], (size_t)n_text};
        parts[n++] = (struct iovec){(char *)(uintptr_t)p->options->base + offset, size};
        parts[n++] = (struct iovec){(char *)(uintptr_t) "\r\n", 2};
        offset += size;
    }
    return send_all(p, parts, n) ? offset - start : 0;
}

/* The body of the PATCH: the file but for its end, then the number. */
static bool send_body(struct pusher *p, unsigned number)
{
    size_t end = p->options->n_base - SUFFIX_BYTES;

    for (size_t offset = 0; offset < end;) {
        size_t n = send_chunks(p, offset, end);
        if (n == 0)
            return false;
        offset += n;
    }
    return send_text(p, xasprintf("%x\r\n%0*x\r\n0\r\n\r\n", SUFFIX_BYTES, SUFFIX_BYTES, number));
}

static bool push_blob(struct pusher *p, unsigned number)
{
    const struct options *o = p->options;

    if (!send_text(p, xasprintf("POST /v2/%s/blobs/uploads/ HTTP/1.1\r\nHost: %s:%s\r\n"
                                "Content-Length: 0\r\n\r\n",
                                o->repository, o->host, o->port)) ||
        !expect(p, "202") || !note_location(p))
        return false;
    if (!send_text(p, xasprintf("PATCH %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: "
                                "application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                                p->location, o->host, o->port)) ||
        !send_body(p, number) || !expect(p, "202") || !note_location(p))
        return false;
    return send_text(p, xasprintf("PUT %s%cdigest=%s HTTP/1.1\r\nHost: %s:%s\r\n"
                                  "Content-Length: 0\r\n\r\n",
                                  p->location, strchr(p->location, '?') ? '&' : '?',
                                  o->digests[number], o->host, o->port)) &&
           expect(p, "201");
}

static void *pusher_main(void *arg)
{
    struct pusher *p = arg;

    bool is_well = connect_to(p);
    pthread_barrier_wait(&all_connected);
    p->start_ns = now_ns();
    for (unsigned n = p->first; is_well && n < p->options->n_blobs;
         n += p->options->n_connections) {
        uint64_t begin_ns = now_ns();
        is_well = push_blob(p, n);
        if (!is_well)
            break;
        double took_s = (double)(now_ns() - begin_ns) / 1e9;
        p->slowest_s = took_s > p->slowest_s ? took_s : p->slowest_s;
        p->n_bytes += p->options->n_base;
        p->n_done++;
    }
    p->end_ns = now_ns();
    if (p->fd >= 0)
        close(p->fd);
    return NULL;
}

/* --- before the clock runs ------------------------------------------------------------------- */

static void die(const char *what, const char *value)
{
    fprintf(stderr, "push: %s: %s\n%s", what, value, usage);
    exit(2);
}

static unsigned number(const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    if (*value == '\0' || *end != '\0' || n == 0 || n > 1000000)
        die("not a number from 1 to a million", value);
    return (unsigned)n;
}

static void map_file(struct options *options, const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) < 0 || status.st_size <= SUFFIX_BYTES)
        die("not a file that can be pushed", path);
    options->n_base = (size_t)status.st_size;
    void *map = mmap(NULL, options->n_base, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED)
        die("mmap", path);
    options->base = map;
    close(fd);
}

/* The blobs have all but their end in common, and so has the work of hashing them. */
static void make_digests(struct options *options)
{
    EVP_MD_CTX *common = EVP_MD_CTX_new(), *one = EVP_MD_CTX_new();
    CHECK(common != NULL && one != NULL);
    int rc = EVP_DigestInit_ex(common, EVP_sha256(), NULL);
    CHECK(rc == 1);
    EVP_DigestUpdate(common, options->base, options->n_base - SUFFIX_BYTES);
    options->digests = xcalloc(options->n_blobs, sizeof(*options->digests));
    for (unsigned n = 0; n < options->n_blobs; n++) {
        struct digest digest = {.alg = DIGEST_SHA256};
        char suffix[SUFFIX_BYTES + 1];
        snprintf(suffix, sizeof(suffix), "%0*x", SUFFIX_BYTES, n);
        rc = EVP_MD_CTX_copy_ex(one, common);
        CHECK(rc == 1);
        EVP_DigestUpdate(one, suffix, SUFFIX_BYTES);
        rc = EVP_DigestFinal_ex(one, digest.bytes, NULL);
        CHECK(rc == 1);
        digest_format(&digest, options->digests[n]);
    }
    EVP_MD_CTX_free(common);
    EVP_MD_CTX_free(one);
}

static void parse(struct options *options, int argc, char **argv)
{
    int letter;

    *options = (struct options){.n_connections = 1, .n_blobs = 1};
    while ((letter = getopt(argc, argv, "c:n:")) != -1) {
        if (letter == 'c')
            options->n_connections = number(optarg);
        else if (letter == 'n')
            options->n_blobs = number(optarg);
        else
            die("options", "only -c and -n are known");
    }
    if (argc - optind != 4)
        die("four words are needed", "ADDRESS PORT REPOSITORY FILE");
    options->host = argv[optind];
    options->port = argv[optind + 1];
    options->repository = argv[optind + 2];
    options->address.sin_family = AF_INET;
    options->address.sin_port = htons((uint16_t)number(options->port));
    if (inet_pton(AF_INET, options->host, &options->address.sin_addr) != 1)
        die("not an IPv4 address", options->host);
    map_file(options, argv[optind + 3]);
    make_digests(options);
}

/* --- after it -------------------------------------------------------------------------------- */

static bool print_report(const struct pusher *pushers, unsigned n, const struct rusage *before)
{
    struct rusage used;
    uint64_t start_ns = UINT64_MAX, end_ns = 0, n_bytes = 0;
    unsigned n_done = 0, n_errors = 0;
    double slowest_s = 0;
    const char *problem = "";

    for (unsigned i = 0; i < n; i++) {
        const struct pusher *p = &pushers[i];
        start_ns = p->start_ns < start_ns ? p->start_ns : start_ns;
        end_ns = p->end_ns > end_ns ? p->end_ns : end_ns;
        slowest_s = p->slowest_s > slowest_s ? p->slowest_s : slowest_s;
        n_bytes += p->n_bytes;
        n_done += p->n_done;
        n_errors += p->problem != NULL;
        problem = p->problem != NULL ? p->problem : problem;
    }
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec - before->ru_utime.tv_sec -
                            before->ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec -
                            before->ru_utime.tv_usec - before->ru_stime.tv_usec) /
                       1e6;
    printf("{\"elapsed_s\": %.9f, \"blobs\": %u, \"bytes\": %" PRIu64
           ", \"errors\": %u, \"error\": \"%s\", "
           "\"slowest_s\": %.9f, \"client_cpu_s\": %.6f}\n",
           (double)(end_ns - start_ns) / 1e9, n_done, n_bytes, n_errors, problem, slowest_s, cpu_s);
    return n_errors == 0;
}

int main(int argc, char **argv)
{
    struct options options;
    struct rusage before;

    parse(&options, argc, argv);
    getrusage(RUSAGE_SELF, &before);
    struct pusher *pushers = xcalloc(options.n_connections, sizeof(*pushers));
    pthread_barrier_init(&all_connected, NULL, options.n_connections);
    for (unsigned i = 0; i < options.n_connections; i++) {
        pushers[i].options = &options;
        pushers[i].first = i;
        pushers[i].fd = -1;
        int rc = pthread_create(&pushers[i].id, NULL, pusher_main, &pushers[i]);
        CHECK(rc == 0);
    }
    for (unsigned i = 0; i < options.n_connections; i++)
        pthread_join(pushers[i].id, NULL);
    bool is_well = print_report(pushers, options.n_connections, &before);
    munmap((void *)(uintptr_t)options.base, options.n_base);
    free(options.digests);
    free(pushers);
    return is_well ? 0 : 1;
}
