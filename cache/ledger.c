#include "config.h"

#include "cache/ledger.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/ledger_private.h"

#define LOOK_MS 5000    /* between two looks at the file and the partial files */
#define RETRY_MS 5000   /* of what cannot be opened */
#define REWALK_MS 60000 /* after a walk that found what cannot be read */
#define WALK_ITEMS 256  /* of a batch */
#define WALK_MS 700     /* of a second, at most, the walk has a thread of the pool */

static const char *const STATES[] = {
    [LEDGER_CLOSED] = "closed",
    [LEDGER_WALKING] = "walking",
    [LEDGER_READY] = "ready",
};
_Static_assert(sizeof(STATES) / sizeof(STATES[0]) == LEDGER_STATE_MAX, "a name for every state");

const char *ledger_state_name(enum ledger_state state)
{
    return STATES[state];
}

/* The only place where the state changes. */
static void set_state(struct ledger *l, enum ledger_state state)
{
    CHECK(state < LEDGER_STATE_MAX);
    if (atomic_exchange(&l->state, state) == state)
        return;
    log_debug(LEDGER_PREFIX, "-> %s", STATES[state]);
    metric_set(METRIC_LEDGER_STATE, (int64_t)state);
}

struct ledger *ledger_new(struct layout *layout, struct errands *errands, struct pins *pins)
{
    struct ledger *l = xcalloc(1, sizeof(*l));

    CHECK(layout && errands && pins);
    l->layout = layout;
    l->errands = errands;
    l->pins = pins;
    l->path = xasprintf("%s/_mirrord/ledger.db", layout_root(layout));
    l->used = xcalloc(LEDGER_USES_MAX, sizeof(l->used[0]));
    l->want_walk = true;
    atomic_init(&l->period, 1);
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->queue_lock, NULL);
    return l;
}

static void free_notes(struct ledger_note *n)
{
    while (n) {
        struct ledger_note *next = n->next;
        free(n);
        n = next;
    }
}

void ledger_free(struct ledger **ll)
{
    struct ledger *l = *ll;

    if (!l)
        return;
    ledger_walk_end(&l->walk);
    ledger_db_close(&l->db);
    free_notes(l->first);
    pthread_mutex_destroy(&l->queue_lock);
    pthread_mutex_destroy(&l->lock);
    free(l->used);
    free(l->path);
    free(l);
    *ll = NULL;
}

void ledger_close(struct ledger *l)
{
    pthread_mutex_lock(&l->queue_lock);
    bool has_notes = l->n_queued > 0 || l->n_used > 0;
    pthread_mutex_unlock(&l->queue_lock);
    if (has_notes && l->db)
        ledger_drain_now(l, NULL);
}

void ledger_on_grown(struct ledger *l, void (*fn)(void *arg), void *arg)
{
    l->on_grown = fn;
    l->on_grown_arg = arg;
}

/* --- numbers ---------------------------------------------------------------------------------- */

void ledger_read_bytes(struct ledger *l, struct ledger_bytes *out)
{
    *out = (struct ledger_bytes){
        .blobs = atomic_load(&l->bytes_blobs) + atomic_load(&l->bytes_queued),
        .pushed = atomic_load(&l->bytes_pushed),
        .pinned = atomic_load(&l->bytes_pinned),
        .filling = atomic_load(&l->bytes_filling),
        .n_blobs = atomic_load(&l->n_blobs_now),
    };
}

uint64_t ledger_stored_bytes(struct ledger *l)
{
    return atomic_load(&l->bytes_blobs) + atomic_load(&l->bytes_queued) +
           atomic_load(&l->bytes_filling);
}

static void publish_numbers(struct ledger *l)
{
    atomic_store(&l->bytes_blobs, l->sums.stored_bytes > 0 ? (uint64_t)l->sums.stored_bytes : 0);
    atomic_store(&l->bytes_pushed, l->sums.pushed_bytes > 0 ? (uint64_t)l->sums.pushed_bytes : 0);
    atomic_store(&l->n_blobs_now, l->sums.n_blobs > 0 ? (uint64_t)l->sums.n_blobs : 0);
    metric_set(METRIC_LEDGER_BLOBS, l->sums.n_blobs);
    metric_set(METRIC_LEDGER_BYTES, l->sums.stored_bytes);
    metric_set(METRIC_LEDGER_BYTES_PUSHED, l->sums.pushed_bytes);
}

static void read_numbers(struct ledger *l)
{
    sqlite3_stmt *s = ledger_row(l->db, LEDGER_SUM, "");

    if (s) {
        l->sums.n_blobs = sqlite3_column_int64(s, 0);
        l->sums.stored_bytes = sqlite3_column_int64(s, 1);
        l->sums.pushed_bytes = sqlite3_column_int64(s, 2);
    }
    ledger_end(l->db, LEDGER_SUM);
}

static void read_pinned(struct ledger *l)
{
    int64_t bytes = ledger_value(l->db, LEDGER_PIN_BYTES, 0, "");

    atomic_store(&l->bytes_pinned, (uint64_t)bytes);
    metric_set(METRIC_LEDGER_BYTES_PINNED, bytes);
    l->sums.are_pins_news = false;
}

/* Whatever lies there counts: of fills that run, and of those that wait to be gone on with. There
 * are few of them. */
static void look_at_partial_files(struct ledger *l)
{
    DIR *folder = opendir(layout_fills(l->layout));
    const struct dirent *entry;
    uint64_t bytes = 0;
    struct stat st;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && fstatat(dirfd(folder), entry->d_name, &st, 0) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    if (folder)
        closedir(folder);
    atomic_store(&l->bytes_filling, bytes);
    metric_set(METRIC_LEDGER_BYTES_FILLING, (int64_t)bytes);
}

/* --- notes ------------------------------------------------------------------------------------ */

static struct ledger_note *note_new(enum ledger_note_kind kind, struct slice repo,
                                    struct slice name)
{
    struct ledger_note *n = xcalloc(1, sizeof(*n) + repo.len + name.len);

    n->kind = kind;
    n->at_s = clock_wall_s();
    n->n_repo = repo.len;
    n->n_name = name.len;
    if (repo.len > 0)
        memcpy(n->text, repo.ptr, repo.len);
    if (name.len > 0)
        memcpy(n->text + repo.len, name.ptr, name.len);
    return n;
}

static void note(struct ledger *l, struct ledger_note *n)
{
    bool is_lost = false;

    pthread_mutex_lock(&l->queue_lock);
    if (l->n_queued < LEDGER_QUEUE_MAX) {
        *(l->last ? &l->last->next : &l->first) = n;
        l->last = n;
        l->n_queued++;
        if (n->kind == NOTE_BLOB) {
            atomic_fetch_add(&l->bytes_queued, n->size);
            atomic_fetch_add(&l->n_new_blobs, 1);
        }
    } else {
        is_lost = true;
        l->n_lost++;
        l->has_lost = true;
    }
    pthread_mutex_unlock(&l->queue_lock);
    if (is_lost)
        free(n);
}

void ledger_note_blob(struct ledger *l, const struct digest *d, uint64_t size)
{
    if (!l)
        return;
    struct ledger_note *n = note_new(NOTE_BLOB, SLICE_NONE, SLICE_NONE);
    n->digest = *d;
    n->size = size;
    note(l, n);
    if (l->on_grown)
        l->on_grown(l->on_grown_arg);
}

void ledger_note_blob_gone(struct ledger *l, const struct digest *d)
{
    if (!l)
        return;
    struct ledger_note *n = note_new(NOTE_BLOB_GONE, SLICE_NONE, SLICE_NONE);
    n->digest = *d;
    note(l, n);
}

void ledger_note_link(struct ledger *l, enum link_kind kind, struct slice repo,
                      const struct digest *d, const struct origin *origin)
{
    CHECK(kind < LINK_KIND_MAX);
    if (!l)
        return;
    struct ledger_note *n = note_new(NOTE_LINK, repo, SLICE_NONE);
    n->link = kind;
    n->digest = *d;
    n->is_pushed = origin->is_pushed;
    note(l, n);
}

void ledger_note_link_gone(struct ledger *l, enum link_kind kind, struct slice repo,
                           const struct digest *d)
{
    if (!l)
        return;
    struct ledger_note *n = note_new(NOTE_LINK_GONE, repo, SLICE_NONE);
    n->link = kind;
    n->digest = *d;
    note(l, n);
}

void ledger_note_tag(struct ledger *l, struct slice repo, struct slice tag,
                     const struct digest *pushed, const struct digest *mirrored)
{
    if (!l)
        return;
    struct ledger_note *n = note_new(NOTE_TAG, repo, tag);
    n->has_pushed = pushed != NULL;
    n->has_mirrored = mirrored != NULL;
    if (pushed)
        n->pushed = *pushed;
    if (mirrored)
        n->digest = *mirrored;
    note(l, n);
}

void ledger_note_pin(struct ledger *l, struct slice repo, struct slice reference, bool is_gone)
{
    if (l)
        note(l, note_new(is_gone ? NOTE_PIN_GONE : NOTE_PIN, repo, reference));
}

bool ledger_has_new_blobs(struct ledger *l)
{
    return l && atomic_load(&l->n_new_blobs) > 0;
}

void ledger_note_use(struct ledger *l, _Atomic uint32_t *noted, const struct digest *d)
{
    if (!l)
        return;
    uint32_t period = atomic_load_explicit(&l->period, memory_order_relaxed);
    if (atomic_load_explicit(noted, memory_order_relaxed) == period)
        return;
    atomic_store_explicit(noted, period, memory_order_relaxed);
    pthread_mutex_lock(&l->queue_lock);
    /* One that finds no room is forgotten: its image looks a little older than it is. */
    if (l->n_used < LEDGER_USES_MAX)
        l->used[l->n_used++] = (struct ledger_used){*d, clock_wall_s()};
    pthread_mutex_unlock(&l->queue_lock);
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void set_problem(struct ledger *l, const struct error *err)
{
    pthread_mutex_lock(&l->queue_lock);
    snprintf(l->report.problem, sizeof(l->report.problem), "%s", err->text);
    pthread_mutex_unlock(&l->queue_lock);
}

void ledger_want_walk(struct ledger *l)
{
    pthread_mutex_lock(&l->queue_lock);
    l->want_walk = true;
    pthread_mutex_unlock(&l->queue_lock);
    if (atomic_load(&l->state) == LEDGER_READY)
        set_state(l, LEDGER_WALKING);
}

static void close_locked(struct ledger *l, const struct error *why)
{
    CHECK(why->code < 0);
    set_problem(l, why);
    set_state(l, LEDGER_CLOSED);
    ledger_walk_end(&l->walk);
    ledger_db_close(&l->db);
    l->retry_at_ms = clock_mono_ms() + RETRY_MS;
    ledger_want_walk(l);
}

/* It is of no use any more: another one is made at once. */
static bool is_rotten(int rc)
{
    return rc == -EBADMSG || rc == -ENOTSUP;
}

/* Damaged, from a newer version, or not a ledger: out of the way with it. A file that cannot be
 * written in a folder that can, too. */
static int discard(struct ledger *l, const struct error *why, struct error *err)
{
    log_warning(LEDGER_PREFIX, "%s; it is made anew from the storage", why->text);
    metric_inc(METRIC_LEDGER_REBUILT);
    pthread_mutex_lock(&l->queue_lock);
    l->report.n_rebuilt++;
    pthread_mutex_unlock(&l->queue_lock);
    return ledger_db_move_away(l->path, err);
}

/* Opened, and the first look into it shows no damage. */
static int open_once(struct ledger *l, struct error *err)
{
    int rc = ledger_db_open(l->path, &l->db, err);

    if (rc < 0)
        return rc;
    ledger_db_begin(l->db);
    read_numbers(l);
    rc = ledger_db_commit(l->db, err);
    if (rc < 0)
        ledger_db_close(&l->db);
    return rc;
}

static int open_locked(struct ledger *l, struct error *err)
{
    struct error why;

    if (atomic_load(&l->want_anew))
        ledger_db_move_away(l->path, NULL);
    int rc = open_once(l, err);
    if (is_rotten(rc) || rc == -EROFS) {
        why = *err;
        set_problem(l, &why);
        rc = discard(l, &why, err);
        if (rc == 0)
            rc = open_once(l, err);
    }
    if (rc < 0)
        return rc;
    atomic_store(&l->want_anew, false);
    l->is_unchecked = !ledger_db_is_new(l->db);
    publish_numbers(l);
    set_state(l, LEDGER_WALKING);
    ledger_want_walk(l);
    return 0;
}

/* There is one, or there is one now. A closed one is not tried at every note. */
static int need_open(struct ledger *l, struct error *err)
{
    struct error why;

    if (l->db && !l->want_anew)
        return 0;
    if (l->db) {
        error_set(&why, -EBADMSG, "asked for");
        close_locked(l, &why);
        l->retry_at_ms = 0;
    }
    if (l->retry_at_ms > clock_mono_ms())
        return error_set(err, -EAGAIN, "there is no ledger: %s", l->report.problem);
    int rc = open_locked(l, err);
    if (rc < 0) {
        log_error(LEDGER_PREFIX, "%s; nothing is evicted without it", err->text);
        close_locked(l, err);
    }
    return rc;
}

/* --- transactions ----------------------------------------------------------------------------- */

/* Uses are few and small: a copy, so that the ring is free at once. */
static void drain_locked(struct ledger *l)
{
    pthread_mutex_lock(&l->queue_lock);
    struct ledger_note *first = l->first;
    unsigned n_used = l->n_used;
    struct ledger_used *used = n_used > 0 ? xmalloc(n_used * sizeof(used[0])) : NULL;
    if (used)
        memcpy(used, l->used, n_used * sizeof(used[0]));
    l->first = l->last = NULL;
    l->n_queued = 0;
    l->n_used = 0;
    bool has_lost = l->has_lost;
    l->has_lost = false;
    atomic_store(&l->bytes_queued, 0);
    atomic_store(&l->n_new_blobs, 0);
    pthread_mutex_unlock(&l->queue_lock);
    atomic_fetch_add(&l->period, 1);
    if (has_lost) {
        log_warning(LEDGER_PREFIX, "notes were lost; the storage is walked again");
        metric_inc(METRIC_LEDGER_LOST);
        /* A walk under way may have passed there. */
        ledger_walk_end(&l->walk);
        ledger_want_walk(l);
    }
    for (const struct ledger_note *n = first; n; n = n->next)
        ledger_apply(l, n);
    for (unsigned i = 0; i < n_used; i++)
        ledger_put_used(l, &used[i].digest, used[i].at_s);
    free(used);
    free_notes(first);
    publish_numbers(l);
}

int ledger_enter(struct ledger *l, struct error *err)
{
    CHECK(!worker_current());
    pthread_mutex_lock(&l->lock);
    int rc = need_open(l, err);
    if (rc < 0) {
        pthread_mutex_unlock(&l->lock);
        return rc;
    }
    ledger_db_begin(l->db);
    drain_locked(l);
    return 0;
}

int ledger_enter_ready(struct ledger *l, struct error *err)
{
    int rc = ledger_enter(l, err);

    if (rc < 0)
        return rc;
    if (atomic_load(&l->state) == LEDGER_READY)
        return 0;
    bool is_walking = l->walk.phase != WALK_NONE || !l->report.problem[0];
    error_set(err, -EAGAIN, "the ledger is %s%s%s", ledger_state_name(atomic_load(&l->state)),
              is_walking ? "" : ": ", is_walking ? "" : l->report.problem);
    rc = ledger_leave(l, NULL);
    return rc < 0 ? rc : -EAGAIN;
}

/* A failure closes the ledger. */
static int commit_locked(struct ledger *l, struct error *err)
{
    struct error why, more;

    CHECK(l->db);
    if (l->sums.are_pins_news && atomic_load(&l->state) == LEDGER_READY)
        read_pinned(l);
    int rc = ledger_db_commit(l->db, &why);
    if (rc == 0) {
        publish_numbers(l);
        return 0;
    }
    log_error(LEDGER_PREFIX, "%s", why.text);
    close_locked(l, &why);
    if (is_rotten(rc) && discard(l, &why, &more) == 0)
        l->retry_at_ms = 0;
    return error_set(err, rc, "%s", why.text);
}

int ledger_leave(struct ledger *l, struct error *err)
{
    int rc = commit_locked(l, err);

    pthread_mutex_unlock(&l->lock);
    return rc;
}

int ledger_enter_batch(struct ledger *l, struct error *err)
{
    int rc = ledger_enter_ready(l, err);

    if (rc < 0)
        return rc;
    rc = commit_locked(l, err);
    if (rc < 0) {
        pthread_mutex_unlock(&l->lock);
        return rc;
    }
    ledger_db_begin(l->db);
    l->sums_before = l->sums;
    return 0;
}

void ledger_roll_back(struct ledger *l)
{
    ledger_db_roll_back(l->db);
    l->sums = l->sums_before;
}

int ledger_drain_now(struct ledger *l, struct error *err)
{
    int rc = ledger_enter(l, err);

    return rc == 0 ? ledger_leave(l, err) : rc;
}

/* --- the walk --------------------------------------------------------------------------------- */

static void begin_walk(struct ledger *l)
{
    pthread_mutex_lock(&l->queue_lock);
    l->want_walk = false;
    l->report.walk_started_at_s = clock_wall_s();
    pthread_mutex_unlock(&l->queue_lock);
    if (atomic_load(&l->state) == LEDGER_READY)
        set_state(l, LEDGER_WALKING);
    ledger_walk_begin(l);
    log_info(LEDGER_PREFIX, "is compared with the storage");
}

static void end_walk(struct ledger *l)
{
    struct ledger_walk *w = &l->walk;

    pthread_mutex_lock(&l->queue_lock);
    l->report.walk_ended_at_s = clock_wall_s();
    bool is_good = !w->has_failed && !l->want_walk && !l->has_lost;
    if (!w->has_failed)
        l->report.problem[0] = '\0';
    pthread_mutex_unlock(&l->queue_lock);
    if (w->has_failed) {
        log_error(LEDGER_PREFIX, "not all of the storage is known, so nothing is evicted: %s",
                  w->why.text);
        set_problem(l, &w->why);
        l->retry_at_ms = clock_mono_ms() + REWALK_MS;
        ledger_want_walk(l);
    }
    log_info(LEDGER_PREFIX,
             "compared: %" PRIu64 " links, tags and blobs, %" PRIu64 " rows mended; %" PRId64
             " blobs, %" PRId64 " bytes",
             w->n_walked, w->n_mended, l->sums.n_blobs, l->sums.stored_bytes);
    ledger_walk_end(w);
    /* Who sees that it is ready sees what the walk has found. */
    publish_numbers(l);
    if (is_good) {
        read_pinned(l);
        set_state(l, LEDGER_READY);
    }
}

/* One batch. True when there is more. */
static bool walk_once(struct ledger *l, struct error *err, int *rc)
{
    bool has_more = false;

    *rc = ledger_enter(l, err);
    if (*rc < 0)
        return false;
    if (l->walk.phase == WALK_NONE && l->want_walk)
        begin_walk(l);
    if (l->walk.phase != WALK_NONE) {
        has_more = ledger_walk_turn(l, WALK_ITEMS);
        pthread_mutex_lock(&l->queue_lock);
        l->report.n_walked = l->walk.n_walked;
        l->report.n_mended = l->walk.n_mended;
        pthread_mutex_unlock(&l->queue_lock);
        if (!has_more)
            end_walk(l);
    }
    *rc = ledger_leave(l, err);
    return has_more && *rc == 0;
}

int ledger_walk_now(struct ledger *l, bool anew, struct error *err)
{
    int rc;

    pthread_mutex_lock(&l->lock);
    l->want_anew = l->want_anew || anew;
    l->retry_at_ms = 0;
    pthread_mutex_unlock(&l->lock);
    if (!anew)
        ledger_want_walk(l);
    while (walk_once(l, err, &rc))
        continue;
    if (rc == 0 && atomic_load(&l->state) != LEDGER_READY)
        rc = error_set(err, -EIO, "%s", l->report.problem);
    return rc;
}

/* --- now and then ----------------------------------------------------------------------------- */

/* Somebody may have removed or replaced the file. */
static void look_at_file(struct ledger *l)
{
    struct error why;

    pthread_mutex_lock(&l->lock);
    if (l->db && !ledger_db_is_there(l->db)) {
        error_set(&why, -ENOENT, "%s has been removed", l->path);
        log_warning(LEDGER_PREFIX, "%s; it is made anew from the storage", why.text);
        metric_inc(METRIC_LEDGER_REBUILT);
        pthread_mutex_lock(&l->queue_lock);
        l->report.n_rebuilt++;
        pthread_mutex_unlock(&l->queue_lock);
        close_locked(l, &why);
        l->retry_at_ms = 0;
    }
    if (l->db)
        ledger_db_keep_room(l->db);
    pthread_mutex_unlock(&l->lock);
}

static bool wants_walk(struct ledger *l)
{
    pthread_mutex_lock(&l->lock);
    bool is_wanted =
        l->walk.phase != WALK_NONE || (l->want_walk && l->retry_at_ms <= clock_mono_ms());
    is_wanted = is_wanted || l->want_anew;
    pthread_mutex_unlock(&l->lock);
    return is_wanted;
}

static bool look_is_due(const struct ledger *l)
{
    uint64_t looked_at_ms = atomic_load(&l->looked_at_ms);

    return looked_at_ms == 0 || clock_mono_ms() - looked_at_ms >= LOOK_MS;
}

/* Other work of the pool goes first between two batches of the walk, and in each second there is
 * time in which it rests. */
static void do_tend(struct errand *e)
{
    struct ledger *l = (struct ledger *)((char *)e - offsetof(struct ledger, tending));
    struct error err;
    int rc = 0;
    bool has_more = false;

    if (look_is_due(l)) {
        atomic_store(&l->looked_at_ms, clock_mono_ms());
        look_at_file(l);
        look_at_partial_files(l);
    }
    if (wants_walk(l))
        has_more = walk_once(l, &err, &rc);
    else
        ledger_drain_now(l, &err);
    if (has_more && clock_mono_ms() < l->rest_at_ms && !atomic_load(&l->is_stopping))
        errand_submit(l->errands, &l->tending, do_tend, NULL);
    else
        atomic_store(&l->is_tending, false);
}

static bool has_work(struct ledger *l)
{
    pthread_mutex_lock(&l->queue_lock);
    bool is_wanted = l->n_queued > 0 || l->n_used > 0 || l->has_lost;
    pthread_mutex_unlock(&l->queue_lock);
    return is_wanted || look_is_due(l) || atomic_load(&l->state) != LEDGER_READY;
}

void ledger_tend(struct ledger *l)
{
    if (atomic_load(&l->is_stopping) || !has_work(l) || atomic_exchange(&l->is_tending, true))
        return;
    l->rest_at_ms = clock_mono_ms() + WALK_MS;
    errand_submit(l->errands, &l->tending, do_tend, NULL);
}

void ledger_reindex(struct ledger *l)
{
    atomic_store(&l->want_anew, true);
    ledger_want_walk(l);
    ledger_tend(l);
}

void ledger_stop(struct ledger *l)
{
    atomic_store(&l->is_stopping, true);
}

/* --- reports ---------------------------------------------------------------------------------- */

void ledger_read_report(struct ledger *l, struct ledger_report *out)
{
    pthread_mutex_lock(&l->queue_lock);
    *out = l->report;
    out->n_queued = l->n_queued + l->n_used;
    out->n_lost = l->n_lost;
    pthread_mutex_unlock(&l->queue_lock);
    out->state = atomic_load(&l->state);
    ledger_read_bytes(l, &out->bytes);
}

void ledger_print_json(struct ledger *l, struct strbuf *out)
{
    struct ledger_report r;

    ledger_read_report(l, &r);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"blobs", r.bytes.n_blobs},
        {"bytes", r.bytes.blobs},
        {"bytes_pushed", r.bytes.pushed},
        {"bytes_pinned", r.bytes.pinned},
        {"bytes_filling", r.bytes.filling},
        {"walked", r.n_walked},
        {"mended", r.n_mended},
        {"rebuilt", r.n_rebuilt},
        {"queued", r.n_queued},
        {"lost", r.n_lost},
    };
    strbuf_addf(out, "{\"state\":\"%s\",\"walk_started_at\":%" PRId64 ",\"walk_ended_at\":%" PRId64,
                ledger_state_name(r.state), r.walk_started_at_s, r.walk_ended_at_s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        strbuf_addf(out, ",\"%s\":%" PRIu64, rows[i].name, rows[i].value);
    strbuf_add_str(out, ",\"problem\":\"");
    strbuf_add_json(out, slice_of(r.problem));
    strbuf_add_str(out, "\"}");
}
