/*
 * What an operator does with images, on the admin listener: list them, pin those that match a
 * pattern, evict them, or ask what an eviction would take. All of these walk over the ledger's
 * images, a page a request (n, last, and a Link to the next), so that no request is long and
 * none holds more than its page: the client goes on, or does not.
 *
 * A story: turns on the pool, each of which reads a few images from the ledger and then does what
 * was asked for to those that match. It frees itself when it has answered, or when its client has
 * left: then after the present turn. Memory: TURN_IMAGES names and the text of one page.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/evict.h"
#include "cache/ledger.h"
#include "cache/pin.h"
#include "mirrord/admin_private.h"
#include "mirrord/api_private.h"
#include "mirrord/image_choice.h"
#include "mirrord/query.h"
#include "mirrord/txn.h"

#define PREFIX "admin"
#define TURN_IMAGES 64

/* One that matches; what stays when the ledger has been left. */
struct chosen {
    struct ledger_image image; /* its strings are the two below */
    char *repo, *tag;
};

struct walk {
    struct pool_job job; /* first */
    const struct admin *admin;
    struct txn *txn; /* NULL once the client has left */
    const struct image_deed *deed;
    struct image_choice choice; /* points into pattern_text */
    bool has_pattern, has_n;
    bool is_at_end; /* of all images */
    size_t limit, n_left;
    size_t n_chosen;
    struct chosen chosen[TURN_IMAGES];
    const char *comma;
    struct strbuf text;
    struct evict_result sum;
    int rc;
    struct error err;
    char last_repo[NAME_FULL_MAX + 1];
    char last_name[DIGEST_TEXT_SIZE];
    char pattern_text[IMAGE_PATTERN_MAX];
};

/* What is done to each image that matches. */
struct image_deed {
    const char *path;
    const char *pattern; /* the name of the parameter */
    bool needs_pattern;
    bool is_dry;
    int (*act)(struct walk *w, const struct ledger_image *image); /* pool thread */
    void (*sum)(struct walk *w);                                  /* behind the list */
};

static void free_walk(void *arg)
{
    struct walk *w = arg;

    strbuf_fini(&w->text);
    free(w);
}

static void walk_end(struct walk *w)
{
    worker_bury(worker_current(), free_walk, w);
}

static void on_gone(void *arg)
{
    ((struct walk *)arg)->txn = NULL;
}

/* --- deeds: a pool thread --------------------------------------------------------------------- */

static const char *flag(bool b)
{
    return b ? "true" : "false";
}

static int print_image(struct walk *w, const struct ledger_image *i)
{
    char digest[DIGEST_TEXT_SIZE];

    digest_format(&i->digest, digest);
    strbuf_addf(&w->text, "%s{\"repository\":\"%s\",\"tag\":", w->comma, i->repo);
    if (*i->tag)
        strbuf_addf(&w->text, "\"%s\"", i->tag);
    else
        strbuf_add_str(&w->text, "null");
    strbuf_addf(&w->text,
                ",\"digest\":\"%s\",\"origin\":\"%s\",\"pinned\":%s,\"whole\":%s,\"size\":%" PRIu64
                ",\"shared\":%" PRIu64 ",\"last_use\":%" PRId64 ",\"fetched_at\":%" PRId64 "}",
                digest, i->is_pushed ? "pushed" : "mirrored", flag(i->is_pinned), flag(i->is_whole),
                i->bytes, i->shared_bytes, i->last_use_s, i->fetched_at_s);
    w->comma = ",";
    return 0;
}

/* The reference by which an image is pinned and evicted. */
static struct slice reference_of(const struct ledger_image *i, char digest[DIGEST_TEXT_SIZE])
{
    if (*i->tag)
        return slice_of(i->tag);
    return (struct slice){digest, digest_format(&i->digest, digest)};
}

static int pin(struct walk *w, const struct ledger_image *i)
{
    char digest[DIGEST_TEXT_SIZE];
    struct ledger_image pinned = *i;

    int rc = pins_add_now(cache_pins(w->admin->cache), slice_of(i->repo), reference_of(i, digest),
                          NULL, &w->err);
    if (rc < 0)
        return rc;
    pinned.is_pinned = true;
    return print_image(w, &pinned);
}

static void keep(struct walk *w, const char *why)
{
    w->sum.n_kept++;
    snprintf(w->sum.why, sizeof(w->sum.why), "%s", why);
}

/* What goes is what no other image shares, at least. */
static int judge(struct walk *w, const struct ledger_image *i)
{
    if (i->is_pushed || i->is_pinned) {
        keep(w, i->is_pushed ? "pushed" : "pinned");
        return 0;
    }
    w->sum.n_images++;
    w->sum.bytes += i->bytes - i->shared_bytes;
    return print_image(w, i);
}

static int evict(struct walk *w, const struct ledger_image *i)
{
    char digest[DIGEST_TEXT_SIZE];
    struct evict_result result = {0};

    int rc = evict_image_now(cache_evict(w->admin->cache), slice_of(i->repo),
                             reference_of(i, digest), &result, &w->err);
    if (rc == -ENOENT) {
        /* It went with a tag before it, or has just been removed by somebody else; or was never
         * mirrored. */
        if (i->is_pushed)
            keep(w, "pushed");
        return 0;
    }
    if (rc < 0)
        return rc;
    w->sum.n_images += result.n_images;
    w->sum.n_links += result.n_links;
    w->sum.n_blobs += result.n_blobs;
    w->sum.bytes += result.bytes;
    if (result.n_kept > 0)
        keep(w, result.why);
    return result.n_images > 0 ? print_image(w, i) : 0;
}

static void sum_up(struct walk *w)
{
    strbuf_addf(&w->text,
                ",\"dry_run\":%s,\"evicted\":%" PRIu64 ",\"links\":%" PRIu64 ",\"blobs\":%" PRIu64
                ",\"bytes\":%" PRIu64 ",\"kept\":%" PRIu64 ",\"why_kept\":\"%s\"",
                flag(w->deed->is_dry), w->sum.n_images, w->sum.n_links, w->sum.n_blobs,
                w->sum.bytes, w->sum.n_kept, w->sum.why);
}

static const struct image_deed LIST = {"images", "pattern", false, false, print_image, NULL};
static const struct image_deed PIN = {"pins", "image", true, false, pin, NULL};
static const struct image_deed EVICT = {"evict", "image", true, false, evict, sum_up};
static const struct image_deed EVICT_DRY = {"evict", "image", true, true, judge, sum_up};

/* --- turns: a pool thread --------------------------------------------------------------------- */

static bool choose(void *arg, const struct ledger_image *i)
{
    struct walk *w = arg;
    char digest[DIGEST_TEXT_SIZE];

    CHECK(w->n_chosen < TURN_IMAGES);
    snprintf(w->last_repo, sizeof(w->last_repo), "%s", i->repo);
    snprintf(w->last_name, sizeof(w->last_name), "%.*s", SLICE_ARG(reference_of(i, digest)));
    if (w->has_pattern && !image_choice_matches(w->admin->api->registries, &w->choice,
                                                slice_of(i->repo), slice_of(i->tag), &i->digest))
        return true;
    struct chosen *c = &w->chosen[w->n_chosen++];
    c->repo = xstrdup(i->repo);
    c->tag = xstrdup(i->tag);
    c->image = *i;
    c->image.repo = c->repo;
    c->image.tag = c->tag;
    return true;
}

static void do_turn(struct pool_job *job)
{
    struct walk *w = (struct walk *)job;
    size_t n = 0;
    /* choose() writes over what the page points to only when the ledger is done with it: after it
     * has read the first row. So it gets copies. */
    char last_repo[sizeof(w->last_repo)], last_name[sizeof(w->last_name)];
    struct ledger_page page = {
        .repo = {w->choice.repo, w->choice.repo_len},
        .n_max = w->n_left < TURN_IMAGES ? w->n_left : TURN_IMAGES,
    };

    memcpy(last_repo, w->last_repo, sizeof(last_repo));
    memcpy(last_name, w->last_name, sizeof(last_name));
    page.last_repo = slice_of(last_repo);
    page.last_name = slice_of(last_name);
    w->n_chosen = 0;
    CHECK(page.n_max > 0);
    w->rc = ledger_images_now(cache_ledger(w->admin->cache), &page, choose, w, &n, &w->err);
    if (w->rc == 0) {
        w->is_at_end = n < page.n_max;
        w->n_left -= n;
    }
    for (size_t i = 0; i < w->n_chosen; i++) {
        if (w->rc == 0)
            w->rc = w->deed->act(w, &w->chosen[i].image);
        free(w->chosen[i].repo);
        free(w->chosen[i].tag);
    }
}

/* --- home ------------------------------------------------------------------------------------- */

static void add_link(const struct walk *w, struct strbuf *out)
{
    strbuf_addf(out, "</%s?", w->deed->path);
    if (w->has_pattern)
        strbuf_addf(out, "%s=%s&", w->deed->pattern, w->pattern_text);
    if (w->deed->is_dry)
        strbuf_add_str(out, "dry_run=1&");
    if (w->has_n)
        strbuf_addf(out, "n=%zu&", w->limit);
    strbuf_addf(out, "last=%s%s%s>; rel=\"next\"", w->last_repo,
                strchr(w->last_name, ':') ? "@" : ":", w->last_name);
}

static void send(struct walk *w)
{
    struct strbuf link = STRBUF_INIT;

    CHECK(w->txn && w->rc <= 0);
    txn_on_gone(w->txn, NULL, NULL);
    if (w->rc < 0) {
        if (w->rc != -EAGAIN && w->rc != -ENOENT)
            log_warning(PREFIX, "%s: %s", w->deed->path, w->err.text);
        admin_refuse(w->txn, admin_status_of(w->rc), w->err.text);
        return;
    }
    strbuf_add_char(&w->text, ']');
    if (w->deed->sum)
        w->deed->sum(w);
    strbuf_add_str(&w->text, "}\n");
    if (!w->is_at_end)
        add_link(w, &link);
    admin_send_linked(w->txn, &w->text, (struct slice){link.ptr, link.len});
    strbuf_fini(&link);
}

static void submit(struct walk *w);

static void on_turn(struct pool_job *job)
{
    struct walk *w = (struct walk *)job;

    if (w->txn && w->rc == 0 && !w->is_at_end && w->n_left > 0) {
        submit(w);
        return;
    }
    if (w->txn)
        send(w);
    walk_end(w);
}

static void submit(struct walk *w)
{
    w->job.work = do_turn;
    w->job.done = on_turn;
    pool_submit(w->admin->pool, &w->job, worker_current());
}

/* --- requests --------------------------------------------------------------------------------- */

/* n and last; false: not to be understood. */
static bool read_page(struct walk *w, struct slice query)
{
    char text[IMAGE_PATTERN_MAX];
    struct image_pattern last;
    uint64_t n;

    w->limit = api_settings_now(w->admin->api)->list_entries_max;
    int len = query_find(query, "n", text, sizeof(text));
    if (len >= 0) {
        if (!slice_to_u64((struct slice){text, (size_t)len}, &n) || n == 0)
            return false;
        w->has_n = true;
        w->limit = n < w->limit ? (size_t)n : w->limit;
    } else if (len != -ENOENT) {
        return false;
    }
    w->n_left = w->limit;
    len = query_find(query, "last", text, sizeof(text));
    if (len == -ENOENT)
        return true;
    if (len < 0 || image_pattern_read((struct slice){text, (size_t)len}, false, &last, NULL) < 0 ||
        !image_pattern_is_exact(&last))
        return false;
    snprintf(w->last_repo, sizeof(w->last_repo), "%.*s", SLICE_ARG(last.repo));
    snprintf(w->last_name, sizeof(w->last_name), "%.*s", SLICE_ARG(last.reference));
    return true;
}

static bool read_pattern(struct walk *w, struct slice query, struct error *err)
{
    int len = query_find(query, w->deed->pattern, w->pattern_text, sizeof(w->pattern_text));

    if (len == -ENOENT && !w->deed->needs_pattern)
        return true;
    if (len < 0) {
        error_set(err, -EINVAL, "%s is the name of an image, or a pattern", w->deed->pattern);
        return false;
    }
    w->has_pattern = true;
    return image_choice_read(w->admin->api->registries,
                             (struct slice){w->pattern_text, (size_t)len}, &w->choice, err) == 0;
}

static void begin(struct txn *txn, const struct admin *admin, const struct image_deed *deed)
{
    struct walk *w = xcalloc(1, sizeof(*w));
    struct slice query = txn_head(txn)->query;
    struct error err = {.text = "n is a number above 0, last is the name of an image"};

    CHECK(admin->api && admin->pool);
    w->admin = admin;
    w->txn = txn;
    w->deed = deed;
    w->comma = "";
    if (!read_page(w, query) || !read_pattern(w, query, &err)) {
        admin_refuse(txn, 400, err.text);
        free_walk(w);
        return;
    }
    strbuf_add_str(&w->text, "{\"images\":[");
    txn_on_gone(txn, on_gone, w);
    submit(w);
}

void admin_list_images(struct txn *txn, const struct admin *admin)
{
    begin(txn, admin, &LIST);
}

void admin_pin_images(struct txn *txn, const struct admin *admin)
{
    begin(txn, admin, &PIN);
}

/* What is there and cannot be read is taken for yes: that harms nothing. */
static bool wants_dry(struct slice query)
{
    char text[8];
    int len = query_find(query, "dry_run", text, sizeof(text));

    return len != -ENOENT && (len < 0 || (strcmp(text, "0") != 0 && strcmp(text, "false") != 0));
}

void admin_evict_images(struct txn *txn, const struct admin *admin)
{
    begin(txn, admin, wants_dry(txn_head(txn)->query) ? &EVICT_DRY : &EVICT);
}
