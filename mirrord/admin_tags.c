/*
 * GET /repositories and /tags on the admin listener: what is here, which half of a tag is served
 * under the rule in force, and where each half came from. Pages as in the registry's own lists: n,
 * last, and a Link to the next one.
 *
 * A story: the names are listed off the loop, then their records are read and printed off the
 * loop. It frees itself when it has answered, or its client has left and what is under way is over.
 * Memory: one page of names and its text.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/repo.h"
#include "cache/tag.h"
#include "mirrord/admin_private.h"
#include "mirrord/api_private.h"
#include "mirrord/name_page.h"
#include "mirrord/query.h"
#include "mirrord/registry_route.h"
#include "mirrord/tag_choice.h"
#include "mirrord/txn.h"

struct listing {
    struct pool_job job; /* first: printing */
    const struct admin *admin;
    struct txn *txn; /* NULL once the client has left */
    bool has_n, is_of_tags;
    size_t limit;
    struct repo_names *names;
    struct strbuf text;
    size_t repo_len;
    char repo[NAME_FULL_MAX]; /* as the storage calls it */
    char last[NAME_FULL_MAX + 1];
};

static void free_listing(void *arg)
{
    struct listing *l = arg;

    repo_names_free(&l->names);
    strbuf_fini(&l->text);
    free(l);
}

static void listing_end(struct listing *l)
{
    worker_bury(worker_current(), free_listing, l);
}

static void on_gone(void *arg)
{
    struct listing *l = arg;

    l->txn = NULL;
}

static struct slice repo_of(const struct listing *l)
{
    return (struct slice){l->repo, l->repo_len};
}

/* --- printing: a pool thread ------------------------------------------------------------------ */

/* ,"name":"text" or ,"name":null */
static void add_text(struct strbuf *out, const char *name, const char *text)
{
    strbuf_addf(out, ",\"%s\":", name);
    if (!text) {
        strbuf_add_str(out, "null");
        return;
    }
    strbuf_add_char(out, '"');
    strbuf_add_json(out, slice_of(text));
    strbuf_add_char(out, '"');
}

static void add_digest(struct strbuf *out, const char *name, const struct digest *d)
{
    char text[DIGEST_TEXT_SIZE];

    if (d)
        digest_format(d, text);
    add_text(out, name, d ? text : NULL);
}

/* Seconds since 1970. */
static void add_time(struct strbuf *out, const char *name, bool has_time, int64_t at_s)
{
    if (has_time)
        strbuf_addf(out, ",\"%s\":%lld", name, (long long)at_s);
    else
        add_text(out, name, NULL);
}

static void print_tag(const struct listing *l, const char *tag, const struct tag_record *r,
                      struct strbuf *out)
{
    struct tag_view view = {.rule = precedence_of(l->admin->api, repo_of(l), slice_of(tag))};
    enum tag_choice served = tag_choice_fallback(&view, r);
    bool is_mirrored = r->mirrored == TAG_MIRRORED;

    strbuf_addf(out, "{\"tag\":\"%s\"", tag);
    add_digest(out, "digest",
               served == TAG_CHOICE_PUSHED     ? &r->pushed
               : served == TAG_CHOICE_MIRRORED ? &r->digest
                                               : NULL);
    add_text(out, "origin",
             served == TAG_CHOICE_PUSHED     ? "pushed"
             : served == TAG_CHOICE_MIRRORED ? "mirrored"
                                             : NULL);
    add_text(out, "rule", precedence_name(view.rule));
    add_digest(out, "pushed", r->is_pushed ? &r->pushed : NULL);
    add_time(out, "pushed_at", r->is_pushed, r->pushed_at_s);
    add_digest(out, "mirrored", is_mirrored ? &r->digest : NULL);
    add_text(out, "upstream", is_mirrored ? r->upstream : NULL);
    add_time(out, "fetched_at", is_mirrored, r->fetched_at_s);
    add_time(out, "checked_at", is_mirrored, r->checked_at_s);
    strbuf_add_char(out, '}');
}

static void do_print_tags(struct pool_job *job)
{
    struct listing *l = (struct listing *)job;
    struct tag_record record;
    const char *comma = "";

    strbuf_add_str(&l->text, "{\"name\":\"");
    strbuf_add_json(&l->text, repo_of(l));
    strbuf_add_str(&l->text, "\",\"tags\":[");
    for (size_t i = 0; i < l->names->n; i++) {
        const char *tag = l->names->names[i];
        /* It may have been removed since it was listed. */
        if (tags_read_now(cache_tags(l->admin->cache), repo_of(l), slice_of(tag), &record) < 0)
            continue;
        strbuf_add_str(&l->text, comma);
        print_tag(l, tag, &record, &l->text);
        comma = ",";
    }
    strbuf_add_str(&l->text, "]}\n");
}

/* --- answering -------------------------------------------------------------------------------- */

static void send_page(struct listing *l)
{
    struct strbuf query = STRBUF_INIT, link = STRBUF_INIT;
    size_t n = l->names->n;

    if (l->names->has_more && n > 0) {
        name_page_query(slice_of(l->names->names[n - 1]), l->has_n ? l->limit : 0, &query);
        strbuf_addf(&link, "</%s?", l->is_of_tags ? "tags" : "repositories");
        if (l->is_of_tags)
            strbuf_addf(&link, "repository=%.*s&", (int)l->repo_len, l->repo);
        strbuf_addf(&link, "%s>; rel=\"next\"", query.ptr);
    }
    txn_on_gone(l->txn, NULL, NULL);
    admin_send_linked(l->txn, &l->text, (struct slice){link.ptr, link.len});
    strbuf_fini(&query);
    strbuf_fini(&link);
}

static void on_printed(struct pool_job *job)
{
    struct listing *l = (struct listing *)job;

    if (l->txn)
        send_page(l);
    listing_end(l);
}

static void on_listed(void *arg, int rc, struct repo_names *names)
{
    struct listing *l = arg;
    struct name_run run;

    l->names = rc == 0 ? names : NULL;
    if (!l->txn) {
        listing_end(l);
    } else if (rc < 0) {
        txn_on_gone(l->txn, NULL, NULL);
        admin_refuse(l->txn, rc == -ENOENT ? 404 : 500,
                     rc == -ENOENT ? "no such repository" : "the storage cannot be read");
        listing_end(l);
    } else if (l->is_of_tags) {
        l->job.work = do_print_tags;
        l->job.done = on_printed;
        pool_submit(l->admin->pool, &l->job, worker_current());
    } else {
        run = (struct name_run){(const char *const *)names->names, names->n, names->has_more};
        name_page_print(&run, "repositories", SLICE_NONE, &l->text);
        send_page(l);
        listing_end(l);
    }
}

/* --- requests --------------------------------------------------------------------------------- */

/* n and last; false: not to be understood. */
static bool read_page(struct listing *l, struct slice query)
{
    size_t most = api_settings_now(l->admin->api)->list_entries_max;
    char text[24];
    uint64_t n;
    int len = query_find(query, "n", text, sizeof(text));

    l->limit = most;
    if (len >= 0) {
        if (!slice_to_u64((struct slice){text, (size_t)len}, &n) || n == 0)
            return false;
        l->has_n = true;
        l->limit = n < most ? (size_t)n : most;
    } else if (len != -ENOENT) {
        return false;
    }
    len = query_find(query, "last", l->last, sizeof(l->last));
    if (len == -ENOENT)
        l->last[0] = '\0';
    return len >= 0 || len == -ENOENT;
}

/* NULL: refused. */
static struct listing *listing_new(struct txn *txn, const struct admin *admin)
{
    struct listing *l = xcalloc(1, sizeof(*l));

    CHECK(admin->api && admin->pool);
    l->admin = admin;
    l->txn = txn;
    if (!read_page(l, txn_head(txn)->query)) {
        admin_refuse(txn, 400, "n is a number above 0, last is a name");
        free_listing(l);
        return NULL;
    }
    txn_on_gone(txn, on_gone, l);
    return l;
}

void admin_list_repositories(struct txn *txn, const struct admin *admin)
{
    struct listing *l = listing_new(txn, admin);

    if (l)
        repos_list(cache_repos(admin->cache), slice_of(l->last), l->limit, on_listed, l);
}

void admin_list_tags(struct txn *txn, const struct admin *admin)
{
    char name[NAME_FULL_MAX + 1];
    int len = query_find(txn_head(txn)->query, "repository", name, sizeof(name));
    struct slice repo = {name, len > 0 ? (size_t)len : 0};

    char stored[NAME_FULL_MAX];
    size_t n = name_is_full(repo) ? registry_route_name(admin->api->registries, repo, stored) : 0;

    if (n == 0) {
        admin_refuse(txn, 400, "repository is the name of one");
        return;
    }
    struct listing *l = listing_new(txn, admin);
    if (!l)
        return;
    l->is_of_tags = true;
    l->repo_len = n;
    memcpy(l->repo, stored, n);
    struct repo_page page = {repo_of(l), slice_of(l->last), l->limit, REPO_TAGS_ALL};
    repos_list_tags(cache_repos(admin->cache), &page, on_listed, l);
}
