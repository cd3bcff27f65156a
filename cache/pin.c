#include "config.h"

#include "cache/pin.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/ledger_private.h"

#define TEXT_MAX_BYTES 1024

struct pins {
    struct layout *layout;
    struct ledger *ledger; /* NULL: none that has to know */
    char *folder;
    pthread_mutex_t lock; /* held over work on the files, so that they and the ledger agree */
};

struct pins *pins_new(struct layout *l)
{
    struct pins *ps = xcalloc(1, sizeof(*ps));

    ps->layout = l;
    ps->folder = xasprintf("%s/_mirrord/pins", layout_root(l));
    pthread_mutex_init(&ps->lock, NULL);
    return ps;
}

void pins_set_ledger(struct pins *ps, struct ledger *ledger)
{
    ps->ledger = ledger;
}

void pins_free(struct pins **pps)
{
    struct pins *ps = *pps;

    if (!ps)
        return;
    pthread_mutex_destroy(&ps->lock);
    free(ps->folder);
    free(ps);
    *pps = NULL;
}

static bool is_valid(struct slice repo, struct slice reference)
{
    struct digest d;

    return layout_repo_is_valid(repo) &&
           (layout_tag_is_valid(reference) || digest_parse(reference, &d));
}

bool pin_parse(struct slice text, struct slice *repo, struct slice *reference)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '\n')
        text.len--;
    /* Names have no '@'; they may have a ':', tags have none. */
    const char *at = text.len > 0 ? memchr(text.ptr, '@', text.len) : NULL;
    if (!at && text.len > 0)
        at = memrchr(text.ptr, ':', text.len);
    if (!at)
        return false;
    struct slice head = {text.ptr, (size_t)(at - text.ptr)};
    struct slice tail = {at + 1, text.len - head.len - 1};
    struct digest d;
    if (!is_valid(head, tail) || (*at == '@') != digest_parse(tail, &d))
        return false;
    *repo = head;
    *reference = tail;
    return true;
}

/* The text of a pin, and the path of its file. */
static char *path_of(const struct pins *ps, struct slice repo, struct slice reference,
                     struct strbuf *text)
{
    char hex[DIGEST_TEXT_SIZE];
    struct digest d;
    bool is_digest = digest_parse(reference, &d);

    strbuf_addf(text, "%.*s%c%.*s\n", SLICE_ARG(repo), is_digest ? '@' : ':', SLICE_ARG(reference));
    digest_of(DIGEST_SHA256, text->ptr, text->len, &d);
    digest_hex(&d, hex);
    return xasprintf("%s/%s", ps->folder, hex);
}

static int refuse_name(struct slice repo, struct slice reference, struct error *err)
{
    return error_set(err, -EINVAL, "%.*s, %.*s: no image's name", SLICE_ARG(repo),
                     SLICE_ARG(reference));
}

/* So that no batch of evictions that has not heard of it goes on. Without a ledger there is none.
 */
static void tell(struct pins *ps, struct slice repo, struct slice reference, bool is_gone)
{
    CHECK(!worker_current());
    if (!ps->ledger)
        return;
    ledger_note_pin(ps->ledger, repo, reference, is_gone);
    ledger_drain_now(ps->ledger, NULL);
}

static size_t count(const struct pins *ps)
{
    DIR *folder = opendir(ps->folder);
    size_t n = 0;

    while (folder && readdir(folder))
        n++;
    if (folder)
        closedir(folder);
    return n;
}

static int add_locked(struct pins *ps, const char *path, struct slice text, struct error *err)
{
    if (count(ps) >= PINS_MAX)
        return error_set(err, -ENOSPC, "there are %d pins already", PINS_MAX);
    return disk_write_file(ps->layout, path, text, DISK_DURABLE, err);
}

int pins_add_now(struct pins *ps, struct slice repo, struct slice reference, bool *is_new,
                 struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int rc = 0;

    if (!is_valid(repo, reference))
        return refuse_name(repo, reference, err);
    char *path = path_of(ps, repo, reference, &text);
    pthread_mutex_lock(&ps->lock);
    bool is_there = access(path, F_OK) == 0;
    if (!is_there)
        rc = add_locked(ps, path, (struct slice){text.ptr, text.len}, err);
    if (rc == 0)
        tell(ps, repo, reference, false);
    pthread_mutex_unlock(&ps->lock);
    if (rc == 0 && is_new)
        *is_new = !is_there;
    free(path);
    strbuf_fini(&text);
    return rc;
}

int pins_remove_now(struct pins *ps, struct slice repo, struct slice reference, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int rc = 0;

    if (!is_valid(repo, reference))
        return refuse_name(repo, reference, err);
    char *path = path_of(ps, repo, reference, &text);
    pthread_mutex_lock(&ps->lock);
    if (unlink(path) < 0)
        rc = error_sys(err, -errno, "pin of %.*s, %.*s", SLICE_ARG(repo), SLICE_ARG(reference));
    else
        rc = disk_sync_parent(path, err);
    if (rc == 0)
        tell(ps, repo, reference, true);
    pthread_mutex_unlock(&ps->lock);
    free(path);
    strbuf_fini(&text);
    return rc == -ENOTDIR ? -ENOENT : rc;
}

bool pins_have_now(struct pins *ps, struct slice repo, struct slice reference)
{
    struct strbuf text = STRBUF_INIT;

    if (!is_valid(repo, reference))
        return false;
    char *path = path_of(ps, repo, reference, &text);
    bool is_there = access(path, F_OK) == 0;
    free(path);
    strbuf_fini(&text);
    return is_there;
}

/* False ends the listing; *rc says if that is a failure. */
static bool list_one(struct pins *ps, const char *name, pin_fn fn, void *arg, int *rc)
{
    struct strbuf text = STRBUF_INIT;
    struct slice repo, reference;
    bool goes_on = true;
    char *path = xasprintf("%s/%s", ps->folder, name);

    int read_rc = disk_read_file(path, TEXT_MAX_BYTES, &text);
    if (read_rc == 0 && pin_parse((struct slice){text.ptr, text.len}, &repo, &reference))
        goes_on = fn(arg, repo, reference);
    else if (read_rc < 0 && read_rc != -ENOENT && read_rc != -EFBIG && read_rc != -EISDIR)
        *rc = read_rc;
    free(path);
    strbuf_fini(&text);
    return goes_on && *rc == 0;
}

int pins_list_now(struct pins *ps, pin_fn fn, void *arg, struct error *err)
{
    DIR *folder = opendir(ps->folder);
    const struct dirent *entry;
    int rc = folder || errno == ENOENT ? 0 : -errno;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && !list_one(ps, entry->d_name, fn, arg, &rc))
            break;
    if (folder)
        closedir(folder);
    return rc < 0 ? error_sys(err, rc, "pins in %s", ps->folder) : 0;
}
