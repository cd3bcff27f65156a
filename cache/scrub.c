#include "config.h"

#include "cache/scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/cache_private.h"
#include "cache/quiet_file.h"
#include "cache/run_report.h"
#include "cache/scrub_check.h"
#include "cache/scrub_list.h"
#include "cache/scrub_private.h"
#include "cache/scrub_state.h"

#define PREFIX "scrub"
#define TURN_MAX_BYTES (1024 * 1024) /* of one turn; other work of the pool waits as long */
#define LOOK_BYTES 4096              /* what looking at one file or link counts, at least */
#define LINKS_AT_ONCE 16
#define FIRST_AFTER_S 3600 /* a storage that was never looked at, after the first start on it */
#define SAVE_MS 5000       /* where it is, is written down so often */
#define JUDGE_AFTER 100    /* so many blobs behind a damaged one, the links are walked */
#define EIO_ROW_MAX 2      /* more in a row, and it is the disk rather than the blobs */
#define ASKED_MAX 64
#define LOGGED_MAX 20
#define BAD_TOLD_MAX 100

enum scrub_phase { SCRUB_IDLE, SCRUB_BLOBS, SCRUB_WALK, SCRUB_TAGS, SCRUB_PHASE_MAX };

static const char *const PHASES[] = {
    [SCRUB_IDLE] = "idle", [SCRUB_BLOBS] = "blobs", [SCRUB_WALK] = "links", [SCRUB_TAGS] = "tags"};
_Static_assert(sizeof(PHASES) / sizeof(PHASES[0]) == SCRUB_PHASE_MAX, "one row per phase");

struct scrub {
    struct scrub_place place;
    /* Of whoever has the turn. */
    enum scrub_phase phase;
    struct scrub_desk desk;
    void *buffer;
    bool has_begun;          /* the state has been read */
    bool is_pass;            /* a whole one; else only what was asked for */
    struct scrub_list *list; /* of a pass, while there is something in it */
    struct digest after;     /* all up to this one were looked at, if has_after */
    bool has_after;
    struct scrub_check *check; /* under way */
    bool is_of_list;           /* it comes from the list */
    bool has_damage;           /* something lies aside that the links have not been asked about */
    unsigned n_behind;         /* blobs looked at since */
    unsigned n_eio;            /* in a row */
    unsigned n_logged;
    struct scrub_suspects suspects;
    struct scrub_links *links; /* of a walk */
    struct scrub_tags *tags;   /* the same */
    char last[DIGEST_TEXT_SIZE];
    struct strbuf bad; /* digests of what was pushed and is damaged, as JSON */
    unsigned n_bad;
    struct strbuf bad_tags; /* the same of tags */
    unsigned n_bad_tags;
    int64_t next_at_s; /* 0: not by itself */
    uint64_t saved_at_ms;
    pthread_mutex_t lock; /* guards what follows */
    struct scrub_settings settings;
    bool wants_pass;
    struct digest asked[ASKED_MAX];
    size_t n_asked;
    struct scrub_report report; /* as of the last turn; running from the moment that it is asked */
    char *bad_text;             /* as of the last walk; may be NULL */
    char *bad_tags_text;        /* the same */
};

/* --- telling ---------------------------------------------------------------------------------- */

void scrub_desk_tell(struct scrub_desk *desk, enum scrub_news news, const struct digest *d,
                     const char *detail)
{
    CHECK(news < SCRUB_NEWS_MAX);
    if (desk->tell)
        desk->tell(desk->tell_arg, news, d, detail);
}

void scrub_desk_note(struct scrub_desk *desk, const struct error *err)
{
    desk->report.n_unreadable++;
    metric_inc(METRIC_SCRUB_UNREADABLE);
    snprintf(desk->report.problem, sizeof(desk->report.problem), "%s", err->text);
    scrub_desk_tell(desk, SCRUB_NEWS_UNREADABLE, NULL, err->text);
}

static void note_bad(struct scrub *s, const char *digest)
{
    if (s->n_bad++ < BAD_TOLD_MAX)
        strbuf_addf(&s->bad, "%s\"%s\"", s->bad.len > 0 ? "," : "", digest);
}

static void note_bad_tag(struct scrub *s, const char *detail)
{
    if (s->n_bad_tags++ >= BAD_TOLD_MAX)
        return;
    strbuf_addf(&s->bad_tags, "%s\"", s->bad_tags.len > 0 ? "," : "");
    strbuf_add_json(&s->bad_tags, slice_of(detail));
    strbuf_add_char(&s->bad_tags, '"');
    log_error(PREFIX, "%s; it was pushed, or may have been: push it again", detail);
}

/* Of what may be wrong with every file of a disk only the first are logged. */
static void on_news(void *arg, enum scrub_news news, const struct digest *d, const char *detail)
{
    struct scrub *s = arg;
    char digest[DIGEST_TEXT_SIZE] = "";

    if (d)
        digest_format(d, digest);
    if (news == SCRUB_NEWS_BAD_PUSHED) {
        note_bad(s, digest);
        if (s->n_bad <= BAD_TOLD_MAX)
            log_error(
                PREFIX,
                "%s was pushed (%s) and is damaged: push it again, or put a good copy into %s",
                digest, detail, layout_damaged_folder(s->place.layout));
        return;
    }
    if (news == SCRUB_NEWS_BAD_TAG) {
        note_bad_tag(s, detail);
        return;
    }
    if (s->n_logged++ >= LOGGED_MAX)
        return;
    if (news == SCRUB_NEWS_DAMAGED)
        log_warning(PREFIX, "%s is damaged (%s); it was moved away", digest, detail);
    else if (news == SCRUB_NEWS_REMOVED)
        log_info(PREFIX, "%s was mirrored (%s); the damaged one was removed", digest, detail);
    else if (news == SCRUB_NEWS_HEALED)
        log_info(PREFIX, "%s is here again: %s", digest, detail);
    else if (news == SCRUB_NEWS_UNREADABLE)
        log_warning(PREFIX, "%s", detail);
    else if (news == SCRUB_NEWS_LINK)
        log_warning(PREFIX, "damaged link of %s written again: %s", digest, detail);
    else if (news == SCRUB_NEWS_TAG_REMOVED)
        log_warning(PREFIX, "%s; it was mirrored, and was removed", detail);
    else
        log_warning(PREFIX, "%s is linked in %s and not here", digest, detail);
}

/* --- life ------------------------------------------------------------------------------------- */

struct scrub *scrub_new(const struct scrub_place *place)
{
    struct scrub *s = xcalloc(1, sizeof(*s));

    CHECK(!place->is_dry && place->store && place->vouches && place->manifests);
    s->place = *place;
    s->desk.tell = on_news;
    s->desk.tell_arg = s;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void leave_walk(struct scrub *s)
{
    scrub_links_free(&s->links);
    scrub_tags_free(&s->tags);
    scrub_suspects_fini(&s->suspects);
}

void scrub_free(struct scrub **ss)
{
    struct scrub *s = *ss;

    if (!s)
        return;
    leave_walk(s);
    scrub_check_free(&s->check);
    scrub_list_free(&s->list);
    strbuf_fini(&s->bad);
    strbuf_fini(&s->bad_tags);
    pthread_mutex_destroy(&s->lock);
    free(s->bad_text);
    free(s->bad_tags_text);
    free(s->buffer);
    free(s);
    *ss = NULL;
}

void scrub_set_refetch(struct scrub *s, scrub_refetch_fn fn, void *arg)
{
    s->desk.refetch = fn;
    s->desk.refetch_arg = arg;
}

void scrub_set_settings(struct scrub *s, const struct scrub_settings *settings)
{
    pthread_mutex_lock(&s->lock);
    s->settings = *settings;
    pthread_mutex_unlock(&s->lock);
}

bool scrub_start(struct scrub *s)
{
    pthread_mutex_lock(&s->lock);
    bool can = s->settings.rate_bytes > 0;
    s->wants_pass = s->wants_pass || can;
    s->report.is_running = s->report.is_running || can;
    pthread_mutex_unlock(&s->lock);
    return can;
}

bool scrub_ask(struct scrub *s, const struct digest *d)
{
    pthread_mutex_lock(&s->lock);
    bool can = s->settings.rate_bytes > 0 && s->n_asked < ASKED_MAX;
    if (can)
        s->asked[s->n_asked++] = *d;
    s->report.is_running = s->report.is_running || can;
    pthread_mutex_unlock(&s->lock);
    return can;
}

static struct scrub_settings settings_of(struct scrub *s)
{
    pthread_mutex_lock(&s->lock);
    struct scrub_settings settings = s->settings;
    pthread_mutex_unlock(&s->lock);
    return settings;
}

/* --- where it is ------------------------------------------------------------------------------ */

static void go_to(struct scrub *s, enum scrub_phase phase)
{
    CHECK(phase < SCRUB_PHASE_MAX);
    log_debug(PREFIX, "%s -> %s", PHASES[s->phase], PHASES[phase]);
    s->phase = phase;
    metric_set(METRIC_SCRUB_RUNNING, phase != SCRUB_IDLE);
}

/* While links or tags are walked the number of pushed ones is being counted anew. What was asked
 * for and has not begun is running: who asked would take the report of before for the answer. */
static void publish(struct scrub *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t n_bad = s->report.n_bad_pushed, n_bad_tags = s->report.n_bad_tags;
    s->report = s->desk.report;
    s->report.is_running = s->phase != SCRUB_IDLE || s->wants_pass || s->n_asked > 0;
    if (s->phase == SCRUB_WALK)
        s->report.n_bad_pushed = n_bad;
    if (s->phase == SCRUB_TAGS)
        s->report.n_bad_tags = n_bad_tags;
    pthread_mutex_unlock(&s->lock);
}

void scrub_save(struct scrub *s)
{
    struct error err;
    struct scrub_state state = {
        .next_at_s = s->next_at_s, .has_after = s->is_pass && s->has_after, .after = s->after};

    if (!s->has_begun)
        return;
    scrub_read_report(s, &state.report);
    s->saved_at_ms = clock_mono_ms();
    if (scrub_state_save(s->place.layout, &state, &err) < 0)
        log_warning(PREFIX, "its place is not written down: %s", err.text);
}

/* What an earlier process was at. What it may have moved away last has not been judged. */
static void begin(struct scrub *s, const struct scrub_settings *settings)
{
    struct scrub_state state;
    int64_t now_s = clock_wall_s();
    int64_t first_s = settings->interval_s < FIRST_AFTER_S ? settings->interval_s : FIRST_AFTER_S;

    CHECK(!s->buffer && s->phase == SCRUB_IDLE);
    s->has_begun = true;
    s->buffer = quiet_file_buffer();
    scrub_state_load(s->place.layout, &state);
    s->next_at_s = state.next_at_s > 0 ? state.next_at_s : now_s + first_s;
    s->desk.report = state.report;
    s->desk.report.problem[0] = '\0';
    s->has_damage = true;
    if (state.has_after) {
        s->is_pass = true;
        s->has_after = true;
        s->after = state.after;
        s->list = scrub_list_new(s->place.layout, &state.after);
        log_info(PREFIX, "goes on with the pass that was under way");
    }
    go_to(s, SCRUB_BLOBS);
    publish(s);
    scrub_save(s);
}

static void begin_pass(struct scrub *s)
{
    s->is_pass = true;
    s->has_after = false;
    s->n_logged = 0;
    scrub_list_free(&s->list);
    s->list = scrub_list_new(s->place.layout, NULL);
    s->desk.report = (struct scrub_report){.started_at_s = clock_wall_s(),
                                           .n_bad_pushed = s->desk.report.n_bad_pushed,
                                           .n_bad_tags = s->desk.report.n_bad_tags};
    if (s->phase == SCRUB_IDLE)
        go_to(s, SCRUB_BLOBS);
}

/* The clock may have been set back: nothing waits for longer than an interval. */
static bool is_due(struct scrub *s, const struct scrub_settings *settings)
{
    int64_t now_s = clock_wall_s();

    if (settings->interval_s == 0)
        return false;
    if (s->next_at_s > now_s + settings->interval_s)
        s->next_at_s = now_s + settings->interval_s;
    return now_s >= s->next_at_s;
}

static void end_pass(struct scrub *s)
{
    struct scrub_report *r = &s->desk.report;
    struct scrub_settings settings = settings_of(s);

    CHECK(s->is_pass && !s->list && !s->links && !s->tags);
    s->is_pass = false;
    s->has_after = false;
    r->is_complete = true;
    r->ended_at_s = clock_wall_s();
    s->next_at_s = r->started_at_s + settings.interval_s;
    log_info(PREFIX,
             "complete: %" PRIu64 " blobs (%" PRIu64 " bytes), %" PRIu64 " damaged, %" PRIu64
             " removed, %" PRIu64 " pushed ones damaged, %" PRIu64 " links repaired, %" PRIu64
             " missing, %" PRIu64 " tags removed, %" PRIu64 " pushed ones damaged, %" PRIu64
             " not readable",
             r->n_blobs, r->bytes, r->n_damaged, r->n_removed, r->n_bad_pushed, r->n_links_repaired,
             r->n_missing, r->n_tags_removed, r->n_bad_tags, r->n_unreadable);
}

/* --- blobs ------------------------------------------------------------------------------------ */

static const char *why(int error)
{
    return error == -EBADMSG ? "it has another digest" : strerror(-error);
}

static void note_unreadable(struct scrub *s, const struct digest *d, int error)
{
    char text[DIGEST_TEXT_SIZE];
    struct error err;

    digest_format(d, text);
    error_sys(&err, error, "read %s", text);
    scrub_desk_note(&s->desk, &err);
}

static void on_damaged(struct scrub *s, const struct scrub_check *check)
{
    const struct digest *d = scrub_check_digest(check);
    int error = scrub_check_error(check);
    struct error err;

    CHECK(error < 0);
    if (error == -EIO && ++s->n_eio > EIO_ROW_MAX) {
        note_unreadable(s, d, error);
        return;
    }
    int rc = scrub_damage_move(&s->place, d, scrub_check_stat(check), &s->desk, &err);
    if (rc < 0)
        scrub_desk_note(&s->desk, &err);
    if (rc != 1)
        return;
    s->desk.report.n_damaged++;
    s->has_damage = true;
    scrub_desk_tell(&s->desk, SCRUB_NEWS_DAMAGED, d, why(error));
}

static void finish_check(struct scrub *s, enum scrub_verdict verdict)
{
    const struct digest *d = scrub_check_digest(s->check);

    s->desk.report.n_blobs += verdict == SCRUB_WHOLE || verdict == SCRUB_DAMAGED;
    metric_add(METRIC_SCRUB_BLOBS, verdict == SCRUB_WHOLE || verdict == SCRUB_DAMAGED);
    if (verdict == SCRUB_WHOLE)
        s->n_eio = 0;
    else if (verdict == SCRUB_DAMAGED)
        on_damaged(s, s->check);
    else if (verdict == SCRUB_UNREADABLE)
        note_unreadable(s, d, scrub_check_error(s->check));
    if (s->is_of_list) {
        s->after = *d;
        s->has_after = true;
    }
    s->n_behind += s->has_damage;
    scrub_check_free(&s->check);
}

static bool take_asked(struct scrub *s, struct digest *out)
{
    pthread_mutex_lock(&s->lock);
    bool has = s->n_asked > 0;
    if (has) {
        *out = s->asked[0];
        s->n_asked--;
        memmove(&s->asked[0], &s->asked[1], s->n_asked * sizeof(s->asked[0]));
    }
    pthread_mutex_unlock(&s->lock);
    return has;
}

/* What is to be read next; false: nothing is, for now. */
static bool next_check(struct scrub *s)
{
    struct digest d;
    struct error err;
    int rc;

    s->is_of_list = false;
    if (!take_asked(s, &d)) {
        if (!s->list || (s->has_damage && s->n_behind >= JUDGE_AFTER))
            return false;
        while ((rc = scrub_list_next(s->list, &d, &err)) < 0)
            scrub_desk_note(&s->desk, &err);
        if (rc == 0) {
            scrub_list_free(&s->list);
            return false;
        }
        s->is_of_list = true;
    }
    s->check = scrub_check_new(s->place.layout, &d);
    return true;
}

/* --- links ------------------------------------------------------------------------------------ */

/* The next run of what lies aside, and a walk to find out whose it is; the last walk of a pass also
 * looks at the links themselves. False: there is nothing to walk for. */
static bool begin_walk(struct scrub *s, bool is_first)
{
    bool wants_all = is_first && s->is_pass && !s->list;

    leave_walk(s);
    if (is_first) {
        s->last[0] = '\0';
        s->desk.report.n_bad_pushed = 0;
        strbuf_clear(&s->bad);
        s->n_bad = 0;
    }
    scrub_suspects_load(&s->suspects, &s->place, &s->desk, s->last);
    if (s->suspects.n == 0 && !wants_all)
        return false;
    s->links = scrub_links_new(&s->place, &s->suspects, wants_all);
    return true;
}

/* The text that others see becomes this one. */
static void show(char **shown, const struct strbuf *text)
{
    free(*shown);
    *shown = text->len > 0 ? xmemdup0(text->ptr, text->len) : NULL;
}

static void raise_alarm(struct scrub *s)
{
    const struct scrub_report *r = &s->desk.report;

    metric_set(METRIC_SCRUB_BAD_PUSHED, (int64_t)(r->n_bad_pushed + r->n_bad_tags));
    pthread_mutex_lock(&s->lock);
    show(&s->bad_text, &s->bad);
    show(&s->bad_tags_text, &s->bad_tags);
    pthread_mutex_unlock(&s->lock);
}

/* All that lies aside was judged; at the end of a pass the tags follow. */
static void end_walk(struct scrub *s)
{
    CHECK(s->phase == SCRUB_WALK);
    leave_walk(s);
    raise_alarm(s);
    if (!s->is_pass || s->list) {
        go_to(s, s->is_pass ? SCRUB_BLOBS : SCRUB_IDLE);
        return;
    }
    s->desk.report.n_bad_tags = 0;
    strbuf_clear(&s->bad_tags);
    s->n_bad_tags = 0;
    s->tags = scrub_tags_new(&s->place);
    go_to(s, SCRUB_TAGS);
}

static void walk_tags(struct scrub *s)
{
    CHECK(s->tags);
    if (scrub_tags_turn(s->tags, &s->desk, LINKS_AT_ONCE))
        return;
    leave_walk(s);
    raise_alarm(s);
    end_pass(s);
    go_to(s, SCRUB_IDLE);
}

static void start_walk(struct scrub *s)
{
    bool is_at_end = s->is_pass && !s->list;

    if (!s->has_damage && !is_at_end) {
        go_to(s, s->is_pass ? SCRUB_BLOBS : SCRUB_IDLE);
        return;
    }
    s->has_damage = false;
    s->n_behind = 0;
    go_to(s, SCRUB_WALK);
    if (!begin_walk(s, true))
        end_walk(s);
}

static void walk(struct scrub *s)
{
    CHECK(s->links);
    if (scrub_links_turn(s->links, &s->desk, LINKS_AT_ONCE))
        return;
    scrub_suspects_judge(&s->suspects, &s->place, &s->desk, scrub_links_is_unknown(s->links));
    if (!s->suspects.is_full || !begin_walk(s, false))
        end_walk(s);
}

/* --- turns ------------------------------------------------------------------------------------ */

/* A small step; returns what it counts, in bytes. */
static uint64_t step(struct scrub *s)
{
    uint64_t n = 0;

    CHECK(s->phase != SCRUB_IDLE);
    if (s->phase == SCRUB_WALK || s->phase == SCRUB_TAGS) {
        if (s->phase == SCRUB_WALK)
            walk(s);
        else
            walk_tags(s);
        return LINKS_AT_ONCE * LOOK_BYTES;
    }
    if (!s->check && !next_check(s)) {
        start_walk(s);
        return LOOK_BYTES;
    }
    enum scrub_verdict verdict = scrub_check_step(s->check, s->buffer, &n);
    s->desk.report.bytes += n;
    metric_add(METRIC_SCRUB_BYTES, (int64_t)n);
    if (verdict != SCRUB_MORE)
        finish_check(s, verdict);
    return n > LOOK_BYTES ? n : LOOK_BYTES;
}

/* Whether there is anything to be done. */
static bool wake(struct scrub *s, const struct scrub_settings *settings)
{
    bool can_begin = !s->is_pass && s->phase != SCRUB_WALK && s->phase != SCRUB_TAGS;

    pthread_mutex_lock(&s->lock);
    bool wants_pass = s->wants_pass;
    bool has_asked = s->n_asked > 0;
    /* One that was asked for while one is under way is that one. */
    if (can_begin || s->is_pass)
        s->wants_pass = false;
    pthread_mutex_unlock(&s->lock);
    if (!s->has_begun)
        begin(s, settings);
    if (can_begin && !s->is_pass && (wants_pass || is_due(s, settings)))
        begin_pass(s);
    else if (s->phase == SCRUB_IDLE && has_asked)
        go_to(s, SCRUB_BLOBS);
    return s->phase != SCRUB_IDLE;
}

static uint64_t ms_until_due(const struct scrub *s, const struct scrub_settings *settings)
{
    int64_t s_left = s->next_at_s - clock_wall_s();

    if (settings->interval_s == 0)
        return UINT64_MAX;
    /* Looked at again now and then, because the clock may be set. */
    return s_left <= 0 ? 0 : s_left > 60 ? 60000 : (uint64_t)s_left * 1000;
}

uint64_t scrub_turn(struct scrub *s)
{
    struct scrub_settings settings = settings_of(s);
    uint64_t n = 0, n_max = settings.rate_bytes / 10;

    if (settings.rate_bytes == 0)
        return UINT64_MAX;
    if (!wake(s, &settings))
        return ms_until_due(s, &settings);
    if (n_max > TURN_MAX_BYTES)
        n_max = TURN_MAX_BYTES;
    bool was_pass = s->is_pass;
    do
        n += step(s);
    while (n < n_max && s->phase != SCRUB_IDLE);
    publish(s);
    /* Behind the report: who sees the pass counted finds it told. */
    if (was_pass && !s->is_pass)
        metric_inc(METRIC_SCRUB_PASSES);
    if (was_pass != s->is_pass || clock_mono_ms() - s->saved_at_ms >= SAVE_MS)
        scrub_save(s);
    return n * 1000 / settings.rate_bytes;
}

/* --- telling from outside --------------------------------------------------------------------- */

void scrub_read_report(struct scrub *s, struct scrub_report *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->report;
    pthread_mutex_unlock(&s->lock);
}

void scrub_print_json(struct scrub *s, struct strbuf *out)
{
    pthread_mutex_lock(&s->lock);
    struct scrub_report r = s->report;
    char *bad = s->bad_text ? xstrdup(s->bad_text) : NULL;
    char *bad_tags = s->bad_tags_text ? xstrdup(s->bad_tags_text) : NULL;
    pthread_mutex_unlock(&s->lock);
    const struct run_report whole = {r.is_running, r.is_complete, r.started_at_s, r.ended_at_s,
                                     r.problem};
    const struct run_count counts[] = {
        {"blobs", r.n_blobs},
        {"bytes", r.bytes},
        {"damaged", r.n_damaged},
        {"removed", r.n_removed},
        {"refetched", r.n_refetched},
        {"healed", r.n_healed},
        {"unreadable", r.n_unreadable},
        {"links", r.n_links},
        {"links_repaired", r.n_links_repaired},
        {"missing", r.n_missing},
        {"damaged_pushed", r.n_bad_pushed},
        {"tags", r.n_tags},
        {"tags_removed", r.n_tags_removed},
        {"damaged_tags", r.n_bad_tags},
    };
    char *more = xasprintf(",\"pushed\":[%s],\"pushed_tags\":[%s]", bad ? bad : "",
                           bad_tags ? bad_tags : "");
    run_report_print(&whole, counts, sizeof(counts) / sizeof(counts[0]), more, out);
    free(more);
    free(bad_tags);
    free(bad);
}

/* --- for scrub_verify.c ----------------------------------------------------------------------- */

const struct scrub_place *scrub_place_of(const struct scrub *s)
{
    return &s->place;
}
