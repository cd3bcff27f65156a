#include "config.h"

#include "cache/referrers_update.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cache/disk.h"
#include "cache/referrer_entry.h"
#include "cache/referrers_known.h"

/* In one step, so that no pool thread is taken for long. */
#define NAMES_PER_STEP 4096
#define READS_PER_STEP 16
#define BYTES_PER_STEP (4u << 20)

enum phase { PHASE_LOOK, PHASE_WALK, PHASE_PRUNE, PHASE_STORE, PHASE_OVER, PHASE_MAX };

struct referrers_update {
    struct layout *layout;
    char *repo;
    size_t manifest_max_bytes;
    enum phase phase;
    struct referrers_known before, now;
    int64_t now_ns;      /* when the walk began, by the clock of the file system; 0: not known */
    size_t n_known;      /* revisions met that `before` has */
    size_t n_bytes;      /* read in this step */
    bool has_unread;     /* a revision that is to be tried again */
    enum digest_alg alg; /* of the folder that is open, or the next */
    DIR *folder;
    DIR *inner; /* pruning: of a subject */
    struct digest subject;
};

struct referrers_update *referrers_update_new(struct layout *l, struct slice repo,
                                              size_t manifest_max_bytes)
{
    struct referrers_update *u = xcalloc(1, sizeof(*u));

    CHECK(layout_repo_is_valid(repo));
    u->layout = l;
    u->repo = xmemdup0(repo.ptr, repo.len);
    u->manifest_max_bytes = manifest_max_bytes;
    referrers_known_init(&u->before);
    referrers_known_init(&u->now);
    return u;
}

void referrers_update_free(struct referrers_update **uu)
{
    struct referrers_update *u = *uu;

    if (!u)
        return;
    if (u->folder)
        closedir(u->folder);
    if (u->inner)
        closedir(u->inner);
    referrers_known_fini(&u->before);
    referrers_known_fini(&u->now);
    free(u->repo);
    free(u);
    *uu = NULL;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* The time that the file system would give to what changes now. */
static int64_t clock_of_storage(struct layout *l)
{
    char *path = layout_tmp_file(l);
    int fd = disk_open_new(path, O_WRONLY, NULL);
    struct stat st;
    int64_t now_ns = 0;

    if (fd >= 0 && fstat(fd, &st) == 0)
        now_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    if (fd >= 0) {
        unlink(path);
        close(fd);
    }
    free(path);
    return now_ns;
}

static int step_look(struct referrers_update *u)
{
    struct slice repo = slice_of(u->repo);

    referrers_known_look(u->layout, repo, u->now.looks);
    /* A repository without revisions, or none at all: nothing is to be left behind for it. */
    if (!u->now.looks[DIGEST_SHA256].inode && !u->now.looks[DIGEST_SHA512].inode) {
        u->phase = PHASE_OVER;
        return 0;
    }
    referrers_known_load(&u->before, u->layout, repo);
    if (u->before.is_settled && memcmp(u->before.looks, u->now.looks, sizeof(u->now.looks)) == 0) {
        u->phase = PHASE_OVER;
        return 0;
    }
    u->now_ns = clock_of_storage(u->layout);
    u->phase = PHASE_WALK;
    return 1;
}

/* --- reading revisions ------------------------------------------------------------------------ */

int referrers_update_read(const struct layout *l, const struct digest *d, size_t max_bytes,
                          struct strbuf *body)
{
    struct digest found;
    char *path = layout_blob(l, d);
    int rc = disk_read_file(path, max_bytes, body);

    free(path);
    if (rc < 0)
        return rc == -ENOTDIR ? -ENOENT : rc;
    digest_of(d->alg, body->ptr ? body->ptr : "", body->len, &found);
    return digest_equal(&found, d) ? 0 : -ENOENT;
}

static bool is_linked(const struct referrers_update *u, const struct digest *d)
{
    char *path = layout_revision_link(u->layout, slice_of(u->repo), d);
    bool is_there = access(path, F_OK) == 0;

    free(path);
    return is_there;
}

/* Reads a revision for the first time and notes what it refers to. */
static int read_revision(struct referrers_update *u, const struct digest *d, struct error *err)
{
    struct strbuf body = STRBUF_INIT, descriptor = STRBUF_INIT;
    struct digest subject;
    int rc = is_linked(u, d) ? referrers_update_read(u->layout, d, u->manifest_max_bytes, &body)
                             : -ENOENT;

    if (rc < 0) {
        /* Being pushed, deleted, or not readable now: the next update tries again. */
        u->has_unread = true;
        rc = 0;
    } else {
        if (referrer_entry_of_manifest((struct slice){body.ptr, body.len}, d, &subject,
                                       &descriptor))
            rc = referrer_entry_write(u->layout, slice_of(u->repo), &subject, d,
                                      (struct slice){descriptor.ptr, descriptor.len}, err);
        if (rc == 0)
            referrers_known_add(&u->now, d);
    }
    u->n_bytes += body.len;
    strbuf_fini(&descriptor);
    strbuf_fini(&body);
    return rc;
}

/* A name in the folder of an algorithm: its digest. */
static bool parse_name(enum digest_alg alg, const char *name, struct digest *out)
{
    char text[DIGEST_TEXT_SIZE];
    int n = snprintf(text, sizeof(text), "%s:%s", digest_alg_name(alg), name);

    return n > 0 && (size_t)n < sizeof(text) && digest_parse((struct slice){text, (size_t)n}, out);
}

/* Opens the folder of u->alg unless it is open. 0: there is none. */
static int open_folder(struct referrers_update *u, char *path, struct error *err)
{
    int rc = 1;

    if (!u->folder) {
        u->folder = opendir(path);
        if (!u->folder)
            rc = errno == ENOENT || errno == ENOTDIR
                     ? 0
                     : error_sys(err, -errno, "open folder %s", path);
    }
    free(path);
    return rc;
}

/* To the folder of the next algorithm; false: that was the last. */
static bool next_folder(struct referrers_update *u)
{
    if (u->folder)
        closedir(u->folder);
    u->folder = NULL;
    return ++u->alg < DIGEST_ALG_MAX;
}

static int step_walk(struct referrers_update *u, struct error *err)
{
    const struct dirent *entry = NULL;
    struct digest d;
    int rc = open_folder(u, referrers_known_folder(u->layout, slice_of(u->repo), u->alg), err);
    unsigned n_reads = 0;

    u->n_bytes = 0;
    for (unsigned i = 0; rc > 0 && i < NAMES_PER_STEP; i++) {
        if (n_reads == READS_PER_STEP || u->n_bytes > BYTES_PER_STEP)
            break;
        entry = readdir(u->folder);
        if (!entry)
            break;
        if (!parse_name(u->alg, entry->d_name, &d))
            continue;
        if (referrers_known_has(&u->before, &d)) {
            referrers_known_add(&u->now, &d);
            u->n_known++;
        } else {
            n_reads++;
            if (read_revision(u, &d, err) < 0)
                return err->code;
        }
    }
    if (rc < 0)
        return rc;
    if (!entry && !next_folder(u)) {
        referrers_known_sort(&u->now);
        u->alg = 0;
        /* Entries of revisions that have left are facts all the same, and cost only room. They go
         * when all that remain are known by name. */
        bool has_gone = u->n_known < u->before.n && !u->now.is_full && !u->has_unread;
        u->phase = has_gone ? PHASE_PRUNE : PHASE_STORE;
    }
    return 1;
}

/* --- pruning ---------------------------------------------------------------------------------- */

/* Of one subject: removes entries of revisions that are no more. */
static void prune_subject(struct referrers_update *u)
{
    struct slice repo = slice_of(u->repo);
    const struct dirent *entry;
    struct digest d;

    while ((entry = readdir(u->inner))) {
        if (referrer_entry_name_parse(entry->d_name, &d) && !referrers_known_has(&u->now, &d))
            referrer_entry_remove(u->layout, repo, &u->subject, &d);
    }
}

static int step_prune(struct referrers_update *u, struct error *err)
{
    const struct dirent *entry = NULL;
    int rc = open_folder(u, referrer_entry_alg_folder(u->layout, slice_of(u->repo), u->alg), err);

    if (rc > 0)
        entry = readdir(u->folder);
    if (entry && parse_name(u->alg, entry->d_name, &u->subject)) {
        char *path = referrer_entry_folder(u->layout, slice_of(u->repo), &u->subject);
        u->inner = opendir(path);
        if (u->inner) {
            prune_subject(u);
            closedir(u->inner);
            u->inner = NULL;
        }
        free(path);
    }
    if (!entry && !next_folder(u))
        u->phase = PHASE_STORE;
    return 1;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void store_known(struct referrers_update *u)
{
    struct error err;
    bool is_same = u->now.n == u->before.n && u->n_known == u->now.n;

    u->now.is_settled = !u->has_unread && !u->now.is_full && u->now_ns > 0 &&
                        referrers_known_can_settle(u->now.looks, u->now_ns);
    /* While it is not settled the looks do not count. */
    if (is_same && !u->now.is_settled)
        return;
    if (referrers_known_store(&u->now, u->layout, slice_of(u->repo), &err) < 0)
        log_info("referrers", "revisions of %s are to be read again: %s", u->repo, err.text);
}

int referrers_update_step(struct referrers_update *u, struct error *err)
{
    CHECK(u->phase < PHASE_MAX);
    switch (u->phase) {
    case PHASE_LOOK:
        return step_look(u);
    case PHASE_WALK:
        return step_walk(u, err);
    case PHASE_PRUNE:
        return step_prune(u, err);
    case PHASE_STORE:
        store_known(u);
        u->phase = PHASE_OVER;
        return 0;
    case PHASE_OVER:
    case PHASE_MAX:
        break;
    }
    return 0;
}
