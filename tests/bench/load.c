/*
 * The load generator of the benchmarks: many connections to one server, for what wrk cannot do:
 * bodies discarded in the kernel, slow readers, a common start, paced requests, first bytes,
 * bodies compared with a file. Prints "started" when every connection has got a byte of a body,
 * and one line of JSON at the end. Status 1 when a response was not what it should be.
 */
#include "config.h"

#include "base/alloc.h"
#include "base/check.h"
#include "tests/bench/load_connection.h"
#include "tests/bench/load_options.h"
#include "tests/bench/load_report.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define TURN_BYTES (4 << 20)       /* from one connection before the others have their turn */
#define TICK_NS UINT64_C(50000000) /* how often slow readers read, and signals are looked at */

struct load_thread {
    pthread_t id;
    const struct load_options *options;
    struct load_connection *connections;
    size_t n_connections;
    size_t n_open;
    int epoll;
    struct load_report report;
    uint64_t start_ns;
    uint64_t end_ns;
};

static pthread_barrier_t all_connected;
static atomic_uint n_started;
static volatile sig_atomic_t is_stopped;

static void on_signal(int number)
{
    (void)number;
    is_stopped = 1;
}

static bool is_over(const struct load_thread *thread)
{
    uint64_t duration_ns = thread->options->duration_ns;

    return is_stopped || thread->n_open == 0 ||
           (duration_ns > 0 && load_now_ns() - thread->start_ns >= duration_ns);
}

static void finish(struct load_thread *thread, struct load_connection *conn)
{
    CHECK(thread->n_open > 0);
    load_connection_close(conn);
    thread->n_open--;
}

static void fail(struct load_thread *thread, struct load_connection *conn)
{
    thread->report.n_errors++;
    if (thread->report.first_error == NULL)
        thread->report.first_error = conn->problem;
    finish(thread, conn);
}

static void ask(struct load_thread *thread, struct load_connection *conn, uint64_t start_ns)
{
    if (load_connection_ask(conn, start_ns) == LOAD_FAILED)
        fail(thread, conn);
}

/* Called once per connection, with the first byte of its first body. */
static void count_started(const struct load_options *options)
{
    if (atomic_fetch_add(&n_started, 1) + 1 == options->n_connections) {
        ssize_t n = write(STDOUT_FILENO, "started\n", 8);
        CHECK(n == 8);
    }
}

/* One response is complete: the next request, now or when it is due, or the end. */
static void go_on(struct load_thread *thread, struct load_connection *conn)
{
    const struct load_options *options = thread->options;

    load_report_add(&thread->report, conn);
    if (options->n_requests > 0 && conn->n_done == options->n_requests)
        finish(thread, conn);
    else if (options->interval_ns == 0)
        ask(thread, conn, load_now_ns());
    else if (conn->due_ns <= conn->end_ns) {
        /* It was due while the last one was still waited for: that wait counts. */
        uint64_t start_ns = conn->due_ns;
        conn->due_ns += options->interval_ns;
        ask(thread, conn, start_ns);
    }
}

static void serve(struct load_thread *thread, struct load_connection *conn, uint64_t n_max)
{
    bool had_none = conn->n_total == 0 && conn->n_done == 0;
    enum load_progress progress = load_connection_read(conn, n_max);

    if (had_none && (conn->n_total > 0 || progress == LOAD_COMPLETE))
        count_started(thread->options);
    if (progress == LOAD_FAILED)
        fail(thread, conn);
    else if (progress == LOAD_COMPLETE)
        go_on(thread, conn);
}

/* Sends the paced requests that are due; returns when the next one is. */
static uint64_t ask_due(struct load_thread *thread)
{
    uint64_t now_ns = load_now_ns();
    uint64_t next_ns = now_ns + TICK_NS;

    for (size_t i = 0; i < thread->n_connections; i++) {
        struct load_connection *conn = &thread->connections[i];
        if (conn->fd < 0 || conn->is_asking)
            continue;
        if (conn->due_ns <= now_ns) {
            conn->due_ns += thread->options->interval_ns;
            ask(thread, conn, load_now_ns());
        } else if (conn->due_ns < next_ns) {
            next_ns = conn->due_ns;
        }
    }
    return next_ns;
}

static void run_events(struct load_thread *thread)
{
    struct epoll_event events[EVENTS_MAX];
    bool is_paced = thread->options->interval_ns > 0;

    while (!is_over(thread)) {
        uint64_t wait_ns = TICK_NS;
        if (is_paced) {
            uint64_t next_ns = ask_due(thread), now_ns = load_now_ns();
            wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
        }
        struct timespec timeout = {0, (long)wait_ns};
        int n = epoll_pwait2(thread->epoll, events, EVENTS_MAX, &timeout, NULL);
        CHECK(n >= 0 || errno == EINTR);
        for (int i = 0; i < n; i++)
            serve(thread, events[i].data.ptr, TURN_BYTES);
    }
}

/* Slow readers are not woken by what arrives: each takes its share at every tick. */
static void run_ticks(struct load_thread *thread)
{
    uint64_t share = thread->options->rate_bytes / (1000000000 / TICK_NS);
    uint64_t next_ns = load_now_ns();

    while (!is_over(thread)) {
        for (size_t i = 0; i < thread->n_connections; i++) {
            if (thread->connections[i].fd >= 0)
                serve(thread, &thread->connections[i], share > 0 ? share : 1);
        }
        next_ns += TICK_NS;
        struct timespec until = {(time_t)(next_ns / 1000000000), (long)(next_ns % 1000000000)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

static void connect_all(struct load_thread *thread)
{
    for (size_t i = 0; i < thread->n_connections; i++) {
        struct load_connection *conn = &thread->connections[i];
        thread->n_open++;
        if (!load_connection_open(conn, thread->options)) {
            fail(thread, conn);
            continue;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        int rc = epoll_ctl(thread->epoll, EPOLL_CTL_ADD, conn->fd, &event);
        CHECK(rc == 0);
    }
}

static void *thread_main(void *arg)
{
    struct load_thread *thread = arg;
    uint64_t interval_ns = thread->options->interval_ns;

    connect_all(thread);
    pthread_barrier_wait(&all_connected);
    thread->start_ns = load_now_ns();
    for (size_t i = 0; i < thread->n_connections; i++) {
        struct load_connection *conn = &thread->connections[i];
        conn->due_ns = thread->start_ns + interval_ns * i / thread->n_connections;
        if (conn->fd >= 0 && interval_ns == 0)
            ask(thread, conn, load_now_ns());
    }
    if (thread->options->rate_bytes > 0)
        run_ticks(thread);
    else
        run_events(thread);
    thread->end_ns = load_now_ns();
    for (size_t i = 0; i < thread->n_connections; i++) {
        thread->report.n_bytes += thread->connections[i].n_total;
        load_connection_close(&thread->connections[i]);
    }
    return NULL;
}

static void start_threads(struct load_thread *threads, const struct load_options *options)
{
    size_t n_left = options->n_connections;

    pthread_barrier_init(&all_connected, NULL, options->n_threads);
    for (unsigned i = 0; i < options->n_threads; i++) {
        struct load_thread *thread = &threads[i];
        thread->options = options;
        thread->n_connections = n_left / (options->n_threads - i);
        n_left -= thread->n_connections;
        thread->connections = xcalloc(thread->n_connections, sizeof(*thread->connections));
        thread->epoll = epoll_create1(EPOLL_CLOEXEC);
        CHECK(thread->epoll >= 0);
        int rc = pthread_create(&thread->id, NULL, thread_main, thread);
        CHECK(rc == 0);
    }
    CHECK(n_left == 0);
}

/* Waits for all; the whole time is from the first request to the last byte of the last thread. */
static double join_threads(struct load_thread *threads, unsigned n, struct load_report *report)
{
    uint64_t start_ns = UINT64_MAX, end_ns = 0;

    for (unsigned i = 0; i < n; i++) {
        struct load_thread *thread = &threads[i];
        pthread_join(thread->id, NULL);
        start_ns = thread->start_ns < start_ns ? thread->start_ns : start_ns;
        end_ns = thread->end_ns > end_ns ? thread->end_ns : end_ns;
        load_report_merge(report, &thread->report);
        load_report_fini(&thread->report);
        free(thread->connections);
        close(thread->epoll);
    }
    return (double)(end_ns - start_ns) / 1e9;
}

int main(int argc, char **argv)
{
    struct load_options options;
    struct load_report report = {0};
    struct rlimit files;
    struct sigaction action = {.sa_handler = on_signal};

    load_options_parse(&options, argc, argv);
    sigaction(SIGTERM, &action, NULL);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct load_thread *threads = xcalloc(options.n_threads, sizeof(*threads));
    start_threads(threads, &options);
    double elapsed_s = join_threads(threads, options.n_threads, &report);
    load_report_print(&report, elapsed_s, stdout);
    int status = report.n_errors > 0 ? 1 : 0;
    load_report_fini(&report);
    load_options_fini(&options);
    free(threads);
    return status;
}
