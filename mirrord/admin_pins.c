/*
 * GET, POST and DELETE /pins on the admin listener: what is pinned, pinning an image by its name
 * (which need not be here yet), and taking pins away, by name or pattern. A pattern to be pinned is
 * a walk over the images (admin_images.c): it pins those that match now.
 *
 * A story: one job on the pool. It frees itself when it has answered, or its client has left and
 * the job is over. Memory: the names of all pins, PINS_MAX at most.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/pin.h"
#include "mirrord/admin_private.h"
#include "mirrord/api_private.h"
#include "mirrord/image_choice.h"
#include "mirrord/query.h"
#include "mirrord/txn.h"

struct pinning {
    struct pool_job job; /* first */
    const struct admin *admin;
    struct txn *txn; /* NULL once the client has left; it is done all the same */
    bool has_pattern;
    struct image_choice choice; /* points into pattern_text */
    size_t limit;
    size_t n_names;
    char **names; /* of pins that match, "repository:tag" or "repository@digest" */
    bool has_more;
    struct strbuf text;
    int rc;
    struct error err;
    char pattern_text[IMAGE_PATTERN_MAX];
    char last[IMAGE_PATTERN_MAX];
};

static void free_pinning(void *arg)
{
    struct pinning *p = arg;

    for (size_t i = 0; i < p->n_names; i++)
        free(p->names[i]);
    free(p->names);
    strbuf_fini(&p->text);
    free(p);
}

static void on_gone(void *arg)
{
    ((struct pinning *)arg)->txn = NULL;
}

static struct pins *pins_of(const struct pinning *p)
{
    return cache_pins(p->admin->cache);
}

/* --- the pool --------------------------------------------------------------------------------- */

/* A pin's digest is what it was pinned by, not what its tag points to. */
static bool is_meant(const struct pinning *p, struct slice repo, struct slice reference)
{
    struct digest d = {0};
    bool is_digest = digest_parse(reference, &d);

    return !p->has_pattern || image_choice_matches(p->admin->api->registries, &p->choice, repo,
                                                   is_digest ? SLICE_NONE : reference, &d);
}

static bool on_pin(void *arg, struct slice repo, struct slice reference)
{
    struct pinning *p = arg;
    struct strbuf name = STRBUF_INIT;

    if (!is_meant(p, repo, reference))
        return true;
    strbuf_add_slice(&name, repo);
    strbuf_add_char(&name, memchr(reference.ptr, ':', reference.len) ? '@' : ':');
    strbuf_add_slice(&name, reference);
    if (p->n_names % 64 == 0)
        p->names = xrealloc(p->names, (p->n_names + 64) * sizeof(*p->names));
    p->names[p->n_names++] = strbuf_take(&name);
    return true;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_names(struct pinning *p, size_t from, size_t n)
{
    strbuf_add_str(&p->text, "{\"pins\":[");
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&p->text, "%s\"%s\"", i > 0 ? "," : "", p->names[from + i]);
    strbuf_add_str(&p->text, "]}\n");
}

static void do_list(struct pool_job *job)
{
    struct pinning *p = (struct pinning *)job;
    size_t from = 0, n;

    CHECK(p->limit > 0);
    p->rc = pins_list_now(pins_of(p), on_pin, p, &p->err);
    if (p->rc < 0)
        return;
    if (p->n_names > 0)
        qsort(p->names, p->n_names, sizeof(*p->names), compare);
    while (from < p->n_names && strcmp(p->names[from], p->last) <= 0)
        from++;
    n = p->n_names - from < p->limit ? p->n_names - from : p->limit;
    p->has_more = from + n < p->n_names;
    if (n > 0)
        snprintf(p->last, sizeof(p->last), "%s", p->names[from + n - 1]);
    print_names(p, from, n);
}

/* What was taken away in the meantime is no failure, unless it was asked for by name. */
static int remove_name(struct pinning *p, const char *name)
{
    struct image_pattern pin;

    int rc = image_pattern_read(slice_of(name), false, &pin, &p->err);
    return rc < 0 ? rc : pins_remove_now(pins_of(p), pin.repo, pin.reference, &p->err);
}

static void do_remove(struct pool_job *job)
{
    struct pinning *p = (struct pinning *)job;
    size_t n = 0;

    p->rc = pins_list_now(pins_of(p), on_pin, p, &p->err);
    for (size_t i = 0; i < p->n_names && p->rc == 0; i++) {
        p->rc = remove_name(p, p->names[i]);
        n += p->rc == 0;
        if (p->rc == -ENOENT)
            p->rc = 0;
    }
    if (p->rc == 0 && n == 0)
        p->rc = error_set(&p->err, -ENOENT, "no such pin");
    if (p->rc == 0)
        print_names(p, 0, p->n_names);
}

static void do_add(struct pool_job *job)
{
    struct pinning *p = (struct pinning *)job;
    const struct image_pattern *image = &p->choice.pattern;

    p->rc = pins_add_now(pins_of(p), image->repo, image->reference, NULL, &p->err);
    p->has_pattern = false; /* of the names told: this one */
    CHECK(p->n_names == 0);
    if (p->rc == 0) {
        on_pin(p, image->repo, image->reference);
        print_names(p, 0, p->n_names);
    }
}

/* --- home ------------------------------------------------------------------------------------- */

static void on_done(struct pool_job *job)
{
    struct pinning *p = (struct pinning *)job;
    struct strbuf link = STRBUF_INIT;

    if (p->txn) {
        txn_on_gone(p->txn, NULL, NULL);
        if (p->has_more && p->has_pattern)
            strbuf_addf(&link, "</pins?image=%s&n=%zu&last=%s>; rel=\"next\"", p->pattern_text,
                        p->limit, p->last);
        else if (p->has_more)
            strbuf_addf(&link, "</pins?n=%zu&last=%s>; rel=\"next\"", p->limit, p->last);
        if (p->rc < 0)
            admin_refuse(p->txn, admin_status_of(p->rc), p->err.text);
        else
            admin_send_linked(p->txn, &p->text, (struct slice){link.ptr, link.len});
    }
    strbuf_fini(&link);
    worker_bury(worker_current(), free_pinning, p);
}

/* --- requests --------------------------------------------------------------------------------- */

/* image; false: refused. */
static bool read_image(struct pinning *p, struct slice query, bool is_needed)
{
    struct error err = {.text = "image is the name of an image, or a pattern"};
    int len = query_find(query, "image", p->pattern_text, sizeof(p->pattern_text));

    if (len == -ENOENT && !is_needed)
        return true;
    if (len < 0 ||
        image_choice_read(p->admin->api->registries, (struct slice){p->pattern_text, (size_t)len},
                          &p->choice, &err) < 0) {
        admin_refuse(p->txn, 400, err.text);
        return false;
    }
    p->has_pattern = true;
    return true;
}

/* n and last; false: refused. */
static bool read_page(struct pinning *p, struct slice query)
{
    char text[24];
    uint64_t n = 0;
    int len = query_find(query, "n", text, sizeof(text));
    int last_len = query_find(query, "last", p->last, sizeof(p->last));
    bool is_good = len == -ENOENT ||
                   (len >= 0 && slice_to_u64((struct slice){text, (size_t)len}, &n) && n > 0);

    p->limit = api_settings_now(p->admin->api)->list_entries_max;
    if (n > 0 && n < p->limit)
        p->limit = (size_t)n;
    if (last_len == -ENOENT)
        p->last[0] = '\0';
    if (is_good && (last_len >= 0 || last_len == -ENOENT))
        return true;
    admin_refuse(p->txn, 400, "n is a number above 0, last is a pin");
    return false;
}

static void start(struct pinning *p, void (*work)(struct pool_job *job))
{
    txn_on_gone(p->txn, on_gone, p);
    p->job.work = work;
    p->job.done = on_done;
    pool_submit(p->admin->pool, &p->job, worker_current());
}

static struct pinning *pinning_new(struct txn *txn, const struct admin *admin)
{
    struct pinning *p = xcalloc(1, sizeof(*p));

    CHECK(admin->api && admin->pool);
    p->admin = admin;
    p->txn = txn;
    return p;
}

void admin_list_pins(struct txn *txn, const struct admin *admin)
{
    struct pinning *p = pinning_new(txn, admin);
    struct slice query = txn_head(txn)->query;

    if (read_image(p, query, false) && read_page(p, query))
        start(p, do_list);
    else
        free_pinning(p);
}

void admin_change_pins(struct txn *txn, const struct admin *admin)
{
    struct pinning *p = pinning_new(txn, admin);
    bool is_removal = txn_head(txn)->method == HTTP_DELETE;

    if (!read_image(p, txn_head(txn)->query, true)) {
        free_pinning(p);
    } else if (is_removal || image_pattern_is_exact(&p->choice.pattern)) {
        start(p, is_removal ? do_remove : do_add);
    } else {
        free_pinning(p);
        admin_pin_images(txn, admin);
    }
}
