/*
 * The first half of a run, in which nothing is changed: how many blobs there are, then what is
 * referenced. If any of it cannot be read, there is no second half.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/gc_private.h"
#include "cache/manifest_search.h"

/* With 16 bits and 8 probes per mark one unreferenced blob in 1,700 is taken for a referenced one,
 * another in each run: filters have seeds of their own. Twice as many marks as expected make it
 * one in 40. Beyond the bound, which 33 million marks reach, garbage goes more slowly. */
#define MARK_BITS 16
#define MARK_PROBES 8
#define MARKS_MIN 4096
#define MARKS_MAX_BYTES ((size_t)64 << 20)
#define N_SAMPLES 16 /* of the 256 folders of an algorithm */

/* --- how many --------------------------------------------------------------------------------- */

/* The number of entries in a folder; 0 when it cannot be told. */
static uint64_t count_entries(const char *path)
{
    DIR *folder = opendir(path);
    uint64_t n = 0;
    const struct dirent *entry;

    while (folder && (entry = readdir(folder)))
        n += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return n;
}

/* Digests are spread evenly, so a part of the folders tells about all of them. */
static uint64_t estimate_blobs(const struct layout *l)
{
    uint64_t n = 0;

    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        for (unsigned i = 0; i < N_SAMPLES; i++) {
            char *path = xasprintf("%s/%s/%02x", layout_blobs(l), digest_alg_name(alg),
                                   i * (256 / N_SAMPLES));
            n += count_entries(path) * (256 / N_SAMPLES);
            free(path);
        }
    }
    return n;
}

bool gc_count_turn(struct gc_run *run)
{
    uint64_t n = run->n_expected;
    struct error err;

    CHECK(!run->marks);
    /* Manifests also reference what was never fetched. */
    if (n == 0)
        n = 2 * estimate_blobs(run->place.layout);
    if (n < MARKS_MIN)
        n = MARKS_MIN;
    if (n > MARKS_MAX_BYTES * 8 / MARK_BITS)
        n = MARKS_MAX_BYTES * 8 / MARK_BITS;
    run->marks = bloom_new((size_t)n * MARK_BITS, MARK_PROBES);
    if (!run->marks) {
        error_set(&err, -ENOMEM, "no memory for %llu marks", (unsigned long long)n);
        gc_run_give_up(run, &err);
    }
    return false;
}

/* --- what is referenced ----------------------------------------------------------------------- */

static void mark(void *arg, const struct digest *d)
{
    struct gc_run *run = arg;

    run->n_marks += bloom_add(run->marks, d);
}

/* Nothing is there; what is read may vanish at any time. */
static bool is_absent(int rc)
{
    return rc == -ENOENT || rc == -ENOTDIR;
}

/* The scrub has moved it away because it is damaged: nobody knows what it referenced. */
static bool is_moved_away(const struct gc_run *run, const struct digest *d)
{
    struct stat st;
    char *aside = layout_damaged(run->place.layout, d);
    bool is_there = stat(aside, &st) == 0;

    free(aside);
    return is_there;
}

/* A manifest whose blob is gone references nothing. */
static int mark_references(struct gc_run *run, const struct digest *d)
{
    char *path = layout_blob(run->place.layout, d);
    int rc = manifest_search(path, d, mark, run);

    free(path);
    if (is_absent(rc))
        return is_moved_away(run, d) ? -EBADMSG : 0;
    return rc;
}

static void mark_revision(struct gc_run *run, const struct link_walk_item *item)
{
    char text[DIGEST_TEXT_SIZE];
    struct stat st;
    struct error err;
    char *link = layout_revision_link(run->place.layout, slice_of(item->repo), &item->digest);
    int rc = stat(link, &st) < 0 ? -errno : 0;

    free(link);
    if (is_absent(rc))
        return;
    if (rc == 0) {
        run->report.n_manifests++;
        mark(run, &item->digest);
        rc = mark_references(run, &item->digest);
    }
    if (rc == 0)
        return;
    digest_format(&item->digest, text);
    if (rc == -EBADMSG)
        error_set(&err, rc, "manifest %s of %s is damaged: restore or delete it", text, item->repo);
    else
        error_sys(&err, rc, "read manifest %s of %s", text, item->repo);
    gc_run_give_up(run, &err);
}

/* Layers that are mirrored stay, and those whose link is young. */
static void mark_layer(struct gc_run *run, const struct link_walk_item *item)
{
    struct slice repo = slice_of(item->repo);
    char *record = layout_layer_record(run->place.layout, repo, &item->digest);
    char *link = layout_layer_link(run->place.layout, repo, &item->digest);
    char *blob = layout_blob(run->place.layout, &item->digest);
    struct stat st;
    struct error err;
    int rc = stat(record, &st) < 0 ? -errno : 0;
    bool is_kept = rc == 0;

    if (is_absent(rc))
        rc = stat(link, &st) < 0 ? -errno : 0;
    if (rc == 0 && (is_kept || !gc_run_is_old(run, st.st_mtime)))
        mark(run, &item->digest);
    else if (rc == 0 && stat(blob, &st) < 0 && errno == ENOENT)
        run->n_dangling++;
    if (rc < 0 && !is_absent(rc)) {
        error_sys(&err, rc, "look at %s", link);
        gc_run_give_up(run, &err);
    }
    free(blob);
    free(link);
    free(record);
}

bool gc_mark_turn(struct gc_run *run, unsigned n_max)
{
    struct link_walk_item item;
    struct error err;

    if (!run->links)
        run->links = link_walk_new(run->place.layout, true);
    for (unsigned i = 0; i < n_max; i++) {
        int rc = link_walk_next(run->links, &item, &err);
        if (rc == 0) {
            run->report.n_repositories = link_walk_repositories(run->links);
            link_walk_free(&run->links);
            return false;
        }
        if (rc < 0)
            gc_run_give_up(run, &err);
        else if (rc == 1 && item.kind == LINK_REVISION)
            mark_revision(run, &item);
        else if (rc == 1)
            mark_layer(run, &item);
        if (run->phase == GC_END)
            return false;
    }
    return true;
}
