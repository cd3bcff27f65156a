#include "config.h"

#include "tests/unit/fetch_probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/http_client.h"
#include "tests/unit/unit.h"

#define WAIT_MAX_S 60

struct upstream_config lab_config(void)
{
    return (struct upstream_config){
        .tls_verify = true,
        .user_agent = "mirrord-test",
        .connect_timeout_ms = 5000,
        .header_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .retries_max = 3,
        .backoff_base_ms = 2,
        .backoff_max_ms = 20,
        .breaker_failures = 1000,
        .breaker_cooldown_ms = 1000,
        .connections_max = 128,
    };
}

void lab_open(struct lab *lab, struct upstream_config *config, const struct script_server *s)
{
    char url[64];
    struct error err;

    /* A proxy of the machine has no part in this. */
    setenv("no_proxy", "*", 1);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", script_server_port(s));
    config->url = url;
    assert_int_equal(upstream_new(config, &lab->upstream, &err), 0);
    for (unsigned i = 0; i < LAB_WORKERS; i++) {
        lab->workers[i] = worker_new(i);
        worker_start(lab->workers[i]);
    }
}

static void close_client(void *arg)
{
    (void)arg;
    http_client_close();
}

void lab_close(struct lab *lab)
{
    for (unsigned i = 0; i < LAB_WORKERS; i++)
        worker_call(lab->workers[i], close_client, NULL);
    for (unsigned i = 0; i < LAB_WORKERS; i++)
        lab_settle(lab, i);
    for (unsigned i = 0; i < LAB_WORKERS; i++) {
        worker_stop(lab->workers[i]);
        worker_join(&lab->workers[i]);
    }
    upstream_unref(&lab->upstream);
}

struct settling {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct worker *worker;
    unsigned n_turns;
};

static void on_settle(void *arg)
{
    struct settling *s = arg;

    pthread_mutex_lock(&s->lock);
    if (++s->n_turns < 4)
        worker_call(s->worker, on_settle, s);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* A few turns, because an end takes a mail or two to be told. */
void lab_settle(struct lab *lab, unsigned n)
{
    struct settling s = {.worker = lab->workers[n]};

    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.changed, NULL);
    worker_call(s.worker, on_settle, &s);
    pthread_mutex_lock(&s.lock);
    while (s.n_turns < 4)
        pthread_cond_wait(&s.changed, &s.lock);
    pthread_mutex_unlock(&s.lock);
    pthread_cond_destroy(&s.changed);
    pthread_mutex_destroy(&s.lock);
}

static char body[LAB_BODY_BYTES];

static void make_body(void)
{
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)(i * 7 + i / 251 + i / 65536);
}

const char *lab_body(uint64_t first)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_body);
    CHECK(first <= LAB_BODY_BYTES);
    return body + first;
}

bool lab_serve_blob(struct script_request *r, uint64_t cut_after)
{
    uint64_t first = 0, last = LAB_BODY_BYTES - 1;
    bool has_range = script_range(r, &first, &last);

    if (last >= LAB_BODY_BYTES)
        last = LAB_BODY_BYTES - 1;
    uint64_t n = last - first + 1;
    if (has_range)
        script_printf(r, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %llu-%llu/%d\r\n",
                      (unsigned long long)first, (unsigned long long)last, LAB_BODY_BYTES);
    else
        script_printf(r, "HTTP/1.1 200 OK\r\n");
    script_printf(r, "Content-Type: application/octet-stream\r\nContent-Length: %llu\r\n\r\n",
                  (unsigned long long)n);
    if (strcmp(r->method, "HEAD") == 0)
        return true;
    return script_send(r, lab_body(first), n < cut_after ? n : cut_after) && n <= cut_after;
}

static void copy_text(char *out, size_t n, struct slice s)
{
    CHECK(s.len < n);
    memcpy(out, s.ptr ? s.ptr : "", s.len);
    out[s.len] = '\0';
}

static int on_head(void *arg, const struct fetch_head *head)
{
    struct probe *p = arg;

    pthread_mutex_lock(&p->lock);
    p->n_heads++;
    p->n_calls++;
    p->head = *head;
    copy_text(p->media_type, sizeof(p->media_type), head->media_type);
    copy_text(p->digest, sizeof(p->digest), head->digest);
    copy_text(p->link, sizeof(p->link), head->link);
    pthread_mutex_unlock(&p->lock);
    if (p->act == PROBE_CANCEL_IN_HEAD) {
        fetch_cancel(&p->fetch);
        pthread_mutex_lock(&p->lock);
        p->is_cancelled = true;
        pthread_cond_signal(&p->changed);
        pthread_mutex_unlock(&p->lock);
    }
    return p->act == PROBE_REFUSE_HEAD ? -EIO : 0;
}

static void on_resume(struct mail *m)
{
    struct probe *p = (struct probe *)((char *)m - offsetof(struct probe, resume));

    pthread_mutex_lock(&p->lock);
    p->is_paused = false;
    pthread_mutex_unlock(&p->lock);
    if (p->fetch)
        fetch_resume(p->fetch);
}

/* Whether this piece is to be left for later. */
static bool wants_pause(struct probe *p)
{
    if (p->act == PROBE_PAUSE && p->n_pauses++ % 2 == 0) {
        worker_later(p->worker, &p->resume);
        return true;
    }
    if (p->act == PROBE_HOLD && p->n_pauses == 0) {
        p->n_pauses = 1;
        p->is_paused = true;
        pthread_cond_signal(&p->changed);
        return true;
    }
    return false;
}

static int on_data(void *arg, const void *bytes, size_t n)
{
    struct probe *p = arg;
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    p->n_calls++;
    CHECK(n > 0 && !p->is_done && !p->is_cancelled && !p->is_paused);
    if (p->act == PROBE_REFUSE_BODY)
        rc = -EIO;
    else if (wants_pause(p))
        rc = FETCH_PAUSE;
    else
        strbuf_add(&p->body, bytes, n);
    if (p->act == PROBE_CANCEL_IN_BODY) {
        fetch_cancel(&p->fetch);
        p->is_cancelled = true;
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct probe *p = arg;

    pthread_mutex_lock(&p->lock);
    CHECK(!p->is_done && !p->is_cancelled);
    CHECK((result->outcome == FETCH_OK) == (result->error.code == 0));
    p->fetch = NULL;
    p->is_done = true;
    p->result = *result;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static const struct fetch_ops probe_ops = {on_head, on_data, on_done};

static void do_start(void *arg)
{
    struct probe *p = arg;

    p->fetch = fetch_start(p->lab->upstream, &p->spec, &probe_ops, p);
    CHECK(p->n_calls == 0); /* never from inside fetch_start */
}

void probe_start(struct probe *p, struct lab *lab, unsigned n_worker, enum fetch_kind kind,
                 const char *reference)
{
    p->lab = lab;
    p->worker = lab->workers[n_worker];
    p->resume.fn = on_resume;
    p->spec.kind = kind;
    if (!p->spec.repo.ptr)
        p->spec.repo = SLICE("library/x");
    p->spec.reference = slice_of(reference);
    if (!p->spec.end)
        p->spec.end = UINT64_MAX;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    strbuf_init(&p->body);
    worker_call(p->worker, do_start, p);
}

static void wait_for(struct probe *p, const bool *a, const bool *b)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MAX_S;
    pthread_mutex_lock(&p->lock);
    while (!*a && !*b && rc == 0)
        rc = pthread_cond_timedwait(&p->changed, &p->lock, &until);
    pthread_mutex_unlock(&p->lock);
    assert_int_equal(rc, 0);
}

void probe_wait(struct probe *p)
{
    wait_for(p, &p->is_done, &p->is_cancelled);
}

void probe_wait_paused(struct probe *p)
{
    wait_for(p, &p->is_paused, &p->is_done);
}

void probe_resume(struct probe *p)
{
    worker_post(p->worker, &p->resume);
}

static void do_cancel(void *arg)
{
    struct probe *p = arg;

    fetch_cancel(&p->fetch);
    pthread_mutex_lock(&p->lock);
    p->is_cancelled = true;
    pthread_mutex_unlock(&p->lock);
}

void probe_cancel(struct probe *p)
{
    worker_call(p->worker, do_cancel, p);
    lab_settle(p->lab, worker_index(p->worker));
}

void probe_free(struct probe *p)
{
    lab_settle(p->lab, worker_index(p->worker));
    strbuf_fini(&p->body);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}

void probe_run(struct probe *p, struct lab *lab, enum fetch_kind kind, const char *reference,
               enum fetch_outcome outcome)
{
    probe_start(p, lab, 0, kind, reference);
    probe_wait(p);
    if (p->result.outcome != outcome)
        fail_msg("%s instead of %s: %s", fetch_outcome_name(p->result.outcome),
                 fetch_outcome_name(outcome), p->result.error.text);
}

void probe_check_body(struct probe *p, uint64_t first, uint64_t n)
{
    assert_int_equal(p->n_heads, 1);
    assert_int_equal(p->body.len, n);
    if (n)
        assert_memory_equal(p->body.ptr, lab_body(first), n);
}
