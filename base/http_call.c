#include "config.h"

#include "base/http_call.h"

#include "base/http_client_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"

#define BULK_BUFFER_BYTES (256L * 1024)
#define SMALL_BUFFER_BYTES (16L * 1024)

static const char *const end_names[] = {
    [HTTP_END_OK] = "ok",         [HTTP_END_CONNECT] = "connect",   [HTTP_END_TIMEOUT] = "timeout",
    [HTTP_END_CUT] = "cut",       [HTTP_END_PROTOCOL] = "protocol", [HTTP_END_REFUSED] = "refused",
    [HTTP_END_CLOSED] = "closed",
};
_Static_assert(sizeof(end_names) / sizeof(end_names[0]) == HTTP_END_MAX, "a name for each end");

const char *http_end_name(enum http_end end)
{
    CHECK(end < HTTP_END_MAX);
    return end_names[end];
}

static void call_free(struct http_call *call)
{
    CHECK(!call->client && !call->wake.is_posted);
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->header_lines);
    strbuf_fini(&call->head);
    event_free(call->timer);
    free(call);
}

/* A callback ends the call: what curl will report is only that it was told to stop. */
static void refuse(struct http_call *call, enum http_end end, int code, const char *why)
{
    call->refusal_end = end;
    error_set(&call->refusal, code, "%s", why);
}

static void arm_timer(struct http_call *call, unsigned after_ms)
{
    struct timeval after = {after_ms / 1000, (long)(after_ms % 1000) * 1000};

    if (after_ms)
        event_add(call->timer, &after);
    else
        event_del(call->timer);
}

static unsigned phase_limit_ms(const struct http_call *call)
{
    return call->phase == HTTP_CALL_BODY ? call->idle_timeout_ms : call->header_timeout_ms;
}

static void enter_phase(struct http_call *call, enum http_call_phase phase)
{
    call->phase = phase;
    call->active_ms = clock_mono_ms();
    arm_timer(call, phase_limit_ms(call));
}

/* The limit is checked lazily: a byte only notes the time, the timer goes on for what is left. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct http_call *call = arg;
    uint64_t idle_ms = clock_mono_ms() - call->active_ms;
    unsigned limit_ms = phase_limit_ms(call);
    struct error why;

    (void)fd;
    (void)what;
    if (call->is_ended || call->is_paused || !call->ops)
        return;
    if (idle_ms < limit_ms) {
        arm_timer(call, limit_ms - (unsigned)idle_ms);
        return;
    }
    error_set(&why, -ETIMEDOUT, "no %s within %u ms",
              call->phase == HTTP_CALL_BODY ? "body byte" : "answer", limit_ms);
    http_call_end(call, HTTP_END_TIMEOUT, &why);
}

/* curl: connected, the request is about to be sent. */
static int on_connected(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    enter_phase(arg, HTTP_CALL_WAITING);
    return CURL_PREREQFUNC_OK;
}

/* The empty line behind the head. Interim answers (1xx) are dropped. */
static bool end_head(struct http_call *call)
{
    long status = 0;

    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    call->status = (int)status;
    if (status < 200) {
        strbuf_clear(&call->head);
        return true;
    }
    call->has_head = true;
    enter_phase(call, HTTP_CALL_BODY);
    if (call->ops->head(call->arg, call) >= 0)
        return true;
    refuse(call, HTTP_END_REFUSED, -ECANCELED, "answer refused");
    return false;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    struct slice line = {p, size * n};

    if (!call->ops)
        return 0;
    if (call->has_head) /* trailers */
        return line.len;
    if (slice_starts(line, SLICE("HTTP/")) && call->head.len == 0)
        return line.len;
    if (line.len <= 2 && (line.len == 0 || p[0] == '\r' || p[0] == '\n'))
        return end_head(call) && call->ops ? line.len : 0;
    if (call->head.len + line.len > HTTP_CALL_HEAD_BYTES_MAX) {
        refuse(call, HTTP_END_PROTOCOL, -EMSGSIZE, "head of the answer is too large");
        return 0;
    }
    strbuf_add_slice(&call->head, line);
    return line.len;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct http_call *call = arg;
    size_t len = size * n;

    if (!call->ops)
        return 0;
    call->active_ms = clock_mono_ms();
    int rc = call->ops->data(call->arg, p, len);
    if (rc == 0)
        return len;
    if (rc > 0) {
        call->is_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    refuse(call, HTTP_END_REFUSED, rc, "body refused");
    return CURL_WRITEFUNC_PAUSE - 1; /* any count but len and PAUSE ends the transfer */
}

/* What curl's verdict means to somebody who decides whether to try again. */
static enum http_end end_of_code(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return HTTP_END_OK;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_PROXY:
        return HTTP_END_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_END_TIMEOUT;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return HTTP_END_CUT;
    default:
        return HTTP_END_PROTOCOL;
    }
}

static int errno_of_end(enum http_end end)
{
    switch (end) {
    case HTTP_END_CONNECT:
        return -ECONNREFUSED;
    case HTTP_END_TIMEOUT:
        return -ETIMEDOUT;
    case HTTP_END_CUT:
        return -ECONNRESET;
    default:
        return -EPROTO;
    }
}

void http_call_end(struct http_call *call, enum http_end end, const struct error *error)
{
    CHECK(!call->is_ended);
    http_client_remove(call);
    event_del(call->timer);
    call->is_ended = true;
    call->result.end = end;
    call->result.error = error ? *error : (struct error){.code = 0};
    worker_later(call->worker, &call->wake);
}

void http_call_finished(struct http_call *call, CURLcode code)
{
    enum http_end end = end_of_code(code);
    const char *text = call->curl_text[0] ? call->curl_text : curl_easy_strerror(code);
    struct error why;

    if (call->refusal.code) {
        http_call_end(call, call->refusal_end, &call->refusal);
    } else if (end == HTTP_END_OK && call->has_head) {
        http_call_end(call, end, NULL);
    } else {
        if (end == HTTP_END_OK) { /* curl is content with half a head */
            end = HTTP_END_CUT;
            text = "connection ended in the head";
        }
        error_set(&why, errno_of_end(end), "%s", text);
        http_call_end(call, end, &why);
    }
}

/* Lets curl deliver what it holds back, then read on. Its verdict on a callback that refuses from
 * in here comes only as the return value. */
static void do_resume(struct http_call *call)
{
    call->want_resume = false;
    call->is_paused = false;
    call->active_ms = clock_mono_ms();
    arm_timer(call, phase_limit_ms(call));
    CURLcode code = curl_easy_pause(call->easy, CURLPAUSE_CONT);
    if (code != CURLE_OK && !call->is_ended && call->ops)
        http_call_finished(call, code);
}

static void do_add(struct http_call *call)
{
    struct http_client *c = http_client_get();
    struct error why;

    call->want_add = false;
    if (c && http_client_add(c, call) == 0)
        return;
    if (c)
        error_set(&why, -EIO, "the http client takes no more calls");
    else
        error_set(&why, -ECANCELED, "the http client is closed");
    http_call_end(call, c ? HTTP_END_CONNECT : HTTP_END_CLOSED, &why);
}

/* The only place where a call begins, resumes and ends: no curl callback is on the stack. */
static void on_wake(struct mail *m)
{
    struct http_call *call = (struct http_call *)m;

    if (call->ops && call->want_add)
        do_add(call);
    if (call->ops && !call->is_ended && call->want_resume)
        do_resume(call);
    if (call->ops && !call->is_ended)
        return;
    if (call->wake.is_posted) /* again, by the callback of a resumed call */
        return;
    http_client_remove(call);
    if (call->ops)
        call->ops->done(call->arg, &call->result);
    call->ops = NULL;
    call_free(call);
}

/* Adds a header line; it must not be able to smuggle in another. */
static void add_line(struct http_call *call, const char *line)
{
    CHECK(!strpbrk(line, "\r\n"));
    struct curl_slist *list = curl_slist_append(call->header_lines, line);
    CHECK(list);
    call->header_lines = list;
}

static void set_header_lines(struct http_call *call, const struct http_call_spec *spec)
{
    bool has_content_type = false;

    for (size_t i = 0; i < spec->n_header_lines; i++) {
        add_line(call, spec->header_lines[i]);
        has_content_type |= strncasecmp(spec->header_lines[i], "Content-Type:", 13) == 0;
    }
    add_line(call, "Accept-Encoding: identity");
    add_line(call, "Expect:"); /* no 100-continue dance */
    if (!has_content_type)
        add_line(call, "Content-Type:"); /* curl would invent one */
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->header_lines);
    /* What is meant for the server is not for a proxy's CONNECT. */
    curl_easy_setopt(call->easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
}

static void set_method(CURL *easy, const struct http_call_spec *spec)
{
    if (strcmp(spec->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (spec->body.ptr) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, spec->body.ptr);
    }
    if (strcmp(spec->method, "GET") != 0)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, spec->method);
}

static void set_transport(CURL *easy, const struct http_call_spec *spec)
{
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Without it, dropping a call whose name is being resolved waits for the resolver's thread. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)spec->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     (long)(spec->is_bulk ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE,
                     spec->is_bulk ? BULK_BUFFER_BYTES : SMALL_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, spec->skip_tls_verify ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, spec->skip_tls_verify ? 0L : 2L);
    if (spec->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, spec->ca_file);
}

static void set_callbacks(struct http_call *call)
{
    curl_easy_setopt(call->easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(call->easy, CURLOPT_ERRORBUFFER, call->curl_text);
    curl_easy_setopt(call->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(call->easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(call->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(call->easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(call->easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(call->easy, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(call->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(call->easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(call->easy, CURLOPT_PATH_AS_IS, 1L);
}

static struct http_call *call_new(struct worker *w, const struct http_call_ops *ops, void *arg)
{
    struct http_call *call = xcalloc(1, sizeof(*call));

    call->wake.fn = on_wake;
    call->worker = w;
    call->ops = ops;
    call->arg = arg;
    call->easy = curl_easy_init();
    call->timer = event_new(worker_event_base(w), -1, 0, on_timer, call);
    CHECK(call->easy && call->timer);
    return call;
}

/* Lets the client open as many connections to one host as the most demanding call wants. */
static void raise_limit(struct http_client *c, unsigned host_connections_max)
{
    if (host_connections_max <= c->host_connections_max)
        return;
    c->host_connections_max = host_connections_max;
    curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)host_connections_max);
}

struct http_call *http_call_start(const struct http_call_spec *spec,
                                  const struct http_call_ops *ops, void *arg)
{
    struct http_client *c = http_client_get(); /* first: it sets curl up */
    struct http_call *call = call_new(worker_current(), ops, arg);

    call->header_timeout_ms = spec->header_timeout_ms;
    call->idle_timeout_ms = spec->idle_timeout_ms;
    CHECK(curl_easy_setopt(call->easy, CURLOPT_URL, spec->url) == CURLE_OK);
    set_header_lines(call, spec);
    set_method(call->easy, spec);
    set_transport(call->easy, spec);
    set_callbacks(call);
    if (c)
        raise_limit(c, spec->host_connections_max);
    /* Not here: the caller may be in a callback of another call, where curl takes no new ones. */
    call->want_add = true;
    worker_later(call->worker, &call->wake);
    return call;
}

void http_call_resume(struct http_call *call)
{
    CHECK(worker_is_current(call->worker));
    if (!call->is_paused || call->is_ended || !call->ops)
        return;
    call->want_resume = true;
    worker_later(call->worker, &call->wake);
}

void http_call_cancel(struct http_call **call)
{
    struct http_call *c = *call;

    if (!c)
        return;
    CHECK(worker_is_current(c->worker));
    c->ops = NULL;
    worker_later(c->worker, &c->wake);
    *call = NULL;
}

int http_call_status(const struct http_call *call)
{
    CHECK(call->has_head);
    return call->status;
}

struct slice http_call_header(const struct http_call *call, const char *name, unsigned nth)
{
    struct slice rest = {call->head.ptr, call->head.len};
    struct slice want = slice_of(name);

    while (rest.ptr && rest.len) {
        struct slice value = slice_cut(&rest, '\n');
        struct slice field = slice_cut(&value, ':');
        if (!value.ptr || !slice_equal_case(field, want) || nth-- > 0)
            continue;
        if (value.len && value.ptr[value.len - 1] == '\r')
            value.len--;
        return slice_trim(value);
    }
    return SLICE_NONE;
}
