/*
 * GET /v2/_catalog: the repositories that are here. The upstream is not asked: its catalogue is
 * not what can be pulled from here without it, and most registries refuse to tell theirs.
 *
 * A client that named a registry (by ns, Host, or the path before /v2) is told what is here of that
 * one, by the registry's own names; others are told everything, by the storage's names. What is
 * left out makes a page shorter, not the list: the next page begins behind what was looked at.
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
    const struct registries *registries;
    const struct registry *registry; /* NULL: all of them */
    bool has_n;
    size_t limit;
};

static void on_gone(void *arg)
{
    struct catalog_wait *w = arg;

    w->txn = NULL; /* the walk cannot be called back */
}

/* The names in the run that belong to the registry, as it calls them. Those of one registry stand
 * together, but for the default's. */
static void select_names(const struct catalog_wait *w, struct name_run *run, const char **room)
{
    size_t n = 0;

    for (size_t i = 0; i < run->n; i++) {
        struct slice name = slice_of(run->names[i]);
        if (registries_of(w->registries, name) == w->registry)
            room[n++] = registry_repo(w->registry, name).ptr;
    }
    run->names = room;
    run->n = n;
}

/* The last name that was looked at, as the client has to say it; NULL: there is nothing behind it.
 */
static const char *last_of(const struct catalog_wait *w, const struct name_run *run)
{
    const char *last = run->n > 0 ? run->names[run->n - 1] : NULL;

    if (!run->has_more || !last || !w->registry)
        return run->has_more ? last : NULL;
    return slice_starts(slice_of(last), w->registry->prefix) ? last + w->registry->prefix.len
                                                             : NULL;
}

static void send_names(struct catalog_wait *w, const struct repo_names *list)
{
    struct name_run run = {(const char *const *)list->names, list->n, list->has_more};
    const char **room = xcalloc(list->n + 1, sizeof(room[0]));
    struct strbuf body = STRBUF_INIT;
    struct strbuf query = STRBUF_INIT;
    const char *last = last_of(w, &run);

    struct reply *r = txn_reply(w->txn, 200);
    reply_header_lines(r, SLICE("Content-Type: application/json\r\n" API_V2_LINE));
    if (last) {
        name_page_query(slice_of(last), w->has_n ? w->limit : 0, &query);
        api_add_ns(w->txn, &query);
        reply_headerf(r, "Link", "<%.*s/v2/_catalog?%s>; rel=\"next\"", SLICE_ARG(txn_base(w->txn)),
                      query.ptr);
    }
    if (w->registry)
        select_names(w, &run, room);
    name_page_print(&run, "repositories", SLICE_NONE, &body);
    free(room);
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

/* From behind `last`, which is a name of the registry, if one was named. */
static void begin(struct catalog_wait *w, const struct api_request *q)
{
    struct slice prefix = w->registry ? w->registry->prefix : SLICE("");
    struct slice last = q->route->last;
    char text[2 * NAME_FULL_MAX];

    CHECK(prefix.len + last.len <= sizeof(text));
    memcpy(text, prefix.ptr, prefix.len);
    if (last.len)
        memcpy(text + prefix.len, last.ptr, last.len);
    repos_list(q->api->repos, (struct slice){text, prefix.len + last.len}, w->limit, on_listed, w);
}

void api_catalog_handle(const struct api_request *q)
{
    size_t max = api_settings_now(q->api)->list_entries_max;
    const struct route *route = q->route;
    struct catalog_wait *w = xcalloc(1, sizeof(*w));
    static const struct repo_names NONE;

    CHECK(max > 0);
    w->txn = q->txn;
    w->registries = q->api->registries;
    w->registry = q->is_registry_named ? q->registry : NULL;
    w->has_n = route->has_n;
    w->limit = route->has_n && route->n < max ? (size_t)route->n : max;
    if (w->limit == 0) {
        send_names(w, &NONE);
        free(w);
        return;
    }
    txn_on_gone(w->txn, on_gone, w);
    begin(w, q);
}
