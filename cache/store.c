#include "config.h"

#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/ledger.h"
#include "cache/open_files.h"
#include "cache/store_private.h"
#include "cache/vouch.h"

#define WARM_UP_BYTES (2 * 1024 * 1024)

struct store {
    struct layout *layout;
    struct errands *errands;
    struct vouches *vouches;
    struct open_files *open_files;
    struct ledger *ledger; /* NULL: nobody wants to know */
};

/* One store_open_blob under way. */
struct opening {
    struct errand errand; /* first */
    struct store *store;
    struct digest digest;
    store_open_fn done;
    void *arg;
    int rc;
    struct blob *blob;
};

struct store *store_new(struct layout *l, struct errands *errands, struct vouches *vouches,
                        const struct cache_config *config)
{
    struct store *s = xcalloc(1, sizeof(*s));

    s->layout = l;
    s->errands = errands;
    s->vouches = vouches;
    s->open_files = open_files_new(errands, config->open_files_max, config->open_files_valid_s);
    return s;
}

void store_free(struct store **ss)
{
    struct store *s = *ss;

    if (!s)
        return;
    open_files_free(&s->open_files);
    free(s);
    *ss = NULL;
}

struct blob *store_find(struct store *s, const struct digest *d)
{
    struct blob *b = open_files_find(s->open_files, d);

    if (b)
        ledger_note_use(s->ledger, open_files_noted(b), d);
    return b;
}

/* What was open under this digest is not on disk any more. */
static int note_vanished(struct store *s, const struct digest *d, int rc)
{
    char text[DIGEST_TEXT_SIZE];

    if (open_files_forget(s->open_files, d)) {
        digest_format(d, text);
        metric_inc(METRIC_STORE_VANISHED);
        log_warning("store", "blob %s has vanished from disk", text);
    }
    return rc;
}

/* A loop that calls sendfile on a cold file waits for the disk. Here, off the loop, the beginning
 * is read, and the kernel is told to stay further ahead of the reader than it would by itself. */
static void warm_up(int fd)
{
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    posix_fadvise(fd, 0, WARM_UP_BYTES, POSIX_FADV_WILLNEED);
}

static int open_path(struct store *s, const struct digest *d, const char *path, struct blob **out)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return note_vanished(s, d, errno == ENOTDIR ? -ENOENT : -errno);
    struct blob *b = open_files_renew(s->open_files, d, &st);
    if (b && blob_size(b) == (uint64_t)st.st_size) {
        *out = b;
        return 0;
    }
    blob_unref(&b);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return note_vanished(s, d, -errno);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return note_vanished(s, d, -ENOENT);
    }
    metric_inc(METRIC_STORE_OPENS);
    warm_up(fd);
    *out = open_files_add(s->open_files, d, fd, &st);
    /* The collector may have removed it meanwhile, and had it forgotten before it was added. */
    if (stat(path, &st) < 0 || !open_files_is(*out, &st))
        open_files_forget(s->open_files, d);
    return 0;
}

int store_open_now(struct store *s, const struct digest *d, struct blob **out)
{
    char *path = layout_blob(s->layout, d);
    int rc = open_path(s, d, path, out);

    free(path);
    return rc;
}

static void do_open(struct errand *e)
{
    struct opening *o = (struct opening *)e;

    o->rc = store_open_now(o->store, &o->digest, &o->blob);
}

static void on_opened(struct errand *e)
{
    struct opening *o = (struct opening *)e;

    CHECK((o->rc == 0) == (o->blob != NULL));
    o->done(o->arg, o->rc, o->blob);
    free(o);
}

void store_open_blob(struct store *s, const struct digest *d, store_open_fn done, void *arg)
{
    struct opening *o = xcalloc(1, sizeof(*o));

    o->store = s;
    o->digest = *d;
    o->done = done;
    o->arg = arg;
    errand_submit(s->errands, &o->errand, do_open, on_opened);
}

int store_put_now(struct store *s, const struct digest *d, const void *p, size_t n,
                  struct error *err)
{
    char *path = layout_blob(s->layout, d);
    struct slice content = {p, n};
    /* So the collector leaves alone what gets its name now, and what may have it already. */
    vouch_present_now(s->vouches, d, NULL);
    int rc = disk_write_file(s->layout, path, content, DISK_DURABLE, err);

    /* It may have been open with another inode behind it. */
    if (rc == 0) {
        open_files_forget(s->open_files, d);
        ledger_note_blob(s->ledger, d, n);
    }
    free(path);
    return rc;
}

int store_settle_now(struct store *s, const struct digest *d, struct error *err)
{
    char *path = layout_blob(s->layout, d);
    int rc = disk_sync_parent(path, err);

    /* Of the folder, too, which is the digest's own. */
    if (rc == 0) {
        *strrchr(path, '/') = '\0';
        rc = disk_sync_parent(path, err);
    }
    free(path);
    return rc;
}

struct blob *store_add(struct store *s, const struct digest *d, int fd)
{
    struct stat st;

    CHECK(fstat(fd, &st) == 0);
    ledger_note_blob(s->ledger, d, (uint64_t)st.st_size);
    return open_files_add(s->open_files, d, fd, &st);
}

struct vouches *store_vouches(struct store *s)
{
    return s->vouches;
}

struct layout *store_layout(struct store *s)
{
    return s->layout;
}

struct ledger *store_ledger(struct store *s)
{
    return s->ledger;
}

void store_set_ledger(struct store *s, struct ledger *ledger)
{
    s->ledger = ledger;
}

bool store_is_in_use(struct store *s, const struct digest *d)
{
    return open_files_are_in_use(s->open_files, d);
}

void store_forget(struct store *s, const struct digest *d)
{
    open_files_forget(s->open_files, d);
}
