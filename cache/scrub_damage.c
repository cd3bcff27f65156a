/* What is not what its name says: moved aside, judged, removed or kept. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/metric.h"
#include "cache/disk.h"
#include "cache/ledger.h"
#include "cache/manifest.h"
#include "cache/names.h"
#include "cache/quiet_file.h"
#include "cache/scrub_check.h"
#include "cache/scrub_private.h"
#include "cache/store_private.h"
#include "cache/vouch_private.h"

/* --- moving away ------------------------------------------------------------------------------ */

static void lock(const struct scrub_place *place, const struct digest *d)
{
    if (place->vouches)
        vouch_lock(place->vouches, d);
}

static void unlock(const struct scrub_place *place, const struct digest *d)
{
    if (place->vouches)
        vouch_unlock(place->vouches, d);
}

static bool is_same(const char *path, const struct stat *st)
{
    struct stat now;

    return stat(path, &now) == 0 && now.st_dev == st->st_dev && now.st_ino == st->st_ino &&
           now.st_size == st->st_size;
}

/* Whoever stores it again meanwhile, without the lock, may have noted that before: then it is here,
 * and that is noted once more. */
static void note_gone(const struct scrub_place *place, const struct digest *d, const char *path)
{
    struct ledger *ledger = store_ledger(place->store);
    struct stat st;

    ledger_note_blob_gone(ledger, d);
    if (stat(path, &st) == 0)
        ledger_note_blob(ledger, d, (uint64_t)st.st_size);
}

/* Under the lock nobody looks whether it is here; but whoever looked before may give another file
 * this name at any moment. So what was moved is looked at once more, and goes back if it is not the
 * file that was read. */
static int move_locked(const struct scrub_place *place, const struct digest *d,
                       const struct stat *st, const char *path, const char *aside)
{
    if (!is_same(path, st))
        return 0;
    if (rename(path, aside) < 0)
        return errno == ENOENT ? 0 : -errno;
    store_forget(place->store, d);
    if (is_same(aside, st)) {
        note_gone(place, d, path);
        return 1;
    }
    int rc = disk_publish(aside, path, NULL);
    return rc < 0 ? rc : 0;
}

/* A manifest in memory was verified when it came there. */
static bool heal(const struct scrub_place *place, const struct digest *d)
{
    struct manifest *m = manifests_find(place->manifests, d);

    if (!m)
        return false;
    struct slice body = manifest_body(m);
    bool is_healed = store_put_now(place->store, d, body.ptr, body.len, NULL) == 0;
    manifest_unref(&m);
    return is_healed;
}

int scrub_damage_move(const struct scrub_place *place, const struct digest *d,
                      const struct stat *st, struct scrub_desk *desk, struct error *err)
{
    char *path = layout_blob(place->layout, d);
    char *aside = layout_damaged(place->layout, d);
    int rc = disk_make_parent(aside, err);

    CHECK(!place->is_dry);
    if (rc == 0) {
        lock(place, d);
        rc = move_locked(place, d, st, path, aside);
        unlock(place, d);
        if (rc < 0)
            error_sys(err, rc, "move %s away", path);
    }
    if (rc == 1) {
        metric_inc(METRIC_SCRUB_DAMAGED);
        disk_sync_parent(path, NULL);
        disk_sync_parent(aside, NULL);
        if (heal(place, d))
            scrub_desk_tell(desk, SCRUB_NEWS_HEALED, d, "its right bytes were still in memory");
    }
    free(aside);
    free(path);
    return rc;
}

/* --- suspects --------------------------------------------------------------------------------- */

void scrub_suspects_fini(struct scrub_suspects *ss)
{
    for (size_t i = 0; i < ss->n; i++)
        free(ss->items[i].repo);
    free(ss->items);
    *ss = (struct scrub_suspects){0};
}

static int compare(const struct digest *a, const struct digest *b)
{
    if (a->alg != b->alg)
        return a->alg < b->alg ? -1 : 1;
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* The first that is not before d. */
static size_t place_of(const struct scrub_suspects *ss, const struct digest *d)
{
    size_t low = 0, high = ss->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(&ss->items[mid].digest, d) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct scrub_suspect *scrub_suspects_find(const struct scrub_suspects *ss, const struct digest *d)
{
    size_t at = place_of(ss, d);

    return at < ss->n && digest_equal(&ss->items[at].digest, d) ? &ss->items[at] : NULL;
}

void scrub_suspects_add(struct scrub_suspects *ss, const struct digest *d)
{
    size_t at = place_of(ss, d);

    CHECK(ss->n <= SCRUB_SUSPECTS_MAX);
    if (at < ss->n && digest_equal(&ss->items[at].digest, d))
        return;
    if (ss->n == SCRUB_SUSPECTS_MAX) {
        ss->is_full = true;
        return;
    }
    if (ss->n % 16 == 0)
        ss->items = xrealloc(ss->items, (ss->n + 16) * sizeof(ss->items[0]));
    memmove(&ss->items[at + 1], &ss->items[at], (ss->n - at) * sizeof(ss->items[0]));
    ss->items[at] = (struct scrub_suspect){.digest = *d};
    ss->n++;
}

/* Right bytes that lie here: an operator has repaired the file, or it got its name while a damaged
 * one was being moved. */
static bool take_back(const struct scrub_place *place, const struct digest *d, const char *aside)
{
    char *path = layout_blob(place->layout, d);
    void *buffer = quiet_file_buffer();
    struct scrub_check *check = scrub_check_path(aside, d);
    enum scrub_verdict verdict;
    uint64_t n = 0;

    do
        verdict = scrub_check_step(check, buffer, &n);
    while (verdict == SCRUB_MORE);
    scrub_check_free(&check);
    free(buffer);
    int fd = verdict == SCRUB_WHOLE && !place->is_dry ? open(aside, O_RDWR | O_CLOEXEC) : -1;
    struct stat st;
    bool is_back =
        fd >= 0 && fsync(fd) == 0 && fstat(fd, &st) == 0 && disk_publish(aside, path, NULL) == 0;
    if (is_back)
        ledger_note_blob(store_ledger(place->store), d, (uint64_t)st.st_size);
    if (fd >= 0)
        close(fd);
    free(path);
    return is_back;
}

static void load_one(struct scrub_suspects *ss, const struct scrub_place *place,
                     struct scrub_desk *desk, const struct digest *d)
{
    char *aside = layout_damaged(place->layout, d);

    if (take_back(place, d, aside)) {
        scrub_desk_tell(desk, SCRUB_NEWS_HEALED, d, "it had been repaired");
        desk->report.n_healed++;
    } else {
        scrub_suspects_add(ss, d);
    }
    free(aside);
}

void scrub_suspects_load(struct scrub_suspects *ss, const struct scrub_place *place,
                         struct scrub_desk *desk, char last[DIGEST_TEXT_SIZE])
{
    DIR *folder = opendir(layout_damaged_folder(place->layout));
    const struct dirent *entry;
    struct names names;
    struct digest d;

    names_init(&names, last, SCRUB_SUSPECTS_MAX - ss->n);
    while (folder && (entry = readdir(folder))) {
        if (layout_damaged_name_parse(slice_of(entry->d_name), &d))
            names_offer(&names, entry->d_name);
    }
    if (folder)
        closedir(folder);
    struct repo_names *list = names_take(&names);
    for (size_t i = 0; i < list->n; i++) {
        CHECK(layout_damaged_name_parse(slice_of(list->names[i]), &d));
        load_one(ss, place, desk, &d);
    }
    ss->is_full = list->has_more;
    if (list->n > 0)
        snprintf(last, DIGEST_TEXT_SIZE, "%s", list->names[list->n - 1]);
    repo_names_free(&list);
}

/* --- judging ---------------------------------------------------------------------------------- */

/* Whether it is stored again; what gets its name is verified. In a dry run the damaged one is still
 * there. */
static bool is_back(const struct scrub_place *place, const struct digest *d)
{
    char *path = layout_blob(place->layout, d);
    bool is_there = !place->is_dry && access(path, F_OK) == 0;

    free(path);
    return is_there;
}

static void remove_aside(const struct scrub_place *place, const struct digest *d)
{
    char *aside = layout_damaged(place->layout, d);

    if (!place->is_dry)
        unlink(aside);
    free(aside);
}

static void refetch(struct scrub_desk *desk, const struct scrub_suspect *s)
{
    if (!s->is_mirrored || !desk->refetch)
        return;
    if (desk->refetch(desk->refetch_arg, s->kind, s->repo, &s->digest)) {
        desk->report.n_refetched++;
        metric_inc(METRIC_SCRUB_REFETCHED);
    }
}

static void judge(const struct scrub_place *place, struct scrub_desk *desk,
                  const struct scrub_suspect *s, bool is_unknown)
{
    CHECK(!s->is_mirrored || s->repo);
    if (is_back(place, &s->digest)) {
        remove_aside(place, &s->digest);
        desk->report.n_healed++;
        metric_inc(METRIC_SCRUB_HEALED);
        scrub_desk_tell(desk, SCRUB_NEWS_HEALED, &s->digest, "it was stored again");
        return;
    }
    if (s->is_pushed || is_unknown) {
        desk->report.n_bad_pushed++;
        scrub_desk_tell(desk, SCRUB_NEWS_BAD_PUSHED, &s->digest,
                        s->is_pushed ? s->repo : "some repository; not all links can be read");
    } else {
        remove_aside(place, &s->digest);
        desk->report.n_removed++;
        metric_inc(METRIC_SCRUB_REMOVED);
        scrub_desk_tell(desk, SCRUB_NEWS_REMOVED, &s->digest,
                        s->is_mirrored ? s->repo : "no repository");
    }
    refetch(desk, s);
}

void scrub_suspects_judge(struct scrub_suspects *ss, const struct scrub_place *place,
                          struct scrub_desk *desk, bool is_unknown)
{
    for (size_t i = 0; i < ss->n; i++)
        judge(place, desk, &ss->items[i], is_unknown);
}
