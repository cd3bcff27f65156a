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
} PAGES[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", print_metrics, NULL, NULL},
    {"/healthz", "application/json", print_health, NULL, NULL},
    {"/fills", "application/json", print_fills, NULL, NULL},
    {"/upstream", "application/json", print_upstream, NULL, NULL},
    {"/upstreams", "application/json", print_upstreams, NULL, NULL},
    {"/gc", "application/json", print_gc, start_gc, NULL},
    {"/ledger", "application/json", print_ledger, start_reindex, NULL},
    {"/repositories", "application/json", NULL, NULL, admin_list_repositories},
    {"/tags", "application/json", NULL, NULL, admin_list_tags},
    {"/images", "application/json", NULL, NULL, admin_list_images},
    {"/pins", "application/json", NULL, NULL, admin_list_pins},
    {"/evict", "application/json", print_evict, NULL, NULL},
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
    bool can_post = page->act || find_change(page->path, HTTP_POST);
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
    } else if (method != HTTP_GET && method != HTTP_HEAD) {
        refuse_method(txn, page);
        return;
    }
    if (page->list) {
        page->list(txn, admin);
        return;
    }
    page->print(admin, &text);
    admin_send(txn, method == HTTP_POST ? 202 : 200, page->media_type, &text);
}

void admin_handle(struct txn *txn, void *ctx)
{
    const struct admin *admin = ctx;
    const struct head *head = txn_head(txn);
    struct strbuf text = STRBUF_INIT;

    CHECK(admin && admin->cache);
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
