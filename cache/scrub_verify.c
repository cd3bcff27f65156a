/* All at once, for the command line: several threads hash, then the links are walked. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"
#include "cache/quiet_file.h"
#include "cache/scrub_check.h"
#include "cache/scrub_list.h"
#include "cache/scrub_private.h"
#include "cache/storage_lock.h"

#define LINKS_AT_ONCE 100

struct verify {
    const struct scrub_verify *how;
    struct scrub_place place;
    pthread_mutex_t lock; /* guards what follows */
    struct scrub_desk desk;
    struct scrub_list *list;
    struct scrub_suspects found; /* dry: what would be moved away */
    bool is_at_end;
    uint64_t due_ms; /* at this rate no more is to be read before */
};

static void sleep_ms(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        continue;
}

/* n bytes were read: tells that, and waits as the rate wants it. */
static void account(struct verify *v, uint64_t n)
{
    uint64_t now_ms = clock_mono_ms(), due_ms = 0;

    CHECK(v->list);
    pthread_mutex_lock(&v->lock);
    v->desk.report.bytes += n;
    if (v->how->rate_bytes > 0) {
        v->due_ms = (v->due_ms > now_ms ? v->due_ms : now_ms) + n * 1000 / v->how->rate_bytes;
        due_ms = v->due_ms;
    }
    if (v->how->progress)
        v->how->progress(v->how->arg, scrub_list_permille(v->list), &v->desk.report);
    pthread_mutex_unlock(&v->lock);
    if (due_ms > now_ms)
        sleep_ms(due_ms - now_ms);
}

static void damaged_locked(struct verify *v, const struct scrub_check *check)
{
    const struct digest *d = scrub_check_digest(check);
    int error = scrub_check_error(check);
    struct error err;
    int rc = 1;

    if (v->place.is_dry)
        scrub_suspects_add(&v->found, d);
    else
        rc = scrub_damage_move(&v->place, d, scrub_check_stat(check), &v->desk, &err);
    if (rc < 0)
        scrub_desk_note(&v->desk, &err);
    if (rc != 1)
        return;
    v->desk.report.n_damaged++;
    scrub_desk_tell(&v->desk, SCRUB_NEWS_DAMAGED, d,
                    error == -EBADMSG ? "it has another digest" : strerror(-error));
}

static void finish_locked(struct verify *v, const struct scrub_check *check,
                          enum scrub_verdict verdict)
{
    char text[DIGEST_TEXT_SIZE];
    struct error err;

    v->desk.report.n_blobs += verdict == SCRUB_WHOLE || verdict == SCRUB_DAMAGED;
    if (verdict == SCRUB_DAMAGED) {
        damaged_locked(v, check);
    } else if (verdict == SCRUB_UNREADABLE) {
        digest_format(scrub_check_digest(check), text);
        error_sys(&err, scrub_check_error(check), "read %s", text);
        scrub_desk_note(&v->desk, &err);
    }
}

static bool next_locked(struct verify *v, struct digest *out)
{
    struct error err;
    int rc = 0;

    while (!v->is_at_end && (rc = scrub_list_next(v->list, out, &err)) < 0)
        scrub_desk_note(&v->desk, &err);
    v->is_at_end = v->is_at_end || rc == 0;
    return rc == 1;
}

static void check_one(struct verify *v, const struct digest *d, void *buffer)
{
    struct scrub_check *check = scrub_check_new(v->place.layout, d);
    enum scrub_verdict verdict;

    do {
        uint64_t n = 0;
        verdict = scrub_check_step(check, buffer, &n);
        account(v, n);
    } while (verdict == SCRUB_MORE);
    pthread_mutex_lock(&v->lock);
    finish_locked(v, check, verdict);
    pthread_mutex_unlock(&v->lock);
    scrub_check_free(&check);
}

static void *run(void *arg)
{
    struct verify *v = arg;
    void *buffer = quiet_file_buffer();
    struct digest d;

    for (;;) {
        pthread_mutex_lock(&v->lock);
        bool has_one = next_locked(v, &d);
        pthread_mutex_unlock(&v->lock);
        if (!has_one)
            break;
        check_one(v, &d, buffer);
    }
    free(buffer);
    return NULL;
}

static void check_all(struct verify *v)
{
    unsigned n = v->how->n_threads > 0 ? v->how->n_threads : 1;
    pthread_t *threads = xcalloc(n, sizeof(*threads));

    CHECK(!v->list);
    v->list = scrub_list_new(v->place.layout, NULL);
    for (unsigned i = 0; i < n; i++)
        thread_start(&threads[i], run, v);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    scrub_list_free(&v->list);
    free(threads);
}

/* Dry, what would lie aside is among the first. */
static void judge_all(struct verify *v)
{
    char last[DIGEST_TEXT_SIZE] = "";
    bool is_first = true, has_more = true;

    while (has_more) {
        struct scrub_suspects ss = is_first ? v->found : (struct scrub_suspects){0};
        scrub_suspects_load(&ss, &v->place, &v->desk, last);
        has_more = ss.is_full && ss.n > 0;
        struct scrub_links *w = scrub_links_new(&v->place, &ss, is_first);
        while (scrub_links_turn(w, &v->desk, LINKS_AT_ONCE))
            continue;
        scrub_suspects_judge(&ss, &v->place, &v->desk, scrub_links_is_unknown(w));
        scrub_links_free(&w);
        scrub_suspects_fini(&ss);
        is_first = false;
    }
    v->found = (struct scrub_suspects){0};
}

static void check_tags(struct verify *v)
{
    struct scrub_tags *w = scrub_tags_new(&v->place);

    while (scrub_tags_turn(w, &v->desk, LINKS_AT_ONCE))
        continue;
    scrub_tags_free(&w);
}

static int be_alone(const struct scrub_place *place, struct error *err)
{
    if (!place->lock)
        return error_set(err, -ENOLCK, "the storage could not be locked");
    int rc = storage_lock_enter(place->lock);
    if (rc < 0)
        return error_sys(err, rc, "lock the storage");
    storage_lock_leave(place->lock);
    return 0;
}

int scrub_verify(struct scrub *s, const char *storage_path, const struct scrub_verify *how,
                 struct scrub_report *out, struct error *err)
{
    struct verify v = {.how = how, .desk = {.tell = how->tell, .tell_arg = how->arg}};

    CHECK(s || how->is_dry);
    if (how->is_dry)
        v.place = (struct scrub_place){.layout = layout_new(storage_path), .is_dry = true};
    else
        v.place = *scrub_place_of(s);
    int rc = how->is_dry ? 0 : be_alone(&v.place, err);
    if (rc == 0) {
        pthread_mutex_init(&v.lock, NULL);
        v.desk.report.started_at_s = clock_wall_s();
        check_all(&v);
        judge_all(&v);
        check_tags(&v);
        v.desk.report.ended_at_s = clock_wall_s();
        v.desk.report.is_complete = true;
        pthread_mutex_destroy(&v.lock);
        *out = v.desk.report;
    }
    if (how->is_dry)
        layout_free(&v.place.layout);
    return rc;
}
