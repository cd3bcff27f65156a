#include "config.h"

#include "mirrord/admin.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/metric.h"
#include "base/strbuf.h"
#include "cache/cache.h"
#include "cache/fill.h"
#include "mirrord/txn.h"
#include "upstream/upstream.h"

/* Sends what was printed; the text goes with the reply. */
static void send_text(struct txn *txn, int status, const char *media_type, struct strbuf *text)
{
    struct reply *r = txn_reply(txn, status);
    size_t len = text->len;
    char *body = strbuf_take(text);

    reply_header(r, "Content-Type", slice_of(media_type));
    reply_header(r, "Cache-Control", SLICE("no-store"));
    reply_send_memory(r, body, len, free, body);
}

static void print_metrics(const struct admin *admin, struct strbuf *out)
{
    (void)admin;
    metric_print(out);
}

/* It answers, so it lives; an upstream that is away is no illness of ours. */
static void print_health(const struct admin *admin, struct strbuf *out)
{
    (void)admin;
    strbuf_add_str(out, "{\"status\":\"ok\"}\n");
}

static void print_fills(const struct admin *admin, struct strbuf *out)
{
    fills_print_json(cache_fills(admin->cache), out);
    strbuf_add_char(out, '\n');
}

static void print_upstream(const struct admin *admin, struct strbuf *out)
{
    if (admin->upstream)
        upstream_print_json(admin->upstream, out);
    else
        strbuf_add_str(out, "null");
    strbuf_add_char(out, '\n');
}

static const struct page {
    const char *path;
    const char *media_type;
    void (*print)(const struct admin *admin, struct strbuf *out);
} PAGES[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", print_metrics},
    {"/healthz", "application/json", print_health},
    {"/fills", "application/json", print_fills},
    {"/upstream", "application/json", print_upstream},
};

void admin_handle(struct txn *txn, void *ctx)
{
    const struct admin *admin = ctx;
    const struct head *head = txn_head(txn);
    struct strbuf text = STRBUF_INIT;

    CHECK(admin && admin->cache);
    if (head->method != HTTP_GET && head->method != HTTP_HEAD) {
        reply_send_empty(txn_reply(txn, 405));
        return;
    }
    for (size_t i = 0; i < sizeof(PAGES) / sizeof(PAGES[0]); i++) {
        if (!slice_equal(head->path, slice_of(PAGES[i].path)))
            continue;
        PAGES[i].print(admin, &text);
        send_text(txn, 200, PAGES[i].media_type, &text);
        return;
    }
    for (size_t i = 0; i < sizeof(PAGES) / sizeof(PAGES[0]); i++)
        strbuf_addf(&text, "%s\n", PAGES[i].path);
    send_text(txn, slice_equal(head->path, SLICE("/")) ? 200 : 404, "text/plain", &text);
}
