#include "config.h"

#include "tests/bench/load_options.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)

static const char usage[] =
    "usage: load [OPTION]... ADDRESS PORT PATH\n"
    "Asks an HTTP/1.1 server for one path over many connections, discards what comes and prints\n"
    "times as JSON. It connects first and begins when all are connected.\n"
    "  -c, --connections=N   connections (1)\n"
    "  -t, --threads=N       threads that share them (1)\n"
    "  -n, --requests=N      requests per connection (1); 0: until the duration has passed\n"
    "  -d, --duration=S      stop after this many seconds, whatever is under way\n"
    "  -r, --rate=BYTES      read only so many bytes per second and connection\n"
    "  -i, --interval=S      one request per connection every S seconds\n"
    "  -b, --rcvbuf=BYTES    size of the receive buffers\n"
    "  -H, --header=FIELD    a further field of the request\n"
    "  -m, --match=FILE      every body must equal this file (costs a copy)\n";

static void fail(const char *what, const char *value)
{
    fprintf(stderr, "load: %s: %s\n%s", what, value, usage);
    exit(2);
}

static uint64_t number(const char *value)
{
    char *end;
    unsigned long long n = strtoull(value, &end, 10);

    if (*value == '\0' || *value == '-' || *end != '\0')
        fail("not a number", value);
    return n;
}

static uint64_t seconds(const char *value)
{
    char *end;
    double n = strtod(value, &end);

    if (*value == '\0' || *end != '\0' || n < 0)
        fail("not a number of seconds", value);
    return (uint64_t)(n * (double)SECOND_NS);
}

/* The file stays mapped until the end: bodies are compared with it in place. */
static void map_reference(struct load_options *options, const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) < 0 || status.st_size == 0)
        fail("no file to compare with", path);
    options->n_reference = (uint64_t)status.st_size;
    void *map = mmap(NULL, options->n_reference, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        fail("mmap", path);
    options->reference = map;
    close(fd);
}

static void take_option(struct load_options *options, int letter, struct strbuf *fields)
{
    switch (letter) {
    case 'c':
        options->n_connections = (unsigned)number(optarg);
        break;
    case 't':
        options->n_threads = (unsigned)number(optarg);
        break;
    case 'n':
        options->n_requests = number(optarg);
        break;
    case 'd':
        options->duration_ns = seconds(optarg);
        break;
    case 'r':
        options->rate_bytes = number(optarg);
        break;
    case 'i':
        options->interval_ns = seconds(optarg);
        break;
    case 'b':
        options->rcvbuf_bytes = (int)number(optarg);
        break;
    case 'H':
        strbuf_addf(fields, "%s\r\n", optarg);
        break;
    case 'm':
        map_reference(options, optarg);
        break;
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

static void take_target(struct load_options *options, char **words, const struct strbuf *fields)
{
    options->address.sin_family = AF_INET;
    options->address.sin_port = htons((uint16_t)number(words[1]));
    if (inet_pton(AF_INET, words[0], &options->address.sin_addr) != 1)
        fail("not an IPv4 address", words[0]);
    options->request = xasprintf("GET %s HTTP/1.1\r\nHost: %s:%s\r\n%s\r\n", words[2], words[0],
                                 words[1], fields->len > 0 ? fields->ptr : "");
    options->n_request = strlen(options->request);
}

void load_options_parse(struct load_options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"connections", required_argument, NULL, 'c'}, {"threads", required_argument, NULL, 't'},
        {"requests", required_argument, NULL, 'n'},    {"duration", required_argument, NULL, 'd'},
        {"rate", required_argument, NULL, 'r'},        {"interval", required_argument, NULL, 'i'},
        {"rcvbuf", required_argument, NULL, 'b'},      {"header", required_argument, NULL, 'H'},
        {"match", required_argument, NULL, 'm'},       {NULL, 0, NULL, 0},
    };
    struct strbuf fields = STRBUF_INIT;
    int letter;

    *options = (struct load_options){.n_connections = 1, .n_threads = 1, .n_requests = 1};
    while ((letter = getopt_long(argc, argv, "c:t:n:d:r:i:b:H:m:", names, NULL)) != -1)
        take_option(options, letter, &fields);
    if (argc - optind != 3)
        fail("three words are needed", "ADDRESS PORT PATH");
    take_target(options, argv + optind, &fields);
    strbuf_fini(&fields);
    if (options->n_threads == 0 || options->n_connections < options->n_threads)
        fail("--threads", "not between one and the number of connections");
    if (options->n_requests == 0 && options->duration_ns == 0)
        fail("--requests=0", "needs a duration");
    if (options->rate_bytes > 0 && options->interval_ns > 0)
        fail("--rate and --interval", "cannot both be given");
    CHECK(options->n_request > 0);
}

void load_options_fini(struct load_options *options)
{
    if (options->reference != NULL)
        munmap((void *)(uintptr_t)options->reference, options->n_reference);
    free(options->request);
}
