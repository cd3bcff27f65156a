#include "config.h"

#include "mirrord/admin_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/address.h"
#include "mirrord/configuration.h"

#define CONNECT_TIMEOUT_S 10L

struct admin_client {
    CURL *curl;
    const char *listen; /* as configured, for messages */
    char origin[300];   /* "http://host:port" */
    char why[CURL_ERROR_SIZE];
};

/* An address that is listened on for all of them is reached at the loopback. */
static void name_origin(const struct address *a, char *out, size_t size)
{
    const char *host = a->host;

    if (a->kind == ADDRESS_UNIX)
        snprintf(out, size, "http://localhost");
    else if (strcmp(host, "::") == 0)
        snprintf(out, size, "http://[::1]:%u", a->port);
    else if (*host == '\0' || strcmp(host, "0.0.0.0") == 0)
        snprintf(out, size, "http://127.0.0.1:%u", a->port);
    else
        snprintf(out, size, strchr(host, ':') ? "http://[%s]:%u" : "http://%s:%u", host, a->port);
}

static int read_address(const char *listen, struct address *out, struct error *err)
{
    int rc = address_parse(slice_of(listen), out, err);

    if (rc < 0)
        return rc;
    if (out->kind == ADDRESS_OFF)
        return error_set(err, -ENOTCONN, "the daemon's admin listener is off (admin_listen)");
    if (out->kind == ADDRESS_TCP && out->port == 0)
        return error_set(err, -ENOTCONN,
                         "admin_listen has port 0: the daemon's log tells which port it got");
    return 0;
}

int admin_client_open(const struct config *config, struct admin_client **out, struct error *err)
{
    const char *listen = config_str(config, OPT_ADMIN_LISTEN);
    struct address address;

    int rc = read_address(listen ? listen : "off", &address, err);
    if (rc < 0)
        return rc;
    struct admin_client *c = xcalloc(1, sizeof(*c));
    c->listen = listen;
    c->curl = curl_easy_init();
    CHECK(c->curl);
    name_origin(&address, c->origin, sizeof(c->origin));
    if (address.kind == ADDRESS_UNIX)
        curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, address.path);
    curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->why);
    *out = c;
    return 0;
}

void admin_client_close(struct admin_client **cc)
{
    struct admin_client *c = *cc;

    *cc = NULL;
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    free(c);
}

void admin_answer_fini(struct admin_answer *a)
{
    strbuf_fini(&a->body);
    strbuf_fini(&a->next);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct admin_answer *a = arg;

    if (a->body.len + size * n > ADMIN_ANSWER_MAX)
        return 0;
    strbuf_add(&a->body, p, size * n);
    return size * n;
}

/* Link: </path?…>; rel="next" */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    static const struct slice LINK = {"link:", 5};
    struct admin_answer *a = arg;
    struct slice line = {p, size * n};

    if (line.len > LINK.len && slice_equal_case((struct slice){p, LINK.len}, LINK)) {
        slice_cut(&line, '<');
        strbuf_clear(&a->next);
        strbuf_add_slice(&a->next, slice_cut(&line, '>'));
    }
    return size * n;
}

static int explain(const struct admin_client *c, CURLcode code, struct error *err)
{
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return error_set(err, -ECONNREFUSED,
                         "nobody answers at %s (admin_listen); is the daemon running with this "
                         "configuration? (%s)",
                         c->listen, c->why);
    return error_set(err, -EIO, "%s (admin_listen): %s", c->listen,
                     c->why[0] ? c->why : curl_easy_strerror(code));
}

int admin_client_call(struct admin_client *c, const char *method, const char *path,
                      struct admin_answer *out, struct error *err)
{
    struct admin_answer answer = {.body = STRBUF_INIT, .next = STRBUF_INIT};
    struct strbuf url = STRBUF_INIT;
    long status = 0;

    CHECK(path[0] == '/');
    strbuf_addf(&url, "%s%s", c->origin, path);
    curl_easy_setopt(c->curl, CURLOPT_URL, url.ptr);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, &answer);
    c->why[0] = '\0';
    CURLcode code = curl_easy_perform(c->curl);
    strbuf_fini(&url);
    if (code != CURLE_OK) {
        admin_answer_fini(&answer);
        return explain(c, code, err);
    }
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    *out = answer;
    return 0;
}
