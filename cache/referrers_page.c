#include "config.h"

#include "cache/referrers_page.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cache/names.h"
#include "cache/referrer_entry.h"
#include "cache/referrers_update.h"

#define ENTRIES_PER_STEP 256
#define BYTES_PER_STEP (4u << 20)

struct referrers_page {
    struct layout *layout;
    const struct referrers_query *query;
    char last[REFERRER_ENTRY_NAME_SIZE]; /* the name of the last entry that was looked at, or "" */
    struct referrer_list *list;
    size_t n_bytes; /* read in this step */
    bool has_more;
};

struct referrers_page *referrers_page_new(struct layout *l, const struct referrers_query *q)
{
    struct referrers_page *p = xcalloc(1, sizeof(*p));

    CHECK(q->n_max > 0);
    p->layout = l;
    p->query = q;
    p->list = referrer_list_new();
    if (q->has_last)
        referrer_entry_name(&q->last, p->last);
    return p;
}

void referrers_page_free(struct referrers_page **pp)
{
    struct referrers_page *p = *pp;

    if (!p)
        return;
    referrer_list_free(&p->list);
    free(p);
    *pp = NULL;
}

struct referrer_list *referrers_page_take(struct referrers_page *p)
{
    struct referrer_list *list = p->list;

    CHECK(list);
    p->list = NULL;
    return list;
}

bool referrers_page_has_more(const struct referrers_page *p)
{
    return p->has_more;
}

/* The next names behind the last one, in order; their order is that of the digests. */
static struct repo_names *next_names(struct referrers_page *p, int *rc, struct error *err)
{
    struct names names;
    const struct dirent *entry;
    struct digest d;
    char *path = referrer_entry_folder(p->layout, p->query->repo, &p->query->subject);
    DIR *folder = opendir(path);

    *rc = folder || errno == ENOENT || errno == ENOTDIR
              ? 0
              : error_sys(err, -errno, "open folder %s", path);
    names_init(&names, p->last, ENTRIES_PER_STEP);
    while (folder && (entry = readdir(folder))) {
        if (referrer_entry_name_parse(entry->d_name, &d) && strcmp(entry->d_name, p->last) > 0)
            names_offer(&names, entry->d_name);
    }
    if (folder)
        closedir(folder);
    free(path);
    return names_take(&names);
}

/* The repository still has it, and it is still there. */
static bool is_here(const struct referrers_page *p, const struct digest *d)
{
    char *link = layout_revision_link(p->layout, p->query->repo, d);
    char *blob = layout_blob(p->layout, d);
    bool is_there = access(link, F_OK) == 0 && access(blob, F_OK) == 0;

    free(blob);
    free(link);
    return is_there;
}

/* An entry that is not one of ours, or not any more: the manifest says what it has to be. */
static void repair(struct referrers_page *p, const struct digest *d, struct referrer_list *one)
{
    const struct referrers_query *q = p->query;
    struct strbuf body = STRBUF_INIT, text = STRBUF_INIT;
    struct digest subject;
    struct error err;

    if (referrers_update_read(p->layout, d, q->manifest_max_bytes, &body) == 0) {
        bool is_ours =
            referrer_entry_of_manifest((struct slice){body.ptr, body.len}, d, &subject, &text) &&
            digest_equal(&subject, &q->subject);
        struct slice descriptor = {text.ptr, text.len};
        if (!is_ours)
            referrer_entry_remove(p->layout, q->repo, &q->subject, d);
        else if (referrer_list_add(one, descriptor, d, NULL) == 0 &&
                 referrer_entry_write(p->layout, q->repo, &q->subject, d, descriptor, &err) < 0)
            log_info("referrers", "damaged entry not repaired: %s", err.text);
    }
    strbuf_fini(&text);
    strbuf_fini(&body);
}

/* Adds it if it is wanted; 0: the page is full without it. */
static int offer(struct referrers_page *p, const struct referrer_list *one, const struct digest *d)
{
    const struct referrers_query *q = p->query;
    size_t n = referrer_list_count(p->list);

    if (referrer_list_count(one) == 0)
        return 1;
    if (q->artifact_type.len && !referrer_list_has_type(one, 0, q->artifact_type))
        return 1;
    struct slice descriptor = referrer_list_descriptor(one, 0);
    size_t bytes = referrer_list_bytes(p->list);
    bool is_full =
        n == q->n_max || (n > 0 && (bytes > q->bytes_max || descriptor.len > q->bytes_max - bytes));
    if (is_full) {
        p->has_more = true;
        return 0;
    }
    CHECK(referrer_list_add(p->list, descriptor, d, NULL) == 0);
    return 1;
}

/* One entry; 0: the page is full, or a negative errno. */
static int look_at(struct referrers_page *p, const char *name, struct error *err)
{
    const struct referrers_query *q = p->query;
    struct referrer_list *one;
    struct digest d;

    CHECK(referrer_entry_name_parse(name, &d));
    if (!is_here(p, &d))
        return 1;
    one = referrer_list_new();
    int rc = referrer_entry_read(p->layout, q->repo, &q->subject, &d, q->manifest_max_bytes, one);
    if (rc == -EBADMSG) {
        repair(p, &d, one);
        rc = 0;
    }
    if (rc == 0)
        rc = offer(p, one, &d);
    else if (rc == -ENOENT)
        rc = 1;
    else
        error_sys(err, rc, "read entry %s", name);
    p->n_bytes += referrer_list_bytes(one);
    referrer_list_free(&one);
    return rc;
}

int referrers_page_step(struct referrers_page *p, struct error *err)
{
    int rc;
    struct repo_names *names = next_names(p, &rc, err);
    bool has_more = names->has_more;

    p->n_bytes = 0;
    for (size_t i = 0; rc == 0 && i < names->n; i++) {
        if (p->n_bytes > BYTES_PER_STEP) {
            has_more = true;
            break;
        }
        int more = look_at(p, names->names[i], err);
        CHECK(snprintf(p->last, sizeof(p->last), "%s", names->names[i]) < (int)sizeof(p->last));
        if (more < 0)
            rc = more;
        else if (more == 0)
            has_more = false;
        if (more == 0)
            break;
    }
    repo_names_free(&names);
    return rc < 0 ? rc : has_more;
}
