/*
 * GET /v2/_catalog: the repositories that are here. The upstream is not asked: its catalogue is
 * not what can be pulled from here without it, and most registries refuse to tell theirs.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/worker.h"
#include "cache/repo.h"
#include "mirrord/api_private.h"
#include "mirrord/name_page.h"
#include "mirrord/txn.h"

/* One request waiting for the walk. It frees itself. */
struct catalog_wait {
    struct txn *txn; /* NULL once the client has left */
    bool has_n;
    size_t limit;
};

static void on_gone(void *arg)
{
    struct catalog_wait *w = arg;

    w->txn = NULL; /* the walk cannot be called back */
}

static void send_names(struct catalog_wait *w, const struct repo_names *list)
{
    struct name_run run = {(const char *const *)list->names, list->n, list->has_more};
    struct strbuf body = STRBUF_INIT;
    struct strbuf query = STRBUF_INIT;

    struct reply *r = txn_reply(w->txn, 200);
    reply_header_lines(r, SLICE("Content-Type: application/json\r\n" API_V2_LINE));
    if (run.has_more && run.n > 0) {
        name_page_query(slice_of(run.names[run.n - 1]), w->has_n ? w->limit : 0, &query);
        reply_headerf(r, "Link", "</v2/_catalog?%s>; rel=\"next\"", query.ptr);
    }
    name_page_print(&run, "repositories", SLICE_NONE, &body);
    size_t len = body.len;
    char *text = strbuf_take(&body);
    strbuf_fini(&query);
    reply_send_memory(r, text, len, free, text);
}

static void on_listed(void *arg, int rc, struct repo_names *list)
{
    static const struct repo_names NONE;
    struct catalog_wait *w = arg;

    if (w->txn) {
        txn_on_gone(w->txn, NULL, NULL);
        if (rc == 0 || rc == -ENOENT)
            send_names(w, rc == 0 ? list : &NONE);
        else
            api_error_reply(w->txn, API_ERROR_STORAGE, NULL);
    }
    if (rc == 0)
        repo_names_free(&list);
    free(w);
}

void api_catalog_handle(const struct api_request *q)
{
    size_t max = api_settings_now(q->api)->list_entries_max;
    const struct route *route = q->route;
    struct catalog_wait *w = xcalloc(1, sizeof(*w));
    static const struct repo_names NONE;

    CHECK(max > 0);
    w->txn = q->txn;
    w->has_n = route->has_n;
    w->limit = route->has_n && route->n < max ? (size_t)route->n : max;
    if (w->limit == 0) {
        send_names(w, &NONE);
        free(w);
        return;
    }
    txn_on_gone(w->txn, on_gone, w);
    repos_list(q->api->repos, route->last, w->limit, on_listed, w);
}
