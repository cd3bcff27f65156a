#include "config.h"

#include "mirrord/daemon.h"

#include <errno.h>
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/redis.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/evict.h"
#include "cache/gc.h"
#include "cache/scrub.h"
#include "cache/ledger.h"
#include "mirrord/access_log.h"
#include "mirrord/address.h"
#include "mirrord/admin.h"
#include "mirrord/api.h"
#include "mirrord/config_upstreams.h"
#include "mirrord/configuration.h"
#include "mirrord/offline.h"
#include "mirrord/privileges.h"
#include "mirrord/registries.h"
#include "mirrord/registries_make.h"
#include "mirrord/refetch.h"
#include "mirrord/scrubber.h"
#include "mirrord/server.h"
#include "mirrord/settings.h"
#include "mirrord/space.h"
#include "upstream/upstream.h"

#define PREFIX "mirrord"
#define SWEEP_EVERY_S 3600 /* at least */

static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP};
#define N_SIGNALS (sizeof(SIGNALS) / sizeof(SIGNALS[0]))

struct daemon {
    const struct config_source *source;
    char *const *argv;
    struct config *config; /* the one in force */
    struct pool *pool;
    struct worker *control; /* this thread: signals, admin listener, timers */
    struct worker **workers;
    unsigned n_workers;
    struct redis *redis, *redis_lru; /* NULL: not used */
    struct cache *cache;
    struct offline *offline;
    struct registries *registries;
    struct config_upstreams upstreams; /* whose listeners' addresses mark requests */
    struct api *api;
    struct space *space;
    struct access_log *access;
    struct server *server;
    struct admin admin;
    struct server *admin_server; /* NULL: off */
    struct event *signals[N_SIGNALS];
    struct mail reloading;
    struct event *sweep_timer;
    struct event *tend_timer;
    struct event *gc_timer; /* NULL: never by itself */
    struct refetch *refetch;
    struct scrubber *scrubber;
    struct event *grace_timer;
    unsigned n_draining; /* servers that have not ended yet */
    bool is_stopping;
    bool has_run; /* the workers have threads */
};

/* --- stopping -------------------------------------------------------------------------------- */

static void on_server_drained(void *arg)
{
    struct daemon *d = arg;

    CHECK(d->n_draining > 0);
    if (--d->n_draining == 0)
        worker_stop(d->control);
}

/* The end of a server is told on its last lane's thread: bring it to the control loop. */
static void on_lane_drained(void *arg)
{
    struct daemon *d = arg;

    worker_call(d->control, on_server_drained, d);
}

static void cut_all(struct daemon *d)
{
    server_stop(d->server);
    if (d->admin_server)
        server_stop(d->admin_server);
}

static void on_grace_over(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;

    (void)fd;
    (void)what;
    log_warning(PREFIX, "cutting %u connections that are still open",
                server_connections(d->server));
    cut_all(d);
}

static void stop(struct daemon *d)
{
    uint64_t grace_ms = config_ms(d->config, OPT_REGISTRY_GRACEFUL_TIMEOUT);
    struct timeval grace = {(time_t)(grace_ms / 1000), (suseconds_t)(grace_ms % 1000 * 1000)};

    if (d->is_stopping) {
        log_info(PREFIX, "asked again: ending at once");
        cut_all(d);
        return;
    }
    d->is_stopping = true;
    log_info(PREFIX, "stopping: %u connections are open", server_connections(d->server));
    evtimer_add(d->grace_timer, &grace);
    d->n_draining = d->admin_server ? 2 : 1;
    if (d->admin_server)
        server_drain(d->admin_server, on_lane_drained, d);
    server_drain(d->server, on_lane_drained, d);
}

/* --- reloading ------------------------------------------------------------------------------- */

/* What SIGHUP can change is put into force. */
static void apply(struct daemon *d)
{
    struct server_limits limits = settings_limits(d->config);
    struct api_settings api = settings_api(d->config, d->argv);
    struct space_settings space = settings_space(d->config);
    enum log_level level = LOG_INFO;

    log_level_parse(config_str(d->config, OPT_LOGLEVEL), &level);
    log_set_level(level);
    server_set_limits(d->server, &limits);
    api_set_settings(d->api, &api);
    struct scrub_settings scrub = settings_scrub(d->config);
    scrub_set_settings(cache_scrub(d->cache), &scrub);
    scrubber_kick(d->scrubber);
    space_set(d->space, &space);
}

static void open_logs_anew(struct daemon *d)
{
    struct error err;

    if (log_set_file(config_str(d->config, OPT_REGISTRY_ERROR_LOG_FILE), &err) != 0)
        log_error(PREFIX, "reload: %s", err.text);
    if (access_log_set(d->access, config_str(d->config, OPT_REGISTRY_ACCESS_LOG_FILE),
                       settings_access_format(d->config), &err) != 0)
        log_error(PREFIX, "reload: %s", err.text);
}

/* True when something is to be put into force. */
static bool report_changes(const struct config *old, const struct config *new_one)
{
    struct strbuf applied = STRBUF_INIT;
    struct strbuf later = STRBUF_INIT;

    config_changed(old, new_one, &applied, &later);
    log_info(PREFIX, "configuration read again; changed: %s",
             applied.len ? applied.ptr : "nothing");
    if (later.len)
        log_warning(PREFIX, "a restart is needed for: %s", later.ptr);
    bool is_news = applied.len > 0;
    strbuf_fini(&applied);
    strbuf_fini(&later);
    return is_news;
}

static void report_warnings(const struct config *config)
{
    struct slice lines = slice_of(config_warnings(config));

    while (lines.len) {
        struct slice line = slice_cut(&lines, '\n');
        log_warning(PREFIX, "%.*s", SLICE_ARG(line));
    }
}

static void reload(struct mail *m)
{
    struct daemon *d = (struct daemon *)((char *)m - offsetof(struct daemon, reloading));
    struct strbuf problems = STRBUF_INIT;
    struct config *config = NULL;

    int rc = config_load(d->source, &config, &problems);
    if (rc == 0)
        rc = config_check(config, &problems);
    if (rc == 0) {
        bool is_news = report_changes(d->config, config);
        report_warnings(config);
        config_unref(&d->config);
        d->config = config_ref(config);
        /* The API keeps old settings until the end, so it gets no new ones for nothing. */
        if (is_news)
            apply(d);
    } else {
        struct slice lines =
            problems.len ? (struct slice){problems.ptr, problems.len} : SLICE("unreadable");
        while (lines.len) {
            struct slice line = slice_cut(&lines, '\n');
            log_error(PREFIX, "configuration not applied: %.*s", SLICE_ARG(line));
        }
    }
    open_logs_anew(d);
    config_unref(&config);
    strbuf_fini(&problems);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct daemon *d = arg;

    (void)what;
    if (number == SIGHUP)
        worker_later(d->control, &d->reloading); /* a storm of them is one */
    else
        stop(d);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;

    (void)fd;
    (void)what;
    cache_sweep(d->cache);
}

static void on_tend(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;

    (void)fd;
    (void)what;
    cache_tend(d->cache);
    space_tick(d->space);
}

static void on_gc(evutil_socket_t fd, short what, void *arg)
{
    struct daemon *d = arg;

    (void)fd;
    (void)what;
    gc_start(cache_gc(d->cache));
}

/* --- starting -------------------------------------------------------------------------------- */

/* They need not be there; nothing is contacted before the workers run. */
static struct redis *make_redis(struct daemon *d, bool is_lru)
{
    struct redis_config config;

    if (!settings_redis(d->config, is_lru, &config))
        return NULL;
    CHECK(d->n_workers > 0);
    config.n_workers = d->n_workers;
    config.herald = d->workers[0];
    return redis_new(&config);
}

/* What it finds damaged comes back through the first worker. */
static void make_scrub(struct daemon *d)
{
    struct scrub *s = cache_scrub(d->cache);
    struct scrub_settings settings = settings_scrub(d->config);

    d->refetch = refetch_new(d->api, d->workers[0]);
    d->scrubber = scrubber_new(s, d->pool, d->control);
    scrub_set_refetch(s, refetch_ask, d->refetch);
    scrub_set_settings(s, &settings);
}

/* What it costs to fetch again what is in this repository. */
static unsigned cost_of(void *registries, struct slice repo)
{
    return registries_of(registries, repo)->cost;
}

static int make_parts(struct daemon *d, struct error *err)
{
    struct cache_config cache = settings_cache(d->config, d->pool);

    d->offline = offline_new();
    cache.redis = d->redis = make_redis(d, false);
    cache.redis_objects = d->redis_lru = make_redis(d, true);
    int rc = cache_open(&cache, &d->cache, err);
    if (rc == 0)
        rc = registries_make(d->config, &d->registries, err);
    if (rc != 0)
        return rc;
    evict_set_cost(cache_evict(d->cache), cost_of, d->registries);
    struct api_config api = {
        .cache = d->cache,
        .pool = d->pool,
        .offline = d->offline,
        .registries = d->registries,
        .settings = settings_api(d->config, d->argv),
    };
    d->api = api_new(&api);
    make_scrub(d);
    struct space_settings space = settings_space(d->config);
    d->space = space_new(d->cache, d->pool, d->control, config_str(d->config, OPT_STORAGE_PATH));
    space_set(d->space, &space);
    d->admin = (struct admin){.cache = d->cache,
                              .offline = d->offline,
                              .registries = d->registries,
                              .api = d->api,
                              .pool = d->pool,
                              .scrubber = d->scrubber};
    return 0;
}

/* The address of registry.host and registry.port. */
static int listen_main(struct daemon *d, struct error *err)
{
    struct address address = {
        .kind = ADDRESS_TCP,
        .port = (uint16_t)config_int(d->config, OPT_REGISTRY_PORT),
    };
    const char *host = config_str(d->config, OPT_REGISTRY_HOST);

    snprintf(address.host, sizeof(address.host), "%s", host ? host : "");
    return server_listen(d->server, &address, err);
}

/* The addresses that stand for a registry. */
static int listen_for(struct daemon *d, const struct config_value *addresses, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < addresses->n_items; i++) {
        struct address address;
        rc = address_parse(slice_of(addresses->items[i]), &address, err);
        server_mark(d->server, addresses->items[i]);
        if (rc == 0)
            rc = server_listen(d->server, &address, err);
    }
    server_mark(d->server, NULL);
    return rc;
}

static int listen_for_upstreams(struct daemon *d, struct error *err)
{
    int rc = 0;

    config_upstreams_parse(config_str(d->config, OPT_MIRRORING_UPSTREAMS), &d->upstreams);
    for (size_t i = 0; rc == 0 && i < d->upstreams.n; i++)
        rc = listen_for(d, &d->upstreams.entries[i].values[UPSTREAM_LISTEN], err);
    return rc;
}

static int listen_all(struct daemon *d, struct error *err)
{
    unsigned n_inherited = server_inherited_fds();
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < n_inherited; i++)
        rc = server_listen_fd(d->server, 3 + (int)i, err);
    if (n_inherited == 0)
        rc = listen_main(d, err);
    for (size_t i = 0; rc == 0 && i < config_list_len(d->config, OPT_REGISTRY_LISTEN); i++) {
        struct address address;
        struct slice text = slice_of(config_list_item(d->config, OPT_REGISTRY_LISTEN, i));
        rc = address_parse(text, &address, err);
        if (rc == 0)
            rc = server_listen(d->server, &address, err);
    }
    return rc == 0 ? listen_for_upstreams(d, err) : rc;
}

/* The listeners are open before the API is made, but nothing is accepted until the workers run. */
static void on_request(struct txn *txn, void *ctx)
{
    const struct daemon *d = ctx;

    api_handle(txn, d->api);
}

static int make_server(struct daemon *d, struct error *err)
{
    struct server_config config = server_config_default();

    int rc = access_log_open(config_str(d->config, OPT_REGISTRY_ACCESS_LOG_FILE),
                             settings_access_format(d->config), d->pool, &d->access, err);
    if (rc != 0)
        return rc;
    config.limits = settings_limits(d->config);
    config.connections_max = (unsigned)config_int(d->config, OPT_HTTP_CONNECTIONS_MAX);
    config.n_lanes = d->n_workers;
    config.access = d->access;
    config.handler = on_request;
    config.ctx = d;
    d->server = server_new(&config);
    return listen_all(d, err);
}

static int make_admin_server(struct daemon *d, struct error *err)
{
    struct server_config config = server_config_default();
    struct address address;

    int rc = address_parse(slice_of(config_str(d->config, OPT_ADMIN_LISTEN)), &address, err);
    if (rc != 0 || address.kind == ADDRESS_OFF)
        return rc;
    config.connections_max = 64;
    config.n_lanes = 1;
    config.handler = admin_handle;
    config.ctx = &d->admin;
    d->admin_server = server_new(&config);
    return server_listen(d->admin_server, &address, err);
}

/* From the start until they are listened to they wait: clients can connect before that, and whoever
 * sees us listening may want us to stop. */
static void hold_signals(int how)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < N_SIGNALS; i++) {
        sigaddset(&set, SIGNALS[i]);
        /* What libevent puts back in the end: nobody who asks once more cuts the end short. */
        if (how == SIG_BLOCK)
            signal(SIGNALS[i], SIG_IGN);
    }
    CHECK(pthread_sigmask(how, &set, NULL) == 0);
}

static void make_tend_timer(struct daemon *d)
{
    static const struct timeval EACH_SECOND = {1, 0};

    d->tend_timer = event_new(worker_event_base(d->control), -1, EV_PERSIST, on_tend, d);
    CHECK(d->tend_timer && event_add(d->tend_timer, &EACH_SECOND) == 0);
}

static void make_gc_timer(struct daemon *d)
{
    uint64_t ms = config_ms(d->config, OPT_GC_INTERVAL);
    struct timeval often = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

    if (ms == 0)
        return;
    d->gc_timer = event_new(worker_event_base(d->control), -1, EV_PERSIST, on_gc, d);
    CHECK(d->gc_timer && event_add(d->gc_timer, &often) == 0);
}

/* What may only get minutes old is looked for every few minutes. */
static int64_t sweep_every_s(const struct config *config)
{
    const enum option ages[] = {OPT_FILL_PARTIAL_MAX_AGE, OPT_PUSH_UPLOAD_MAX_AGE};
    int64_t every_s = SWEEP_EVERY_S;

    for (size_t i = 0; i < sizeof(ages) / sizeof(*ages); i++) {
        int64_t age_s = (int64_t)(config_ms(config, ages[i]) / 1000);
        every_s = age_s < every_s ? age_s : every_s;
    }
    return every_s > 0 ? every_s : 1;
}

static void make_events(struct daemon *d)
{
    struct event_base *base = worker_event_base(d->control);
    struct timeval often = {(time_t)sweep_every_s(d->config), 0};

    d->reloading.fn = reload;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        d->signals[i] = evsignal_new(base, SIGNALS[i], on_signal, d);
        CHECK(d->signals[i] && evsignal_add(d->signals[i], NULL) == 0);
    }
    hold_signals(SIG_UNBLOCK);
    d->sweep_timer = event_new(base, -1, EV_PERSIST, on_sweep, d);
    d->grace_timer = evtimer_new(base, on_grace_over, d);
    CHECK(d->sweep_timer && d->grace_timer && event_add(d->sweep_timer, &often) == 0);
    make_tend_timer(d);
    make_gc_timer(d);
}

static void make_workers(struct daemon *d)
{
    int64_t n = config_int(d->config, OPT_REGISTRY_WORKERS);
    long n_cores = sysconf(_SC_NPROCESSORS_ONLN);

    d->n_workers = n > 0 ? (unsigned)n : n_cores > 0 ? (unsigned)n_cores : 1;
    d->workers = xcalloc(d->n_workers, sizeof(*d->workers));
    for (unsigned i = 0; i < d->n_workers; i++)
        d->workers[i] = worker_new(i);
    d->control = worker_new(d->n_workers);
    d->pool = pool_new((unsigned)config_int(d->config, OPT_REGISTRY_POOL_THREADS));
}

/* The registries beside the source. */
static void report_registries(const struct registries *r)
{
    const struct registry *g;

    for (size_t i = 1; (g = registries_item(r, i)); i++) {
        struct strbuf urls = STRBUF_INIT;
        for (const struct upstream *u = g->upstream; u; u = upstream_fallback(u))
            strbuf_addf(&urls, "%s%s", urls.len ? ", then " : "", upstream_name(u));
        log_info(PREFIX, "mirroring %s from %s", g->host.ptr, urls.ptr);
        strbuf_fini(&urls);
    }
}

static void report_start(struct daemon *d)
{
    const struct upstream *upstream = registries_default(d->registries)->upstream;
    struct strbuf keys = STRBUF_INIT;

    report_warnings(d->config);
    if (config_unbuilt(d->config, &keys))
        log_warning(PREFIX, "these options have no effect yet: %s", keys.ptr);
    strbuf_fini(&keys);
    if (config_str(d->config, OPT_CACHE_LRU_HOST) && !d->redis_lru)
        log_info(PREFIX, "cache_lru is not used: the storage is local, and cache_lru.use is auto");
    for (unsigned i = 0; server_address(d->server, i); i++)
        log_info(PREFIX, "listening on %s", server_address(d->server, i));
    for (unsigned i = 0; d->admin_server && server_address(d->admin_server, i); i++)
        log_info(PREFIX, "admin listening on %s", server_address(d->admin_server, i));
    log_info(PREFIX, "%s, %u workers, storage %s, upstream %s", PACKAGE_STRING, d->n_workers,
             config_str(d->config, OPT_STORAGE_PATH), upstream ? upstream_name(upstream) : "none");
    report_registries(d->registries);
}

/* Ports below 1024 need root, the storage must not belong to it: so privileges go in between. */
static int make_all(struct daemon *d, struct error *err)
{
    make_workers(d);
    int rc = make_server(d, err);
    if (rc == 0)
        rc = make_admin_server(d, err);
    if (rc == 0)
        rc = privileges_drop(config_str(d->config, OPT_REGISTRY_USER),
                             config_str(d->config, OPT_REGISTRY_GROUP), err);
    if (rc == 0)
        rc = make_parts(d, err);
    if (rc == 0)
        make_events(d);
    return rc;
}

static void do_open_cache(void *arg)
{
    struct daemon *d = arg;

    cache_open_here(d->cache);
}

static void run(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_workers; i++) {
        worker_call(d->workers[i], do_open_cache, d);
        server_start_on(d->server, d->workers[i]);
        worker_start(d->workers[i]);
    }
    if (d->admin_server)
        server_start_on(d->admin_server, d->control);
    d->has_run = true;
    report_start(d);
    cache_sweep(d->cache);
    scrubber_kick(d->scrubber);
    cache_tend(d->cache);
    space_tick(d->space);
    worker_run(d->control);
}

/* One question to all workers. */
struct round {
    struct daemon *daemon;
    sem_t answers;
    atomic_bool was_busy; /* somebody had something to do before it could answer */
};

static void do_close_clients(void *arg)
{
    struct round *r = arg;

    http_client_close();
    cache_close_here(r->daemon->cache);
    sem_post(&r->answers);
}

/* Answers when all that is on its way to this worker has come. */
static void do_rest(void *arg)
{
    struct round *r = arg;
    struct worker *w = worker_current();

    if (worker_is_quiet(w)) {
        sem_post(&r->answers);
        return;
    }
    atomic_store(&r->was_busy, true);
    worker_call(w, do_rest, r);
}

/* Has fn run on every worker and waits for their answers. True when one of them was busy. */
static bool ask_workers(struct daemon *d, worker_fn fn)
{
    struct round r = {.daemon = d, .was_busy = false};

    sem_init(&r.answers, 0, 0);
    for (unsigned i = 0; i < d->n_workers; i++)
        worker_call(d->workers[i], fn, &r);
    for (unsigned i = 0; i < d->n_workers; i++)
        while (sem_wait(&r.answers) < 0)
            CHECK(errno == EINTR);
    sem_destroy(&r.answers);
    return r.was_busy;
}

/* All connections have ended. Fetches are cut, which saves what their fills have. Then the workers
 * run on until neither they nor the pool have anything for each other: after that nobody mails a
 * worker that is gone, or works on something that is freed. */
static void settle(struct daemon *d)
{
    uint64_t n_jobs, n_jobs_before = UINT64_MAX;
    bool was_busy;

    scrubber_stop(d->scrubber);
    refetch_stop(d->refetch);
    ask_workers(d, do_close_clients);
    gc_stop(cache_gc(d->cache));
    evict_stop(cache_evict(d->cache));
    ledger_stop(cache_ledger(d->cache));
    for (;;) {
        n_jobs = pool_wait(d->pool);
        was_busy = ask_workers(d, do_rest);
        if (!was_busy && n_jobs == n_jobs_before)
            break;
        n_jobs_before = n_jobs;
    }
    cache_drain(d->cache);
    scrub_save(cache_scrub(d->cache));
}

static void free_events(struct daemon *d)
{
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (d->signals[i])
            event_free(d->signals[i]);
    if (d->sweep_timer)
        event_free(d->sweep_timer);
    if (d->tend_timer)
        event_free(d->tend_timer);
    if (d->gc_timer)
        event_free(d->gc_timer);
    if (d->grace_timer)
        event_free(d->grace_timer);
}

/* In the opposite order of making; what was not made is NULL. */
static void take_down(struct daemon *d)
{
    free_events(d);
    if (d->has_run)
        settle(d);
    else if (d->scrubber)
        scrubber_stop(d->scrubber);
    for (unsigned i = 0; i < d->n_workers; i++)
        worker_stop(d->workers[i]);
    for (unsigned i = 0; i < d->n_workers; i++)
        worker_join(&d->workers[i]);
    free(d->workers);
    if (d->control)
        worker_join(&d->control);
    if (d->server)
        server_free(&d->server);
    if (d->admin_server)
        server_free(&d->admin_server);
    scrubber_free(&d->scrubber);
    refetch_free(&d->refetch);
    if (d->api)
        api_free(&d->api);
    space_free(&d->space);
    cache_close(&d->cache);
    redis_free(&d->redis);
    redis_free(&d->redis_lru);
    registries_free(&d->registries);
    offline_free(&d->offline);
    pool_free(&d->pool);
    access_log_close(&d->access);
    config_upstreams_fini(&d->upstreams);
    config_unref(&d->config);
}

/* Set-up of the process itself: logs, memory, descriptors. */
static int set_up_process(const struct config *config, struct error *err)
{
    enum log_level level = LOG_INFO;

    hold_signals(SIG_BLOCK);
    /* A few arenas are enough: big bytes never pass through malloc. */
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    log_level_parse(config_str(config, OPT_LOGLEVEL), &level);
    log_set_level(level);
    privileges_raise_limits();
    return log_set_file(config_str(config, OPT_REGISTRY_ERROR_LOG_FILE), err);
}

int daemon_run(const struct config_source *source, struct config *config, char *const *argv)
{
    struct daemon d = {.source = source, .argv = argv, .config = config_ref(config)};
    struct error err = {0};

    int rc = set_up_process(config, &err);
    if (rc == 0)
        rc = make_all(&d, &err);
    if (rc == 0)
        run(&d);
    else
        log_error(PREFIX, "cannot start: %s", err.text);
    take_down(&d);
    if (rc == 0)
        log_info(PREFIX, "ended");
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
