#include "config.h"

#include "mirrord/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/strbuf.h"
#include "cache/cache.h"
#include "cache/evict.h"
#include "cache/fill.h"
#include "cache/gc.h"
#include "cache/ledger.h"
#include "mirrord/admin_private.h"
#include "mirrord/offline.h"
#include "mirrord/query.h"
#include "mirrord/registries.h"
#include "mirrord/txn.h"
#include "upstream/upstream.h"

static void send_text(struct reply *r, const char *media_type, struct strbuf *text)
{
    size_t len = text->len;
    char *body = strbuf_take(text);

    reply_header(r, "Content-Type", slice_of(media_type));
    reply_header(r, "Cache-Control", SLICE("no-store"));
    reply_send_memory(r, body, len, free, body);
}

void admin_send(struct txn *txn, int status, const char *media_type, struct strbuf *text)
{
    send_text(txn_reply(txn, status), media_type, text);
}

void admin_send_linked(struct txn *txn, struct strbuf *text, struct slice link)
{
    struct reply *r = txn_reply(txn, 200);

    if (link.len > 0)
        reply_header(r, "Link", link);
    send_text(r, "application/json", text);
}

int admin_status_of(int rc)
{
    switch (rc) {
    case -EINVAL:
        return 400;
    case -ENOENT:
        return 404;
    case -EBUSY:
        return 409;
    case -EAGAIN:
        return 503;
    case -ENOSPC:
        return 507;
    default:
        return 500;
    }
}

void admin_refuse(struct txn *txn, int status, const char *why)
{
    struct strbuf text = STRBUF_INIT;

    strbuf_add_str(&text, "{\"error\":\"");
    strbuf_add_json(&text, slice_of(why));
    strbuf_add_str(&text, "\"}\n");
    admin_send(txn, status, "application/json", &text);
}

static void print_metrics(const struct admin *admin, struct strbuf *out)
{
    metric_print(out);
    registries_print_metrics(admin->registries, out);
}

/* It answers, so it lives; an upstream or a Redis that is away is no illness of ours. */
static void print_health(const struct admin *admin, struct strbuf *out)
{
    strbuf_add_str(out, "{\"status\":\"ok\"");
    cache_print_shared_json(admin->cache, out);
    strbuf_add_str(out, "}\n");
}

static void print_fills(const struct admin *admin, struct strbuf *out)
{
    fills_print_json(cache_fills(admin->cache), out);
    strbuf_add_char(out, '\n');
}

static void print_upstream(const struct admin *admin, struct strbuf *out)
{
    struct upstream *upstream = registries_default(admin->registries)->upstream;

    if (upstream)
        upstream_print_json(upstream, out);
    else
        strbuf_add_str(out, "null");
    strbuf_add_char(out, '\n');
}

static void print_upstreams(const struct admin *admin, struct strbuf *out)
{
    registries_print_json(admin->registries, out);
    strbuf_add_char(out, '\n');
}

static void print_gc(const struct admin *admin, struct strbuf *out)
{
    gc_print_json(cache_gc(admin->cache), out);
    strbuf_add_char(out, '\n');
}

static void print_evict(const struct admin *admin, struct strbuf *out)
{
    evict_print_json(cache_evict(admin->cache), out);
    strbuf_add_char(out, '\n');
}

static void start_gc(const struct admin *admin)
{
    gc_start(cache_gc(admin->cache));
}

static void print_offline(const struct admin *admin, struct strbuf *out)
{
    offline_print_json(admin->offline, out);
    strbuf_add_char(out, '\n');
}

/* value=true, false, or setting: as mirroring.offline says. */
static bool set_offline(const struct admin *admin, struct slice query)
{
    char value[sizeof("setting")];

    int len = query_find(query, "value", value, sizeof(value));
    if (len < 0)
        return false;
    bool is_on = strcmp(value, "true") == 0;
    if (strcmp(value, "setting") == 0)
        offline_clear(admin->offline);
    else if (is_on || strcmp(value, "false") == 0)
        offline_set(admin->offline, OFFLINE_BY_OPERATOR, is_on);
    else
        return false;
    return true;
}

/* For a page that acts by itself, when it answers. */
static void act_later(const struct admin *admin)
{
    (void)admin;
}

static void print_ledger(const struct admin *admin, struct strbuf *out)
{
    ledger_print_json(cache_ledger(admin->cache), out);
    strbuf_add_char(out, '\n');
}

/* Made anew from the storage. */
static void start_reindex(const struct admin *admin)
{
    ledger_reindex(cache_ledger(admin->cache));
}

static const struct page {
    const char *path;
    const char *media_type;
    void (*print)(const struct admin *admin, struct strbuf *out);
    void (*act)(const struct admin *admin); /* on POST, before it is printed; NULL: GET only */
    /* Instead of printing at once: answers later. */
    void (*list)(struct txn *txn, const struct admin *admin);
    /* On POST, before it is printed; false: not with such a query. */
    bool (*set)(const struct admin *admin, struct slice query);
} PAGES[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", print_metrics, NULL, NULL, NULL},
    {"/healthz", "application/json", print_health, NULL, NULL, NULL},
    {"/fills", "application/json", print_fills, NULL, NULL, NULL},
    {"/upstream", "application/json", print_upstream, NULL, NULL, NULL},
    {"/upstreams", "application/json", print_upstreams, NULL, NULL, NULL},
    {"/gc", "application/json", print_gc, start_gc, NULL, NULL},
    {"/scrub", "application/json", NULL, act_later, admin_scrub, NULL},
    {"/ledger", "application/json", print_ledger, start_reindex, NULL, NULL},
    {"/offline", "application/json", print_offline, NULL, NULL, set_offline},
    {"/repositories", "application/json", NULL, NULL, admin_list_repositories, NULL},
    {"/tags", "application/json", NULL, NULL, admin_list_tags, NULL},
    {"/images", "application/json", NULL, NULL, admin_list_images, NULL},
    {"/pins", "application/json", NULL, NULL, admin_list_pins, NULL},
    {"/evict", "application/json", print_evict, NULL, NULL, NULL},
};

/* What changes something and answers later. */
static const struct change {
    const char *path;
    enum http_method method;
    void (*change)(struct txn *txn, const struct admin *admin);
} CHANGES[] = {
    {"/pins", HTTP_POST, admin_change_pins},
    {"/pins", HTTP_DELETE, admin_change_pins},
    {"/evict", HTTP_POST, admin_evict_images},
};
#define N_CHANGES (sizeof(CHANGES) / sizeof(CHANGES[0]))

static const struct change *find_change(const char *path, enum http_method method)
{
    for (size_t i = 0; i < N_CHANGES; i++) {
        if (CHANGES[i].method == method && strcmp(CHANGES[i].path, path) == 0)
            return &CHANGES[i];
    }
    return NULL;
}

static void refuse_method(struct txn *txn, const struct page *page)
{
    struct reply *r = txn_reply(txn, 405);
    bool can_post = page->act || page->set || find_change(page->path, HTTP_POST);
    bool can_delete = find_change(page->path, HTTP_DELETE);

    reply_headerf(r, "Allow", "GET, HEAD%s%s", can_post ? ", POST" : "",
                  can_delete ? ", DELETE" : "");
    reply_send_empty(r);
}

static void answer(struct txn *txn, const struct admin *admin, const struct page *page)
{
    enum http_method method = txn_head(txn)->method;
    const struct change *change = find_change(page->path, method);
    struct strbuf text = STRBUF_INIT;

    if (change) {
        change->change(txn, admin);
        return;
    }
    if (method == HTTP_POST && page->act) {
        page->act(admin);
    } else if (method == HTTP_POST && page->set) {
        if (!page->set(admin, txn_head(txn)->query)) {
            reply_send_empty(txn_reply(txn, 400));
            return;
        }
    } else if (method != HTTP_GET && method != HTTP_HEAD) {
        refuse_method(txn, page);
        return;
    }
    if (page->list) {
        page->list(txn, admin);
        return;
    }
    page->print(admin, &text);
    admin_send(txn, method == HTTP_POST && page->act ? 202 : 200, page->media_type, &text);
}

/* A web page that an operator looks at can have the browser post to us, who ask for no credentials.
 * Browsers say whose page it is; what was not served from this very address has no say here. */
static bool is_of_foreign_page(const struct head *head)
{
    struct slice origin = head_field_find(head, "Origin");
    const char *host = origin.len ? memmem(origin.ptr, origin.len, "://", 3) : NULL;

    if (head->method == HTTP_GET || head->method == HTTP_HEAD || origin.len == 0)
        return false;
    if (!host)
        return true;
    host += 3;
    return !slice_equal_case((struct slice){host, (size_t)(origin.ptr + origin.len - host)},
                             head_field_find(head, "Host"));
}

void admin_handle(struct txn *txn, void *ctx)
{
    const struct admin *admin = ctx;
    const struct head *head = txn_head(txn);
    struct strbuf text = STRBUF_INIT;

    CHECK(admin && admin->cache);
    if (is_of_foreign_page(head)) {
        admin_refuse(txn, 403, "asked by a page of another origin");
        return;
    }
    for (size_t i = 0; i < sizeof(PAGES) / sizeof(PAGES[0]); i++) {
        if (slice_equal(head->path, slice_of(PAGES[i].path))) {
            answer(txn, admin, &PAGES[i]);
            return;
        }
    }
    for (size_t i = 0; i < sizeof(PAGES) / sizeof(PAGES[0]); i++)
        strbuf_addf(&text, "%s\n", PAGES[i].path);
    admin_send(txn, slice_equal(head->path, SLICE("/")) ? 200 : 404, "text/plain", &text);
}
