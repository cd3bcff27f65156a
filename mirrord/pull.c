#include "config.h"

#include "mirrord/pull.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "cache/fill.h"
#include "cache/link.h"
#include "cache/objects.h"
#include "cache/store.h"
#include "mirrord/api_error.h"
#include "mirrord/registries.h"
#include "mirrord/states.h"
#include "upstream/fetch.h"
#include "upstream/upstream.h"

#define TO_THE_END UINT64_MAX
_Static_assert(TO_THE_END == FILL_SIZE_UNKNOWN, "one way to say: to the end");

enum { RANGE_FAILURES_MAX = 4 };

enum pull_state {
    PULL_LOADING,
    PULL_SHARED,
    PULL_FETCHING,
    PULL_RESTING,
    PULL_ENDED,
    PULL_STATE_MAX
};

static const struct state_row STATES[] = {
    [PULL_LOADING] = {"loading",
                      TO(PULL_SHARED) | TO(PULL_FETCHING) | TO(PULL_RESTING) | TO(PULL_ENDED),
                      "disk"},
    [PULL_SHARED] = {"shared", TO(PULL_RESTING) | TO(PULL_ENDED), "shared cache"},
    [PULL_FETCHING] = {"fetching", TO(PULL_RESTING) | TO(PULL_ENDED), "upstream"},
    [PULL_RESTING] = {"resting", TO(PULL_FETCHING) | TO(PULL_ENDED), "clients"},
    [PULL_ENDED] = {"ended", 0, "nobody"},
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == PULL_STATE_MAX, "a row for every state");

/* One upstream request of a pull, and the claim it writes into. */
struct leg {
    struct leg *next;
    struct pull *pull;
    struct fetch *fetch;
    struct fill_writer *writer; /* its claim begins at pos, or ahead: then read over to there */
    uint64_t begin;             /* first byte asked for */
    uint64_t end;               /* behind the last one asked for, or TO_THE_END */
    uint64_t pos;               /* of the byte that comes next */
    uint64_t written;
    size_t n_ahead;  /* bytes that were taken of a delivery which was then paused */
    bool is_main;    /* brings the whole, from gap to gap; at most one of them */
    bool is_stopped; /* by us: nothing more is wanted of it */
};

struct pull {
    enum pull_state state;
    struct pull_tools tools;
    struct fill *fill;
    char *repo;
    size_t repo_len;
    char prefix[40]; /* of log lines */
    struct leg *legs;
    unsigned n_legs;
    bool wants_all;   /* a reader wanted the whole, or enough is here */
    bool has_readers; /* as far as known: cleared by idle, set by demand */
    bool no_ranges;   /* the upstream does not do them, or fails to */
    bool is_linked;   /* the upstream has answered with the blob */
    bool is_looking;  /* on_shared will be called, and frees it if it has ended */
    unsigned n_range_failures;
    uint64_t first_off, first_end; /* what the first reader wants */
};

static void pull_advance(struct pull *p);

static struct slice repo_of(const struct pull *p)
{
    return (struct slice){p->repo, p->repo_len};
}

/* The only place where the state changes. */
static void pull_goto(struct pull *p, enum pull_state next)
{
    if (p->state == next)
        return;
    CHECK(STATES[p->state].next & TO(next));
    log_debug(p->prefix, "%s -> %s, turn of the %s", STATES[p->state].name, STATES[next].name,
              STATES[next].turn);
    p->state = next;
}

/* --- legs ------------------------------------------------------------------------------------- */

static void leg_free(void *arg)
{
    free(arg);
}

/* Takes the leg off its pull; its fetch is over or cancelled. */
static void leg_end(struct leg *leg)
{
    struct leg **at = &leg->pull->legs;

    while (*at != leg)
        at = &(*at)->next;
    *at = leg->next;
    leg->pull->n_legs--;
    if (leg->writer)
        fill_writer_close(&leg->writer);
    worker_bury(worker_current(), leg_free, leg);
}

static void cancel_legs(struct pull *p)
{
    while (p->legs) {
        fetch_cancel(&p->legs->fetch);
        leg_end(p->legs);
    }
}

/* The upstream can give us nothing more; tell the readers why. */
static void fail(struct pull *p, const struct fetch_result *result)
{
    enum api_error id = api_error_of_fetch(result, API_ERROR_BLOB_UNKNOWN);
    struct error err = result->error;

    /* Well, as far as the fetch can tell, and yet of no use. */
    if (id == API_ERROR_NONE) {
        id = API_ERROR_BAD_UPSTREAM;
        error_set(&err, -EPROTO, "the answer ends before the blob does");
    }
    if (id != API_ERROR_BLOB_UNKNOWN)
        log_warning(p->prefix, "upstream %s: %s", p->tools.registry->host.ptr, err.text);
    cancel_legs(p);
    fill_fail(p->fill, api_error_pack(id, result->retry_after_s), true, &err);
}

/* There is no claim at leg->pos. Claims what else of this request is worth reading, be it some way
 * ahead (so that nobody asks for it meanwhile); false when there is nothing. */
static bool leg_claim(struct leg *leg)
{
    struct pull *p = leg->pull;
    uint64_t gap, gap_end;

    CHECK(!leg->writer);
    if (!fill_missing(p->fill, leg->pos, &gap, &gap_end) || gap >= leg->end)
        return false;
    if (gap < leg->pos)
        return false; /* the disk is full: only the byte at the mark can be taken */
    if (gap - leg->pos > p->tools.settings->fill_skip_max_bytes && !p->no_ranges)
        return false;
    leg->writer = fill_writer_open(p->fill, gap, leg->end);
    return leg->writer != NULL;
}

/* Finds room for the byte at leg->pos. 1: the claim has some. 0: it is to be read over. Negative:
 * nothing more of this request is wanted. */
static int leg_find_room(struct leg *leg)
{
    do {
        if (!leg->writer)
            continue;
        uint64_t off = fill_writer_off(leg->writer);
        CHECK(off >= leg->pos);
        if (off > leg->pos)
            return 0;
        if (fill_writer_end(leg->writer) > off)
            return 1;
        fill_writer_close(&leg->writer);
    } while (leg_claim(leg));
    return -ECANCELED;
}

/* Reads over, or writes, the beginning of n bytes. Returns how many were dealt with; -EAGAIN when
 * the fill has no room; another negative errno when the leg is to stop. */
static ssize_t leg_take(struct leg *leg, const char *bytes, size_t n)
{
    int has_room = leg_find_room(leg);

    if (has_room < 0)
        return has_room;
    uint64_t until = has_room ? fill_writer_end(leg->writer) : fill_writer_off(leg->writer);
    size_t take = n < until - leg->pos ? n : (size_t)(until - leg->pos);
    int rc = has_room ? fill_write(leg->writer, bytes, take) : 0;
    if (rc == -EMSGSIZE) {
        /* The disk became full, and this is not the place where bytes are still taken. */
        fill_writer_close(&leg->writer);
        return -ECANCELED;
    }
    if (rc < 0)
        return rc;
    leg->written += has_room ? take : 0;
    return (ssize_t)take;
}

static int on_data(void *arg, const void *bytes, size_t n)
{
    struct leg *leg = arg;
    size_t done = leg->n_ahead < n ? leg->n_ahead : n;

    /* A delivery that was paused halfway comes again from its beginning. */
    leg->n_ahead -= done;
    while (done < n) {
        ssize_t taken = leg_take(leg, (const char *)bytes + done, n - done);
        if (taken == -EAGAIN) {
            leg->n_ahead = done;
            return FETCH_PAUSE;
        }
        if (taken < 0) {
            leg->is_stopped = true;
            return (int)taken;
        }
        leg->pos += (uint64_t)taken;
        done += (size_t)taken;
    }
    return 0;
}

static struct leg *find_main(struct pull *p)
{
    struct leg *leg = p->legs;

    while (leg && !leg->is_main)
        leg = leg->next;
    return leg;
}

/* The answer begins at byte 0 although a range was asked for. Use it if nobody else brings the
 * whole; from now on ask for no ranges. */
static int leg_rewind(struct leg *leg)
{
    struct pull *p = leg->pull;
    struct leg *main_leg = find_main(p);

    p->no_ranges = true;
    p->wants_all = true;
    if (main_leg && main_leg != leg)
        return -ECANCELED;
    log_info(p->prefix, "the upstream does not honour ranges, taking the whole");
    if (leg->writer)
        fill_writer_close(&leg->writer);
    leg->is_main = true;
    leg->begin = leg->pos = 0;
    leg->end = TO_THE_END;
    return leg_claim(leg) ? 0 : -ECANCELED;
}

/* The upstream has the blob in this repository. */
static void note_link(struct pull *p)
{
    if (!p->is_linked)
        links_add(p->tools.links, repo_of(p), fill_digest(p->fill), p->tools.registry->origin);
    p->is_linked = true;
}

static int on_head(void *arg, const struct fetch_head *head)
{
    struct leg *leg = arg;
    struct pull *p = leg->pull;
    bool is_whole = leg->begin == 0 && leg->end == TO_THE_END;

    note_link(p);
    if (head->size != UINT64_MAX && fill_set_size(p->fill, head->size) < 0) {
        leg->is_stopped = true;
        struct error err;
        error_set(&err, -EPROTO, "size of the blob: the upstream now says %" PRIu64 " bytes",
                  head->size);
        log_error(p->prefix, "%s", err.text);
        fill_fail(p->fill, api_error_pack(API_ERROR_BAD_UPSTREAM, 0), false, &err);
        return -EPROTO;
    }
    if (!head->is_range && !is_whole) {
        int rc = leg_rewind(leg);
        leg->is_stopped = rc < 0;
        return rc;
    }
    return 0;
}

static void on_done(void *arg, const struct fetch_result *result);

static const struct fetch_ops FETCH_OPS = {on_head, on_data, on_done};

/* Asks for [off, end), whose first missing byte is at `gap`. The claim is made at once, so that
 * nobody else asks for the same. */
static struct leg *leg_start(struct pull *p, uint64_t off, uint64_t end, uint64_t gap)
{
    struct leg *leg = xcalloc(1, sizeof(*leg));
    struct fetch_spec spec = {.kind = FETCH_BLOB,
                              .repo = registry_repo(p->tools.registry, repo_of(p)),
                              .off = off,
                              .end = end};
    char digest[DIGEST_TEXT_SIZE];

    CHECK(off < end);
    spec.reference = (struct slice){digest, digest_format(fill_digest(p->fill), digest)};
    leg->pull = p;
    leg->begin = leg->pos = off;
    leg->end = end;
    leg->next = p->legs;
    p->legs = leg;
    p->n_legs++;
    leg->writer = fill_writer_open(p->fill, gap, end);
    leg->fetch = fetch_start(p->tools.registry->upstream, &spec, &FETCH_OPS, leg);
    pull_goto(p, PULL_FETCHING);
    return leg;
}

/* What a failed request means for the others: true when the pull goes on without it. */
static bool survives(struct leg *leg, const struct fetch_result *result)
{
    struct pull *p = leg->pull;
    bool is_ranged = leg->begin > 0 || leg->end != TO_THE_END;
    uint64_t size;

    if (leg->is_stopped)
        return true;
    if (result->outcome == FETCH_OK) {
        /* Without a length in its head an answer may end anywhere. As long as it brings something
         * the rest is asked for. */
        bool is_short = leg->written == 0 && fill_size(p->fill, &size) && leg->pos < size &&
                        leg->pos < leg->end;
        return !is_short;
    }
    /* Asked behind the end: the first bytes will tell where that is. */
    if (result->status == 416 && !leg->is_main && leg->begin > 0 && !fill_size(p->fill, &size))
        return true;
    if (!is_ranged)
        return false;
    /* A request beside others is tried again when its reader asks again. When that does not help,
     * or nothing else runs, a plain request may do what ranges could not. */
    bool is_beside = !leg->is_main && p->n_legs > 1;
    p->n_range_failures++;
    if (is_beside && p->n_range_failures < RANGE_FAILURES_MAX)
        return true;
    if (is_beside || (result->outcome == FETCH_BAD_ANSWER && !p->no_ranges)) {
        log_info(p->prefix, "range failed (%s), going on without ranges", result->error.text);
        p->no_ranges = true;
        p->wants_all = true;
        return true;
    }
    return false;
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct leg *leg = arg;
    struct pull *p = leg->pull;
    bool goes_on = survives(leg, result);
    bool is_end = result->outcome == FETCH_OK && leg->end == TO_THE_END;
    uint64_t pos = leg->pos, size;

    leg->fetch = NULL;
    leg_end(leg);
    if (p->state == PULL_ENDED || fill_failure(p->fill, NULL) != 0)
        return;
    if (!goes_on) {
        fail(p, result);
        return;
    }
    /* An upstream that told no length has told it now. */
    if (is_end && !fill_size(p->fill, &size) && fill_set_size(p->fill, pos) < 0)
        log_warning(p->prefix, "the body ended at %" PRIu64 ", which cannot be", pos);
    /* Nor did it tell with a range: only the end of the whole will. */
    if (result->outcome == FETCH_OK && !is_end && !fill_size(p->fill, &size))
        p->wants_all = true;
    pull_advance(p);
}

/* --- what to ask for -------------------------------------------------------------------------- */

/* Where a request that begins with the gap at `off` should end: over the short segments that lie
 * between gaps, to the end if nothing long is in the way. */
static uint64_t span_end(struct pull *p, uint64_t off, uint64_t end)
{
    uint64_t size, gap, gap_end;

    while (end != TO_THE_END && fill_missing(p->fill, end, &gap, &gap_end)) {
        if (gap - end > p->tools.settings->fill_skip_max_bytes && !p->no_ranges)
            return end;
        end = gap_end;
    }
    CHECK(off < end);
    return fill_size(p->fill, &size) && end < size ? end : TO_THE_END;
}

/* Starts what is missing of the whole, from the first gap on, if that is not under way. */
static void start_whole(struct pull *p)
{
    uint64_t gap, gap_end;

    if (find_main(p) || !fill_missing(p->fill, 0, &gap, &gap_end))
        return;
    struct leg *leg = p->no_ranges ? leg_start(p, 0, TO_THE_END, gap)
                                   : leg_start(p, gap, span_end(p, gap, gap_end), gap);
    leg->is_main = true;
}

/* Starts a request for a reader that waits at `off`: from the gap around it, widened to the
 * alignment. When that byte is claimed by a request far behind it, the claim is cut in two there.
 */
static void start_range(struct pull *p, uint64_t off, uint64_t end)
{
    uint64_t align = p->tools.settings->fill_range_align;
    uint64_t size, gap, gap_end;

    if (!fill_missing(p->fill, off - off % align, &gap, &gap_end) || gap > off || gap_end <= off)
        gap = off;
    if (end != TO_THE_END)
        end = end > UINT64_MAX - align ? TO_THE_END : (end + align - 1) / align * align;
    if (fill_size(p->fill, &size) && end >= size)
        end = TO_THE_END;
    leg_start(p, gap, end, gap);
}

/* Whether that share of the blob is here. */
static bool has_share(struct pull *p, unsigned percent)
{
    uint64_t size;

    return fill_size(p->fill, &size) &&
           (double)fill_present(p->fill) * 100 >= (double)size * percent;
}

/* Nobody reads and nothing is on its way that must be finished. */
static void suspend(struct pull *p)
{
    uint64_t size;

    if (fill_size(p->fill, &size) && fill_present(p->fill) == size)
        return; /* all is here: the fill ends by itself */
    cancel_legs(p);
    if (fill_suspend(p->fill))
        return;
    /* A reader came meanwhile. */
    p->has_readers = true;
    pull_advance(p);
}

/* Little is left of the upstream's limit: nothing is fetched that no client waits for. */
static bool is_saving(const struct pull *p)
{
    return upstream_is_low(p->tools.registry->upstream);
}

/* So much is here that the rest is fetched, too. */
static bool is_to_be_completed(struct pull *p)
{
    return has_share(p, p->tools.settings->fill_complete_percent) && !is_saving(p);
}

/* After anything changed: starts what is due, or rests. */
static void pull_advance(struct pull *p)
{
    uint64_t size;

    CHECK(p->state == PULL_FETCHING || p->state == PULL_RESTING);
    if (!p->wants_all && p->n_legs == 0)
        p->wants_all = is_to_be_completed(p);
    if (p->wants_all)
        start_whole(p);
    else if (p->n_legs == 0 && !fill_size(p->fill, &size))
        start_range(p, 0, 1); /* only to learn the size */
    if (p->n_legs > 0)
        return;
    pull_goto(p, PULL_RESTING);
    if (!p->has_readers)
        suspend(p);
}

/* What the first reader wants, of the upstream. */
static void start(struct pull *p)
{
    uint64_t size;

    pull_goto(p, PULL_RESTING);
    if (p->first_off == 0 && p->first_end == TO_THE_END)
        p->wants_all = true;
    /* With a known size the reader goes on by itself and waits where it misses something. */
    else if (!fill_size(p->fill, &size))
        start_range(p, p->first_off, p->first_end);
    pull_advance(p);
}

/* --- small objects that mirrors share --------------------------------------------------------- */

/* A configuration that the repository has from its upstream: others may know it as we do. */
static bool is_shareable(const struct pull *p)
{
    const struct digest *d = fill_digest(p->fill);
    struct origin from;

    return objects_is_config(p->tools.objects, d) &&
           links_find_origin(p->tools.links, LINK_LAYER, repo_of(p), d, &from) && !from.is_pushed;
}

/* The whole blob. What of it finds no room is asked of the upstream, as if there were nothing. */
static void take_shared(struct pull *p, struct slice body)
{
    uint64_t gap, gap_end;
    int rc = fill_set_size(p->fill, body.len);

    while (rc == 0 && fill_missing(p->fill, 0, &gap, &gap_end)) {
        struct fill_writer *w = fill_writer_open(p->fill, gap, gap_end);
        if (!w)
            return;
        rc = fill_write(w, body.ptr + gap, (size_t)(fill_writer_end(w) - gap));
        fill_writer_close(&w);
    }
}

static void pull_free(void *arg);

static void on_shared(void *arg, int rc, struct slice body)
{
    struct pull *p = arg;

    CHECK(p->is_looking && (p->state == PULL_SHARED || p->state == PULL_ENDED));
    p->is_looking = false;
    if (p->state == PULL_ENDED) {
        worker_bury(worker_current(), pull_free, p);
        return;
    }
    if (rc == 0)
        take_shared(p, body);
    start(p);
}

static bool look_for_shared(struct pull *p)
{
    if (!is_shareable(p) ||
        objects_load(p->tools.objects, fill_digest(p->fill), SIZE_MAX, on_shared, p) < 0)
        return false;
    p->is_looking = true;
    pull_goto(p, PULL_SHARED);
    return true;
}

/* The upstream has brought it. */
static void share(struct pull *p)
{
    struct blob *blob = p->is_linked && is_shareable(p) ? fill_blob(p->fill) : NULL;

    if (blob)
        objects_put_blob(p->tools.objects, blob);
    blob_unref(&blob);
}

/* --- what the fill says ----------------------------------------------------------------------- */

static void do_begin(void *arg, struct fill *f)
{
    struct pull *p = arg;

    CHECK(p->fill == f && p->state == PULL_LOADING);
    if (!look_for_shared(p))
        start(p);
}

/* Asked again after a leg ended, so what cannot be started now is not lost. */
static void do_demand(void *arg, struct fill *f, uint64_t off, uint64_t end)
{
    struct pull *p = arg;
    uint64_t size, gap, gap_end;

    CHECK(p->fill == f && p->state != PULL_LOADING);
    p->has_readers = true;
    if (fill_size(f, &size) && end >= size)
        end = TO_THE_END;
    if (off == 0 && end == TO_THE_END)
        p->wants_all = true;
    if (p->state == PULL_SHARED)
        return;
    bool is_whole_due = p->wants_all && !find_main(p) && fill_missing(f, 0, &gap, &gap_end) &&
                        (gap == off || p->no_ranges);
    if (is_whole_due)
        start_whole(p);
    else if (!p->no_ranges && p->n_legs <= p->tools.settings->fill_ranges_max)
        start_range(p, off, end);
    pull_advance(p);
}

static void do_idle(void *arg, struct fill *f)
{
    struct pull *p = arg;
    unsigned percent = p->tools.settings->fill_continue_percent;

    CHECK(p->fill == f);
    p->has_readers = false;
    if (p->state == PULL_LOADING || p->state == PULL_SHARED)
        return;
    p->wants_all = p->wants_all || is_to_be_completed(p);
    if (p->wants_all && (percent == 0 || has_share(p, percent)) && !is_saving(p))
        pull_advance(p);
    else
        suspend(p);
}

static void do_room(void *arg, struct fill_writer *w)
{
    struct pull *p = arg;

    for (struct leg *leg = p->legs; leg; leg = leg->next) {
        if (leg->writer == w) {
            fetch_resume(leg->fetch);
            return;
        }
    }
}

static void pull_free(void *arg)
{
    struct pull *p = arg;

    CHECK(!p->legs);
    fill_unref(&p->fill);
    free(p->repo);
    free(p);
}

static void do_ended(void *arg, struct fill *f, int rc)
{
    struct pull *p = arg;

    CHECK(p->fill == f);
    if (rc == -EBADMSG)
        log_error(p->prefix, "what upstream %s sent for %s does not have this digest",
                  p->tools.registry->host.ptr, p->repo);
    if (rc == 0)
        share(p);
    links_drop_pending(p->tools.links, repo_of(p), fill_digest(f));
    cancel_legs(p);
    pull_goto(p, PULL_ENDED);
    if (!p->is_looking)
        worker_bury(worker_current(), pull_free, p);
}

static const struct fill_driver DRIVER = {do_begin, do_demand, do_idle, do_room, do_ended};

void pull_start(const struct pull_tools *tools, struct fill *f, struct slice repo, uint64_t off,
                uint64_t end)
{
    struct pull *p = xcalloc(1, sizeof(*p));
    char digest[DIGEST_TEXT_SIZE];

    CHECK(tools->registry->upstream && off < end);
    p->tools = *tools;
    p->fill = fill_ref(f);
    p->repo = xmemdup0(repo.ptr, repo.len);
    p->repo_len = repo.len;
    p->has_readers = true;
    p->first_off = off;
    p->first_end = end;
    digest_format(fill_digest(f), digest);
    snprintf(p->prefix, sizeof(p->prefix), "pull %.24s", digest);
    fill_drive(f, &DRIVER, p);
}
