/*
 * The small pages: /v2/, and what clients of the legacy registry ask first: / and /_ping, with its
 * bodies and header fields.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <curl/curl.h>
#include <event2/event.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/api_private.h"
#include "mirrord/txn.h"

/* As Python's json.dumps with sorted keys: ", " and ": " between, ASCII only. Takes the value. */
static char *dump(json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_SORT_KEYS);

    CHECK(text);
    json_decref(value);
    return text;
}

char *api_root_body(const struct api_settings *settings)
{
    json_t *issue = settings->issue ? json_string(settings->issue) : json_true();

    /* Text that is no UTF-8 is no JSON; the page then says what it says without the option. */
    return dump(issue ? issue : json_true());
}

/* [sysname, node, release, version, machine, processor] */
static json_t *host_facts(void)
{
    struct utsname u;

    CHECK(uname(&u) == 0);
    return json_pack("[ssssss]", u.sysname, u.nodename, u.release, u.version, u.machine, "");
}

static json_t *launch_facts(const struct api_settings *settings)
{
    json_t *list = json_array();

    for (size_t i = 0; settings->argv && settings->argv[i]; i++)
        json_array_append_new(list, json_string(settings->argv[i]));
    return list;
}

char *api_ping_body(const struct api_settings *settings)
{
    if (!settings->debug)
        return xstrdup("{}");
    json_t *versions =
        json_pack("{ssssssssss}", "mirrord", PACKAGE_VERSION, "libevent", event_get_version(),
                  "libcurl", curl_version_info(CURLVERSION_NOW)->version, "openssl",
                  OpenSSL_version(OPENSSL_VERSION_STRING), "jansson", jansson_version_str());
    return dump(json_pack("{sososo}", "host", host_facts(), "launch", launch_facts(settings),
                          "versions", versions));
}

/* The header fields of a legacy answer. */
#define LEGACY_LINES                                                                               \
    "Content-Type: application/json\r\nCache-Control: no-cache\r\nExpires: -1\r\n"                 \
    "Pragma: no-cache\r\n"

void api_root_handle(const struct api_request *q)
{
    const char *body = api_snapshot_now(q->api)->root_body;
    struct reply *r = txn_reply(q->txn, 200);

    reply_header_lines(r, SLICE(LEGACY_LINES));
    reply_send_memory(r, body, strlen(body), NULL, NULL);
}

void api_ping_handle(const struct api_request *q)
{
    const struct api_snapshot *s = api_snapshot_now(q->api);
    struct reply *r = txn_reply(q->txn, 200);
    const char *standalone = s->settings.standalone ? "True" : "False";

    reply_header_lines(r, SLICE(LEGACY_LINES));
    reply_header(r, "X-Docker-Registry-Standalone",
                 slice_of(s->settings.has_source ? "mirror" : standalone));
    if (s->settings.debug)
        reply_header(r, "X-Docker-Registry-Config", slice_of(s->flavor ? s->flavor : ""));
    reply_send_memory(r, s->ping_body, strlen(s->ping_body), NULL, NULL);
}

void api_version_handle(const struct api_request *q)
{
    struct reply *r = txn_reply(q->txn, 200);

    reply_header_lines(r, SLICE("Content-Type: application/json\r\n" API_V2_LINE));
    reply_send_memory(r, "{}", 2, NULL, NULL);
}
